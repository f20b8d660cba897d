"""Label sources other than the search: the baselines. Each labels every example; none sees gold.

A source is a pure function of the objective, the seed and its options. A *set evaluation* is one prompt for each
example of the set, as in the cost of the search. Their names in the literature: zero-shot prompting, random-label
shots, bootstrapping with and without consistency (Shrivastava et al. 2025), pseudo-labels (Lee 2013).
"""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from icm_engine.core.consistency import Pair, Rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Labeling
from icm_engine.core.objective import Objective, leaning, preferred
from icm_engine.core.prompting import SEPARATOR, Prompt, leave_one_out_prompts, query_prompt
from icm_engine.core.rng import randbelow, random_of
from icm_engine.core.scoring import LabelLogProbs
from icm_engine.core.settings import parsed_options

PREAMBLE = "What follows was checked by a helpful, honest and careful assistant, who gets these judgements right."

Scores = Mapping[int, LabelLogProbs]
Options = Mapping[str, Any]
_Part = tuple[Labeling, int]  # labels, and the set evaluations they cost


@dataclass(frozen=True)
class Labelled:
    """The result of a source: a label for every example, the labels after each round, and the cost."""

    labeling: Labeling
    rounds: tuple[Labeling, ...] = ()
    set_evaluations: int = 0


@dataclass(frozen=True)
class LabelSource:
    """One baseline: its function, its description in a sentence, and its options with defaults."""

    label: Callable[[Objective, random.Random, Options], Labelled]
    explanation: str
    options: Options = field(default_factory=dict)


def label_by(name: str, objective: Objective, seed: int, options: Options | None = None) -> Labelled:
    """Return the labels of the named source. Raises SettingError for an unknown name or option."""
    if name not in SOURCES:
        raise SettingError(f"label source {name!r} does not exist: use one of {', '.join(SOURCES)}")
    source = SOURCES[name]
    return source.label(
        objective, random_of(seed, 0), {**source.options, **parsed_options(name, options or {}, source.options)}
    )


# -- what a source is made of


def coin_flips(objective: Objective, rng: random.Random) -> Labeling:
    """Return a random label for every example."""
    labels = objective.task.labels
    return Labeling({i: labels[randbelow(rng, len(labels))] for i in range(len(objective.examples))})


def likeliest(objective: Objective, scores: Scores) -> Labeling:
    """Return the most likely label of each example."""
    return Labeling({i: objective.task.labels[score.argmax] for i, score in scores.items()})


def calibrated(objective: Objective, scores: Scores) -> Labeling:
    """Return for each example the label that stands out most against the model's mean over all examples."""
    lean = leaning(scores.values())
    return Labeling({i: objective.task.labels[preferred(score, lean, 1.0)] for i, score in scores.items()})


def asked_alone(objective: Objective, preamble: str = "") -> Scores:
    """Return p(y | x_i) for every example without demonstrations, after an optional preamble."""
    first = ((preamble, SEPARATOR),) if preamble else ()
    prompts = [query_prompt(objective.task, objective.examples, Labeling(), i) for i in range(len(objective.examples))]
    asked = [Prompt((*first, *prompt.segments), prompt.labels) for prompt in prompts]
    return dict(enumerate(objective.scorer.score(asked)))


def asked_beside(objective: Objective, shown: Labeling) -> Scores:
    """Return p(y | x_i, demonstrations without i) for every example, demonstration or not."""
    (prompts,) = leave_one_out_prompts(objective.task, objective.examples, [shown])
    others = [i for i in range(len(objective.examples)) if i not in shown]
    prompts |= {i: query_prompt(objective.task, objective.examples, shown, i) for i in others}
    return dict(zip(prompts, objective.scorer.score(list(prompts.values())), strict=True))


def reconciled(rule: Rule, labeling: Labeling, rng: random.Random, scores: Scores | None = None) -> Labeling:
    """Return the labeling with inconsistent pairs relabelled as long as their number falls.

    A random pair takes the consistent labels that leave the fewest inconsistent pairs in its group; ties go to the
    likeliest by `scores`, then to chance. Pairs that no change helps stay.
    """
    unrepairable = set[Pair]()
    while pairs := [pair for pair in rule.conflicts(labeling) if pair not in unrepairable]:
        i, j = pairs[randbelow(rng, len(pairs))]
        now = _inconsistent_near(rule, labeling, i)
        tried = [labeling.assign(i, a).assign(j, b) for a, b in rule.consistent_options(i, j, labeling)]
        ranks = [(-_inconsistent_near(rule, d, i), _likelihood(rule, d, (i, j), scores), rng.random()) for d in tried]
        best = max(range(len(tried)), key=lambda k: ranks[k], default=-1)
        if best < 0 or -ranks[best][0] >= now:
            unrepairable.add((i, j))
        else:
            labeling, unrepairable = tried[best], set()
    return labeling


def _inconsistent_near(rule: Rule, labeling: Labeling, i: int) -> int:
    """The inconsistent pairs in the group of an example."""
    members = [k for k in rule.members(i) if k in labeling]
    return sum(not rule.consistent(a, b, labeling) for a in members for b in members if a < b)


def _likelihood(rule: Rule, labeling: Labeling, pair: Pair, scores: Scores | None) -> float:
    if scores is None:
        return 0.0
    return sum(scores[k].normalized[rule.labels.index(labeling[k])] for k in pair)


# -- the sources


def _random(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    return Labelled(coin_flips(objective, rng))


def _zero_shot(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    return Labelled(likeliest(objective, asked_alone(objective, options["preamble"])), set_evaluations=1)


def _zero_shot_calibrated(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    return Labelled(calibrated(objective, asked_alone(objective, options["preamble"])), set_evaluations=1)


def _self_ranked(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    """The model as its own judge: even a model that says True to everything says it more readily to some."""
    task, best = objective.task, dict[str, int]()
    if len(task.labels) != 2:
        raise SettingError(f"self-ranked needs two labels, task {task.name!r} has {len(task.labels)}: use zero-shot")
    true = task.labels.index(task.true_label)
    scores = asked_alone(objective)
    for i, example in enumerate(objective.examples):
        first = best.setdefault(example.group, i)
        if scores[i].normalized[true] > scores[first].normalized[true]:
            best[example.group] = i
    chosen, other = set(best.values()), task.labels[1 - true]
    return Labelled(Labeling({i: task.true_label if i in chosen else other for i in scores}), set_evaluations=1)


def _random_shots(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    shown = coin_flips(objective, rng)
    return Labelled(likeliest(objective, asked_beside(objective, shown)), (shown,), 1)


def _random_shots_calibrated(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    shown = coin_flips(objective, rng)
    return Labelled(calibrated(objective, asked_beside(objective, shown)), (shown,), 1)


def _bootstrap(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    labeling, cost = _beginning(objective, rng, options["start"])
    rounds = [labeling]
    for _ in range(_at_least_one("rounds", options["rounds"])):
        scores = asked_beside(objective, labeling)
        labeling = likeliest(objective, _in_order(scores))
        if options["consistent"]:
            labeling = reconciled(objective.rule, labeling, rng, scores)
        rounds.append(labeling)
    return Labelled(labeling, tuple(rounds), cost + len(rounds) - 1)


def _beginning(objective: Objective, rng: random.Random, start: str) -> _Part:
    if start == "random":
        return coin_flips(objective, rng), 0
    if start == "zero-shot":
        return likeliest(objective, asked_alone(objective)), 1
    raise SettingError(f"start is {start!r}: use random or zero-shot")


def _consistency_only(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    drawn = coin_flips(objective, rng)
    return Labelled(reconciled(objective.rule, drawn, rng), (drawn,))


def _pseudo_labels(objective: Objective, rng: random.Random, options: Options) -> Labelled:
    rounds, scores = list[Labeling](), asked_alone(objective)
    for _ in range(_at_least_one("rounds", options["rounds"])):
        confident = _confident(objective, scores, options["threshold"], options["at_least"])
        if rounds and confident == rounds[-1]:
            break  # the next round would ask the same questions
        rounds.append(confident)
        scores = asked_beside(objective, confident)
    return Labelled(likeliest(objective, _in_order(scores)), tuple(rounds), 1 + len(rounds))


def _confident(objective: Objective, scores: Scores, threshold: float, at_least: int) -> Labeling:
    """The most likely labels above the threshold; if none reach it, the most confident ones."""
    if not 0 < threshold <= 1:
        raise SettingError(f"threshold is {threshold}: use a probability above 0, such as 0.9")
    sure = {i: math.exp(max(score.normalized)) for i, score in scores.items()}
    surest = set(sorted(sure, key=lambda i: (-sure[i], i))[:at_least])
    return likeliest(objective, {i: scores[i] for i in sorted(sure) if sure[i] >= threshold or i in surest})


def _in_order(scores: Scores) -> Scores:
    return {i: scores[i] for i in sorted(scores)}


# -- from given labels

FROM_GIVEN: dict[str, Options] = {"given-shots": {}, "given-mixed": {"trust": 0.8}}  # with their options


def label_from(name: str, objective: Objective, given: Labeling, options: Options | None = None) -> Labelled:
    """Return the model's labels with the given labels of all other examples shown. Raises SettingError.

    `given-shots` takes the likeliest label. `given-mixed` multiplies the model's probabilities by those of the given
    label, which is right with probability `trust` and else any of the K - 1 others. With trust 0.8 and K = 2, a given
    label changes where the model gives the other one more than 0.8.
    """
    settings = {**FROM_GIVEN[name], **parsed_options(name, options or {}, FROM_GIVEN[name])}
    scores = _in_order(asked_beside(objective, given))
    if name == "given-shots":
        return Labelled(likeliest(objective, scores), (given,), 1)
    trust, labels = settings["trust"], objective.task.labels
    if not 0 < trust < 1:
        raise SettingError(f"trust is {trust}: use a probability between 0 and 1, such as 0.8")
    alike = math.log(trust), math.log((1 - trust) / (len(labels) - 1))

    def mixed(i: int) -> str:
        given_label = given.get(i)
        prior = [0.0 if given_label is None else alike[label != given_label] for label in labels]
        joint = [p + q for p, q in zip(scores[i].normalized, prior, strict=True)]
        return labels[joint.index(max(joint))]

    return Labelled(Labeling({i: mixed(i) for i in scores}), (given,), 1)


def _at_least_one(name: str, value: int) -> int:
    if value < 1:
        raise SettingError(f"{name} is {value}: use 1 or more")
    return value


SOURCES: dict[str, LabelSource] = {
    "random": LabelSource(_random, "coin flips; the model is not asked"),
    "zero-shot": LabelSource(_zero_shot, "the likeliest label with no demonstrations", {"preamble": ""}),
    "zero-shot-assistant": LabelSource(
        _zero_shot, "the likeliest label with no demonstrations, after a preamble", {"preamble": PREAMBLE}
    ),
    "zero-shot-calibrated": LabelSource(
        _zero_shot_calibrated,
        "the zero-shot label that stands out most against the model's mean over all examples",
        {"preamble": ""},
    ),
    "self-ranked": LabelSource(
        _self_ranked, "in each consistency group, True where that is likeliest with no demonstrations, else False"
    ),
    "random-shots": LabelSource(_random_shots, "the likeliest label with all other examples randomly labelled"),
    "random-shots-calibrated": LabelSource(
        _random_shots_calibrated,
        "the label, with all others randomly labelled, that stands out most against the model's mean over all examples",
    ),
    "bootstrap": LabelSource(
        _bootstrap,
        "rounds of asking for each example given the labels that the last round gave all others",
        {"rounds": 3, "start": "random", "consistent": False},
    ),
    "bootstrap-consistent": LabelSource(
        _bootstrap,
        "the same, and after each round inconsistent pairs take their likeliest consistent labels",
        {"rounds": 3, "start": "random", "consistent": True},
    ),
    "consistency-only": LabelSource(
        _consistency_only, "coin flips, then random repairs until the rule holds; the model is not asked"
    ),
    "pseudo-labels": LabelSource(
        _pseudo_labels,
        "rounds of asking for each example given the labels the model was sure of",
        {"rounds": 5, "threshold": 0.9, "at_least": 8},
    ),
}
