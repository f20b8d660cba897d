"""A whole search on each sample data set: what it costs, and what it would have cost with separate full prompts.

    python -m benchmarks.search --n 128 --steps 600
    python -m benchmarks.search --n 128 --steps 512 --whole --datasets arithmetic --paired 0 --terms all 16

The full prompts' time is that of a random sample of the prompts the search really asked, timed in the same process;
both times are the process's own, which other work on the machine disturbs less, unless a GPU does the work. Operations
are counted from the configuration: their quotient is what the orders can give where both ways multiply equally fast.
"""

import argparse
import random
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from benchmarks.limit import Work, work_of
from benchmarks.models import examples_for, load_any
from benchmarks.report import Row, clock, median_seconds, reported, show, synchronize
from icm_engine.core.advance import advance
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.core.search import RefreshInfo, StepInfo, initialize
from icm_engine.core.settings import PRESETS, SearchConfig, with_settings
from icm_engine.data.gold import load_gold
from icm_engine.models.loading import LoadedModel
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.store.store import Store


class WatchedScorer(TransformersScorer):
    """Keeps the time spent in the model and a uniform sample of the prompts asked (a reservoir)."""

    def __init__(self, loaded: LoadedModel, keep: int) -> None:
        super().__init__(loaded)
        self.seconds, self.watching, self.asked, self.wanted = 0.0, 0.0, 0, keep
        self.operations, self.operations_full, self.work = 0, 0, Work(loaded)
        self.sample: list[Prompt] = []
        self._rng = random.Random(0)

    def score(self, prompts: Sequence[Prompt]) -> list[LabelLogProbs]:
        """Score as ever, and watch."""
        began = clock()
        scores = super().score(prompts)
        synchronize()
        if hasattr(self, "wanted"):  # not during the trial at load
            ended = clock()
            self._watch(prompts)
            self.seconds, self.watching = self.seconds + ended - began, self.watching + clock() - ended
        return scores

    def _watch(self, prompts: Sequence[Prompt]) -> None:
        self.operations += work_of(self, prompts)
        for prompt in prompts:
            self.asked += 1
            self.operations_full += self.work.of_pass(sum(map(len, self.segments(prompt))))
            if len(self.sample) < self.wanted:
                self.sample.append(prompt)
            elif (place := self._rng.randrange(self.asked)) < self.wanted:
                self.sample[place] = prompt


def measure(loaded: LoadedModel, dataset: str, config: SearchConfig, given: argparse.Namespace) -> Row:
    """One search from the beginning until everything is labelled, or the steps are used up."""
    task, examples = examples_for(loaded, given.n, 0, dataset, given.db)
    scorer = WatchedScorer(loaded, given.sample)
    rule = make_rule(task.rule, examples, task.labels, task.true_label)
    objective = Objective(examples, task, rule, scorer, config.predictability, config.alpha, config.pair_weight)
    began = clock()
    state, first = initialize(objective, config)
    infos: list[StepInfo | RefreshInfo] = []
    while (given.whole or len(state.labeling) < len(examples)) and state.step < given.steps:
        records = list(advance(state, objective, config))
        state = records[-1][0]
        infos += [info for _, info in records]
    refreshes = [info for info in infos if isinstance(info, RefreshInfo)]
    evaluations = first.set_evaluations + sum(info.set_evaluations for info in infos)
    seconds, labelled = clock() - began - scorer.watching, len(state.labeling)
    full = TransformersScorer(loaded, "full-prompts")
    one = median_seconds(lambda: full.score(scorer.sample), given.repeat) / len(scorer.sample)
    return {
        "data set": dataset,
        "paired": config.paired,
        "terms": config.terms or "all",
        "labelled": f"{labelled} of {len(examples)}",
        "steps": state.step,
        "seconds": seconds,
        "labels/s": labelled / seconds,
        "outside the model": 1 - scorer.seconds / seconds,
        "prompts": scorer.usage.prompts,
        "tokens encoded": scorer.usage.tokens_encoded,
        "of full": scorer.usage.tokens_encoded / scorer.usage.tokens_full,
        "evaluations a label": evaluations / labelled,
        "s, full prompts": one * scorer.asked,
        "x full prompts": one * scorer.asked / scorer.seconds,
        "x by operations": scorer.operations_full / scorer.operations,
        "new samples": sum(info.block is not None for info in refreshes),
        "exact evaluations": sum(info.exact is not None for info in refreshes),
        "right": right(dataset, [e.id for e in examples], state.labeling, given.db),
    }


def right(dataset: str, ids: Sequence[str], labeling: Labeling, db: Path) -> float:
    """The share of examples whose label is gold's; unlabelled ones are wrong."""
    with Store(db) as store:
        gold = load_gold(store, dataset).labels
    return sum(labeling.get(i) == gold[example] for i, example in enumerate(ids)) / len(ids)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="nf4")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--datasets", nargs="+", default=["arithmetic", "facts", "comparisons"])
    parser.add_argument("--n", type=int, default=128)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--paired", type=int, nargs="+", choices=(0, 1), default=[0, 1], help="how proposals are scored"
    )
    parser.add_argument("--terms", nargs="+", default=["all"], help="terms of U a step: all, or numbers")
    parser.add_argument("--whole", action="store_true", help="take all steps, also once everything is labelled")
    parser.add_argument("--sample", type=int, default=24)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--db", type=Path, default=Path("build/benchmarks.db"))
    with reported(parser) as given:
        loaded = load_any(given.model, given.quantization, given.dtype)
        rows = []
        for dataset in given.datasets:
            for paired, terms in product(given.paired, given.terms):
                config = with_settings(PRESETS["default"], {"seed": given.seed, "paired": bool(paired), "terms": terms})
                rows.append(measure(loaded, dataset, config, given))
                print(rows[-1], flush=True)
        show(rows, given.output)


if __name__ == "__main__":
    main()
