"""What is installed from others: known vulnerabilities are reported as what they are, and licences are listed."""

from typing import Any

import pytest

from tools import audit, licences

HOLE = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "aliases": [], "description": "..."}
SOUND = {"name": "a", "version": "1.0", "vulns": []}
HOLED = {"name": "b", "version": "1.0", "vulns": [HOLE]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited: c (1.0)"}


@pytest.mark.parametrize(
    ("packages", "ignored", "said", "is_sound"),
    [
        ([SOUND], {}, "1 packages were looked up, 0 could not be: -", True),
        ([SOUND, SKIPPED], {}, "1 packages were looked up, 1 could not be: c", True),
        ([SKIPPED, SKIPPED], {}, "vulnerabilities were not looked for: no data can be reached for any of 2", True),
        ([SOUND, HOLED], {}, "b 1.0: PYSEC-2026-1, mended in 2.0; NEW", False),
        ([HOLED], {"PYSEC-2026-1": "not reached"}, "b 1.0: PYSEC-2026-1, mended in 2.0; not reached", True),
        ([HOLED], {"PYSEC-2026-2": "another"}, "NEW", False),
    ],
)
def test_an_audit_says_what_it_could_not_look_up(
    packages: list[dict[str, Any]], ignored: dict[str, str], said: str, is_sound: bool
) -> None:
    lines, sound = audit.verdict({"dependencies": packages}, ignored)
    assert said in "\n".join(lines)
    assert sound == is_sound


def test_every_ignored_vulnerability_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in audit.IGNORED.values())


def test_every_package_we_name_is_in_the_list_of_licences() -> None:
    listed = {line.split("|")[1].strip() for line in licences.PAGE.read_text().splitlines() if line.startswith("| ")}
    for name in licences.FILES:
        named = set(licences.pinned(licences.ROOT / name))
        assert named
        assert named <= listed, f"run `python -m tools.licences`: {sorted(named - listed)}"


def test_copyleft_was_looked_at() -> None:
    page = licences.PAGE.read_text(encoding="utf-8")
    assert "NOT LOOKED AT" not in page
    assert "not said" not in page
    assert "not installed here" not in page
    strong = [line for line in page.splitlines() if line.startswith("| ") and "GPL" in line.split("|")[2]]
    assert not strong, "GPL among the packages: look at it, then say so here"


@pytest.mark.parametrize(
    ("text", "is_copyleft"),
    [("MPL-2.0", True), ("GNU General Public License v3", True), ("LGPL-2.1-only", True), ("AGPL-3.0", True),
     ("MIT", False), ("Apache-2.0 OR BSD-2-Clause", False), ("Mozilla Public License 2.0 (MPL 2.0)", True)],
)  # fmt: skip
def test_copyleft_is_found_by_its_name(text: str, is_copyleft: bool) -> None:
    assert bool(licences.COPYLEFT.search(text)) == is_copyleft
