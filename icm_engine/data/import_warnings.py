"""Warnings about the rows of an import: counts, and the first few ids of each kind."""

from dataclasses import dataclass, field
from itertools import combinations

from icm_engine.core.consistency import Asymmetry
from icm_engine.core.labeling import Example, Label
from icm_engine.data.gold import most_frequent
from icm_engine.data.readers.source import strange
from icm_engine.data.row_parser import ParsedRow, fold
from icm_engine.data.spellings import is_truth_word


@dataclass(slots=True)
class _Group:
    """The first claim and answer of a group, as hashes, and whether others differ."""

    claim: int
    answer: int
    claims_differ: bool = False
    answers_differ: bool = False


@dataclass
class MappedAnswers:
    """Counts over the examples of one import; a few numbers per group are kept."""

    examples: int = 0
    words: int = 0  # answers that are words for true or false
    bits: int = 0  # answers that are 1 or 0
    compared: int = 0  # examples whose claim states a final answer
    different: int = 0  # of these, those that differ from the column
    groups: dict[int, _Group] = field(default_factory=dict)

    def see(self, row: ParsedRow) -> None:
        """Count one row."""
        answer = row.example.answer
        if answer is None:
            return
        self.examples += 1
        self.words += is_truth_word(answer)
        self.bits += answer in ("0", "1")
        self.compared += row.read is not None
        self.different += row.read is not None and row.read != answer
        claim, said = hash(tuple(row.example.fields.values())), hash(answer)
        group = self.groups.setdefault(hash(row.example.group), _Group(claim, said))
        group.claims_differ |= group.claim != claim
        group.answers_differ |= group.answer != said

    def notes(self, column: str) -> list[str]:
        """Return warnings with counts."""
        notes = []
        several = [group for group in self.groups.values() if group.claims_differ]
        same = sum(not group.answers_differ for group in several)
        if same:
            notes.append(
                f"Warning: column {column!r} has one and the same final answer for different claims in {same:,} of "
                f"{len(several):,} groups. A reference solution does: it would bring gold into the rule."
            )
        if labels := self.words or (self.bits if self.bits == self.examples else 0):
            notes.append(
                f"Warning: column {column!r} holds labels, not final answers, in {labels:,} of {self.examples:,} "
                "examples: if these are gold, the rule sees gold."
            )
        if self.different:
            notes.append(
                f"Warning: the final answer of column {column!r} differs from the claim's in "
                f"{self.different:,} of {self.compared:,} examples whose claim has one."
            )
        return notes


KEPT = 1000  # ids kept of one kind
LISTED = 10  # ids named in a note before "and so on"


@dataclass
class Some:
    """The number of examples of a kind, and the first ids."""

    count: int = 0
    ids: list[str] = field(default_factory=list)

    def add(self, example: Example) -> None:
        self.count += 1
        if len(self.ids) < KEPT:
            self.ids.append(example.id)

    def __str__(self) -> str:
        more = "" if self.count <= LISTED else ", …"
        return f"{self.count:,} example{'s' if self.count > 1 else ''} ({', '.join(self.ids[:LISTED])}{more})"


@dataclass
class ImportWarnings:
    """Warnings collected so far; `answers`: whether the rule needs final answers; `rule` is its name.

    `answer_column` is the column of final answers, None if they are read from the claims; `alike` are the folded hashes
    of groups with several spellings.
    """

    answers: bool
    answer_column: str | None = None
    alike: frozenset[int] = frozenset()
    rule: str = ""
    examples: int = 0
    gold: int = 0
    twins: int = 0
    equal: Some = field(default_factory=Some)
    without_answer: Some = field(default_factory=Some)
    unseen: Some = field(default_factory=Some)
    mapped: MappedAnswers = field(default_factory=MappedAnswers)
    ways: dict[str, set[str]] = field(default_factory=dict)  # groups of `alike`, by their folded text
    human_pairs: int = 0  # pairs of human labels of one example
    human_equal: int = 0
    human_ties: int = 0

    def see(self, row: ParsedRow) -> None:
        """Count one row."""
        example = row.example
        self.examples += 1
        self.gold += row.gold is not None
        self.twins += example.twin_of is not None
        if self.answers and example.answer is None:
            self.without_answer.add(example)
        if "response_a" in example.fields and example.fields["response_a"] == example.fields["response_b"]:
            self.equal.add(example)
        if len(row.human) > 1:
            self._compare(list(row.human.values()))
        if any(strange(text) for text in example.fields.values()):
            self.unseen.add(example)
        if self.answer_column is not None:
            self.mapped.see(row)
        if self.alike and hash(folded := fold(example.group)) in self.alike:
            self.ways.setdefault(folded, set()).add(example.group)

    def _written_differently(self) -> str:
        """The warning about groups whose names differ only in case and blanks."""
        count, first = len(self.ways), sorted(next(iter(self.ways.values())))[:3]
        several = f"{count:,} groups are" if count > 1 else "1 group is"
        shown = ", ".join(repr(text if len(text) <= 60 else text[:59] + "…") for text in first)
        return (
            f"{several} written in several ways that differ in case or blanks alone ({shown}{', …' * (count > 1)}): "
            "each way is a group of its own. Write them alike, or map a group column (--map group=COLUMN)."
        )

    def _compare(self, said: list[Label]) -> None:
        pairs = list(combinations(said, 2))
        self.human_pairs += len(pairs)
        self.human_equal += sum(a == b for a, b in pairs)
        self.human_ties += most_frequent(said) is None

    def notes(self, rows: int) -> list[str]:
        """Return warnings, in sentences; `rows` counts the rows of the file."""
        notes = []
        if made := self.examples - rows:
            notes.append(f"{made:,} swapped twins were made, so that both orders of every pair are asked about.")
        if self.rule == Asymmetry.name and not self.twins:
            notes.append(Asymmetry.WITHOUT_TWINS)
        if self.equal.count:
            notes.append(f"The two responses are the same in {self.equal}.")
        if self.without_answer.count:
            notes.append(f"No final answer was found in {self.without_answer}: the rule says nothing about these.")
        if self.answer_column is not None:
            notes += self.mapped.notes(self.answer_column)
        if self.ways:
            notes.append(self._written_differently())
        if self.unseen.count:
            notes.append(
                "Control characters or marks of writing direction, which the model reads and people do not see, are in "
                f"{self.unseen}."
            )
        if self.human_pairs:
            ties = f", and {self.human_ties:,} examples are tied" if self.human_ties else ""
            notes.append(f"Human labels agree in {self.human_equal / self.human_pairs:.0%} of their pairs{ties}.")
        return notes
