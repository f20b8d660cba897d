"""Write docs/licences.md: what the app and its options need, and under which licence: `python -m tools.licences`."""

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "licences.md"
FILES = tuple(f"requirements{option}.txt" for option in ("", "-hub", "-login", "-ray", "-training"))
COPYLEFT = re.compile(r"\b(A?GPL|LGPL|GNU|MPL|EPL|CDDL|EUPL|Mozilla|CC-BY-SA)", re.IGNORECASE)
# What somebody who passes the app on must know of those; a package that is none of these closes the test.
NOTES: Mapping[str, str] = {
    "certifi": "MPL-2.0 is per file: the list of certificates may be used unchanged by any program",
    "tqdm": "MPL-2.0 is per file, and used unchanged",
}
HEAD = """# Licences

The project is under [Apache-2.0](../LICENSE). What it needs is installed by pip from where its makers put it; none
of it lies in this repository, and the sample model and data were made here. The table is written by `python -m
tools.licences` from what the packages say of themselves, with what they need in turn on Linux without CUDA (with it,
torch brings NVIDIA's libraries, which are under NVIDIA's own licence).

| package | licence | needed by |
|---|---|---|
"""


def needed() -> dict[str, set[str]]:
    """Return every package that is needed, with the files of requirements that lead to it."""
    found: dict[str, set[str]] = {}
    for name in FILES:
        waiting = list(pinned(ROOT / name))
        while waiting:
            package = waiting.pop()
            if name not in found.setdefault(package, set()):
                found[package].add(name)
                waiting += _needs(package)
    return found


def pinned(path: Path) -> Iterator[str]:
    """The packages that a file of requirements names itself."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if (plain := line.split("#")[0].strip()) and not plain.startswith("-"):
            yield canonicalize_name(Requirement(plain).name)


def _needs(package: str) -> list[str]:
    try:
        wanted = distribution(package).requires or []
    except PackageNotFoundError:
        return []
    asked = [Requirement(text) for text in wanted]
    return [canonicalize_name(one.name) for one in asked if not one.marker or one.marker.evaluate({"extra": ""})]


def licence(package: str) -> str:
    """Return the licence as the package says it: an expression, else what its classifiers say, else a line of text."""
    try:
        said = distribution(package).metadata
    except PackageNotFoundError:
        return "not installed here"
    listed = [c.split(" :: ")[-1] for c in said.get_all("Classifier") or [] if c.startswith("License :: ")]
    lines = str(said["License"] or "").strip().splitlines() if "License" in said else []
    short = lines[0] if len(lines) == 1 else ""
    expression = str(said["License-Expression"]) if "License-Expression" in said else ""
    return expression or short or ", ".join(listed) or (lines[0] if lines else "not said")


def table(found: Mapping[str, set[str]]) -> Iterator[str]:
    for package in sorted(found):
        by = "the app" if FILES[0] in found[package] else ", ".join(f"`{name}`" for name in sorted(found[package]))
        yield f"| {package} | {licence(package).replace('|', '/')} | {by} |"


def page() -> str:
    """Return the whole page."""
    found = needed()
    copyleft = [package for package in sorted(found) if COPYLEFT.search(licence(package))]
    notes = "\n".join(
        f"- **{package}** ({licence(package)}): {NOTES.get(package, 'NOT LOOKED AT')}." for package in copyleft
    )
    return f"{HEAD}{chr(10).join(table(found))}\n\n## Copyleft among them\n\n{notes}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
