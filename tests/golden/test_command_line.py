"""The command line accepts what it accepted, and its JSON has the keys that it had.

Scripts depend on both. What is added is accepted once the files are written anew (`python -m tests.golden --write
command-line`); what is gone should come back. `NOT_TRIED` in `golden/command_line.py` says which commands are only
compared by what they accept, and why.
"""

import copy
import json

from tests.golden import command_line

HOW = "What is added is kept by `python -m tests.golden --write command-line`; what is gone breaks people's scripts."


def told(differences: list[str]) -> str:
    return "\n".join([*differences, HOW])


def test_commands_accept_what_they_accepted() -> None:
    golden = json.loads(command_line.ACCEPTED.read_text(encoding="utf-8"))
    found = command_line.differences(golden, command_line.accepted())
    assert not found, told(found)


def test_json_has_the_keys_it_had() -> None:
    golden = json.loads(command_line.KEYS.read_text(encoding="utf-8"))
    found = command_line.differences(golden, command_line.transcript())
    assert not found, told(found)


def test_every_command_is_tried_or_says_why_not() -> None:
    accepted = json.loads(command_line.ACCEPTED.read_text(encoding="utf-8"))
    tried = [*json.loads(command_line.KEYS.read_text(encoding="utf-8")), *command_line.NOT_TRIED]
    assert [words for words in accepted if not any(f"{one} ".startswith(f"{words} ") for one in tried)] == []


def test_the_comparison_says_what_is_gone_new_and_changed() -> None:
    golden = json.loads(command_line.ACCEPTED.read_text(encoding="utf-8"))
    changed = copy.deepcopy(golden)
    changed["ran"] = changed.pop("undo")
    next(option for option in changed["run"] if option["names"] == ["--preset"])["default"] = "paper"
    found = command_line.differences(golden, changed)
    assert any(line.startswith("gone: undo") for line in found)
    assert any(line.startswith("new: ran") for line in found)
    assert 'changed: run > --preset > default, "default" became "paper"' in found
    assert command_line.differences(golden, golden) == []
