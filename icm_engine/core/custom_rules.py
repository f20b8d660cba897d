"""Custom consistency rules: a Python file with one subclass of `Rule`, named on the command line.

    from icm_engine.core.consistency import Rule

    class SameTopic(Rule):
        def key(self, example):
            return example.group

        def consistent(self, i, j, labeling):
            return labeling[i] == labeling[j]

A run records the file's path and sha256, and continues only while the file is unchanged. No page takes such a file:
only the command line and `icm_engine.label` call `rule_reference`, and nothing uploaded is ever run as code.
"""

import hashlib
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType

from icm_engine.core.consistency import RULES, Rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Label
from icm_engine.core.text import expanded

_REFERENCE = re.compile(r"(?P<path>.+\.py)#sha256=(?P<sha256>[0-9a-f]{64})", re.DOTALL)


def rule_reference(path: Path | str) -> str:
    """Return what a run records about a rule file: its absolute path and sha256. Raises SettingError."""
    path = expanded(path).resolve()
    made = f"{path}#sha256={hashlib.sha256(_read(path)).hexdigest()}"
    load_rule(made)
    return made


def is_reference(rule: str) -> bool:
    """Say whether a rule's name is a reference to a file."""
    return _REFERENCE.fullmatch(rule) is not None


def rule_title(rule: str) -> str:
    """Return a rule's name for display: for a file, its name without the path; no code is run."""
    match = _REFERENCE.fullmatch(rule)
    return Path(match["path"]).name if match else rule


def load_rule(rule: str) -> type[Rule]:
    """Return the rule class of a referenced file. Raises SettingError if the file changed or has no such class."""
    match = _REFERENCE.fullmatch(rule)
    if match is None:
        raise SettingError(f"rule {rule!r} is not a rule file: name one by its path (--rule my_rule.py)")
    path, content = Path(match["path"]), _read(Path(match["path"]))
    found = hashlib.sha256(content).hexdigest()
    if found != match["sha256"]:
        raise SettingError(
            f"rule file {path} has changed: its sha256 is {found[:12]}…, it was {match['sha256'][:12]}…: "
            "put the file back as it was, or start a new run with the changed file"
        )
    return _rule_of(path, content)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingError(
            f"rule file {path} cannot be read ({error.strerror}): put it back, or name another"
        ) from None


@cache
def _rule_of(path: Path, content: bytes) -> type[Rule]:
    """Execute the file as a module and return the one rule it defines."""
    module = ModuleType(f"icm_own_rule_{hashlib.sha256(content).hexdigest()[:16]}")
    sys.modules[module.__name__] = module  # dataclasses and pickle look for their module there
    try:
        exec(compile(content, str(path), "exec"), module.__dict__)
    except Exception as error:  # any error in the file
        raise SettingError(f"rule file {path} failed ({type(error).__name__}: {error}): correct it") from error
    own: list[type[Rule]] = [value for value in vars(module).values() if _is_rule(value, module.__name__)]
    if len(own) != 1:
        names = ", ".join(rule.__name__ for rule in own) or "none"
        raise SettingError(f"rule file {path} defines {len(own)} rules ({names}): define one subclass of Rule")
    if not isinstance(getattr(own[0], "name", None), str):
        own[0].name = path.stem
    return own[0]


def _is_rule(value: object, module: str) -> bool:
    concrete = isinstance(value, type) and issubclass(value, Rule) and value.__module__ == module
    return concrete and not getattr(value, "__abstractmethods__", None)


def make_rule(name: str, examples: Sequence[Example], labels: Sequence[Label], true_label: Label) -> Rule:
    """Return the named or referenced rule over these examples. Raises SettingError."""
    return rule_class(name)(examples, labels, true_label)


def rule_class(name: str) -> type[Rule]:
    """Return the class of the named or referenced rule. Raises SettingError."""
    if name in RULES:
        return RULES[name]
    if is_reference(name):
        return load_rule(name)
    raise SettingError(f"rule {name!r} does not exist: use one of {', '.join(sorted(RULES))}")
