"""The Python interface has the names and the signatures that it had: notebooks of people depend on them.

What is added is kept by `python -m tests.golden --write python`.
"""

import json

from tests.golden import python_api


def test_names_have_the_signatures_they_had() -> None:
    golden, now = json.loads(python_api.NAMES.read_text(encoding="utf-8")), python_api.names()
    assert sorted(golden.keys() - now.keys()) == [], "gone"
    assert sorted(now.keys() - golden.keys()) == [], "new"
    assert {name: now[name] for name in now if now[name] != golden[name]} == {}, "changed"
    assert {"label", "open_run", "list_runs", "IcmError", "Run", "Run.labels", "Run.export"} <= now.keys()
