"""Sampled terms: what is estimated, with which error, in which prompts; and that all of it lasts in a log."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icm_engine.core.advance import advance
from icm_engine.core.custom_rules import make_rule
from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Labeling, Task
from icm_engine.core.objective import PREDICTABILITY, Evaluation, Objective
from icm_engine.core.rng import random_of
from icm_engine.core.sampled_terms import Block, DeltaEstimate, block_of, certain_of, estimated_change
from icm_engine.core.scoring import LabelLogProbs, TableScorer, agreeable_belief
from icm_engine.core.search import RefreshInfo, StepInfo, accept_probability, initialize
from icm_engine.core.settings import PRESETS, SearchConfig, with_settings
from icm_engine.runs import control, fork, worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import current_state, open_run, state_at
from icm_engine.store.store import Store
from tests.support.in_process_runs import work

pytestmark = pytest.mark.usefixtures("no_processes")
SAMPLED = {"terms": 3, "redraw_every": 4, "exact_every": 16}


def scores_of(seed: int, examples: int, width: int) -> dict[int, LabelLogProbs]:
    """Any scores, the same for the same seed."""
    rng = random_of(seed, 0)
    return {i: LabelLogProbs(tuple(-5 * rng.random() for _ in range(width))) for i in range(examples)}


def problem(examples: int, form: str, width: int = 2, rule: str = "none", centring: float = 1.0) -> Objective:
    """Examples in groups of two, and a table for a model."""
    labels = tuple("ABCDE"[:width])
    made = [Example(f"e{i}", {"text": f"claim {i}"}, f"g{i // 2}") for i in range(examples)]
    task = Task("any", "{text} is", labels, labels[0], rule=rule, fields=("text",))
    return Objective(
        made, task, make_rule(rule, made, labels, labels[0]), TableScorer(agreeable_belief), form, 1.0, 1.0, centring
    )


FORMS = st.sampled_from(
    [
        (name, width)
        for name in PREDICTABILITY
        for width in (2, 3)
        if width == 2 or "odds" not in name or "centred" in name
    ]
)


# -- the weights


@given(FORMS, st.integers(1, 12), st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0]))
def test_p_is_a_sum_of_weights_times_scores(form: tuple[str, int], count: int, seed: int, centring: float) -> None:
    name, width = form
    rng, scores = random_of(seed, 1), scores_of(seed, count, width)
    labels = [int(rng.random() * width) for _ in range(count)]
    counts = [labels.count(k) for k in range(width)]
    kind = PREDICTABILITY[name]
    weighed = [
        math.fsum(w * z for w, z in zip(kind.weights(labels[i], counts, centring), kind.row(scores[i]), strict=True))
        for i in range(count)
    ]
    assert math.fsum(weighed) == pytest.approx(kind.value(labels, list(scores.values()), centring), abs=1e-9)


# -- the estimate


def changed(
    form: str, width: int, sample: tuple[int, ...], parts: int = 1, seed: int = 5
) -> tuple[float, float, float]:
    """A flip and a new label among eight examples: the estimate with its error, and the change itself.

    Example 0 is flipped and 7 is new; the scores known when the sample was drawn differ from those before the flip.
    """
    objective = problem(8, form, width)
    before = Labeling({i: objective.task.labels[i % width] for i in range(7)})
    after = before.assign(0, objective.task.labels[1]).assign(7, objective.task.labels[0])
    old, then, now = (scores_of(seed + k, 8, width) for k in range(3))
    strata = {i: i % parts for i in before}
    block = Block(0, len(sample), (), (0, 7), sample, strata, {i: old[i] for i in before}, {})
    found, error, terms, of = estimated_change(objective, block, before, after, then, now)
    assert (terms, of) == (len([i for i in sample if i != 0]), 6)
    real = objective.evaluation(after, {i: now[i] for i in after}).mutual_predictability
    return found, error, real - objective.evaluation(before, {i: then[i] for i in before}).mutual_predictability


@given(FORMS, st.integers(1, 2))
def test_the_estimate_is_right_on_average_and_so_is_its_error(form: tuple[str, int], parts: int) -> None:
    """Over all samples of the six other examples, the mean is the change, and error^2 its variance.

    In one stratum, three of the six are drawn; in two, of the even and the odd ones, two of three each.
    """
    samples: list[tuple[int, ...]] = list(combinations(range(1, 7), 3))
    if parts == 2:
        samples = [(*odd, *even) for odd in combinations((1, 3, 5), 2) for even in combinations((2, 4, 6), 2)]
    found = [changed(*form, sample, parts) for sample in samples]
    estimates, errors, (change, *_) = [f[0] for f in found], [f[1] for f in found], [f[2] for f in found]
    middle = math.fsum(estimates) / len(estimates)
    assert middle == pytest.approx(change, abs=1e-9)
    variance = math.fsum((value - middle) ** 2 for value in estimates) / len(estimates)
    assert math.fsum(error**2 for error in errors) / len(errors) == pytest.approx(variance)
    assert variance > 0


@given(FORMS)
def test_with_all_terms_nothing_is_estimated(form: tuple[str, int]) -> None:
    found, error, change = changed(*form, tuple(range(1, 7)))
    assert error == 0
    assert found == pytest.approx(change, abs=1e-9)


def test_one_term_for_many_has_no_error_to_go_by() -> None:
    assert changed("mean_log_odds", 2, (3,))[1] == math.inf


def test_the_acceptance_by_hand() -> None:
    """delta 1 at T 2 with error 2: exp(1/2 - 4/8) = 1; error 4: exp(1/2 - 16/8); without error a gain is accepted."""
    assert accept_probability(1.0, 2.0, 2.0) == 1.0
    assert accept_probability(1.0, 2.0, 4.0) == pytest.approx(math.exp(-1.5))
    assert accept_probability(1.0, 2.0) == 1.0
    assert accept_probability(-1.0, 2.0) == math.exp(-0.5)


# -- the prompts


@given(st.integers(3, 20), st.integers(1, 8), st.integers(0, 99), st.booleans())
def test_no_query_sees_its_own_label_and_all_others_are_shown_once(count: int, size: int, seed: int, one: bool) -> None:
    objective = problem(count + 2, "mean_log_odds", rule="exclusive" if one else "none")
    labeling = Labeling({i: "AB"[i % 2] for i in range(count)})
    front = (1, count, 0, count + 1)  # two labelled, two not
    strata = {i: i % 2 for i in range(count)}
    block = block_of(labeling, strata, scores_of(seed, count, 2), seed, 0, size, front)
    assert {*block.prefix, *block.front, *block.sample} == set(range(count + 2))
    prefixes = set()
    for i in (*block.front, *block.sample):
        prompt = block.prompt(objective, labeling, i)
        shown = [segment[0] for segment in prompt.segments]
        assert shown[-1] == f"claim {i} is"
        assert sorted(shown[:-1]) == sorted(f"claim {j} is" for j in labeling if j != i)
        prefixes.add(prompt.segments[: prompt.kept])
    assert len(prefixes) == 1


def test_a_larger_sample_contains_the_smaller_one() -> None:
    labeling, scores = Labeling({i: "A" for i in range(30)}), scores_of(1, 30, 2)
    strata = {i: i % 3 for i in range(30)}
    small, large = (block_of(labeling, strata, scores, 7, 3, size, ()) for size in (8, 16))
    assert set(small.sample) < set(large.sample)
    assert block_of(labeling, strata, scores, 7, 4, 8, ()).sample != small.sample


def test_what_a_proposal_touches_is_scored_for_itself() -> None:
    """Example 2 is flipped; its group is 2 and 3, of which 3 is labelled; 5 was labelled after the block began."""
    objective = problem(8, "mean_log_odds", rule="exclusive")
    labeling = Labeling({0: "A", 2: "A", 3: "B", 5: "A"})
    old = dict.fromkeys((0, 2, 3), LabelLogProbs((-1.0, -1.0)))
    block = Block(0, 2, (), (2, 3), (0,), dict.fromkeys(old, 0), old, {})
    assert certain_of(block, objective.rule, labeling, labeling.assign(2, "B")) == (2, 3, 5)


# -- the search


def walked(objective: Objective, config: SearchConfig, steps: int) -> Iterator[StepInfo | RefreshInfo]:
    state, _ = initialize(objective, config)
    while state.step < steps:
        for after, info in advance(state, objective, config):
            yield info
            state = after


@pytest.mark.parametrize("preset", ["centred", "mean-log-odds", "mean-log-prob"])
def test_estimates_follow_the_exact_change(pairs: Dataset, preset: str) -> None:
    """The sum of the accepted estimates is near the exact change of U; most errors are within two standard errors."""
    config = PRESETS["mean-log-odds" if preset == "mean-log-prob" else preset]
    if preset == "mean-log-prob":
        config = replace(config, predictability="mean_log_prob")
    config = replace(config, terms=8, redraw_every=4, exact_every=8, max_steps=160)
    rule = make_rule(pairs.task.rule, pairs.examples, pairs.task.labels, pairs.task.true_label)
    objective = Objective(
        pairs.examples, pairs.task, rule, TableScorer(agreeable_belief), config.predictability, config.alpha
    )
    infos = list(walked(objective, config, 160))
    exact = [info for info in infos if isinstance(info, RefreshInfo) and info.exact is not None]
    assert len(exact) == 160 // 8 - 1
    for info in exact:
        assert info.estimated_change == pytest.approx(info.exact_change, rel=0.2, abs=3)
    taken = [info for info in infos if isinstance(info, StepInfo)]
    assert [info.number for info in taken] == list(range(1, 161))
    assert not any(info.too_coarse for info in taken)
    assert any(info.estimate.error > 0 for info in taken if info.estimate)


def test_terms_and_paired_exclude_each_other() -> None:
    with pytest.raises(SettingError, match="terms is 8 with paired"):
        SearchConfig(terms=8, paired=True)
    assert with_settings(SearchConfig(terms=8), {"terms": "all"}).terms == 0


# -- the log


def sampled_run(store: Store, pairs: Dataset, steps: int = 60, **settings: Any) -> str:
    if not store.has_dataset("pairs"):
        store.add_dataset(pairs)
    search = replace(PRESETS["centred"], seed=11, max_steps=steps, **{**SAMPLED, **settings})
    return control.create_run(store, RunSpec("pairs", "fake", search=search))


def facts(store: Store, run: str) -> list[tuple[str, str]]:
    return [
        (event.kind, json.dumps(event.body))
        for event in store.read_after(run)
        if event.kind not in ("control", "model")
    ]


def test_a_log_of_a_sampled_run_can_be_checked_and_ends_exactly(store: Store, pairs: Dataset) -> None:
    run = sampled_run(store, pairs)
    assert work(store, run) == 0
    assert verify(store, open_run(store, run)) == (60, [])
    *_, last, finished = store.read_after(run)
    assert (last.kind, last.refreshed["why"], finished.kind) == ("refreshed", "end", "finished")
    state = current_state(store, open_run(store, run))
    assert state is not None
    assert not state.estimated
    reasons = {event.refreshed["why"] for event in store.read_after(run, kinds=("refreshed",))}
    assert reasons >= {"first", "next", "exact", "drawn", "larger", "end"}


def test_a_run_in_pieces_has_the_log_of_a_whole_one(
    store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each piece is another worker, which finds its state in the log, or in a snapshot of it."""
    monkeypatch.setattr(worker, "IDLE", 0)
    monkeypatch.setattr(worker, "SNAPSHOT_EVERY", 5)
    whole, pieces = sampled_run(store, pairs), sampled_run(store, pairs)
    assert work(store, whole) == 0
    for steps in (1, 2, 1, 7, 13, 1, 30, 5):
        assert work(store, pieces, "step", steps) == 0
    assert facts(store, pieces) == facts(store, whole)
    assert verify(store, open_run(store, pieces)) == (60, [])


def test_a_state_is_the_same_live_and_replayed(store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    live = []
    append = worker.Worker._append

    def kept(self: worker.Worker, kind: str, body: Mapping[str, Any], *rest: Any) -> None:
        append(self, kind, body, *rest)
        live.append((store.last_number(self.opened.name), self))

    monkeypatch.setattr(worker.Worker, "_append", kept)
    run = sampled_run(store, pairs, 20)
    assert work(store, run) == 0
    assert current_state(store, open_run(store, run)) == live[-1][1].state


def test_a_worker_that_dies_between_a_new_sample_and_its_step_goes_on(
    store: Store, pairs: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = sampled_run(store, pairs), sampled_run(store, pairs)
    assert work(store, whole) == 0
    append = worker.Worker._append

    class Died(BaseException):
        pass

    def dying(self: worker.Worker, kind: str, *rest: Any) -> None:
        append(self, kind, *rest)
        if kind == "refreshed":
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(worker.Worker, "_append", dying)
        for _ in range(200):
            try:
                work(store, killed, "resume")
                break
            except Died:
                store.db.execute("delete from leases")
    assert facts(store, killed) == facts(store, whole)


def test_a_fork_and_other_settings_begin_with_an_exact_evaluation(store: Store, pairs: Dataset) -> None:
    run = sampled_run(store, pairs)
    assert work(store, run, "step", 10) == 0
    child = fork.fork(store, run, store.last_number(run))
    control.retune(store, run, {"alpha": 3.0})
    for one in (run, child):
        assert work(store, one, "step", 5) == 0
        first = next(
            event
            for event in store.read_after(one, kinds=("refreshed", "retuned"))
            if event.number > 1 and event.kind == "refreshed" and (event.refreshed["step"] == 10)
        )
        assert first.refreshed["why"] == "exact"
        assert verify(store, open_run(store, one))[1] == []


def test_a_label_by_hand_is_scored_exactly_and_ends_the_block(store: Store, pairs: Dataset) -> None:
    run = sampled_run(store, pairs)
    assert work(store, run, "step", 10) == 0
    control.submit_intervention(store, run, "pin", ["e0"], ["True"])
    assert work(store, run, "step", 5) == 0
    events = store.read_after(run)
    place = next(k for k, event in enumerate(events) if event.kind == "hand")
    state = state_at(store, open_run(store, run), events[place].number)
    assert state is not None
    assert state.block is None
    assert not state.estimated
    after = next(event for event in events[place:] if event.kind == "refreshed")
    assert after.refreshed["why"] == "first"
    assert verify(store, open_run(store, run))[1] == []


def tampered(store: Store, run: str, kind: str, change: Any) -> list[str]:
    """What verification says after a change to the first event of a kind that has what is changed."""
    for event in store.read_after(run, kinds=(kind,)):
        body = json.loads(json.dumps(event.body))
        if change(body):
            store.db.execute(
                "update events set body = ? where run = ? and number = ?", [json.dumps(body), run, event.number]
            )
            wrong = verify(store, open_run(store, run))[1]
            store.db.execute(
                "update events set body = ? where run = ? and number = ?", [json.dumps(event.body), run, event.number]
            )
            return wrong
    raise AssertionError("nothing to change")


def smaller_error(body: dict[str, Any]) -> bool:
    if not body.get("accepted") or not body["estimate"]["error"]:
        return False
    body["estimate"]["error"] *= 0.5
    return True


def other_sample(body: dict[str, Any]) -> bool:
    if not body["block"] or not body["block"]["prefix"] or body["after"]:
        return False
    body["block"]["prefix"][0], body["block"]["sample"][0] = body["block"]["sample"][0], body["block"]["prefix"][0]
    return True


def other_change(body: dict[str, Any]) -> bool:
    body["exact_change"] += 1.0
    return body["after"] is not None


def other_delta(body: dict[str, Any]) -> bool:
    if not body.get("accepted"):
        return False
    for name in ("utility", "weighted_predictability"):
        body["after"][name] += 1.5
    body["after"]["mutual_predictability"] += 1.0
    body["delta"] += 1.5
    return True


def an_early_end(body: dict[str, Any]) -> bool:
    early = bool(body["why"] == "exact" and body["step"] < 20)
    body["why"] = "end" if early else body["why"]
    return early


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("step", smaller_error, "standard error"),
        ("step", other_delta, "its estimate gives a change"),
        ("refreshed", other_sample, "another sample in its block"),
        ("refreshed", other_change, "says that U changed by"),
        ("refreshed", an_early_end, "is an evaluation at the end after"),
    ],
)
def test_a_changed_log_is_found_out(store: Store, pairs: Dataset, kind: str, change: Any, said: str) -> None:
    run = sampled_run(store, pairs)
    assert work(store, run) == 0
    assert any(said in problem for problem in tampered(store, run, kind, change))


@pytest.mark.parametrize("settings", [{"terms": 0}, {"terms": 6}, {"redraw_every": 5}, {"exact_every": 32}])
def test_a_log_made_with_other_settings_is_found_out(store: Store, pairs: Dataset, settings: dict[str, Any]) -> None:
    run = sampled_run(store, pairs, 40)
    assert work(store, run) == 0
    opened = open_run(store, run)
    search = replace(opened.spec.search, **settings)
    assert verify(store, replace(opened, spec=replace(opened.spec, search=search)))[1]


def test_a_spec_says_of_sampled_terms_only_what_is_unusual(pairs: Dataset) -> None:
    """So logs of exact searches stay byte for byte what they were."""
    spec = RunSpec("pairs", "fake", search=SearchConfig(terms=4, exact_every=16))
    assert {"terms", "redraw_every", "exact_every"} & set(spec.to_json()["search"]) == {"terms", "exact_every"}
    assert RunSpec.from_json(spec.to_json()) == spec
    assert not {"terms", "redraw_every", "exact_every"} & set(RunSpec("pairs", "fake").to_json()["search"])


def test_more_terms_are_asked_for_only_where_they_might_decide_otherwise() -> None:
    """At T 1 and a draw of 1/e, an error of 0.8 puts the threshold at -1 + 0.32 = -0.68; two errors are 1.6."""
    score = LabelLogProbs((-0.5, -1.0))
    nothing = Evaluation(0.0, 0.0, 0.0, ())
    info = StepInfo(1, 1.0, 0, None, "A", score, nothing, nothing, draw=math.exp(-1), verdict="accepted")
    for delta, error, wanted in ((0.0, 0.8, True), (1.0, 0.8, False), (-2.4, 0.8, False), (0.0, 0.4, False)):
        estimate = DeltaEstimate(error, 4, 9, (0,), {})
        assert replace(info, delta=delta, estimate=estimate).too_coarse is wanted
    assert replace(info, delta=99.0, estimate=DeltaEstimate(math.inf, 1, 9, (0,), {})).too_coarse
    assert not replace(info, delta=0.0).too_coarse
