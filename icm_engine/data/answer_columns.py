"""What a mapped column of final answers looks like: the reference solution or gold would bring gold into the rule."""

from dataclasses import dataclass, field

from icm_engine.data.building import Row
from icm_engine.data.labels import is_truth_word


@dataclass(slots=True)
class _Group:
    """The first claim and answer of a group, as hashes, and whether others differ."""

    claim: int
    answer: int
    claims_differ: bool = False
    answers_differ: bool = False


@dataclass
class MappedAnswers:
    """Counts over the examples of one import; a few numbers a group are kept."""

    examples: int = 0
    words: int = 0  # answers that are words for true or false
    bits: int = 0  # answers that are 1 or 0
    compared: int = 0  # examples whose claim has a final answer of its own
    different: int = 0  # of these, where it is another one than the column's
    groups: dict[int, _Group] = field(default_factory=dict)

    def see(self, row: Row) -> None:
        """Count one row in."""
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
        """Return warnings, with counts."""
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
                f"Warning: the final answer of column {column!r} is another one than the claim's in "
                f"{self.different:,} of {self.compared:,} examples whose claim has one."
            )
        return notes
