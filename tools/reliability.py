"""Write the rows recorded by `make torture` into the table of docs/reliability.md: `python -m tools.reliability`."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, ROWS = ROOT / "docs" / "reliability.md", ROOT / "build" / "reliability"
BEGIN, END = "<!-- rows: make torture -->", "<!-- end of rows -->"
HEAD = "| fault | times tried | promised | what happened | test |\n|---|---|---|---|---|\n"


def line(row: dict[str, Any]) -> str:
    """Return one row of the table, with a dash for a fault whose number of tries has no meaning."""
    cells = (row["fault"], f"{row['tried']:,}" if row["tried"] else "-", row["promised"], row["happened"])
    file, test = row["test"].removeprefix("tests/").split("::", 1)
    return f"| {' | '.join(cells)} | `{file}` {test} |"


def _test(line: str) -> str:
    return line.rsplit(" | ", 1)[1]


def main() -> None:
    """Put one row per test between the two marks of the page; rows of tests that did not run stay unchanged."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    table, after = rest.split(END)
    kept = {_test(old): old for old in table.splitlines() if old.startswith("| ") and ".py` test_" in old}
    for path in sorted(ROWS.glob("*.json")):
        new = line(json.loads(path.read_text(encoding="utf-8")))
        kept[_test(new)] = new
    rows = "\n".join(kept[test] for test in sorted(kept))
    PAGE.write_text(f"{before}{BEGIN}\n{HEAD}{rows}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
