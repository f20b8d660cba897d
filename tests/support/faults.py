"""A fault, how often it was tried, what was promised and what happened: the rows of the table in docs/reliability.md.

`make test-all` tries each fault a few times, `make torture` (pytest --torture) often; the test is the same.
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
    tried: int = 0
    happened: str = ""

    def times(self, quick: int, long: int) -> int:
        """Return how often to try: `quick` in `make test-all`, `long` in `make torture`."""
        self.tried = long if self.torture else quick
        return self.tried

    def write(self, test: str) -> None:
        """Keep the row of a test that passed."""
        ROWS.mkdir(parents=True, exist_ok=True)
        row = asdict(self) | {"test": test}
        path = ROWS / f"{test.replace('/', '.').replace('::', '.')}.json"
        path.write_text(json.dumps(row, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def of(request: pytest.FixtureRequest) -> Fault:
    """Return the row of a test marked `@pytest.mark.fault(fault, promised)`."""
    mark = request.node.get_closest_marker("fault")
    assert mark is not None, "a test that takes `fault` says which one and what is promised: @pytest.mark.fault(...)"
    fault, promised = mark.args
    return Fault(fault, promised, request.config.getoption("--torture"))
