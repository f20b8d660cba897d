"""Every baseline on a table for a model, its labels worked out by hand; and as runs, with the log checked."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from icm_engine.baselines.generation import GenerationRequest, Generator, TableGenerator
from icm_engine.baselines.label_sources import PREAMBLE, SOURCES, Scores, asked_alone, label_by, label_from, reconciled
from icm_engine.baselines.llm_judge import JUDGE, TableChat, label_by_chat, source_options
from icm_engine.core.consistency import Exclusive
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import NotApplicable, SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import Objective
from icm_engine.core.prompting import Prompt
from icm_engine.core.scoring import LabelLogProbs, TableScorer, no_scorer
from icm_engine.data.gold import add_gold, load_gold
from icm_engine.runs import control, worker
from icm_engine.runs.verify import verify
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store
from tests.support.problems import probabilities
from tests.support.stores import small_dataset

NAMES = "abcd"
Belief = Callable[[Prompt], tuple[float, ...]]


def objective(belief: Belief | None, rule: str = "none", scorer: TableScorer | None = None) -> Objective:
    """Four examples in two groups: a and b, c and d."""
    examples = tuple(Example(name, {"text": name}, "g" + str(i // 2)) for i, name in enumerate(NAMES))
    task = Task("letters", "{text} is", rule=rule, fields=("text",))
    asked = scorer or (TableScorer(belief) if belief else no_scorer())
    return Objective(examples, task, make_rule(rule, examples, task.labels, "True"), asked)


def query(prompt: Prompt) -> str:
    return prompt.segments[-1][0][0]


def shown(prompt: Prompt) -> dict[str, str]:
    return {segment[0][0]: segment[1].strip() for segment in prompt.segments[:-1] if len(segment) == 3}


def sure(share: float) -> tuple[float, ...]:
    """The log-probabilities of True with this probability, and of False."""
    return probabilities(min(max(share, 0.01), 0.99), 1 - min(max(share, 0.01), 0.99))


def majority_belief(alone: Mapping[str, float]) -> Belief:
    """Believes what most of the demonstrations say; without any, what the table says."""

    def belief(prompt: Prompt) -> tuple[float, ...]:
        labels = list(shown(prompt).values())
        return sure(labels.count("True") / len(labels)) if labels else sure(alone[query(prompt)])

    return belief


ALONE = {"a": 0.9, "b": 0.8, "c": 0.6, "d": 0.2}


def words(labeling: Labeling) -> str:
    return "".join(labeling[i][0] for i in sorted(labeling))


def test_zero_shot_is_the_likeliest_label_alone() -> None:
    found = label_by("zero-shot", objective(majority_belief(ALONE)), seed=0)
    assert (words(found.labeling), found.set_evaluations) == ("TTTF", 1)


def test_self_ranked_is_true_once_a_group_whatever_the_model_says_first() -> None:
    """a over b; c over d. That all four are likelier True, or that none is, changes nothing; of equals, the first."""
    for scale in (1.0, 0.3):
        alone = {name: scale * value for name, value in ALONE.items()}
        found = label_by("self-ranked", objective(majority_belief(alone)), seed=0)
        assert (words(found.labeling), found.set_evaluations) == ("TFTF", 1)
    assert words(label_by("self-ranked", objective(lambda prompt: sure(0.5)), 0).labeling) == "TFTF"
    reversed_belief = {"a": 0.1, "b": 0.2, "c": 0.6, "d": 0.7}
    assert words(label_by("self-ranked", objective(majority_belief(reversed_belief)), 0).labeling) == "FTFT"
    three = Task("letters", "{text} is", ("True", "False", "Both"))
    many = replace(objective(lambda prompt: sure(0.5)), task=three, predictability="mean_log_prob")
    with pytest.raises(SettingError, match="needs two labels"):
        label_by("self-ranked", many, 0)


def test_the_assistant_s_preamble_stands_first_and_once() -> None:
    seen: list[Prompt] = []

    def belief(prompt: Prompt) -> tuple[float, ...]:
        seen.append(prompt)
        return sure(1.0 if prompt.text.startswith(PREAMBLE) else 0.0)

    assert words(label_by("zero-shot-assistant", objective(belief), seed=0).labeling) == "TTTT"
    assert [prompt.text for prompt in seen] == [f"{PREAMBLE}\n\n{name} is" for name in NAMES]
    assert words(label_by("zero-shot-assistant", objective(belief), 0, {"preamble": "Otherwise."}).labeling) == "FFFF"


def test_random_labels_ask_no_model_and_depend_on_the_seed() -> None:
    found = {words(label_by("random", objective(None), seed).labeling) for seed in range(20)}
    assert len(found) > 5
    assert label_by("random", objective(None), 3) == label_by("random", objective(None), 3)


def test_random_shots_show_every_other_random_label() -> None:
    seen: list[Prompt] = []

    def belief(prompt: Prompt) -> tuple[float, ...]:
        seen.append(prompt)
        return sure(ALONE[query(prompt)])

    found = label_by("random-shots", objective(belief), seed=5)
    (drawn,) = found.rounds
    for prompt in seen:
        assert shown(prompt) == {name: drawn[i] for i, name in enumerate(NAMES) if name != query(prompt)}
    assert (len(seen), words(found.labeling), found.set_evaluations) == (4, "TTTF", 1)


def test_bootstrap_asks_beside_the_last_round() -> None:
    """Zero-shot TTTF. a, b and c see two True of three, d three of three: all True, and so it stays."""
    found = label_by("bootstrap", objective(majority_belief(ALONE)), 0, {"start": "zero-shot", "rounds": 2})
    assert list(map(words, found.rounds)) == ["TTTF", "TTTT", "TTTT"]
    assert (words(found.labeling), found.set_evaluations) == ("TTTT", 3)


def test_bootstrap_with_consistency_keeps_the_likelier_one_of_a_pair() -> None:
    """All True after one round, d surest (0.99 against 2/3 for c): of c and d, d stays True; of a and b, either."""
    options = {"start": "zero-shot", "rounds": 1}
    found = label_by("bootstrap-consistent", objective(majority_belief(ALONE), "exactly-one"), 0, options)
    assert words(found.labeling)[2:] == "FT"
    assert words(found.labeling)[:2] in ("TF", "FT")


def test_consistency_only_satisfies_the_rule_and_asks_no_model() -> None:
    for seed in range(20):
        problem = objective(None, "exactly-one")
        found = label_by("consistency-only", problem, seed)
        assert problem.rule.conflicts(found.labeling) == []
        assert found.set_evaluations == 0
    kept = [label_by("consistency-only", objective(None, "exactly-one"), seed) for seed in range(40)]
    consistent = [one for one in kept if words(one.rounds[0])[:2] in ("TF", "FT")]
    assert consistent
    assert all(words(one.labeling)[:2] == words(one.rounds[0])[:2] for one in consistent)  # nothing to repair there


def test_pseudo_labels_go_by_what_the_model_is_sure_of() -> None:
    """Alone, a (.95 True) and c (.92 False) are sure; beside them b becomes sure (.97 False), d does not (.8 True)."""
    alone = {"a": 0.95, "b": 0.6, "c": 0.08, "d": 0.45}
    beside = {"a": 0.92, "b": 0.03, "c": 0.08, "d": 0.8}

    def belief(prompt: Prompt) -> tuple[float, ...]:
        return sure((beside if shown(prompt) else alone)[query(prompt)])

    found = label_by("pseudo-labels", objective(belief), 0, {"threshold": 0.9, "at_least": 1})
    assert [dict(labeling) for labeling in found.rounds] == [
        {0: "True", 2: "False"},
        {0: "True", 1: "False", 2: "False"},
    ]
    assert (words(found.labeling), found.set_evaluations) == ("TFFT", 3)


def test_pseudo_labels_begin_with_the_surest_where_none_reaches_the_threshold() -> None:
    found = label_by("pseudo-labels", objective(majority_belief(ALONE)), 0, {"threshold": 1.0, "at_least": 2})
    assert dict(found.rounds[0]) == {0: "True", 1: "True"}  # .9, .8 and .8 of d: the earlier of equals


def test_an_impossible_rule_leaves_its_pairs() -> None:
    class Never(Exclusive):
        def consistent(self, i: int, j: int, labeling: Labeling) -> bool:
            return False

    problem = objective(None)
    rule = Never(problem.examples, ("True", "False"), "True")
    labeling = Labeling(dict.fromkeys(range(4), "True"))
    assert reconciled(rule, labeling, random.Random(0)) == labeling


def test_reconciled_takes_the_likeliest_of_equally_consistent_labels() -> None:
    """Both True under `exclusive`: TF, FT and FF are consistent; p(True) .4 and .3 make FF the likeliest."""
    problem = objective(None, "exclusive")
    scores: Scores = {i: LabelLogProbs(sure(share)) for i, share in enumerate((0.4, 0.3, 0.9, 0.7))}
    found = reconciled(problem.rule, Labeling(dict.fromkeys(range(4), "True")), random.Random(0), scores)
    assert words(found) == "FFTF"


def test_what_does_not_exist_is_named() -> None:
    problem = objective(majority_belief(ALONE))
    for name, options, said in (
        ("guess", {}, "label source 'guess' does not exist"),
        ("bootstrap", {"round": 1}, "no option 'round': its options are rounds, start, consistent"),
        ("random", {"rounds": 1}, "its options are none"),
        ("bootstrap", {"rounds": 0}, "rounds is 0"),
        ("bootstrap", {"rounds": "many"}, "rounds is 'many'"),
        ("bootstrap", {"start": "gold"}, "start is 'gold'"),
        ("pseudo-labels", {"threshold": 0.0}, "threshold is 0.0"),
    ):
        with pytest.raises(SettingError, match=said.replace("(", "\\(")):
            label_by(name, problem, 0, options)
    assert source_options("bootstrap", {"rounds": "4", "consistent": "yes"}) == {"rounds": 4, "consistent": True}


def test_given_labels_are_shown_and_mixed_by_hand() -> None:
    """Trust 0.8: a given True stands at p(True) = 0.3 (0.3 · 0.8 > 0.7 · 0.2), and changes at 0.1 (0.08 < 0.18)."""
    beside: list[tuple[str, dict[str, str]]] = []

    def belief(prompt: Prompt) -> tuple[float, ...]:
        beside.append((query(prompt), shown(prompt)))
        return sure({"a": 0.3, "b": 0.1, "c": 0.7, "d": 0.9}[query(prompt)])

    given = Labeling({0: "True", 1: "True", 2: "False", 3: "False"})
    found = label_from("given-shots", objective(belief), given)
    assert (words(found.labeling), found.rounds, found.set_evaluations) == ("FFTT", (given,), 1)
    every = {name: given[i] for i, name in enumerate(NAMES)}
    assert sorted(beside) == [(n, {m: y for m, y in every.items() if m != n}) for n in NAMES]  # never its own label
    assert words(label_from("given-mixed", objective(belief), given).labeling) == "TFFT"
    assert words(label_from("given-mixed", objective(belief), given, {"trust": 0.95}).labeling) == "TTFF"
    assert words(label_from("given-mixed", objective(belief), Labeling({3: "False"})).labeling) == "FFTT"
    with pytest.raises(SettingError, match=r"trust is 1\.0"):
        label_from("given-mixed", objective(belief), given, {"trust": 1.0})
    with pytest.raises(SettingError, match="its options are none"):
        label_from("given-shots", objective(belief), given, {"trust": 0.8})


def test_given_labels_are_mixed_with_several_labels() -> None:
    """Trust 0.5 leaves 0.25 for each of two others. Given A: 0.3 · 0.5 = 0.15 < 0.65 · 0.25; at 0.45, 0.15 > 0.11."""
    chances = {"a": (0.3, 0.65, 0.05)}
    some = objective(lambda prompt: probabilities(*chances.get(query(prompt), (0.3, 0.45, 0.25))))
    task = replace(some.task, labels=("A", "B", "C"))
    many = replace(some, task=task, predictability="mean_log_prob")
    found = label_from("given-mixed", many, Labeling(dict.fromkeys(range(4), "A")), {"trust": 0.5})
    assert [found.labeling[i] for i in range(4)] == ["B", "A", "A", "A"]


def test_asked_alone_has_no_demonstrations() -> None:
    scores = asked_alone(objective(lambda prompt: sure(1 - len(prompt.segments) / 10)))
    assert {round(math.exp(score.normalized[0]), 6) for score in scores.values()} == {0.9}


# -- as runs


def finished(store: Store, spec: RunSpec) -> str:
    run = control.create_run(store, spec)
    control.queue(store, run)
    assert worker.run_in_process(store, run, idle=0.0) == 0
    assert control.status(store, run).phase == "finished"
    return run


@pytest.mark.parametrize("source", [*SOURCES, JUDGE])
def test_a_source_is_a_run_that_can_be_verified(store: Store, source: str) -> None:
    small_dataset(store)
    run = finished(store, RunSpec("sums", "fake", source=source))
    opened = open_run(store, run)
    state = current_state(store, opened)
    assert state is not None
    assert sorted(state.labeling) == list(range(len(opened.dataset.examples)))
    assert len(state.evaluation.scores) == len(state.labeling)
    assert verify(store, opened) == (0, [])
    again = finished(store, RunSpec("sums", "fake", source=source))
    assert [e.body for e in store.read_after(again)] == [e.body for e in store.read_after(run)]


@pytest.mark.parametrize("source", [*SOURCES, JUDGE])
def test_no_source_sees_gold(store: Store, source: str) -> None:
    small_dataset(store)
    run = finished(store, RunSpec("sums", "fake", source=source))
    gold = load_gold(store, "sums").labels
    add_gold(store, "sums", {i: "False" if label == "True" else "True" for i, label in gold.items()})
    turned = finished(store, RunSpec("sums", "fake", source=source))
    add_gold(store, "sums", {})
    without = finished(store, RunSpec("sums", "fake", source=source))
    bodies = [[e.body for e in store.read_after(name)] for name in (run, turned, without)]
    assert bodies[0] == bodies[1] == bodies[2]


def test_given_labels_are_recorded_as_they_are(store: Store) -> None:
    small_dataset(store)
    gold = dict(load_gold(store, "sums").labels)
    spec = RunSpec("sums", "fake", source="given", given=gold, given_from="golden", supervised=True)
    opened = open_run(store, finished(store, spec))
    state = current_state(store, opened)
    assert state is not None
    assert {opened.codec.ids[i]: y for i, y in state.labeling.items()} == gold
    assert list(state.labeling) == sorted(state.labeling)
    shuffled = open_run(store, finished(store, replace(spec, source_options={"shuffled": True})))
    other = current_state(store, shuffled)
    assert other is not None
    assert (dict(other.labeling), list(other.labeling)) != (dict(state.labeling), list(state.labeling))
    assert dict(other.labeling) == dict(state.labeling)


@pytest.mark.parametrize("source", ["given-shots", "given-mixed"])
def test_a_run_from_given_labels_can_be_verified_and_needs_some(store: Store, source: str) -> None:
    small_dataset(store)
    given = dict(load_gold(store, "sums").labels)
    run = finished(store, RunSpec("sums", "fake", source=source, given=given, given_from="weak", supervised=True))
    assert verify(store, open_run(store, run)) == (0, [])
    assert store.read_after(run, kinds=("labelled",))[0].body["set_evaluations"] == 1
    run = control.create_run(store, RunSpec("sums", "fake", source=source))
    control.queue(store, run)
    worker.run_in_process(store, run, idle=0.0)
    assert f"has source {source} and no labels" in control.status(store, run).message


def test_initial_labels_can_be_given(store: Store) -> None:
    small_dataset(store)
    gold = dict(load_gold(store, "sums").labels)
    run = finished(store, RunSpec("sums", "fake", given=gold, supervised=True))
    first = store.read_after(run, kinds=("initial",))[0].body
    assert {row["example"]: row["label"] for row in first["drawn"]}.items() <= gold.items()


def test_labels_that_the_task_has_not_are_refused(store: Store) -> None:
    small_dataset(store)
    with pytest.raises(SettingError, match="label source 'guess' does not exist"):
        control.create_run(store, RunSpec("sums", "fake", source="guess"))
    for given, said in (({"sums-0-0": "Maybe"}, "'Maybe'"), ({}, "no labels"), (None, "no labels")):
        run = control.create_run(store, RunSpec("sums", "fake", source="given", given=given))
        control.queue(store, run)
        worker.run_in_process(store, run, idle=0.0)
        assert control.status(store, run).phase == "failed"
        assert said in control.status(store, run).message


def test_a_judge_that_abstains_leaves_an_example_without_a_label() -> None:
    def reply(request: GenerationRequest, seed: int | None) -> str:
        return "I cannot say." if "\n\nb is" in request.text else "Verdict: False"

    class Wordy(TableChat):
        def generator(self) -> Generator:
            return TableGenerator(reply)

    found = label_by_chat(JUDGE, objective(None), 0, {"style": "direct"}, Wordy())
    assert dict(found.labelled.labeling) == {0: "False", 2: "False", 3: "False"}
    assert [verdict.label for verdict in found.verdicts] == ["False", None, "False", "False"]
    assert (found.usage.requests, found.usage.tokens_generated) == (4, 3 + 2 * 3)


def test_what_a_model_cannot_serve_is_said_and_labels_nothing(store: Store) -> None:
    class Silent(TableChat):
        def generator(self) -> Generator:
            return TableGenerator(lambda request, seed: "")

    with pytest.raises(NotApplicable, match="no verdict on any of the first 4 examples"):
        label_by_chat(JUDGE, objective(None), 0, {}, Silent())
    small_dataset(store)
    run = control.create_run(store, RunSpec("sums", "fake", source="zero-shot-chat"))
    control.queue(store, run)
    worker.run_in_process(store, run, idle=0.0)
    assert control.status(store, run).phase == "failed"
    assert "no chat template" in control.status(store, run).message
    assert not store.read_after(run, kinds=("labelled",))


def test_pages_show_a_label_source_as_what_it_is(store: Store) -> None:
    from tests.support.drawn_pages import page, texts

    small_dataset(store)
    gold = dict(load_gold(store, "sums").labels)
    run = finished(store, RunSpec("sums", "fake", source="given", given=gold, given_from="golden", supervised=True))
    seen = page("search", run=run)
    assert not seen.exception
    assert "source given · sums" in texts(seen)
    assert "Temperature" not in {metric.label for metric in seen.metric}
    assert any("(golden)" in warning.value for warning in seen.warning)
    other = finished(store, RunSpec("sums", "fake", source="bootstrap"))
    for name in ("steps", "flips", "consistency", "compare", "annotate", "forks", "tour"):
        assert not page(name, run=other).exception
    card = texts(page("steps", run=other))
    assert "from the source bootstrap: rounds of asking" in card
    assert "Round 3: " in card
    listed = page().dataframe[0].value.set_index("run")
    assert list(listed.loc[[run, other], "source"]) == ["given", "bootstrap"]
    assert list(listed.loc[[run, other], "progress"]) == [1.0, 1.0]
