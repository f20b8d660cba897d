"""Sampled terms against exact evaluations: cost per step, decisions on the same proposals, and the standard error.

    python -m benchmarks.terms --n 32 64 128 256 --terms 8 16 32
    python -m benchmarks.terms --n 64 --terms 16 --model gemma-3-270m --datasets reviews

Each search begins at step n with three quarters of the examples labelled, 15 % of them not as gold, and its steps are
estimated. Beside each proposal stand three exact changes of U: in the block's own orders, which is what the estimate is
of; with both labelings in the same leave-one-out orders; and with each in its own, as the exact search does. So the
sampling error is told apart from order noise. Decisions are compared with the same draw. Tokens of a sampled step
include those of new samples, and of exact evaluations as often as they come; an exact step starts from the same state.
"""

import argparse
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.models import examples_for, load_any
from benchmarks.report import Row, clock, reported, show
from icm_engine.core.advance import advance
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt, render
from icm_engine.core.rng import randbelow, random_of, sample
from icm_engine.core.sampled_terms import Block
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.core.search import RefreshInfo, State, StepInfo, accept_probability, flipped, step
from icm_engine.core.settings import PRESETS, SearchConfig
from icm_engine.data.gold import load_gold
from icm_engine.models.loading import LoadedModel
from icm_engine.models.transformers_scorer import TransformersScorer
from icm_engine.store.store import Store

LABELLED, CHANGED = 0.75, 0.15  # shares of the examples, and of their labels
NEVER = -1  # in place of a step number: which labels are changed


@dataclass
class Walk:
    """What the steps of one search cost, and how far their estimates were from exact."""

    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    exact_tokens: list[int] = field(default_factory=list)
    exact_seconds: list[float] = field(default_factory=list)
    refreshes: list[str] = field(default_factory=list)
    proposals: list["Proposal"] = field(default_factory=list)


@dataclass(frozen=True)
class Proposal:
    """One proposal: its estimated change of U, the exact ones, and what decides it."""

    estimated: float
    error: float
    own: float  # in the block's orders
    paired: float
    separate: float
    temperature: float
    draw: float

    def accepted(self, delta: float, error: float = 0.0) -> bool:
        """Whether its draw accepts this change."""
        return self.draw < accept_probability(delta, self.temperature, error)


def begin(objective: Objective, gold: Sequence[str], at: int) -> State:
    """A state at this step: some examples labelled, most of them as gold."""
    rng = random_of(0, NEVER)
    labels = {i: gold[i] for i in sample(rng, len(gold), round(LABELLED * len(gold)))}
    for i in list(labels)[: round(CHANGED * len(labels))]:
        others = [label for label in objective.task.labels if label != labels[i]]
        labels[i] = others[randbelow(rng, len(others))]
    labeling = Labeling(labels)
    return State(labeling, objective.evaluate(labeling), step=at, exact_at=at)


def walk(state: State, objective: Objective, config: SearchConfig, steps: int) -> Walk:
    """Take the steps, and compare each with an exact one."""
    done, scorer, last = Walk(), objective.scorer, state.step + steps
    while state.step < last:
        exact_from = replace(state, block=None)
        used, began = scorer.usage, clock()
        records = list(advance(state, objective, config))
        done.seconds.append(clock() - began)
        done.tokens.append((scorer.usage - used).tokens_encoded)
        done.refreshes += [info.why for _, info in records if isinstance(info, RefreshInfo)]
        after, info = records[-1]
        assert isinstance(info, StepInfo)
        used, began = scorer.usage, clock()
        step(exact_from, objective, config)
        done.exact_seconds.append(clock() - began)
        done.exact_tokens.append((scorer.usage - used).tokens_encoded)
        if info.estimate is not None and info.verdict != "unchanged":
            before = records[-2][0] if len(records) > 1 else state
            done.proposals.append(compared(info, before, objective))
        state = after
    return done


def compared(info: StepInfo, state: State, objective: Objective) -> Proposal:
    """Evaluate a proposal exactly, in three ways."""
    assert info.estimate is not None
    assert state.block is not None
    before, after = state.labeling, flipped(state.labeling, info.flips)
    then, now = objective.evaluate_together([before, after])
    alone = objective.evaluate(after).utility - objective.evaluate(before).utility
    own = [objective.evaluation(labeling, in_block(objective, state.block, labeling)) for labeling in (before, after)]
    return Proposal(
        info.delta,
        info.estimate.error,
        own[1].utility - own[0].utility,
        now.utility - then.utility,
        alone,
        info.temperature,
        info.draw,
    )


def in_block(objective: Objective, block: Block, labeling: Labeling) -> dict[int, LabelLogProbs]:
    """Score all labelled examples in a block's orders; one of the prefix is asked about behind the rest of it."""
    prompts = []
    for i in labeling:
        rest = replace(block, prefix=tuple(j for j in block.prefix if j != i))
        order = rest.order(i) if i not in block.prefix else (*rest.prefix, *rest.front, *rest.sample)
        shown = [objective.shown(j, labeling[j]) for j in order if j in labeling]
        prompts.append(Prompt((*shown, (render(objective.task, objective.examples[i]),)), objective.task.labels))
    return dict(zip(labeling, objective.scorer.score(prompts), strict=True))


def measure(loaded: LoadedModel, dataset: str, n: int, terms: int, given: argparse.Namespace) -> Row:
    """One row: a data set, a size, a number of terms."""
    task, examples = examples_for(loaded, n, 0, dataset, given.db)
    with Store(given.db) as store:
        known = load_gold(store, dataset).labels
    gold = [known[example.id] for example in examples]
    config = replace(PRESETS[given.preset], terms=terms, seed=given.seed)
    rule = make_rule(given.rule or task.rule, examples, task.labels, task.true_label)
    scorer = TransformersScorer(loaded)
    objective = Objective(
        examples, task, rule, scorer, config.predictability, config.alpha, config.pair_weight, config.centring
    )
    done = walk(begin(objective, gold, n), objective, config, given.steps)
    made = done.proposals
    return {
        "data set": dataset,
        "n": len(examples),
        "terms": terms,
        "steps": len(done.tokens),
        "tokens a step, exact": statistics.fmean(done.exact_tokens),
        "tokens a step": statistics.fmean(done.tokens),
        "x fewer tokens": sum(done.exact_tokens) / sum(done.tokens),
        "s a step, exact": statistics.fmean(done.exact_seconds),
        "s a step": statistics.fmean(done.seconds),
        "x faster": sum(done.exact_seconds) / sum(done.seconds),
        "proposals": len(made),
        "standard error": root_mean_square([one.error for one in made]),
        "off, rms": root_mean_square([one.estimated - one.own for one in made]),
        "z, rms": root_mean_square([(one.estimated - one.own) / one.error for one in made if one.error]),
        "order noise, rms": root_mean_square([one.own - one.paired for one in made]),
        "of the exact search, rms": root_mean_square([one.separate - one.paired for one in made]),
        "decided otherwise": share(one.accepted(one.own) != one.accepted(one.estimated, one.error) for one in made),
        "than paired": share(one.accepted(one.paired) != one.accepted(one.estimated, one.error) for one in made),
        "exact than paired": share(one.accepted(one.paired) != one.accepted(one.separate) for one in made),
        "enlarged": done.refreshes.count("larger"),
        "new samples": len(done.refreshes) - done.refreshes.count("exact"),
        "exact evaluations": done.refreshes.count("exact"),
    }


def share(found: Iterable[bool]) -> float:
    """The share of true values; not a number for none."""
    values = list(found)
    return sum(values) / len(values) if values else math.nan


def root_mean_square(values: Sequence[float]) -> float:
    """The root of the mean square; not a number for no values."""
    return math.sqrt(statistics.fmean(value * value for value in values)) if values else math.nan


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sample")
    parser.add_argument("--quantization", default="nf4")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--datasets", nargs="+", default=["arithmetic"])
    parser.add_argument("--n", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--terms", type=int, nargs="+", default=[16])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--preset", choices=PRESETS, default="default")
    parser.add_argument("--rule", help="in place of the data set's")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--db", type=Path, default=Path("build/benchmarks.db"))
    with reported(parser) as given:
        loaded, rows = load_any(given.model, given.quantization, given.dtype), []
        for dataset in given.datasets:
            for n in given.n:
                for terms in given.terms:
                    rows.append(measure(loaded, dataset, n, terms, given))
                    print(rows[-1], flush=True)
        show(rows, given.output)


if __name__ == "__main__":
    main()
