"""Which label a cell spells: a label's own name in any case, and for True and False the usual ways to say them."""

from collections.abc import Mapping, Sequence

from icm_engine.core.labeling import Label

_SPELLINGS = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
_PAIR_SPELLINGS = {"a": True, "b": False}


class LabelReader:
    """Reads the gold and human cells of one task.

    `means_true` is the label that stands for True where the task says so; None where labels are categories, of which
    nobody may guess one from "yes" or from 1.
    """

    def __init__(self, labels: Sequence[Label], means_true: Label | None, pairwise: bool = False) -> None:
        self.labels = tuple(labels)
        self._spelled: Mapping[str, Label] = {}
        if means_true is not None and len(self.labels) == 2:
            other = next(label for label in self.labels if label != means_true)
            spellings = _SPELLINGS | (_PAIR_SPELLINGS if pairwise else {})
            self._spelled = {cell: means_true if true else other for cell, true in spellings.items()}

    def read(self, cell: str) -> Label | None:
        """Return the label that a cell spells, None if it spells none."""
        if cell in self.labels:
            return cell
        folded = cell.casefold()
        named = [label for label in self.labels if label.casefold() == folded]
        return named[0] if len(named) == 1 else self._spelled.get(folded)

    def other(self, label: Label) -> Label:
        """Return the label of the swapped pair."""
        first, second = self.labels
        return second if label == first else first

    @property
    def known(self) -> str:
        """What a cell may have, for people."""
        return ", ".join(self.labels) + (", 1, 0, yes, no" if self._spelled else "")
