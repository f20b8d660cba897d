"""Subsets of a data set that gold chooses: so many True, or a surface feature that agrees with gold in so many.

They are data sets of their own, named for what they are. The search sees their examples and never why they are there.
"""

import random
import re
from collections.abc import Callable, Sequence

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example
from icm_engine.core.prompting import render
from icm_engine.data.gold import add_gold, load_gold
from icm_engine.runs.store import Dataset, Store

_NUMBER = re.compile(r"\d+")
Part = Callable[[Example], bool]


def ensure_selected(store: Store, dataset: str, how: str, share: float, examples: int) -> str:
    """Return the name of the subset, made once. Raises SettingError where there are too few examples."""
    name = f"{dataset}-{how}-{round(100 * share)}-of-{examples}"
    if store.has_dataset(name):
        return name
    whole = store.dataset(dataset)
    gold = load_gold(store, dataset).labels
    true = whole.task.true_label
    parts: dict[str, Part] = {
        "imbalance": lambda example: gold[example.id] == true,
        "spurious": lambda example: (gold[example.id] == true) == surface(render(whole.task, example)),
    }
    if how not in parts:
        raise SettingError(f"selection {how!r} does not exist: use one of {', '.join(parts)}")
    known = [example for example in whole.examples if example.id in gold]
    chosen = _chosen(known, parts[how], share, examples, dataset)
    places = {example.id: place for place, example in enumerate(whole.examples)}
    inputs = tuple(whole.inputs[places[example.id]] for example in chosen)
    note = f"Chosen with gold from {dataset}: {how} {share:.0%}."
    made = Dataset(name, whole.task, tuple(chosen), inputs, whole.columns, whole.source, (*whole.notes, note))
    with store.transaction():
        store.add_dataset(made)
        add_gold(store, name, {example.id: gold[example.id] for example in chosen})
    return name


def surface(text: str) -> bool:
    """Say whether the last number of a text is even; of a text without one, whether its length is."""
    numbers = _NUMBER.findall(text)
    return int(numbers[-1] if numbers else len(text)) % 2 == 0


def _chosen(known: Sequence[Example], part: Part, share: float, examples: int, dataset: str) -> list[Example]:
    """So many examples of which that share is in the part, drawn by the same seed always, in the data set's order."""
    rng = random.Random(f"{dataset} {share}")
    inside, outside = [e for e in known if part(e)], [e for e in known if not part(e)]
    wanted = round(share * examples)
    if wanted > len(inside) or examples - wanted > len(outside):
        raise SettingError(
            f"{dataset!r} has {len(inside)} and {len(outside)} examples of the two kinds, and {wanted} and "
            f"{examples - wanted} are wanted: use fewer examples"
        )
    names = {e.id for e in (*rng.sample(inside, wanted), *rng.sample(outside, examples - wanted))}
    return [example for example in known if example.id in names]
