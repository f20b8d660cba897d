"""Which column of a file is which field: by the names people use, or as the person importing says.

A column that looks like gold never becomes an input: it is the gold column, or it is left out.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.data.tasks.spec import TaskSpec

Mapped = Mapping[str, str | Sequence[str]]

COMMON: dict[str, tuple[str, ...]] = {
    "group": ("group", "consistency_id", "question_id"),
    "answer": ("answer", "final_answer"),
    "id": ("id",),
    "gold": ("gold", "gold_label", "label", "is_correct", "is_true", "a_is_better"),
    "human": ("human", "crowd"),
}
_NUMBERED = re.compile(r"_?[0-9]+$")  # human_1, human_2
PREFIX = "icm_"  # what our exports add begins with this
MARKERS = {"icm_id", "icm_twin_of", "icm_label", "icm_run"}  # a file with all of these is one of our exports
HUMAN_PREFIX = "icm_human_"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which column gives which field; `inputs` are the columns that stay with the examples, in file order."""

    fields: Mapping[str, str]
    group: str | None
    answer: str | None
    id: str | None
    gold: str | None
    human: tuple[str, ...]
    inputs: tuple[str, ...]
    notes: tuple[str, ...]

    def source(self, column: str) -> str:
        """Return the name under which a column of human labels is kept."""
        return column.removeprefix(HUMAN_PREFIX)


def is_our_export(columns: Iterable[str]) -> bool:
    """Say whether these are the columns of a file that `export` wrote."""
    return set(columns) >= MARKERS


def plan_columns(
    spec: TaskSpec, columns: Sequence[str], mapping: Mapped, name: str, reads_answers: bool | None = None
) -> Plan:
    """Find the column of every field. Raises ImportRefused for a missing or ambiguous column.

    `reads_answers`: whether final answers matter (None: as the task says).
    """
    wanted = spec.answer is not None if reads_answers is None else reads_answers
    return _Planner(spec, columns, mapping, name).plan(wanted)


class _Planner:
    """Recognises columns one field after the other; a column serves one field only."""

    def __init__(self, spec: TaskSpec, columns: Sequence[str], mapping: Mapped, name: str) -> None:
        self.spec, self.columns, self.name = spec, columns, name
        self.known = known_names(spec)
        self.ours = is_our_export(columns)
        self.mapping = {field: self._mapped(field, value) for field, value in mapping.items()}
        self.taken = {column: field for field, found in self.mapping.items() for column in found}
        self.notes: list[str] = []
        self._check_mapping()

    def plan(self, reads_answers: bool) -> Plan:
        fields = {field: column for field in self.spec.fields if (column := self._required(field)) is not None}
        gold = self._gold()
        group = self._group()
        answer = self._find("answer") if reads_answers else None
        identity = self._find("id")
        human = self._human()
        left_out = self._left_out()
        apart = {gold, *human, *left_out}
        inputs = tuple(c for c in self.columns if c not in apart and not self._added(c))
        return Plan(fields, group, answer, identity, gold, human, inputs, tuple(self.notes))

    def _mapped(self, field: str, value: str | Sequence[str]) -> tuple[str, ...]:
        """The columns a person named for a field; none if the field is switched off."""
        if field not in self.known:
            raise SettingError(f"field {field!r} does not exist: use one of {', '.join(self.known)}")
        names = [value] if isinstance(value, str) else list(value)
        found = tuple(self._column(field, column) for column in names if column != "")
        if len(found) > 1 and field != "human":
            raise SettingError(f"field {field!r} is mapped to {', '.join(found)}: name one column")
        return found

    def _column(self, field: str, column: str) -> str:
        matching = [c for c in self.columns if c == column] or [c for c in self.columns if plain(c) == plain(column)]
        if not matching:
            raise ImportRefused(
                f"{self.name}: column {column!r}, mapped to {field}, is not in the file: it has {self._listed()}"
            )
        return matching[0]

    def _check_mapping(self) -> None:
        for field, found in self.mapping.items():
            for column in found:
                if self.taken[column] != field:
                    both = f"{field} and {self.taken[column]}"
                    raise SettingError(f"column {column!r} is mapped to both {both}: name another for one of them")
        strange = [c for c in self.columns if plain(c).startswith(PREFIX)]
        if strange and not self.ours:
            raise ImportRefused(
                f"{self.name}: column {strange[0]!r} has a name that our exports use: rename it, or keep "
                f"{', '.join(sorted(MARKERS))} if this is one of them"
            )

    def _find(self, field: str) -> str | None:
        """The column of a field: the mapped one, else the first free one with a known name."""
        if field in self.mapping:
            return next(iter(self.mapping[field]), None)
        candidates = self._alike(field)
        if candidates:
            self.taken[candidates[0]] = field
        return candidates[0] if candidates else None

    def _alike(self, field: str) -> list[str]:
        """Free columns with a known name for the field, the best name first."""
        names = ((PREFIX + field,) if self.ours and field in ("id", "gold") else ()) + self.known[field]
        found = [c for name in names for c in self.columns if _means(c, name, field) and c not in self.taken]
        return list(dict.fromkeys(found))

    def _required(self, field: str) -> str | None:
        column = self._find(field)
        if column is None and field not in self.spec.optional:
            known = " or ".join(self.known[field])
            raise ImportRefused(
                f"{self.name}: task {self.spec.name!r} needs a column {known}, the file has {self._listed()}: "
                f"say which it is (--map {field}=COLUMN)"
            )
        return column

    def _group(self) -> str | None:
        """The group column; a pair and its twin are a group of their own, whatever the file says."""
        if not self.spec.makes_twins:
            return self._find("group")
        if self.mapping.get("group"):
            self.notes.append(f"The group column is not used: task {self.spec.name!r} groups each pair with its twin.")
        return None

    def _gold(self) -> str | None:
        """The gold column, with a note; of two that look like it, a person says which."""
        alike = self._alike("gold")
        if "gold" not in self.mapping and len(alike) > 1 and not self.ours:
            raise ImportRefused(
                f"{self.name}: columns {' and '.join(alike)} both look like gold: say which is (--map gold={alike[0]})"
            )
        column = self._find("gold")
        if column is not None:
            self.notes.append(
                f"Column {column!r} was set apart as gold: it is only compared with results, never used by the search."
            )
        return column

    def _human(self) -> tuple[str, ...]:
        """The columns of human labels, with a note."""
        exported = [c for c in self.columns if self.ours and c.startswith(HUMAN_PREFIX)]
        found = self.mapping["human"] if "human" in self.mapping else tuple(exported + self._alike("human"))
        self.taken.update(dict.fromkeys(found, "human"))
        if found:
            named = ", ".join(repr(c) for c in found)
            self.notes.append(f"Human labels were set apart from {named}: a baseline, never used by the search.")
        return found

    def _left_out(self) -> list[str]:
        """Columns that look like gold or human labels but are not to be used: they stay out of the data set."""
        columns = self._alike("gold") + self._alike("human")
        for column in columns:
            if not self._added(column):
                self.notes.append(f"Column {column!r} looks like labels and was left out, since it was not mapped.")
        return columns

    def _added(self, column: str) -> bool:
        return self.ours and plain(column).startswith(PREFIX)

    def _listed(self) -> str:
        return ", ".join(self.columns) or "none"


def known_names(spec: TaskSpec) -> dict[str, tuple[str, ...]]:
    """Return the column names by which each field of a task is recognised: its own first, then its further ones."""
    fields = {field: (field,) for field in spec.fields} | COMMON
    return {field: (*names, *map(plain, spec.columns.get(field, ()))) for field, names in fields.items()}


def _means(column: str, name: str, field: str) -> bool:
    """Whether a column has this name; columns of human labels may be numbered."""
    found = plain(column)
    return found == name or (field == "human" and _NUMBERED.sub("", found) == name)


def plain(column: str) -> str:
    """Return a column name without case, surrounding space, and the choice of space, hyphen or underscore."""
    return re.sub(r"[\s\-]+", "_", column.strip().casefold())
