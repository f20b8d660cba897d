"""Every number on a decision card, recomputed from the events alone with formulas written out here."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import replace

import pytest

from icm_engine.analysis import views
from icm_engine.analysis.datasets import example_rows
from icm_engine.analysis.decision import (
    Decision,
    RepairOption,
    Terms,
    decision,
    decision_tiles,
    delta_words,
    prompt_read,
    scored_sentence,
    sentence,
    threshold_sentence,
)
from icm_engine.analysis.event_cards import event_card
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.step_figures import curves_then, movers_chart, movers_frame, options_frame, terms_frame
from icm_engine.analysis.time_travel import Moment, open_moment
from icm_engine.core.labeling import Labeling
from icm_engine.core.prompting import leave_one_out_prompts, query_prompt
from icm_engine.core.rng import random_of
from icm_engine.core.search import State
from icm_engine.core.settings import SearchConfig
from icm_engine.store.replay import STATE_KINDS, after_event
from icm_engine.store.store import Store
from tests.support.steered_runs import forked_run, steered_run
from tests.support.stores import HOSTILE

CLOSE = 1e-9
FORMS = ("mean_log_odds", "sum_log_prob", "mean_log_prob")


@pytest.fixture
def reading(store: Store, monkeypatch: pytest.MonkeyPatch) -> Reading:
    return views.load(store, steered_run(store, monkeypatch))


def moments(store: Store, reading: Reading, kind: str = "step") -> Iterator[Moment]:
    for place, point in enumerate(reading.trajectory.points):
        if store.event(reading.run.name, point.event).kind == kind:
            yield open_moment(store, reading, place)


def predictability(state: State, form: str) -> float:
    """P(D) from the packed log-probabilities of a replayed state: a mean or a sum of one term an example."""
    labels, found = ("True", "False"), []
    for i, label in state.labeling.items():
        raw = state.evaluation.scores[i].raw
        own, total = raw[labels.index(label)], math.log(sum(math.exp(value) for value in raw))
        found.append(own - raw[1 - labels.index(label)] if form == "mean_log_odds" else own - total)
    return math.fsum(found) / (1 if form == "sum_log_prob" else len(found))


def terms_of(state: State, reading: Reading, config: SearchConfig) -> Terms:
    """U = alpha * P - pair_weight * pairs, of labels and log-probabilities that a replay gives."""
    value = predictability(state, config.predictability)
    pairs = len(reading.run.rule.conflicts(state.labeling))
    weighted, inconsistency = config.alpha * value, config.pair_weight * pairs
    return Terms(value, weighted, pairs, inconsistency, weighted - inconsistency)


def proposal_of(state: State, card: Decision, reading: Reading) -> Labeling:
    """The labeling that was decided on: the proposed label, then what the repairs took."""
    labeling = state.labeling.assign(card.example.place, card.proposed)
    for repair in card.repairs:
        if repair.taken:
            for example, label in zip(repair.pair, repair.taken, strict=True):
                labeling = labeling.assign(example.place, label)
    return labeling


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("paired", [False, True])
def test_every_number_can_be_recomputed_from_the_events(
    store: Store, monkeypatch: pytest.MonkeyPatch, form: str, paired: bool
) -> None:
    search = SearchConfig(
        seed=3, max_steps=90, predictability=form, paired=paired, alpha=4.0 if "sum" in form else 50.0
    )
    reading = views.load(store, steered_run(store, monkeypatch, search))
    config, state, seen = reading.run.spec.search, None, set[str]()
    for place, event in enumerate(store.read_after(reading.run.name, kinds=STATE_KINDS)):
        if event.kind == "retuned":
            config = replace(config, **event.body["settings"])
        after = after_event(reading.run.codec, event, state)
        if event.kind == "step" and state is not None and after is not None:
            card = decision(reading, open_moment(store, reading, place))
            _the_proposal(card, state, config)
            _the_terms(card, state, after, reading, config)
            _the_verdict(card, state, after)
            _the_repairs(card, state, reading, config)
            _the_movers(card, state, after)
            assert (card.pins, card.event, card.seconds) == (len(state.hand.pins), event.number, event.seconds)
            seen |= {card.verdict, f"repairs {bool(card.repairs)}", f"pins {bool(card.pins)}", f"reused {card.reused}"}
        state = after
    expected = {"accepted", "rejected", "unchanged", "repairs True", "pins True", f"reused {not paired}"}
    assert seen >= expected


def _the_proposal(card: Decision, state: State, config: SearchConfig) -> None:
    """T by the schedule; the likeliest label; shares and mass of the labels' log-probabilities."""
    heat = config.initial_temperature / (1 + config.cooling_rate * math.log(state.step + 1))
    assert card.step == state.step + 1
    assert card.temperature == pytest.approx(max(config.final_temperature, heat), rel=CLOSE)
    mass = sum(math.exp(score.log_prob) for score in card.scores)
    assert card.label_mass == pytest.approx(mass, rel=CLOSE)
    assert [s.probability for s in card.scores] == pytest.approx([math.exp(s.log_prob) / mass for s in card.scores])
    assert card.proposed == max(card.scores, key=lambda score: score.log_prob).label
    assert card.old == state.labeling.get(card.example.place)
    if card.reused:
        assert tuple(s.log_prob for s in card.scores) == state.evaluation.scores[card.example.place].raw
    assert (card.alpha, card.pair_weight) == (config.alpha, config.pair_weight)


def _the_terms(card: Decision, state: State, after: State, reading: Reading, config: SearchConfig) -> None:
    """alpha * P and I before and after; where after was not kept, P is as recorded and the rest follows from it."""
    if not card.paired:
        _same(card.before, terms_of(state, reading, config))
    _adds_up(card.before, config, len(reading.run.rule.conflicts(state.labeling)))
    if card.after is not None:
        labeling = proposal_of(state, card, reading)
        _adds_up(card.after, config, len(reading.run.rule.conflicts(labeling)))
        if card.verdict == "accepted":
            assert labeling == after.labeling
            _same(card.after, terms_of(after, reading, config))


def _same(found: Terms, expected: Terms) -> None:
    for name in ("predictability", "weighted", "pairs", "inconsistency", "utility"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=CLOSE, abs=CLOSE), name


def _adds_up(found: Terms, config: SearchConfig, pairs: int) -> None:
    assert found.weighted == pytest.approx(config.alpha * found.predictability, rel=CLOSE, abs=CLOSE)
    assert (found.pairs, found.inconsistency) == (pairs, config.pair_weight * pairs)
    assert found.utility == pytest.approx(found.weighted - found.inconsistency, rel=CLOSE, abs=CLOSE)


def _the_verdict(card: Decision, state: State, after: State) -> None:
    """delta, exp(delta / T), the draw from the seed, the threshold, the verdict."""
    if card.after is None:
        assert (card.delta, card.probability, card.draw, card.threshold) == (None, None, None, None)
        assert (card.verdict, after.labeling) == ("unchanged", state.labeling)
        return
    assert card.delta is not None
    assert card.draw is not None
    assert card.probability is not None
    assert card.temperature is not None
    assert card.delta == pytest.approx(card.after.utility - card.before.utility, rel=CLOSE, abs=CLOSE)
    assert card.probability == pytest.approx(1.0 if card.delta > 0 else math.exp(card.delta / card.temperature))
    rng = random_of(3, card.step)
    for _ in range(1 + len(card.repairs)):  # one draw chose the example, one the pair of each repair
        rng.random()
    assert card.draw == rng.random()
    accepted = card.delta > 0 or card.draw < card.probability
    if card.verdict != "unchanged":
        assert accepted == (card.verdict == "accepted") == (after.accepted == state.accepted + 1)
    if card.threshold is not None:
        assert card.threshold == pytest.approx(card.delta / math.log(card.draw))
        assert math.exp(card.delta / card.threshold) == pytest.approx(card.draw)  # there the draw decides
        assert (card.temperature > card.threshold) == accepted
    else:
        assert card.delta >= 0


def _the_repairs(card: Decision, state: State, reading: Reading, config: SearchConfig) -> None:
    """Each repair's pair is inconsistent when it begins, its options are consistent, and the best one is taken."""
    labeling = state.labeling.assign(card.example.place, card.proposed)
    rule = reading.run.rule
    for repair in card.repairs:
        i, j = (example.place for example in repair.pair)
        assert (i, j) in rule.conflicts(labeling)
        assert repair.labels == (labeling[i], labeling[j])
        offered = {option.labels for option in repair.options} | set(repair.withheld)
        assert offered == set(rule.consistent_options(i, j, labeling))
        for labels in repair.withheld:
            assert any(k in state.hand.pins and labeling[k] != y for k, y in zip((i, j), labels, strict=True))
        best = max(repair.options, key=lambda option: option.utility, default=None)
        assert (repair.taken is not None) == (best is not None and best.utility > repair.utility)
        for option in repair.options:
            assert option.gain == option.utility - repair.utility
            assert option.taken == (option.labels == repair.taken)
        if repair.taken is not None and best is not None:
            assert repair.taken == best.labels
            labeling = labeling.assign(i, repair.taken[0]).assign(j, repair.taken[1])
    if card.repairs and card.after is not None and not card.paired:
        last = card.repairs[-1]
        end = next((o.utility for o in last.options if o.taken), last.utility)
        assert card.after.utility == pytest.approx(end, rel=CLOSE)


def _the_movers(card: Decision, state: State, after: State) -> None:
    """log p of an example's own label, before from the replayed state, after from the next one where it was kept."""
    changes = [mover.change for mover in card.movers]
    assert changes == sorted(changes)
    labels = ("True", "False")
    for mover in card.movers:
        i = mover.example.place
        if not card.paired:
            own = state.evaluation.scores[i].normalized[labels.index(state.labeling[i])]
            assert mover.before == pytest.approx(own, rel=CLOSE)
        if card.verdict == "accepted":
            own = after.evaluation.scores[i].normalized[labels.index(after.labeling[i])]
            assert mover.after == pytest.approx(own, rel=CLOSE)


def test_costs_are_those_of_the_event_and_add_up_to_the_run(store: Store, reading: Reading) -> None:
    cards = [decision(reading, moment) for moment in moments(store, reading)]
    others = [m.event.body for kind in ("initial", "hand") for m in moments(store, reading, kind)]
    for field in ("prompts", "tokens_encoded", "tokens_full"):
        apart = sum(body["usage"][field] for body in others)
        assert sum(getattr(card, field) for card in cards) + apart == getattr(reading.spent, field)
    apart = sum(body["set_evaluations"] for body in others)
    assert sum(card.set_evaluations for card in cards) + apart == reading.spent.set_evaluations


def test_the_prompt_is_the_one_that_was_read(store: Store, reading: Reading) -> None:
    """Its hash is the one in the log; of a labelled example it is the prompt that U was put together from."""
    dataset, seen = reading.run.dataset, set()
    for moment in moments(store, reading):
        found = prompt_read(reading, moment)
        assert found.matches is True
        assert found.sha256 == moment.event.body["prompt_sha256"] == hashlib.sha256(found.text.encode()).hexdigest()
        assert moment.before is not None
        labeling, i = moment.before.labeling, reading.run.codec.index(moment.event.body["example"])
        assert found.demonstrations == len(labeling) - (i in labeling)
        if moment.event.body["reused"]:
            expected = leave_one_out_prompts(dataset.task, dataset.examples, [labeling])[0][i]
        else:
            expected = query_prompt(dataset.task, dataset.examples, labeling, i)
        assert found.text == expected.text
        seen.add(moment.event.body["reused"])
    assert seen == {True, False}


def test_a_prompt_that_is_not_the_recorded_one_says_so(store: Store, reading: Reading) -> None:
    moment = next(moments(store, reading))
    moment.event.body["prompt_sha256"] = "0" * 64
    assert "not what the model read" in prompt_read(reading, moment).sentence
    moment.event.body["prompt_sha256"] = ""
    assert "no hash to compare with" in prompt_read(reading, moment).sentence


CARD = Decision(
    step=7, event=9, example=None, old=None, proposed="True", scores=(), label_mass=1.0,  # type: ignore[arg-type]
    before=Terms(0.2, 10.0, 1, 1.0, 9.0), after=Terms(0.15, 7.16, 0, 0.0, 7.16), alpha=50.0, pair_weight=1.0,
    delta=-1.84, temperature=0.9, probability=math.exp(-1.84 / 0.9), draw=0.41, verdict="rejected", repairs=(),
    movers=(), paired=False, reused=False, pins=0, prompts=1, tokens_encoded=1, tokens_full=1, set_evaluations=1,
    seconds=0.1, prompt_sha256="",
)  # fmt: skip


def test_the_verdict_is_one_sentence_with_its_numbers() -> None:
    assert sentence(CARD) == "Rejected: delta = −1.84 at T = 0.90 gives 13\u00a0%, draw 0.41."  # exp(-2.044) = 0.1295
    # -1.84 / ln 0.41 = 1.84 / 0.8916 = 2.064
    assert threshold_sentence(CARD).startswith("It would be accepted at T of at least 2.06 ")
    lucky = replace(CARD, draw=0.05, verdict="accepted")
    assert sentence(lucky).startswith("Accepted, although it is not a gain: delta = −1.84")
    assert threshold_sentence(lucky).startswith("It would be rejected at T below 0.61 ")  # 1.84 / 2.9957
    gain = replace(CARD, delta=3.0, probability=1.0, verdict="accepted")
    assert sentence(gain) == "Accepted: delta = 3.00 is a gain, and gains are always accepted."
    assert threshold_sentence(gain) == ""
    nothing = replace(CARD, after=None, delta=None, probability=None, draw=None, verdict="unchanged")
    assert sentence(nothing).startswith("Unchanged: the model prefers the label it has")
    assert (nothing.threshold, replace(CARD, delta=0.0).threshold, replace(CARD, draw=0.0).threshold) == (
        None,
        None,
        None,
    )


def test_what_moved_is_sorted_bars_with_words_and_a_table(store: Store, reading: Reading) -> None:
    card = next(c for c in (decision(reading, m) for m in moments(store, reading)) if len(c.movers) > 3)
    for dark in (False, True):
        chart = movers_chart(card.movers, dark)
        up, down = chart.figure.data
        assert (up.name, down.name) == ("easier to predict", "harder to predict")
        assert up.marker.color != down.marker.color
        assert up.marker.pattern.shape != down.marker.pattern.shape
        drawn = dict(zip((*up.y, *down.y), (*up.x, *down.x), strict=True))
        assert [drawn[place] for place in sorted(drawn)] == pytest.approx([m.change for m in card.movers], abs=1e-6)
        assert not [name for name in chart.figure.layout.yaxis.ticktext if "<b" in name]  # text from outside
    frame = movers_frame(card.movers)
    assert list(frame["change"]) == [m.change for m in reversed(card.movers)]
    assert f"{len(card.movers)} examples" in chart.alt


def test_tables_of_a_card(store: Store, reading: Reading) -> None:
    cards = [decision(reading, moment) for moment in moments(store, reading)]
    whole = next(card for card in cards if card.after)
    frame = terms_frame(whole.before, whole.after).set_index("term")
    assert frame.loc["U(D) = alpha · P − I", "change"] == pytest.approx(whole.delta)
    assert list(terms_frame(cards[0].before, None).columns) == ["term", "before"]
    repair = next(repair for card in cards for repair in card.repairs if repair.taken and len(repair.options) > 1)
    options = options_frame(repair)
    assert list(options["U"]) == sorted((o.utility for o in repair.options), reverse=True)
    assert options.iloc[0][""] == "● taken"
    pinned = replace(repair, options=(), taken=None, withheld=(("False", "True"),))
    assert pinned.sentence == "Nothing was tried: every consistent option changes a pinned label."
    assert pinned.withheld_words == "Not tried, since a label is pinned: False / True."
    assert list(options_frame(pinned)[""]) == ["✕ not tried: a label is pinned"]
    worse = replace(repair, options=(RepairOption(("False", "True"), 1.0, -2.0, True),), taken=("False", "True"))
    assert " falls from " in worse.sentence


def test_events_that_are_no_steps_have_cards_too(store: Store, reading: Reading) -> None:
    (initial,) = moments(store, reading, "initial")
    card = event_card(reading, initial)
    assert (card.step, card.before) == (0, None)
    assert {row.example.place: row.new for row in card.changed} == dict(initial.state.labeling)
    assert "8 random examples were labelled" in card.sentences[0]
    acts = [event_card(reading, moment) for moment in moments(store, reading, "hand")]
    assert [card.sentences[:-1] for card in acts] == [
        ("Pinned: 1 example.", "Noted: 1 example."),
        ("Relabelled: 1 example.",),
        ("Took back: nothing changed.",),
    ]  # fmt: skip; the search had changed that label since, and undo leaves it
    assert acts[0].changed[0].words.endswith("pinned")
    assert acts[0].changed[1].words == "note: see p. 3"
    assert HOSTILE in acts[0].changed[0].example.text
    (moment,) = moments(store, reading, "retuned")
    tuned = event_card(reading, moment)
    assert tuned.sentences[:2] == ("alpha: 50 → 20", "initial temperature: 10 → 4")
    assert tuned.before is not None
    assert tuned.after.weighted == pytest.approx(tuned.before.weighted * 20 / 50)  # the same P under another alpha
    assert tuned.after.predictability == pytest.approx(tuned.before.predictability)


def test_a_fork_has_a_card(store: Store, reading: Reading) -> None:
    child = views.load(store, forked_run(store, reading.run.name))
    card = event_card(child, open_moment(store, child, 0))
    assert f"in the state of run {reading.run.name} after its event {child.run.spec.forked_at}" in card.sentences[0]
    assert card.parent == {"run": reading.run.name, "event": str(child.run.spec.forked_at)}
    (moment, *_) = moments(store, child)
    assert decision(child, moment).step == card.step + 1


def test_gold_is_on_a_card_only_where_there_is_some(store: Store, reading: Reading) -> None:
    moment = next(moments(store, reading))
    assert decision(reading, moment).example.gold in ("True", "False")
    hidden = replace(reading, gold={})
    assert decision(hidden, moment).example.gold is None
    then = open_moment(store, hidden, 20).then
    assert then.tally.accuracy is None
    assert "Accuracy" not in {chart.title for chart in curves_then(then, hidden.trajectory)}


def test_curves_end_at_the_moment_on_the_time_axis_of_the_whole_run(store: Store, reading: Reading) -> None:
    moment = open_moment(store, reading, 20)
    last = reading.trajectory.points[-1].step
    for chart in curves_then(moment.then, reading.trajectory):
        assert chart.figure.layout.xaxis.range == (-0.03 * last, last)  # a mark at step 0 is whole
        drawn = [x for trace in chart.figure.data for x in trace.x]
        assert max(drawn) == moment.state.step < last
        assert moment.state.step in [shape.x0 for shape in chart.figure.layout.shapes]


def test_the_card_of_a_sampled_step_shows_its_standard_error_and_the_prompt_that_was_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a run that a person steered: steps are estimated, exact evaluations have cards of their own."""
    search = SearchConfig(seed=3, max_steps=90, terms=4, redraw_every=4, exact_every=16)
    reading = views.load(store, steered_run(store, monkeypatch, search))
    sampled = [moment for moment in moments(store, reading) if "estimate" in moment.event.step]
    cards = [decision(reading, moment) for moment in sampled]
    card = next(card for card in cards if card.estimate is not None and card.estimate["error"] and card.delta)
    assert card.estimate is not None
    assert f"± {card.estimate['error']:.2f}" in delta_words(card)
    assert f"{card.estimate['terms']:,} drawn at random for the other {card.estimate['of']:,}." in scored_sentence(card)
    assert next(tile for tile in decision_tiles(card) if tile.name == "delta U").value == delta_words(card)
    for moment in sampled:
        assert prompt_read(reading, moment).matches
    (*_, exact) = moments(store, reading, "refreshed")
    shown = event_card(reading, exact)
    assert shown.title == "An exact evaluation"
    assert "by estimates" in shown.sentences[0]
    assert shown.after.utility == exact.event.refreshed["after"]["utility"]  # type: ignore[index]
    assert any(row.read_at is not None for row in example_rows(reading, "All examples", "", "Data set order"))
