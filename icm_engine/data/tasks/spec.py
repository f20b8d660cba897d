"""What the importer needs to know about a task, and custom task files in TOML (docs/tasks.md)."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from icm_engine.core.consistency import RULES
from icm_engine.core.custom_rules import is_reference
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Label, Task
from icm_engine.core.prompting import without_lines
from icm_engine.core.text import expanded
from icm_engine.data.answers import EXTRACTORS, AnswerReader, pattern_reader

RESERVED = ("group", "answer", "id", "gold", "human")  # fields of every task that no template uses
TRUTH: tuple[Label, ...] = ("True", "False")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """The columns a task needs, its template, its labels, its default rule.

    `labels` is empty if the person importing must name them; `optional` fields may be missing, along with their lines
    of the template; `makes_twins`: each pair also gets its swapped twin; `answer` says how final answers are read;
    `columns` are further column names by field.
    """

    name: str
    summary: str
    template: str
    fields: tuple[str, ...]
    labels: tuple[Label, ...] = TRUTH
    true_label: Label | None = None
    rule: str = "none"
    optional: tuple[str, ...] = ()
    makes_twins: bool = False
    answer: AnswerReader | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def make_task(
    spec: TaskSpec, rule: str | None = None, labels: Sequence[Label] = (), fields: Sequence[str] | None = None
) -> Task:
    """Return the task as the search sees it. Raises SettingError for an unknown rule or unusable labels.

    `fields` are those the file has; the template loses the lines of missing ones.
    """
    present = spec.fields if fields is None else tuple(fields)
    chosen = _labels(spec, labels)
    rule = spec.rule if rule is None else rule
    if rule not in RULES and not is_reference(rule):
        raise SettingError(f"rule {rule!r} does not exist: use one of {', '.join(sorted(RULES))}")
    return Task(spec.name, _without(spec, present), chosen, true_label(spec, chosen), rule, present)


def true_label(spec: TaskSpec, labels: Sequence[Label]) -> Label:
    """Return the label that rules mean by "True": the task's, else True, else the first."""
    if spec.true_label is not None:
        return spec.true_label
    return "True" if "True" in labels else labels[0]


def check_labels(labels: Sequence[Label], whose: str) -> None:
    """Raise SettingError unless these are two or more distinct, visible labels."""
    if "" in labels:
        raise SettingError(f"{whose} got an empty label among {list(labels)}: leave it out")
    odd = any(label != label.strip() or not label.isprintable() for label in labels)
    if len(set(labels)) < 2 or len(set(labels)) < len(labels) or odd:
        raise SettingError(f"{whose} got the labels {list(labels)}: name two or more different ones")
    if len({"".join(label.split()).casefold() for label in labels}) < len(labels):
        raise SettingError(
            f"{whose} got the labels {list(labels)}, of which two differ in case or blanks alone: rename one"
        )


def _without(spec: TaskSpec, present: Sequence[str]) -> str:
    """The template without the lines of missing fields."""
    return without_lines(spec.template, [f"{{{name}}}" for name in spec.fields if name not in present])


def _labels(spec: TaskSpec, given: Sequence[Label]) -> tuple[Label, ...]:
    """The labels of the task, or the given ones for a task without its own."""
    if spec.labels:
        if given and tuple(given) != spec.labels:
            raise SettingError(
                f"task {spec.name!r} has the labels {', '.join(spec.labels)}, not {', '.join(given)}: "
                "use task classification for labels of your own"
            )
        return spec.labels
    labels = tuple(label.strip() for label in given)
    check_labels(labels, f"task {spec.name!r}")
    return labels


KEYS = {
    "name": str, "summary": str, "template": str, "labels": list, "true_label": str, "rule": str, "optional": list,
    "makes_twins": bool, "answer": str, "answer_pattern": str, "answer_field": str, "columns": dict,
}  # fmt: skip
TWINS = ("response_a", "response_b")
_KIND = {str: "a text in quotation marks", list: 'a list, ["...", "..."]', bool: "true or false", dict: "a table"}
_FIELD = re.compile(r"\{(\w+)\}")
_NEARLY = re.compile(r"\{[\w \-]+\}")  # something that may have been meant as a field


def read_task(path: Path | str) -> TaskSpec:
    """Read a task file. Raises SettingError naming the file, the key, its value and the remedy."""
    path = expanded(path)
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(f"task file {path} cannot be read ({error.strerror}): check its name") from None
    except UnicodeDecodeError:
        raise SettingError(f"task file {path} is not UTF-8: save it as UTF-8") from None
    return parse_task(content, path.stem, f"task file {path.name}")


def parse_task(content: str, name: str, whose: str) -> TaskSpec:
    """Return the task described by a TOML text; `name` is the default name. Raises SettingError."""
    try:
        given = tomllib.loads(content)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingError(f"{whose} is not valid TOML ({error or 'nested too deeply'}): correct it") from None
    return _TaskReader(given, name, whose).task()


class _TaskReader:
    """Checks a task file key by key; the first invalid one is refused."""

    def __init__(self, given: dict[str, Any], name: str, whose: str) -> None:
        self.given, self.name, self.whose = given, name, whose

    def task(self) -> TaskSpec:
        self._check_keys()
        template = self._template()
        fields = tuple(dict.fromkeys(_FIELD.findall(template)))
        labels = tuple(self._texts("labels", self.given["labels"])) if "labels" in self.given else TRUTH
        if labels:
            check_labels(labels, self.whose)
        rule = self._one_of("rule", sorted(RULES), "none")
        spec = TaskSpec(
            self._name(),
            self.given.get("summary", ""),
            template,
            fields,
            labels,
            self._true_label(labels),
            rule,
            self._optional(fields),
            self.given.get("makes_twins", False),
            self._answer(fields, rule),
            self._columns(fields),
        )
        self._check_twins(spec)
        return spec

    def _refuse(self, key: str, found: str, remedy: str) -> SettingError:
        return SettingError(f"{self.whose}: {key} {found}: {remedy}")

    def _check_keys(self) -> None:
        for key, value in self.given.items():
            if key not in KEYS:
                raise self._refuse(key, "is not a key of a task", f"use {', '.join(KEYS)}")
            if not isinstance(value, KEYS[key]):
                raise self._refuse(key, f"is {value!r}", f"write {_KIND[KEYS[key]]}")

    def _name(self) -> str:
        name: str = self.given.get("name", self.name).strip()
        if not name or not name.isprintable():
            raise self._refuse("name", f"is {name!r}", "name it in printable characters")
        return name

    def _template(self) -> str:
        if "template" not in self.given:
            raise self._refuse("template", "is missing", 'write template = """...""", fields in braces')
        template: str = self.given["template"].rstrip("\r\n")
        if template != template.rstrip():
            raise self._refuse("template", "ends in a space", "remove it: the label brings its own")
        odd = [found for found in _NEARLY.findall(template) if not _FIELD.fullmatch(found)]
        if odd or not _FIELD.search(template):
            raise self._refuse(
                "template", f"has {odd[0]}" if odd else "has no field", "write fields as {name}: letters, digits and _"
            )
        reserved = [name for name in _FIELD.findall(template) if name in RESERVED]
        if reserved:
            raise self._refuse(
                "template",
                f"has {{{reserved[0]}}}, a reserved name",
                f'use another name and write [columns] my_{reserved[0]} = ["{reserved[0]}"]',
            )
        return template

    def _texts(self, key: str, values: list[Any]) -> list[str]:
        if not all(isinstance(value, str) for value in values):
            raise self._refuse(key, f"is {values!r}", 'write texts in quotation marks, ["...", "..."]')
        return values

    def _one_of(self, key: str, known: list[str], otherwise: str) -> str:
        value: str = self.given.get(key, otherwise)
        if value not in known:
            raise self._refuse(key, f"is {value!r}", f"use one of {', '.join(known)}")
        return value

    def _true_label(self, labels: tuple[str, ...]) -> str | None:
        value: str | None = self.given.get("true_label")
        if value is not None and value not in labels:
            raise self._refuse("true_label", f"is {value!r}", f"use one of the labels, {', '.join(labels) or 'none'}")
        return value

    def _optional(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        optional = tuple(self._texts("optional", self.given.get("optional", [])))
        if unknown := [name for name in optional if name not in fields]:
            raise self._refuse("optional", f"has {unknown[0]!r}", f"use fields of the template, {', '.join(fields)}")
        if set(optional) == set(fields):
            raise self._refuse("optional", "has every field of the template", "leave one that each row must have")
        for line in self.given["template"].split("\n"):
            found = _FIELD.findall(line)
            needed = [name for name in found if name not in optional]
            if needed and len(needed) < len(found):
                shared = next(name for name in found if name in optional)
                raise self._refuse(
                    "optional", f"has {shared!r}, whose line also has {{{needed[0]}}}", "give it a line of its own"
                )
        return optional

    def _answer(self, fields: tuple[str, ...], rule: str) -> AnswerReader | None:
        """How final answers are read: by a named reader, by a pattern, or not at all."""
        if not {"answer", "answer_pattern", "answer_field"} & set(self.given) and rule != "same-answer":
            return None
        if "answer" in self.given and "answer_pattern" in self.given:
            raise self._refuse("answer_pattern", "is given together with answer", "keep one of them")
        field = self.given.get("answer_field", "claim")
        if field not in fields:
            raise self._refuse("answer_field", f"is {field!r}", f"use a field of the template, {', '.join(fields)}")
        if "answer_pattern" not in self.given:
            return AnswerReader(field, EXTRACTORS[self._one_of("answer", list(EXTRACTORS), "final-answer")])
        try:
            return AnswerReader(field, pattern_reader(self.given["answer_pattern"]))
        except (re.error, RecursionError, OverflowError) as error:
            found = f"is {self.given['answer_pattern']!r} ({error})"
            raise self._refuse("answer_pattern", found, "write a regular expression with one group") from None

    def _columns(self, fields: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
        columns: dict[str, tuple[str, ...]] = {}
        for name, names in self.given.get("columns", {}).items():
            if name not in (*fields, *RESERVED):
                known = ", ".join((*fields, *RESERVED))
                raise self._refuse("columns", f"has {name!r}, which is not a field", f"use {known}")
            listed = names if isinstance(names, list) else [names]
            columns[name] = tuple(self._texts(f"columns.{name}", listed))
        return columns

    def _check_twins(self, spec: TaskSpec) -> None:
        if spec.makes_twins and (not set(TWINS) <= set(spec.fields) or len(spec.labels) != 2):
            raise self._refuse(
                "makes_twins",
                "is true",
                "a task with twins has the fields response_a and response_b, and two labels",
            )
