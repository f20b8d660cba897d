"""What one label is worth, and how likely it is accepted, as the labelled set grows: each form of P with its preset.

    python -m benchmarks.acceptance --n 16 64 256 1024 [--json]

The model is a table that knows a hidden label of each text and is two nats surer of it than not, the less so the fewer
demonstrations agree. One label in ten is wrong. At each n, beside a labeling of n examples: one right label more, one
wrong label more, and one wrong label mended. The temperature is that of step 2n.
"""

import argparse
import json
import random
from collections.abc import Iterator, Sequence

from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import TableScorer
from icm_engine.core.search import accept_probability, temperature
from icm_engine.core.settings import PRESETS, SearchConfig, with_settings

LABELS = ("True", "False")
FORMS: dict[str, SearchConfig] = {
    "sum_log_prob (paper)": PRESETS["paper"],
    "mean_log_odds (mean-log-odds)": PRESETS["mean-log-odds"],
    "centred_log_odds (default)": PRESETS["default"],
    "centred_log_odds, centring 0": with_settings(PRESETS["centred"], {"centring": 0}),
}
WRONG = 0.1  # of the labels that are shown
SURE = 2.0  # nats of log-odds for the hidden label where all demonstrations agree


def hidden(text: str) -> str:
    """The label the model believes in: every second text is True."""
    return LABELS[int(text.split()[1]) % 2]


def belief(prompt: Prompt) -> tuple[float, ...]:
    """Log-odds of SURE for the hidden label times the share of demonstrations that agree, less that of the others."""
    shown = prompt.segments[:-1]
    agreeing = sum(hidden(text) == label.strip() for text, label, _ in shown) / len(shown) if shown else 0.5
    odds = SURE * (2 * agreeing - 1)
    own = -odds if hidden(prompt.segments[-1][0]) == "False" else odds
    return own / 2, -own / 2


def rows(sizes: Sequence[int]) -> Iterator[dict[str, object]]:
    """One row for each form and size."""
    for name, config in FORMS.items():
        for n in sizes:
            yield {"form": name, "n": n, **_row(config, n)}


def _row(config: SearchConfig, n: int) -> dict[str, float]:
    examples = [Example(f"e{k}", {"text": f"text {k}"}, f"g{k}") for k in range(n + 2)]
    task = Task("t", "{text} is", LABELS)
    objective = Objective(
        examples, task, make_rule("none", examples, LABELS, "True"), TableScorer(belief), config.predictability,
        config.alpha, config.pair_weight, config.centring,
    )  # fmt: skip
    wrong = set(random.Random(n).sample(range(n), max(1, round(WRONG * n))))
    labels = {k: _label(k, right=k not in wrong) for k in range(n)}
    before, heat = objective.evaluate(Labeling(labels)).utility, temperature(2 * n, 0, config)
    found: dict[str, float] = {"temperature": heat}
    mended = min(wrong)
    changes = {"right": {n: _label(n, True)}, "wrong": {n: _label(n, False)}, "mended": {mended: _label(mended, True)}}
    for what, change in changes.items():
        delta = objective.evaluate(Labeling({**labels, **change})).utility - before
        found |= {f"delta_{what}": delta, f"accepted_{what}": accept_probability(delta, heat)}
    return found


def _label(k: int, right: bool) -> str:
    own = hidden(f"text {k}")
    return own if right else LABELS[1 - LABELS.index(own)]


def main() -> None:
    """Print the table, or its rows as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = list(rows(given.n))
    if given.json:
        print(json.dumps(found))
        return
    print("| form | n | T | right label: delta, accepted | wrong label: delta, accepted | mended: delta, accepted |")
    print("|---|---|---|---|---|---|")
    for row in found:
        cells = [f"{row[f'delta_{w}']:.2f}, {row[f'accepted_{w}']:.2f}" for w in ("right", "wrong", "mended")]
        print(f"| {row['form']} | {row['n']} | {row['temperature']:.2f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
