"""Exports of annotation programs, which keep texts and annotations apart, as plain rows.

Label Studio (JSON and JSON-MIN) and doccano (`labels`, and `annotations` of older versions) are recognised by their
first row. The annotation that all people give becomes the row's label; with several annotators each has a column of
human labels.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from icm_engine.data.readers.json_layout import JsonObject

Item = tuple[str, Any]  # its position, and its value
LABEL = "label"
_MIN = {"annotator", "annotation_id"}  # keys that JSON-MIN adds after the labels


@dataclass(frozen=True, slots=True)
class Said:
    """One annotator's choices by control name; final ones outweigh drafts."""

    by: str
    choices: Mapping[str, Sequence[Any]]
    final: bool = False


@dataclass(frozen=True, slots=True)
class AnnotatedRow:
    """A row's cells and its annotations; `other` counts annotations of other kinds."""

    cells: Mapping[str, Any]
    said: Sequence[Said]
    other: int = 0


Parse = Callable[[Iterable[Item]], Iterator[Item]]  # values that are not rows of the program are unchanged


def annotated(items: Callable[[], Iterator[Item]]) -> "Annotated | None":
    """Return the rows of an export recognised by its first row; None if no program is recognised."""
    first = as_dict(next(items(), ("", None))[1])
    if first is None:
        return None
    if as_dict(first.get("data")) is not None and any(
        is_list(first.get(key)) for key in ("annotations", "completions")
    ):
        return Annotated("Label Studio", items, _label_studio)
    if first.keys() >= _MIN:
        return Annotated("Label Studio", items, _label_studio_min)
    if "text" in first and LABEL not in first and (is_list(first.get("labels")) or is_list(first.get("annotations"))):
        return Annotated("doccano", items, _doccano)
    return None


def as_dict(value: Any) -> dict[str, Any] | None:
    """Return an object's keys and values; None for anything else, and for an object with a repeated key."""
    found = dict(value) if isinstance(value, JsonObject) else None
    return found if found is not None and len(found) == len(value) else None


def is_list(value: Any) -> bool:
    """Say whether a value is an array."""
    return isinstance(value, list) and not isinstance(value, JsonObject)


@dataclass
class _Survey:
    """What the whole file contains."""

    controls: Counter[str] = field(default_factory=Counter)
    columns: dict[str, None] = field(default_factory=dict)
    people: dict[str, None] = field(default_factory=dict)
    several: int = 0
    disputed: int = 0
    other: int = 0

    def see(self, row: AnnotatedRow) -> None:
        self.columns.update(dict.fromkeys(row.cells))
        self.people.update(dict.fromkeys(said.by for said in row.said))
        self.controls.update(control for said in row.said for control in said.choices)
        self.several += len({said.by for said in row.said}) > 1
        self.disputed += any(len(_opinions(row, control)) > 1 for control in self.controls)
        self.other += row.other


class Annotated:
    """The rows of an export; a first pass over the file finds its columns."""

    def __init__(self, program: str, items: Callable[[], Iterator[Item]], parse: Parse) -> None:
        self.program, self._items, self._parse = program, items, parse
        self._survey = _Survey()
        for _, row in parse(items()):
            if isinstance(row, AnnotatedRow):
                self._survey.see(row)
        controls = list(self._survey.controls)
        taken = self._survey.columns
        self._names = {c: _free(LABEL if len(controls) == 1 else c, c, taken) for c in controls}

    @property
    def notes(self) -> tuple[str, ...]:
        """How the export was read."""
        survey = self._survey
        named = ", ".join(f"{control!r} became column {name!r}" for control, name in self._names.items())
        notes = [
            f"The file is an export of {self.program}" + (f": its label {named}." if named else " without labels.")
        ]
        if len(self._names) > 1:
            notes.append(f"It has several labels: say which is gold (--map gold={next(iter(self._names.values()))}).")
        if survey.several:
            notes.append(
                f"Rows with labels of several people: {survey.several:,}; they disagree in {survey.disputed:,}, which "
                "have no label."
            )
        if survey.other:
            notes.append(f"Annotations other than a choice of labels were left out ({survey.other:,}).")
        return tuple(notes)

    def rows(self) -> Iterator[Item]:
        """Yield the rows as plain objects; rows that are not the program's are unchanged."""
        for where, row in self._parse(self._items()):
            yield where, JsonObject(self._cells(row).items()) if isinstance(row, AnnotatedRow) else row

    def _cells(self, row: AnnotatedRow) -> dict[str, Any]:
        cells = dict(row.cells)
        for control, name in self._names.items():
            opinions = _opinions(row, control)
            cells[name] = _one(opinions[0]) if len(opinions) == 1 else None
        if self._survey.several and len(self._names) == 1:
            said = {said.by: choices for said in row.said for choices in said.choices.values()}
            numbered = all(person.isdecimal() for person in self._survey.people)
            for place, person in enumerate(self._survey.people, 1):
                cells[f"human_{person if numbered else place}"] = _one(said[person]) if said.get(person) else None
        return cells


def _opinions(row: AnnotatedRow, control: str) -> list[Sequence[Any]]:
    """The distinct annotations; only final ones, if any is final."""
    said = [s for s in row.said if s.final] or row.said
    found = {tuple(sorted(map(str, s.choices[control]))): s.choices[control] for s in said if control in s.choices}
    return [choices for choices in found.values() if choices]


def _one(choices: Sequence[Any]) -> Any:
    """The single choice, or all choices as a list."""
    return choices[0] if len(choices) == 1 else list(choices)


def _free(wanted: str, control: str, taken: Mapping[str, None]) -> str:
    return next(name for name in (wanted, control, f"label_{control}", f"label_{control}_") if name not in taken)


# -- Label Studio


def _label_studio(items: Iterable[Item]) -> Iterator[Item]:
    for where, value in items:
        task = as_dict(value)
        data = as_dict(task.get("data")) if task is not None else None
        if task is None or data is None:
            yield where, value if task is None else task.get("data")  # expected but missing columns
            continue
        done = task.get("annotations", task.get("completions"))
        made = [a for a in map(as_dict, done if isinstance(done, list) else []) if a is not None]
        made = [a for a in made if not a.get("was_cancelled")]
        results = [[r for r in map(as_dict, a.get("result") or []) if r is not None] for a in made]
        said = [_studio_said(a, found, k) for k, (a, found) in enumerate(zip(made, results, strict=True), 1)]
        other = sum(r.get("type") != "choices" for found in results for r in found)
        identity = {"id": task["id"]} if "id" in task and "id" not in data else {}
        yield where, AnnotatedRow(identity | data, [s for s in said if s.choices], other)


def _studio_said(annotation: Mapping[str, Any], results: Sequence[Mapping[str, Any]], number: int) -> Said:
    by = annotation.get("completed_by")
    by = (as_dict(by) or {}).get("id", number) if isinstance(by, list) else number if by is None else by
    choices = {str(r.get("from_name", LABEL)): _chosen(r.get("value")) for r in results if r.get("type") == "choices"}
    return Said(str(by), choices, annotation.get("ground_truth") is True)


def _chosen(value: Any) -> list[Any]:
    """The choices in {"choices": [...]}, in a list, or a single label."""
    found = as_dict(value)
    if found is not None:
        value = found.get("choices")
    if is_list(value):
        return list(value)
    return [] if value is None or isinstance(value, JsonObject) else [value]


def _label_studio_min(items: Iterable[Item]) -> Iterator[Item]:
    """Merge consecutive rows of one task; JSON-MIN has one row per annotation."""
    numbered = ((where, as_dict(value), value, k) for k, (where, value) in enumerate(items))
    for _, group in groupby(numbered, lambda item: _task_of(item[1], item[3])):
        rows = [(where, row, value) for where, row, value, _ in group]
        where, first, value = rows[0]
        if first is None or "annotator" not in first:
            yield where, value
            continue
        labels = _labels_of(first)
        kept = {key: value for key, value in first.items() if key not in labels and key not in _MIN}
        said = [
            Said(_person(row["annotator"], k), {c: _chosen(row[c]) for c in labels if c in row})
            for k, (_, row, _) in enumerate(rows, 1)
            if row is not None
        ]
        yield where, AnnotatedRow(kept, said)


def _task_of(row: Mapping[str, Any] | None, number: int) -> tuple[str, int]:
    """The identity of a row's task; a row without an id is a task of its own."""
    if row is None or row.get("id") is None or "annotator" not in row:
        return "", number
    return str(row["id"]), -1


def _person(value: Any, number: int) -> str:
    found = as_dict(value)
    return str(number if value is None else found.get("id", number) if found is not None else value)


def _labels_of(row: Mapping[str, Any]) -> list[str]:
    """The keys of labels: those between the id, which follows the data, and the keys that JSON-MIN appends."""
    keys = list(row)
    end = min(keys.index(key) for key in _MIN if key in keys)
    before = keys.index("id") if "id" in keys else -1
    return keys[before + 1 : end] if before > 0 else keys[max(end - 1, 0) : end]


# -- doccano


def _doccano(items: Iterable[Item]) -> Iterator[Item]:
    for where, value in items:
        row = as_dict(value)
        if row is None:
            yield where, value
            continue
        kept = {key: value for key, value in row.items() if key not in ("labels", "annotations")}
        said: dict[str, list[Any]] = {"1": list(row["labels"])} if is_list(row.get("labels")) else {}
        made = [a for a in map(as_dict, row.get("annotations") or []) if a is not None and "label" in a]
        spans = [a for a in made if "start_offset" in a]
        for annotation in made:
            if annotation not in spans:
                said.setdefault(str(annotation.get("user", 1)), []).append(annotation["label"])
        labels = [Said(by, {"labels": found}) for by, found in said.items() if found]
        yield where, AnnotatedRow(kept, labels, len(spans))
