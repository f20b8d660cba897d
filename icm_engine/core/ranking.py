"""Rewards as preference labels: who is chosen over whom, as a reward model says."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from icm_engine.core.labeling import Example
from icm_engine.core.responses import CLAIM, Form
from icm_engine.core.training_rows import IDENTICAL, Row, TrainingSet

TIED = "tied_rewards"  # two responses that the reward model cannot tell apart
Scored = Iterable[tuple[Example, Sequence[float]]]  # examples with a reward for each of their responses


def judged_examples(examples: Iterable[Example]) -> list[Example]:
    """Return the examples that are judgements of their own: a pair's twin says nothing that the pair does not."""
    return [example for example in examples if example.twin_of is None]


def ranked_rows(form: Form, scored: Scored) -> TrainingSet:
    """Return preference rows in which the response with the higher reward is chosen.

    A pair of responses is one row. Of a question's claims the one with the highest reward is chosen over the one with
    the lowest: between the others a reward model that was trained on one pair a question has little to say.
    """
    left_out, rows = Counter({TIED: 0, IDENTICAL: 0}), list[Row]()
    for asked, (best, high), (worst, low) in _extremes(form, scored):
        if best == worst:
            left_out[IDENTICAL] += 1
        elif high == low:
            left_out[TIED] += 1
        else:
            rows.append({**({"prompt": asked} if form.asking else {}), "chosen": best, "rejected": worst})
    return TrainingSet(tuple(rows), left_out)


def _extremes(form: Form, scored: Scored) -> Iterator[tuple[str, tuple[str, float], tuple[str, float]]]:
    """The best and the worst response of each pair, or of each question; of equals the first and the last."""
    groups: dict[str, list[tuple[str, float]]] = {}
    asked: dict[str, str] = {}
    for example, rewards in scored:
        key = form.asked(example) if form.answered == CLAIM else example.id
        asked[key] = form.asked(example)
        groups.setdefault(key, []).extend(zip(form.responses(example), rewards, strict=True))
    for key, found in groups.items():
        if len(found) > 1:
            ordered = sorted(found, key=lambda one: -one[1])
            yield asked[key], ordered[0], ordered[-1]
