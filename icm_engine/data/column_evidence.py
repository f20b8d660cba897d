"""What the first rows say about a column: whether it holds text or labels, and how its labels are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from icm_engine.core.errors import ImportRefused
from icm_engine.core.labeling import Label
from icm_engine.data.readers.source import NoText, Record
from icm_engine.data.spellings import (
    ANSWER_NAMES,
    COUNTS_RESPONSES,
    LabelReader,
    chosen_spellings,
    folded,
    is_tie,
    is_truth_word,
    looks_like_labels,
    only_spellings,
    pair_spellings,
    plain,
    side_pairs,
)
from icm_engine.data.spellings import undecided as undecided_cells
from icm_engine.data.tasks.spec import TRUTH, TaskSpec

SEVERAL = 5  # cells named in a message
SHOWN = 60  # characters of a response in a note
EXAMPLES = (True, False)  # a note shows one pair for each preferred response


@dataclass
class ColumnSample:
    """The first rows of a file, and what a person said about labels.

    `given` are the labels of a task that has none of its own; `first` is the gold cell that means "the first response
    is better", if a person said so.
    """

    spec: TaskSpec
    rows: Sequence[Record] = ()
    given: Sequence[Label] = ()
    first: str | None = None
    responses: tuple[str, ...] = ()
    sides: tuple[tuple[str, str], ...] = field(default=())

    @property
    def labels(self) -> tuple[Label, ...]:
        """The labels of the task; empty if they have yet to be named."""
        return self.spec.labels or tuple(label.strip() for label in self.given)

    @property
    def known(self) -> bool:
        """Whether the labels are known."""
        return bool(self.labels)

    def know_sides(self, columns: Sequence[str], responses: Sequence[str]) -> None:
        """Record which columns are the responses of a pair."""
        self.responses = tuple(responses)
        self.sides = side_pairs(columns) if self.spec.makes_twins else ()

    def cells(self, column: str) -> list[str]:
        """Return the non-blank cells of a column."""
        return [cell for row in self.rows if (cell := row.cells.get(column, "")).strip()]

    def reader(self, column: str, gold: bool = True) -> LabelReader:
        """Return the reader of a column's labels; with `gold`, what a person said about gold cells applies."""
        means_true = self.spec.true_label or ("True" if set(self.labels) == set(TRUTH) else None)
        if not self.spec.makes_twins:
            return LabelReader(self.labels, means_true)
        cells = self.cells(column)
        if gold and self.first is not None:
            return LabelReader(self.labels, means_true, chosen_spellings(cells, self.first), alone=True)
        return LabelReader(self.labels, means_true, pair_spellings(cells, self._counts(column), self._base()))

    def reads(self, column: str) -> bool:
        """Say whether at least half of the cells are labels; True if the labels are not known yet."""
        if not self.known:
            return bool(self.cells(column))
        rows = [row for row in self.rows if row.cells.get(column, "").strip()]
        reader = self.reader(column)
        read = sum(is_tie(row.cells[column]) or self.label(reader, row, column) is not None for row in rows)
        return bool(rows) and 2 * read >= len(rows)

    def spelled(self, column: str) -> bool:
        """Say whether every cell is a spelling of a label."""
        return only_spellings(self.cells(column), self.labels)

    def agree(self, columns: Sequence[str]) -> bool:
        """Say whether these columns have equal labels in every row."""
        said = [[self.label(self.reader(c), row, c) for row in self.rows] for c in columns] if self.known else []
        return bool(said) and all(labels == said[0] for labels in said[1:])

    def label(self, reader: LabelReader, row: Record, column: str) -> Label | None:
        """Return the label of a cell: as spelled, else the side whose text it repeats."""
        cell = row.cells.get(column, "").strip()
        label = reader.read(cell)
        if label is not None or not self.spec.makes_twins or reader.alone:
            return label
        return next((reader.of(a) for a in EXAMPLES if self._repeats(row, cell, a)), None)

    def check(self, column: str, name: str) -> None:
        """Raise ImportRefused if the cells of a gold column leave open which response they mean."""
        if not self.spec.makes_twins:
            return
        cells = self.cells(column)
        others = {folded(cell) for cell in cells if not is_tie(cell)} - {folded(self.first or "")}
        if self.first is not None and len(others) > 1:
            raise ImportRefused(
                f"{name}: column {column!r} has {', '.join(sorted(others)[:SEVERAL])} beside {self.first!r}, the cell "
                "that means that the first response is better: name one of two (--first-wins CELL)"
            )
        if self.first is None and self._base() is None and self._counts(column) and undecided_cells(cells):
            raise ImportRefused(
                f"{name}: column {column!r} contains only 1, which may be the first response (of 1 and 2) or the "
                "second (of 0 and 1): say which cell means the first (--first-wins 1 or --first-wins 0)"
            )

    def notes(self, gold: str | None) -> list[str]:
        """Return two examples to check for a column whose numbers say which response is preferred."""
        if gold is None or not self.known or len(self.responses) != 2 or plain(gold) in ("a_is_better", "icm_gold"):
            return []
        numbers = {folded(cell) for cell in self.cells(gold) if not is_tie(cell)}
        if self.first is None and not (numbers and all(map(str.isdecimal, numbers))):
            return []
        reader = self.reader(gold)
        shown = [text for first in EXAMPLES if (text := self._shown(reader, gold, first))]
        return [self._compare(gold, shown)] if shown else []

    def _compare(self, gold: str, shown: Sequence[str]) -> str:
        return (
            f"Column {gold!r} was read like this: {'; '.join(shown)}. If it means the opposite, say which cell means "
            "that the first response is better (--first-wins CELL, or First response on the page)."
        )

    def _shown(self, reader: LabelReader, gold: str, first: bool) -> str | None:
        """One row in which this response is read as preferred."""
        better, worse = self.responses if first else self.responses[::-1]
        for row in self.rows:
            if self.label(reader, row, gold) == reader.of(first):
                texts = f"{_brief(row.cells[better])} is taken as better than {_brief(row.cells[worse])}"
                return f"{row.where} has {row.cells[gold].strip()!r}: {'A' if first else 'B'}, {texts}"
        return None

    def _repeats(self, row: Record, cell: str, first: bool) -> bool:
        """Whether a cell repeats the text or the model name of one side and not the other."""
        pairs = self.sides if len(self.responses) < 2 else (*self.sides, (self.responses[0], self.responses[1]))
        texts = [(row.cells.get(a, "").strip(), row.cells.get(b, "").strip()) for a, b in pairs]
        chosen = [(a, b) if first else (b, a) for a, b in texts]
        return not cell.isdecimal() and bool(cell) and any(cell == here != there for here, there in chosen)

    def _counts(self, column: str) -> bool:
        return plain(column) in COUNTS_RESPONSES

    def _base(self) -> int | None:
        """The number of the first response in the header."""
        ends = [plain(column)[-1:] for column in self.responses]
        return int(ends[0]) if ends in (["0", "1"], ["1", "2"]) else None


def _brief(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= SHOWN else line[: SHOWN - 1] + "…")


# words in names of texts that accompany others
BESIDE = frozenset(
    ("title", "headline", "subject", "summary", "author", "name", "user", "username", "source", "url", "link", "date",
     "time", "timestamp", "created", "topic", "category", "categories", "type", "tag", "tags", "genre", "domain",
     "comments", "notes", "explanation", "rationale", "reason", "annotator")
)  # fmt: skip
# words in names of texts that may be single words
TEXTS = frozenset(
    ("text", "sentence", "content", "review", "comment", "message", "tweet", "body", "post", "document", "utterance",
     "passage", "statement", "headline", "title", "word", "phrase", "input")
)  # fmt: skip
NOT_GOLD = frozenset(
    ("model", "output", "baseline", "guess", "pred", "preds", "prediction", "predictions", "predicted")
)
LONG = 8  # letters of a text in a script without blanks


def sole_text(spec: TaskSpec) -> str | None:
    """Return the only required text field of a task; None if there are several."""
    required = [field for field in spec.fields if field not in spec.optional]
    return required[0] if len(required) == 1 else None


def evident_text(columns: Sequence[str], look: ColumnSample) -> str | None:
    """Return the one column whose cells are text; None if none or several are.

    A title, name or note is taken as the text only if no other column qualifies.
    """
    free = [c for c in columns if plain(c) in ANSWER_NAMES or not looks_like_labels(c)]
    texts = [c for c in free if _is_text(look.cells(c))]
    main = [c for c in texts if not _words(c) & BESIDE] or texts
    if not texts:
        main = [c for c in free if _words(c) & TEXTS and all(map(_has_letter, look.cells(c) or [""]))]
    return main[0] if len(main) == 1 else None


def evident_labels(columns: Sequence[str], look: ColumnSample) -> list[str]:
    """Return those of these columns that hold only the task's labels and are not named like predictions.

    Unless labels were named, words for true and false are no evidence: many columns that are not gold have them.
    """
    names = {folded(label) for label in look.labels}
    if not names or (look.spec.labels and all(map(is_truth_word, names))):
        return []
    return [c for c in columns if not _words(c) & NOT_GOLD and {*map(folded, look.cells(c))} <= names and look.cells(c)]


def _is_text(cells: Sequence[str]) -> bool:
    """Whether most cells have several words and most are distinct, unlike categories."""
    texts = [cell for cell in cells if not isinstance(cell, NoText) and _has_words(cell)]
    return bool(cells) and 2 * len(texts) >= len(cells) and 2 * len(set(cells)) > len(cells)


def _has_words(cell: str) -> bool:
    foreign = sum(letter.isalpha() and not letter.isascii() for letter in cell)
    return _has_letter(cell) and (len(cell.split()) > 1 or foreign >= LONG)


def _has_letter(cell: str) -> bool:
    return any(map(str.isalpha, cell))


def _words(column: str) -> set[str]:
    return set(plain(column).replace(",", "_").split("_"))
