"""What an import notices of the rows that pass through it: counts, and the first few ids of each kind."""

from dataclasses import dataclass, field
from itertools import combinations

from icm_engine.core.consistency import Asymmetry
from icm_engine.core.labeling import Example, Label
from icm_engine.data.agreement import most_frequent
from icm_engine.data.answer_columns import MappedAnswers
from icm_engine.data.building import Row
from icm_engine.data.readers.source import strange
from icm_engine.data.survey import fold

KEPT = 1000  # ids kept of one kind
LISTED = 10  # ids named in a note before "and so on"


@dataclass
class Some:
    """How many examples are of a kind, and the ids of the first ones."""

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
class Findings:
    """What was noticed so far; `answers`: whether the rule needs final answers; `rule` is its name.

    `answer_column` is the column that final answers are taken from, None where they are read from the claims; `alike`
    are the folded hashes of groups that are written in several ways.
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

    def see(self, row: Row) -> None:
        """Count one row in."""
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
        """What to say of groups whose names differ in case and blanks alone."""
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
        """Return what a person should know, in sentences; `rows` are those of the file."""
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
