"""A fault, how often it was tried, what was promised and what happened: the rows of the table in docs/reliability.md.

`make test` tries a few once, `make test-all` each a few times, `make torture` (pytest --torture) often; the test is the
same.
"""

import json
from dataclasses import asdict, dataclass

import pytest

from tests.support.paths import ROOT

ROWS = ROOT / "build" / "reliability"


@dataclass
class Fault:
    """One row; a test says what happened last, when its assertions have passed."""

    fault: str
    promised: str
    torture: bool
    push: bool = False  # without the slow tests, as before every push
    tried: int = 0
    happened: str = ""

    def times(self, quick: int, long: int, push: int | None = None) -> int:
        """Return how often to try: `long` in `make torture`, else `quick`; in `make test` `push`, if given."""
        self.tried = long if self.torture else push if self.push and push is not None else quick
        return self.tried

    def write(self, test: str) -> None:
        """Keep the row of a test that passed."""
        ROWS.mkdir(parents=True, exist_ok=True)
        row = {name: value for name, value in asdict(self).items() if name != "push"} | {"test": test}
        path = ROWS / f"{test.replace('/', '.').replace('::', '.')}.json"
        path.write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def of(request: pytest.FixtureRequest) -> Fault:
    """Return the row of a test marked `@pytest.mark.fault(fault, promised)`."""
    mark = request.node.get_closest_marker("fault")
    assert mark is not None, "a test that takes `fault` says which one and what is promised: @pytest.mark.fault(...)"
    fault, promised = mark.args
    push = request.config.getoption("markexpr") == "not slow"
    return Fault(fault, promised, request.config.getoption("--torture"), push)
