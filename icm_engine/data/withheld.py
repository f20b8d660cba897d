"""Which columns leave with an export only where gold may: those that look like labels of any kind."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from icm_engine.core.labeling import Example, Label
from icm_engine.data.column_names import looks_like_labels
from icm_engine.data.labels import folded, is_truth_word

LOOKED_AT = 1000  # examples


def withheld(
    columns: Sequence[str], examples: Iterable[tuple[Example, Mapping[str, str]]], labels: Sequence[Label]
) -> frozenset[str]:
    """Return the columns whose name or whose every cell promises labels, and which are no text of the prompt."""
    first = list(islice(examples, LOOKED_AT))
    names = {folded(label) for label in labels}

    def is_label(cell: str) -> bool:
        return folded(cell) in names or is_truth_word(cell)

    def cells(column: str) -> list[str]:
        return [cell for _, inputs in first if (cell := inputs.get(column) or "").strip()]

    def is_text(column: str) -> bool:
        return any(
            all(e.fields.get(f, "") == i.get(column) for e, i in first) for f in (first[0][0].fields if first else ())
        )

    found = (c for c in columns if looks_like_labels(c) or (cells(c) and all(map(is_label, cells(c)))))
    return frozenset(c for c in found if not is_text(c))
