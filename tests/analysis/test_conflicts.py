"""Read models of consistency against numbers worked by hand, on a log of six examples written by hand.

a, b and c answer one question (1, 1 and 2), f has no answer; d and e answer another one, alike. Inconsistent pairs:

    step 0  a-c, d-e        initial labels; a repair of a-c finds nothing better
    step 1  a-c, d-e, b-c   b becomes True
    step 2  the same        rejected, with a repair of b-c inside that would have broken a-b
    step 3  none            two repairs: c becomes False, e becomes True
    step 4  a-c, b-c        c becomes True again; a repair of a-c is withheld by pins
    step 5  the same        unchanged
"""

from pathlib import Path

import pytest

from icm_engine.analysis import conflict_figures, repairs, views
from icm_engine.analysis import conflicts as groups
from icm_engine.analysis.figures import COUNTS
from icm_engine.analysis.run_history import Reading
from icm_engine.core.consistency import Pair
from icm_engine.core.labeling import Example, Flip, Labeling, Task
from icm_engine.core.objective import Evaluation
from icm_engine.core.repair import Option, Repair
from icm_engine.core.scoring import LabelLogProbs, Usage
from icm_engine.core.search import InitialInfo, StepInfo, Verdict, flipped
from icm_engine.store.bodies import RepairBody
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import Codec, Cost, RunSpec
from icm_engine.store.store import Store

IDS = ("a", "b", "c", "d", "e", "f")
ANSWERS = ("1", "1", "2", "5", "5", None)
AB, AC, BC, DE = (0, 1), (0, 2), (1, 2), (3, 4)
CODEC = Codec(IDS, ("True", "False"))
EVEN = LabelLogProbs((-0.7, -0.7))
COST = Cost(Usage())
T, F = "True", "False"


SLOTS = (0, 2, 3, 4, 1)  # in the order in which examples are labelled first


def scored(weighted: float, labelled: int, *pairs: Pair) -> Evaluation:
    return Evaluation(weighted, weighted / 50, len(pairs), pairs, dict.fromkeys(SLOTS[:labelled], EVEN))


START, GROWN = scored(10.0, 4, AC, DE), scored(15.0, 5, AC, BC, DE)  # U = 8 and 12
BROKEN, MENDED, AGAIN = scored(11.0, 5, AB, DE), scored(16.0, 5), scored(19.0, 5, AC, BC)  # U = 9, 16 and 17


def first() -> InitialInfo:
    drawn = ((0, T), (2, T), (3, T), (4, F))
    tried = Repair(AC, (T, T), 8.0, (Option((T, F), 7.5), Option((F, T), 6.0)), None)
    return InitialInfo(drawn, (tried,), tuple(Flip(i, None, y, "initial") for i, y in drawn), START, 3)


def steps() -> list[StepInfo]:
    dropped = Repair(BC, (T, T), 9.5, (Option((T, F), 9.0), Option((F, F), 9.75)), (F, F))
    one = Repair(AC, (T, T), 12.0, (Option((T, F), 14.0), Option((F, T), 11.0)), (T, F))
    two = Repair(DE, (T, F), 14.0, (Option((T, T), 16.0),), (T, T))
    pinned = Repair(AC, (T, T), 17.0, (), None, ((T, F), (F, F)))
    mended = (Flip(2, T, F, "repair"), Flip(4, F, T, "repair"))
    return [
        StepInfo(1, 9.0, 1, None, T, EVEN, START, GROWN, (), (Flip(1, None, T, "proposal"),), 4.0, 1.0, 0.3,
                 "accepted"),
        StepInfo(2, 8.0, 0, T, F, EVEN, GROWN, BROKEN, (dropped,), (Flip(0, T, F, "proposal"),), -3.0, 0.004, 0.9,
                 "rejected"),
        StepInfo(3, 7.0, 0, T, T, EVEN, GROWN, MENDED, (one, two), mended, 4.0, 1.0, 0.5, "accepted"),
        StepInfo(4, 6.0, 2, F, T, EVEN, MENDED, AGAIN, (pinned,), (Flip(2, F, T, "proposal"),), 1.0, 1.0, 0.1,
                 "accepted"),
        StepInfo(5, 5.0, 3, T, T, EVEN, AGAIN, None),
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a database with the run that is written above."""
    store = Store(tmp_path / "icm.db")
    spots = zip(IDS, "gggh" + "hg", ANSWERS, strict=True)
    examples = tuple(Example(i, {"claim": f"C {i}"}, group, answer) for i, group, answer in spots)
    task = Task("claims", "{claim}", rule="same-answer", fields=("claim",))
    store.add_dataset(Dataset("six", task, examples, tuple(dict(e.fields) for e in examples), task.fields, "six.csv"))
    write(store, store.add_run(RunSpec("six", "sample")))
    return store


def write(store: Store, run: str) -> None:
    store.append(run, "initial", CODEC.encode_initial(first(), COST))
    labeling = flipped(Labeling(), first().flips)
    for info in steps():
        store.append(run, "step", CODEC.encode_step(info, COST, labeling))
        if info.verdict == "accepted":
            labeling = flipped(labeling, info.flips)


@pytest.fixture
def reading(store: Store) -> Reading:
    return views.load(store, "six-1")


def test_points_count_inconsistent_pairs(reading: Reading) -> None:
    assert [point.pairs for point in reading.trajectory.points] == [2, 3, 3, 0, 2, 2]


def test_pairs_now_ever_and_again(reading: Reading) -> None:
    assert groups.pairs_now(reading) == [AC, BC]  # both since step 4
    assert groups.pairs_ever(reading) == [AC, BC, DE]
    assert groups.pairs_back(reading) == [AC, BC]  # both twice; a-c for longer


def test_a_pair_knows_since_when_how_often_and_how_long(reading: Reading) -> None:
    ac, bc, de, ab = (groups.pair_line(reading, pair) for pair in (AC, BC, DE, AB))
    assert (ac.ids, ac.answers, ac.labels, ac.groups) == (("a", "c"), ("1", "2"), (T, T), ("g", "g"))
    assert (ac.since, ac.lasting, ac.times, ac.steps) == (4, 1, 2, 3 + 1)  # steps 0-3, and 4-5
    assert (bc.since, bc.lasting, bc.times, bc.steps) == (4, 1, 2, 2 + 1)  # steps 1-3, and 4-5
    assert (de.since, de.lasting, de.times, de.steps) == (None, 0, 1, 3)
    assert (ab.since, ab.times, ab.steps) == (None, 0, 0)  # only a rejected proposal broke it
    assert (ac.words, de.words) == ("✕ since step 4, for 1 step", "○ consistent now")


def test_the_rule_is_put_into_words(reading: Reading) -> None:
    assert groups.demand(reading, groups.pair_line(reading, AC)) == (
        "One answers 1, the other 2: not both can be True."
    )
    assert groups.demand(reading, groups.pair_line(reading, DE)) == "Both answer 5: the labels must be equal."


def test_a_pair_has_an_address_whatever_its_ids(reading: Reading) -> None:
    assert groups.pair_of(reading, "c,a") == AC
    assert [groups.pair_of(reading, code) for code in (None, "", "a", "a,a", "a,z", "a,b,c")] == [None] * 6
    assert groups.pair_code(("50%", "x,y")) == "50%25,x%2Cy"


def test_repairs_are_listed_newest_first_and_filtered(reading: Reading) -> None:
    def places(kind: str, pair: Pair | None = None) -> list[tuple[int, int]]:
        return [(mark.step, mark.round) for mark in repairs.repairs_of(reading, kind, pair)]

    assert places("all") == [(4, 0), (3, 1), (3, 0), (2, 0), (0, 0)]
    assert places("taken") == [(3, 1), (3, 0), (2, 0)]
    assert places("kept") == [(3, 1), (3, 0)]  # step 2 was rejected
    assert places("withheld") == [(4, 0)]
    assert places("all", AC) == [(4, 0), (3, 0), (0, 0)]
    words = [repairs.result_words(mark) for mark in repairs.repairs_of(reading)]
    assert words == ["– withheld by pins", "● kept", "● kept", "○ not kept", "– no option taken"]


def test_a_repair_has_an_address(reading: Reading) -> None:
    marks = {repairs.repair_code(mark): mark for mark in reading.repairs}
    assert list(marks) == ["1.0", "3.0", "4.0", "4.1", "5.0"]
    assert all(repairs.repair_at(reading, code) == mark for code, mark in marks.items())
    assert [repairs.repair_at(reading, code) for code in (None, "4", "4.2", "9.0", "x.y", "2.0")] == [None] * 6


def card(store: Store, reading: Reading, code: str) -> repairs.RepairCard:
    mark = repairs.repair_at(reading, code)
    assert mark is not None
    return repairs.repair_card(store, reading, mark)


def test_a_repair_shows_every_option_against_u_before(store: Store, reading: Reading) -> None:
    kept = card(store, reading, "4.0")
    assert (kept.labels, kept.utility) == ((T, T), 12.0)
    found = [(option.labels, option.utility, option.change, option.outcome) for option in kept.options]
    assert found == [((T, F), 14.0, 2.0, "● taken"), ((F, T), 11.0, -1.0, "○ not taken")]  # 14 - 12, 11 - 12
    assert kept.choice == "Taken: True and False, which raised U by 2.00."
    assert kept.verdict == "The step was accepted (delta 4.00, chance 100%, draw 0.50), this repair with it."
    assert (kept.after, kept.broken) == ("Became inconsistent by this step", ())
    assert list(conflict_figures.options_frame(kept)["outcome"]) == ["before", "● taken", "○ not taken"]


def test_a_repair_of_a_rejected_step_says_what_it_would_have_broken(store: Store, reading: Reading) -> None:
    dropped = card(store, reading, "3.0")
    assert dropped.choice == "Taken: False and False, which raised U by 0.25."
    assert dropped.verdict.startswith("The step was rejected (delta −3.00, chance under 1%, draw 0.90)")
    assert dropped.after == "Would have become inconsistent by this step"
    assert [line.ids for line in dropped.broken] == [("a", "b")]  # d-e was so before


def test_a_repair_that_took_nothing_says_why(store: Store, reading: Reading) -> None:
    assert card(store, reading, "1.0").choice == "Nothing was taken: none of 2 options raised U."
    pinned = card(store, reading, "5.0")
    assert pinned.choice == (
        "Nothing was taken: there was no option to try. 2 options withheld: a person pinned a label that would change."
    )
    assert [option.outcome for option in pinned.options] == ["– withheld: pinned"] * 2
    assert [line.ids for line in pinned.broken] == [("a", "c"), ("b", "c")]
    initial = card(store, reading, "1.0")
    assert initial.verdict == "It belongs to the initial labels, which are always kept."
    assert [line.ids for line in initial.broken] == [("a", "c"), ("d", "e")]


def test_a_worse_option_that_was_taken_is_not_said_to_raise_u() -> None:
    body: RepairBody = {
        "pair": ["a", "b"],
        "labels": [T, T],
        "utility": 5.0,
        "taken": [T, F],
        "options": [{"labels": [T, F], "utility": 4.5}],
    }
    words = repairs._choice(repairs._options(body))
    assert words == "Taken: True and False, which changed U by −0.50, the best there was."


def test_groups_in_conflict_now_and_ever(reading: Reading) -> None:
    (now,) = groups.groups_in_conflict(reading)
    assert now == groups.ConflictGroup("g", (AC, BC), (AC, BC))
    assert groups.groups_in_conflict(reading, ever=True) == [now, groups.ConflictGroup("h", (), (DE,))]


def test_conflicts_that_only_proposals_had_are_known_by_pair_and_by_group(store: Store) -> None:
    """Labels that are never inconsistent: twice c would have become True beside a, and a repair turned it back."""
    run = store.add_run(RunSpec("six", "sample"))
    drawn, calm = ((0, T), (2, F)), scored(10.0, 2)
    flips = tuple(Flip(i, None, y, "initial") for i, y in drawn)
    store.append(run, "initial", CODEC.encode_initial(InitialInfo(drawn, (), flips, calm, 1), COST))
    mended = Repair(AC, (T, T), 8.0, (Option((T, F), 10.0),), (T, F))
    verdicts: tuple[Verdict, ...] = ("accepted", "rejected")
    for number, verdict in enumerate(verdicts, 1):
        both = (Flip(2, F, T, "proposal"), Flip(2, T, F, "repair"))
        info = StepInfo(number, 9.0, 2, F, T, EVEN, calm, calm, (mended,), both, 0.0, 1.0, 0.3, verdict)
        store.append(run, "step", CODEC.encode_step(info, COST, Labeling(dict(drawn))))
    reading = views.load(store, run)
    assert groups.pairs_ever(reading) == []
    assert groups.pairs_prevented(reading) == [AC]
    line = groups.pair_line(reading, AC)
    assert (line.repairs, line.times, line.words) == (2, 0, "○ never inconsistent")
    assert groups.groups_in_conflict(reading, ever=True) == []
    (group,) = groups.groups_in_conflict(reading, prevented=True)
    assert group == groups.ConflictGroup("g", (), (), (AC,))
    drawn_group = groups.graph(store, reading, group)
    assert [edge.kind for edge in drawn_group.edges] == ["constrained", "prevented", "constrained"]
    trace = next(t for t in conflict_figures.groups_chart([drawn_group], (T, F)).figure.data if t.name == "prevented")
    assert trace.line.dash == "dashdot"


def test_a_pair_that_the_labels_had_is_not_said_to_be_prevented(reading: Reading) -> None:
    assert {mark.pair for mark in reading.repairs} == {AC, BC, DE}
    assert groups.pairs_prevented(reading) == []


def test_a_group_is_drawn_whole_with_what_the_rule_ties_together(store: Store, reading: Reading) -> None:
    drawn = groups.graph(store, reading, groups.groups_in_conflict(reading)[0])
    assert drawn.whole
    assert [(node.id, node.label, node.answer) for node in drawn.nodes] == [
        ("a", T, "1"), ("b", T, "1"), ("c", T, "2"), ("f", None, None),
    ]  # fmt: skip
    assert [(edge.first, edge.second, edge.kind) for edge in drawn.edges] == [
        (0, 1, "constrained"), (0, 2, "inconsistent"), (1, 2, "inconsistent"),
    ]  # fmt: skip
    assert all(abs(node.x**2 + node.y**2 - 1) < 1e-12 for node in drawn.nodes)
    partners: dict[str, str] = dict(
        conflict_figures.groups_frame([drawn])[["example", "in conflict with"]].itertuples(index=False)
    )
    assert partners == {"a": "c", "b": "c", "c": "a, b", "f": ""}


def test_of_a_large_group_only_the_members_in_conflict_are_drawn(store: Store) -> None:
    ids = ("a", "b", "c", "d", "e", *(f"more-{k}" for k in range(20)))
    examples = tuple(Example(i, {"claim": i}, "all") for i in ids)
    task = Task("claims", "{claim}", rule="exclusive", fields=("claim",))
    store.add_dataset(Dataset("large", task, examples, tuple(dict(e.fields) for e in examples), task.fields, ""))
    write(store, store.add_run(RunSpec("large", "sample")))
    reading = views.load(store, "large-1")
    drawn = groups.graph(store, reading, groups.groups_in_conflict(reading)[0])
    assert not drawn.whole
    assert [node.id for node in drawn.nodes] == ["a", "b", "c"]
    assert [edge.kind for edge in drawn.edges] == ["constrained", "inconsistent", "inconsistent"]
    assert "(part)" in conflict_figures.groups_chart([drawn], (T, F)).figure.layout.annotations[0].text


def test_of_a_rule_of_ones_own_only_what_the_log_says_is_known(store: Store) -> None:
    gone = f"/nowhere/mine.py#sha256={'0' * 64}"  # its file is not there: nothing may run it
    write(store, store.add_run(RunSpec("six", "sample", rule=gone)))
    reading = views.load(store, "six-2")
    found = groups.groups_in_conflict(reading, ever=True)
    assert [(group.name, group.now, group.ever) for group in found] == [
        ("around a", (AC, BC), (AC, BC)), ("around d", (), (DE,)),
    ]  # fmt: skip
    drawn = groups.graph(store, reading, found[0])
    assert [node.id for node in drawn.nodes] == ["a", "b", "c"]
    assert [edge.kind for edge in drawn.edges] == ["inconsistent", "inconsistent"]
    assert groups.demand(reading, groups.pair_line(reading, AC)).startswith("The rule mine.py")


def test_a_run_without_a_rule_is_known_as_such(store: Store, reading: Reading) -> None:
    store.add_run(RunSpec("six", "sample", rule="none"))
    assert groups.has_rule(reading)
    assert not groups.has_rule(views.load(store, "six-2"))


def test_the_curve_marks_repairs_kept_and_not_kept(reading: Reading) -> None:
    chart = conflict_figures.pairs_chart(reading)
    traces = {trace.name: trace for trace in chart.figure.data}
    assert list(zip(traces["repair kept"].x, traces["repair kept"].y, strict=True)) == [(3, 0), (3, 0)]
    assert list(zip(traces["repair not kept"].x, traces["repair not kept"].y, strict=True)) == [(0, 2), (2, 3), (4, 2)]
    assert (traces["repair kept"].marker.symbol, traces["repair not kept"].marker.symbol) == ("circle", "circle-open")
    assert list(chart.figure.layout.yaxis.range) == pytest.approx([-0.18, 3.18])  # a mark at 0 is not cut
    assert chart.figure.layout.yaxis.title.text in COUNTS  # whose ticks are whole
    assert chart.alt == ("Inconsistent pairs: 2 at step 0, 2 at step 5; most: 3 at step 1. 5 repairs, 2 kept.")
    assert list(conflict_figures.pairs_curve_frame(reading)["inconsistent pairs"]) == [2, 2, 0, 3, 3, 2]


def test_labels_and_edges_differ_by_more_than_colour(store: Store, reading: Reading) -> None:
    drawn = [groups.graph(store, reading, group) for group in groups.groups_in_conflict(reading, ever=True)]
    for dark in (False, True):
        traces = {trace.name: trace for trace in conflict_figures.groups_chart(drawn, (T, F), dark).figure.data}
        assert (traces["inconsistent"].line.width, traces["inconsistent"].line.dash) == (4, "dash")
        assert traces["constrained"].line.width == 1
        assert traces["was inconsistent"].line.dash == "dot"
        assert (traces["True"].marker.symbol, traces["no label"].marker.symbol) == ("circle", "circle-open-dot")
        assert list(traces["True"].text) == ["True · 1", "True · 1", "True · 2", "True · 5", "True · 5"]
        crosses = next(trace for trace in traces.values() if trace.marker.symbol == "x")
        assert list(crosses.customdata) == ["a,c", "b,c"]


def test_text_from_outside_is_not_read_as_html_by_a_chart(store: Store, reading: Reading) -> None:
    node = groups.GraphNode(0, "<b>i</b>", "<a href='x'>t</a>", "<i>y</i>", None, 1.0, 0.0)
    chart = conflict_figures.groups_chart([groups.GroupGraph("<b>g</b>", (node,), (), True)], ("<i>y</i>",))
    sent = chart.figure.to_json()
    assert "<i>" not in sent.replace("\\u003c", "<")
    assert "<a" not in sent.replace("\\u003c", "<")
    assert "&lt;b&gt;g" in sent.replace("\\u0026", "&")
