"""Which column of a file is which field: by common names, or as the person importing says.

A column that looks like gold is never an input: it is the gold column, or it is left out. Names are checked against the
cells of the first rows: labels are not claims, and texts are not gold.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.data.column_evidence import ColumnSample, evident_labels, evident_text, sole_text
from icm_engine.data.spellings import (
    ANSWER_NAMES,
    GOLD,
    HUMAN_PREFIX,
    MARKERS,
    PREFIX,
    LabelReader,
    is_our_export,
    is_truth_word,
    known_names,
    looks_like_labels,
    one_sided,
    only_letters,
    only_spellings,
    plain,
    response_columns,
    side_pairs,
)
from icm_engine.data.tasks.spec import TaskSpec

Mapped = Mapping[str, str | Sequence[str]]

_NUMBERED = re.compile(r"_?[0-9]+$")  # human_1, human_2
RESPONSES = ("response_a", "response_b")


@dataclass(frozen=True, slots=True)
class Plan:
    """Which column gives which field; `inputs` are the columns kept with the examples, in file order.

    `readers` read the cells of gold and human columns. In a twin, `swapped` columns change places and `one_sided` ones
    are empty.
    """

    fields: Mapping[str, str]
    group: str | None
    answer: str | None
    id: str | None
    gold: str | None
    human: tuple[str, ...]
    inputs: tuple[str, ...]
    notes: tuple[str, ...]
    readers: Mapping[str, LabelReader] = dataclasses.field(default_factory=dict)
    swapped: tuple[tuple[str, str], ...] = ()
    one_sided: tuple[str, ...] = ()

    def source(self, column: str) -> str:
        """Return the source name of a column of human labels."""
        return column.removeprefix(HUMAN_PREFIX)


def plan_columns(
    spec: TaskSpec,
    columns: Sequence[str],
    mapping: Mapped,
    name: str,
    reads_answers: bool | None = None,
    look: ColumnSample | None = None,
) -> Plan:
    """Find the column of every field. Raises ImportRefused for a missing or ambiguous column.

    `reads_answers`: whether final answers matter (None: as the task says); `look` holds the first rows.
    """
    wanted = spec.answer is not None if reads_answers is None else reads_answers
    return _Planner(spec, columns, mapping, name, look or ColumnSample(spec)).plan(wanted)


class _Planner:
    """Assigns columns to fields, one after the other; a column serves one field only."""

    def __init__(self, spec: TaskSpec, columns: Sequence[str], mapping: Mapped, name: str, look: ColumnSample) -> None:
        self.spec, self.columns, self.name, self.look = spec, columns, name, look
        self.known = known_names(spec)
        self.ours = is_our_export(columns)
        self.mapping = {field: self._mapped(field, value) for field, value in mapping.items()}
        self.taken = {column: field for field, found in self.mapping.items() for column in found}
        self.notes: list[str] = []
        self.labels_not_texts: list[str] = []  # columns named like a text whose cells are labels
        self._check_mapping()

    def plan(self, reads_answers: bool) -> Plan:
        fields = self._fields()
        self.look.know_sides(self.columns, [fields[f] for f in RESPONSES if f in fields])
        gold = self._gold()
        group = self._group()
        answer = self._answer() if reads_answers else None
        if not reads_answers and self.mapping.get("answer"):
            self.notes.append("The mapped column of final answers is not used: the rule reads none.")
        identity = self._find("id")
        human = self._human()
        left_out = self._left_out()
        apart = {gold, *human, *left_out}
        inputs = tuple(c for c in self.columns if c not in apart and not self._added(c))
        swapped, lonely = self._sides(inputs, {*fields.values(), identity, group})
        readers = {c: self.look.reader(c, c == gold) for c in (gold, *human) if c is not None and self.look.known}
        self.notes += [*self.look.notes(gold), *self._label_like(inputs, {*fields.values(), identity, group})]
        notes = tuple(self.notes)
        return Plan(fields, group, answer, identity, gold, human, inputs, notes, readers, swapped, lonely)

    # -- mapped columns

    def _mapped(self, field: str, value: str | Sequence[str]) -> tuple[str, ...]:
        """The columns that a person mapped to a field; none if the field is switched off."""
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
        if len(matching) > 1:
            raise ImportRefused(
                f"{self.name}: column {column!r}, mapped to {field}, may be {' or '.join(map(repr, matching))}: "
                "write it as it is in the file"
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

    # -- columns with known names

    def _find(self, field: str) -> str | None:
        """The column of a field: the mapped one, else the first free one with a known name."""
        if field in self.mapping:
            return next(iter(self.mapping[field]), None)
        return self._take(field, self._alike(field))

    def _take(self, field: str, candidates: Sequence[str]) -> str | None:
        if candidates:
            self.taken[candidates[0]] = field
        return candidates[0] if candidates else None

    def _alike(self, field: str) -> list[str]:
        """Free columns with a known name for the field, best name first."""
        names = ((PREFIX + field,) if self.ours and field in ("id", "gold") else ()) + self.known[field]
        found = [c for name in names for c in self.columns if _means(c, name, field) and c not in self.taken]
        return list(dict.fromkeys(found))

    # -- texts

    def _fields(self) -> dict[str, str]:
        fields = {field: column for field in self.spec.fields if (column := self._text(field)) is not None}
        missing = [field for field in self.spec.fields if field not in fields]
        if set(RESPONSES) <= set(missing) and not set(RESPONSES) & set(self.mapping):
            fields |= self._numbered_responses()
        fields |= self._evident_text(missing)
        for field in missing:
            if field not in fields and field not in self.spec.optional:
                raise self._missing(field)
        return {field: fields[field] for field in self.spec.fields if field in fields}

    def _text(self, field: str) -> str | None:
        """The column of a text: the mapped one, else the best name whose cells are not labels."""
        if field in self.mapping:
            return self._find(field)
        candidates = self._alike(field)
        found = [c for c in candidates if not self._is_labels(field, c, len(candidates) > 1)]
        if field == "claim" and len(found) > 1:
            found = [c for c in found if not all(map(str.isdecimal, self.look.cells(c)))] or found
            others = " and ".join(repr(c) for c in found[1:])
            if others:
                self.notes.append(f"Column {found[0]!r} was taken as the claim, not {others} (--map claim=COLUMN).")
        self.labels_not_texts += [c for c in candidates if c not in found]
        return self._take(field, found)

    def _is_labels(self, field: str, column: str, others: bool) -> bool:
        """Whether a candidate for this text holds labels: their spellings, or single letters."""
        own = plain(column) == field
        if self.ours or field in (*RESPONSES, "query") or (own and field != "claim"):
            return False
        cells = self.look.cells(column)
        small = others or (not own and len(cells) > 1)
        letters = field == "claim" and only_letters(cells, small)
        labels = letters or only_spellings(cells, self.look.labels)
        if labels and own and not others and (len(cells) == 1 or self._has_gold()):
            self.notes.append(
                f"The cells of column {column!r} look like labels. They were taken as claims because of the column's "
                "name: if they are gold, map another column (--map claim=COLUMN)."
            )
            return False
        return labels

    def _has_gold(self) -> bool:
        """Whether a column is certainly gold."""
        return bool(self.mapping.get("gold")) or any(map(self._surely_gold, self._alike("gold")))

    def _numbered_responses(self) -> dict[str, str]:
        """Two columns that are evidently the responses, such as `response_0` and `response_1`."""
        free = [c for c in self.columns if c not in self.taken]
        found = response_columns(free)
        if found is None:
            return {}
        self.taken.update(zip(found, RESPONSES, strict=True))
        self.notes.append(f"Column {found[0]!r} was taken as response A, {found[1]!r} as response B.")
        return dict(zip(RESPONSES, found, strict=True))

    def _evident_text(self, missing: Sequence[str]) -> dict[str, str]:
        """The column that is evidently the text, if the task has one text and no column has its name."""
        field = sole_text(self.spec)
        free = self._unnamed("id", "group", "gold", "human") if field in missing and field not in self.mapping else []
        if field is None or (column := evident_text(free, self.look)) is None:
            return {}
        self.taken[column] = field
        self.notes.append(f"Column {column!r} was taken as the {field}: none is called {field} (--map {field}=COLUMN).")
        return {field: column}

    def _unnamed(self, *fields: str) -> list[str]:
        """Free columns without a known name for these fields."""
        named = {c for field in fields for c in self._alike(field)}
        return [c for c in self.columns if c not in self.taken and c not in named]

    def _missing(self, field: str) -> ImportRefused:
        remedy = f"say which it is (--map {field}=COLUMN)"
        if field == "claim" and self.labels_not_texts and field not in self.mapping:
            named = " and ".join(repr(c) for c in self.labels_not_texts)
            same = f"--map claim={self.labels_not_texts[0]} if it is this one all the same"
            return ImportRefused(
                f"{self.name}: the cells of column {named} are labels, not claims, and the file has no other column "
                f"for the claim (it has {self._listed()}): {remedy[:-1]}, {same})"
            )
        known = " or ".join(self.known[field])
        return ImportRefused(
            f"{self.name}: task {self.spec.name!r} needs a column {known}, the file has {self._listed()}: {remedy}"
        )

    # -- what the rule reads

    def _group(self) -> str | None:
        """The group column; a pair and its twin always form a group of their own."""
        if not self.spec.makes_twins:
            return self._no_labels("group", self._find("group"))
        if self.mapping.get("group"):
            self.notes.append(f"The group column is not used: task {self.spec.name!r} groups each pair with its twin.")
        return None

    def _no_labels(self, field: str, column: str | None) -> str | None:
        """The column, unless its cells are words for true and false; then a warning, and it is used only if mapped."""
        cells = self.look.cells(column) if column is not None else []
        if column is None or not cells or not all(map(is_truth_word, cells)):
            return column
        if field in self.mapping:
            self.notes.append(
                f"Column {column!r}, mapped to {field}, holds words for true and false: if these are gold, the rule "
                "sees gold."
            )
            return column
        self.notes.append(f"Column {column!r} was not used as {field}: its cells are words for true and false.")
        del self.taken[column]
        self.labels_not_texts.append(column)
        return None

    def _answer(self) -> str | None:
        """The column of final answers: mapped, or named by the task file; never by its name alone."""
        column = self._find("answer")
        if column is not None:
            self.notes.append(f"Final answers were taken from column {column!r}, not read from the claims.")
            return column
        if "answer" not in self.mapping:
            for other in self.columns:
                if plain(other) in ANSWER_NAMES and other not in (*self.taken, *self.labels_not_texts):
                    self.notes.append(
                        f"Column {other!r} was not used as the final answer, which is read from the claim: it may be "
                        f"the reference solution. To use it, map it (--map answer={other})."
                    )
        return None

    # -- gold and human labels

    def _gold(self) -> str | None:
        """The gold column, with a note; if two look like it, a person must choose."""
        if "gold" in self.mapping:
            column = self._find("gold")
        else:
            sure = [c for c in self._alike("gold") if self._surely_gold(c)]
            alike = sure or self._likely_gold() or self._offered_gold()
            if len(alike) > 1 and not self.ours and not (alike != sure and self.look.agree(alike)):
                raise ImportRefused(
                    f"{self.name}: columns {' and '.join(alike)} both look like gold: say which is "
                    f"(--map gold={alike[0]})"
                )
            column = self._take("gold", alike)
        if column is None and self.look.first is not None:
            raise SettingError(f"first-wins is {self.look.first!r}, but no column is gold: map one (--map gold=COLUMN)")
        if column is not None:
            self.look.check(column, self.name)
            self.notes.append(
                f"Column {column!r} was set apart as gold: it is only compared with results, never used by the search."
            )
        return column

    def _surely_gold(self, column: str) -> bool:
        name = plain(column)
        return name in GOLD or name.startswith(PREFIX) or name in map(plain, self.spec.columns.get("gold", ()))

    def _likely_gold(self) -> list[str]:
        """Columns that are gold by an ambiguous name and by their cells."""
        return [c for c in self._alike("gold") if not self._surely_gold(c) and self.look.reads(c)]

    def _offered_gold(self) -> list[str]:
        """Columns named like a claim whose cells are labels; else the one column that holds only labels."""
        found = [c for c in self.labels_not_texts if self.look.reads(c)][:1]
        for column in found:
            self.notes.append(f"The cells of column {column!r} are labels, not claims.")
        if found:
            return found
        evident = evident_labels(self._unnamed("id", "group", "human"), self.look)
        if len(evident) > 1:
            return []
        self.notes += [
            f"Column {c!r} has nothing but labels: if it is not gold, leave gold out (--map gold=)." for c in evident
        ]
        return evident

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
        """Columns that look like gold or human labels but are not used as such: they stay out of the data set."""
        named = [c for c in self._alike("gold") if self._surely_gold(c) or self.look.reads(c)] + self._alike("human")
        offered = [c for c in self.labels_not_texts if c not in self.taken and self.look.spelled(c)]
        evident = evident_labels(self._unnamed("id", "group", "human"), self.look)
        columns = list(dict.fromkeys(named + offered + evident))
        for column in columns:
            if not self._added(column):
                self.notes.append(f"Column {column!r} looks like labels and was left out, since it was not mapped.")
        return columns

    def _label_like(self, inputs: Sequence[str], fixed: set[str | None]) -> list[str]:
        """A note about further columns named like labels."""
        found = [c for c in inputs if c not in fixed and looks_like_labels(c)]
        if not found:
            return []
        return [
            "Stored with the examples, but left out of exports without gold, because they look like labels: "
            f"{', '.join(map(repr, found))}."
        ]

    # -- twins

    def _sides(
        self, inputs: Sequence[str], fixed: set[str | None]
    ) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """The columns that change places in a twin, and those empty there; a note names them."""
        if not self.spec.makes_twins:
            return (), ()
        free = [c for c in inputs if c not in fixed]
        swapped = side_pairs(free)
        lonely = one_sided([c for c in free if not any(c in pair for pair in swapped)])
        if swapped:
            named = ", ".join(f"{a!r} and {b!r}" for a, b in swapped)
            self.notes.append(f"In swapped twins, columns {named} change places with the responses.")
        if lonely:
            self.notes.append(
                f"In swapped twins, {', '.join(map(repr, lonely))} {'is' if len(lonely) == 1 else 'are'} empty: "
                "the name tells one side of the pair."
            )
        return swapped, lonely

    def _added(self, column: str) -> bool:
        return self.ours and plain(column).startswith(PREFIX)

    def _listed(self) -> str:
        return ", ".join(self.columns) or "none"


def _means(column: str, name: str, field: str) -> bool:
    """Whether a column has this name; columns of human labels may be numbered."""
    found = plain(column)
    return found == name or (field == "human" and _NUMBERED.sub("", found) == name)
