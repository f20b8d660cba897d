"""Audits: the interval by hand and by exact enumeration, the verdict, what is asked, and what the log keeps."""

import json
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise, permutations

import pytest

from benchmarks.audit import ASKED, ever, made_up, simulated
from icm_engine.analysis import audit
from icm_engine.analysis.audit import AuditFinding, intervals, log_evidence, plausible, verdict_of, verdict_words
from icm_engine.analysis.views import load
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.prompting import Prompt
from icm_engine.core.settings import SearchConfig
from icm_engine.data.gold import add_gold, add_human
from icm_engine.data.importing import ensure_sample_dataset
from icm_engine.data.label_export import read_labels
from icm_engine.runs import worker
from icm_engine.runs.verify import verify
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.replay import AUDIT, open_run
from icm_engine.store.store import Store
from tests.support.in_process_runs import search_facts, work
from tests.support.labelled_runs import labelled
from tests.support.processes import score_by
from tests.support.stores import add_run, moody_belief, small_dataset
from tests.support.tampered_logs import is_found, walked

BOTH = ("True", "False")


def finding(marks: Sequence[bool | None], size: int = 62, labels: tuple[str, ...] = BOTH) -> AuditFinding:
    """What these answers say about labels that are all the first one."""
    said = {True: labels[0], False: labels[1], None: None}
    return AuditFinding(size, labels, tuple((labels[0], said[mark]) for mark in marks), {labels[0]: size})


# -- the interval


def by_hand(size: int, right: int, asked: int, total: int) -> Fraction:
    """Mixture / likelihood of answers in this order, from the definition: draws one by one, a mean over all totals."""

    def likelihood(k: int) -> Fraction:
        chance, good, bad = Fraction(1), k, size - k
        for n in range(asked):
            chance *= Fraction(good if n < right else bad, size - n)
            good, bad = (good - 1, bad) if n < right else (good, bad - 1)
        return chance

    return sum(map(likelihood, range(size + 1)), Fraction(0)) / (size + 1) / likelihood(total)


def test_the_evidence_by_hand() -> None:
    """Three labels, two answers, one of them right.

    Likelihoods of 0, 1, 2, 3 right labels: 0, 1/3 · 2/2, 2/3 · 1/2, 0; their mean is (1/3 + 1/3) / 4 = 1/6.
    """
    assert by_hand(3, 1, 2, 1) == Fraction(1, 6) / Fraction(1, 3) == Fraction(1, 2)
    assert math.exp(log_evidence(3, 1, 2, 1)) == pytest.approx(1 / 2)


def test_the_evidence_is_what_its_definition_gives() -> None:
    for size, right, asked in ((5, 0, 3), (7, 2, 4), (9, 6, 6), (12, 1, 9)):
        for total in range(right, size - (asked - right) + 1):
            expected = by_hand(size, right, asked, total)
            assert math.exp(log_evidence(size, right, asked, total)) == pytest.approx(float(expected))


def test_the_bounds_are_the_outermost_totals_with_less_than_twenty_to_one_against_them() -> None:
    for size in (1, 2, 9, 14):
        for asked in range(1, size + 1):
            for right in range(asked + 1):
                fits = range(right, size - (asked - right) + 1)
                kept = [k for k in fits if by_hand(size, right, asked, k) < 20]
                assert plausible(size, right, asked) == (kept[0], kept[-1])


def test_bounds_after_every_label_are_the_truth() -> None:
    assert plausible(40, 31, 40) == (31, 31)


def test_bounds_of_a_million_labels_take_no_pass_over_them() -> None:
    low, high = plausible(10**6, 19, 20)
    assert (round(low / 10**6, 2), round(high / 10**6, 2)) == (0.66, 1.0)


@pytest.mark.parametrize(("size", "right"), [(20, 12), (31, 31), (62, 37), (62, 50), (64, 61), (64, 3)])
def test_an_interval_misses_at_any_time_in_at_most_one_audit_of_twenty(size: int, right: int) -> None:
    """Exactly: over all orders of the answers, up to 40 of them."""
    assert ever(size, right, ASKED, lambda low, high: not low <= right / size <= high) <= 0.05


@pytest.mark.parametrize(("judgeable", "right"), [(28, 20), (25, 18), (20, 3)])
def test_an_interval_holds_where_some_of_the_labels_cannot_be_judged(judgeable: int, right: int) -> None:
    """Of 31 labels, which the interval is for until questions about the others come."""
    true = right / judgeable
    assert ever(judgeable, right, ASKED, lambda low, high: not low <= true <= high, assumed=31) <= 0.05


def test_the_exact_chance_is_that_of_all_orders() -> None:
    """Of six labels, four right: the interval after each prefix of each of the 720 orders."""
    marks = (True,) * 4 + (False,) * 2
    missed = [any(high < 1 for _, high in intervals(6, order)) for order in permutations(marks)]
    assert ever(6, 4, 6, lambda low, high: high < 1) == pytest.approx(sum(missed) / 720)


@pytest.mark.parametrize(("share", "one_label"), [(0.6, 0.5), (0.8, 0.5), (0.95, 0.5), (0.82, 0.9)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_simulated_audits_cover_the_accuracy(share: float, one_label: float, mirrored: bool) -> None:
    """300 audits; 5 % of them, and three standard errors of 300 draws, are 26."""
    case = made_up("case", 64, share, True, one_label)
    found = simulated(case.mirrored() if mirrored else case, "simple", 300)
    assert float(str(found["ever missed"])) * 300 <= 26


def test_intervals_shrink_and_leave_out_what_cannot_be_told() -> None:
    found = list(intervals(10, [True, None, False, True]))
    for (low, high), (then_low, then_high) in pairwise(found):
        assert low <= then_low <= then_high <= high
    assert found[0] == tuple(k / 10 for k in plausible(10, 1, 1))
    assert list(intervals(2, [None, None])) == [(0.0, 1.0), (0.0, 1.0)]


# -- the verdict


def test_verdicts_of_two_labels() -> None:
    assert verdict_of(0.51, 0.9, 2) == "right"
    assert verdict_of(0.5, 0.9, 2) == "undecided"
    assert verdict_of(0.1, 0.49, 2) == "mirrored"
    assert verdict_of(0.4, 0.6, 2) == "chance"
    assert verdict_of(0.39, 0.6, 2) == "undecided"


def test_verdicts_of_four_labels_know_no_mirror() -> None:
    assert verdict_of(0.51, 0.9, 4) == "right"
    assert verdict_of(0.1, 0.35, 4) == "chance"
    assert verdict_of(0.1, 0.45, 4) == "wrong"
    assert verdict_of(0.3, 0.55, 4) == "undecided"
    assert finding([True], labels=("a", "b", "c")).mirror is None


def test_eight_of_eight_of_a_hundred_by_hand() -> None:
    """1/9 over 54/100 · 53/99 · ... · 47/93 is below 20, and with 53 above."""
    odds = [Fraction(1, 9) / math.prod(Fraction(k - i, 100 - i) for i in range(8)) for k in (53, 54)]
    assert odds[1] < 20 < odds[0]
    found = finding([True] * 8, 100)
    assert found.bounds == (0.54, 1.0)
    assert found.verdict == "right"
    assert verdict_words(found) == "Between 54% and 100% of the labels are right."
    assert audit.answers_words(found) == (
        "8 of 8 answers agree with the label. Accuracy of the 100 labels: 100% [54%, 100%]; with both labels swapped "
        "0% [0%, 46%]."
    )
    mirror = found.mirror
    assert mirror is not None
    assert (mirror.estimate, mirror.bounds, mirror.verdict) == (0.0, (0.0, 0.46), "mirrored")
    assert verdict_words(mirror) == "At most 46% of the labels are right. Swapped, at least 54% are."


def test_a_verdict_stays() -> None:
    """After eight right answers six wrong ones leave 8 of 14, alone too few; the exclusion made before holds."""
    found = finding([True] * 8 + [False] * 6, 100)
    assert plausible(100, 8, 14)[0] < 50
    assert found.verdict == "right"


def test_how_many_more_are_needed_is_what_then_decides() -> None:
    found = finding([True, True, True, True, False], 100)
    assert found.verdict == "undecided"
    assert found.more is not None
    right = 4 + round(found.more * 5 / 7)
    assert plausible(100, right, 5 + found.more)[0] > 50
    before = 4 + round((found.more - 1) * 5 / 7)
    assert plausible(100, before, 5 + found.more - 1)[0] <= 50
    assert f"About {found.more} more answers would be needed" in verdict_words(found)


def test_labels_at_chance_are_called_so_once_the_interval_is_narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    even = finding([True, False] * 100, 400)
    assert even.verdict == "chance"
    assert verdict_words(even).startswith("Between 4")
    assert finding([True, False] * 3, 400).more is not None
    monkeypatch.setattr(audit, "HORIZON", 20)
    few = finding([True, False] * 3, 400)
    assert few.more is None
    assert verdict_words(few).endswith("More than 20 more answers would be needed if they go on like this.")


@pytest.mark.parametrize("labels", [BOTH, ("a", "b", "c")])
def test_a_verdict_is_certain_once_every_label_is_judged(labels: tuple[str, ...]) -> None:
    verdicts = {finding([True] * k + [False] * (10 - k), 10, labels).verdict for k in range(11)}
    assert "undecided" not in verdicts


def test_labels_that_are_nearly_all_equal_carry_a_caution() -> None:
    """Ten labels, nine of them True; three of four answers agree. Recall of True 3/3, of False 0/1: balanced 1/2."""
    pairs = (("True", "True"), ("True", "True"), ("True", "False"), ("True", "True"))
    found = AuditFinding(10, BOTH, pairs, {"True": 9, "False": 1})
    assert found.balanced == 0.5
    assert audit.caution_words(found) == (
        "90% of the labels are True. If the truth is as one-sided, labels that ignore the texts are right as often. "
        "Balanced accuracy so far: 50%."
    )
    assert audit.caution_words(AuditFinding(10, BOTH, pairs, {"True": 7, "False": 3})) == ""


# -- what is asked


def test_every_label_is_asked_about_once_and_the_seed_decides_the_order(store: Store) -> None:
    reading = load(store, add_run(store, "finished"))
    drawn = [audit.audit_of(store, reading, seed).place for seed in (5, 5, 6)]
    orders = [[place(k) for k in range(1, len(reading.labeling) + 1)] for place in drawn]
    assert orders[0] == orders[1] != orders[2]
    assert {place for place in orders[0] if place is not None} == set(reading.labeling)
    assert drawn[0](len(reading.labeling) + 1) is None


def test_pinned_labels_and_twins_are_not_asked_about(store: Store) -> None:
    fields = {"query": "?", "response_a": "1", "response_b": "2"}
    examples = tuple(Example(f"{n}{t}", fields, n, twin_of=f"{n}" if t else None) for n in "abc" for t in ("", "~"))
    task = Task("pairs", "{query}{response_a}{response_b}", rule="asymmetry", fields=tuple(fields))
    store.add_dataset(Dataset("pairs", task, examples, tuple(fields for _ in examples), task.fields))
    run = labelled(store, "pairs", {"a": "True", "a~": "False", "b~": "True", "c": "True"})
    found = audit.audit_of(store, load(store, run))
    assert [examples[i].id for i in found.places] == ["a", "b~", "c"]
    store.send(run, "hand", "pin", 0, {"verb": "pin", "examples": ["c"], "labels": ["True"], "text": ""})
    assert worker.main(["--db", str(store.path), run]) == 0
    assert [examples[i].id for i in audit.audit_of(store, load(store, run)).places] == ["a", "b~"]


def test_a_run_without_labels_cannot_be_audited(store: Store) -> None:
    with pytest.raises(SettingError, match="no labels to audit yet"):
        audit.audit_of(store, load(store, add_run(store, "created")))


# -- what the log keeps


def answer(store: Store, run: str, *answers: str | None) -> audit.Audit:
    """Answer the next questions of the last audit of a run."""
    for said in answers:
        now = audit.audit_of(store, load(store, run))
        audit.record(store, load(store, run), now, now.next, said)
    return audit.audit_of(store, load(store, run))


def test_an_answer_is_an_event_with_its_probability(store: Store) -> None:
    run = add_run(store, "finished")
    found = answer(store, run, "True", None)
    first, second = (event.audit for event in store.read_after(run, kinds=(AUDIT,)))
    size, place = len(found.places), found.place(1)
    assert place is not None
    assert first == {
        "audit": 1,
        "number": 1,
        "after": found.after,
        "design": "simple",
        "seed": 1,
        "example": load(store, run).run.codec.ids[place],
        "probability": 1 / size,
        "label": found.labeling[place],
        "answer": "True",
    }
    assert (second["number"], second["probability"], second["answer"]) == (2, 1 / (size - 1), None)
    assert found.finding.unsure == 1
    assert verify(store, open_run(store, run)) == (30, [])


def test_an_answer_to_an_earlier_question_replaces_the_one_before(store: Store) -> None:
    run = add_run(store, "finished")
    found = answer(store, run, "True", "True")
    audit.record(store, load(store, run), found, 1, "False")
    now = audit.audit_of(store, load(store, run))
    assert (now.next, now.answers[1][1], now.answers[2][1]) == (3, "False", "True")
    assert verify(store, open_run(store, run))[1] == []


def test_a_question_that_is_not_asked_and_a_label_that_is_none_are_refused(store: Store) -> None:
    run = add_run(store, "finished")
    reading = load(store, run)
    now = audit.audit_of(store, reading)
    with pytest.raises(SettingError, match="does not ask question 2"):
        audit.record(store, reading, now, 2, "True")
    with pytest.raises(SettingError, match="'Maybe' does not exist"):
        audit.record(store, reading, now, 1, "Maybe")
    other = audit.audit_of(store, reading, fresh=True)
    answer(store, run, "True")
    audit.record(store, reading, other, 1, "False")  # a second tab at the same question: the later answer counts
    newer = audit.audit_of(store, load(store, run), fresh=True)
    audit.record(store, load(store, run), newer, 1, "True")
    with pytest.raises(SettingError, match="has gone on elsewhere"):
        audit.record(store, reading, now, 1, "True")


def test_an_audit_is_about_the_labels_it_began_with(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    score_by(monkeypatch, moody_belief)
    monkeypatch.setattr(worker, "IDLE", 0.0)
    small_dataset(store)
    run = store.add_run(RunSpec("sums", "fake", search=SearchConfig(seed=3, max_steps=60)))
    assert work(store, run, "step", 2) == 0
    begun = answer(store, run, "True")
    labels = [begun.labeling[i] for i in begun.places]
    assert work(store, run, "resume") == 0
    now = answer(store, run, "True", "False")
    assert (now.after, [now.labeling[i] for i in now.places]) == (begun.after, labels)
    assert audit.changed_since(load(store, run), now) > 0
    assert audit.audit_of(store, load(store, run), fresh=True).after > begun.after
    assert verify(store, open_run(store, run))[1] == []


def believe_and_answer(store: Store, run: str, left: list[str | None], prompt: Prompt) -> tuple[float, ...]:
    """Answer another question whenever a step is in the log since the last answer, in the midst of the next one."""
    last = store.last_event(run, ("step", AUDIT))
    if left and last is not None and last.kind == "step":
        answer(store, run, left.pop())
    return moody_belief(prompt)


def test_an_audit_changes_no_event_of_the_search(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is audited before, while and after it searches, with any answers, has the same search in its log."""
    small_dataset(store)
    logs = []
    for said in ((), ("True",) * 9, ("False", None, "True") * 3):
        left = list(said)
        run = store.add_run(RunSpec("sums", "fake", search=SearchConfig(seed=3, max_steps=40)))

        score_by(monkeypatch, partial(believe_and_answer, store, run, left))
        assert work(store, run) == 0
        assert len(store.read_after(run, kinds=(AUDIT,))) == len(said)
        assert verify(store, open_run(store, run))[1] == []
        logs.append(search_facts(store, run))
    assert logs[0] == logs[1] == logs[2]


def test_verify_finds_every_change_of_an_answer(store: Store) -> None:
    run = add_run(store, "finished")
    answer(store, run, "True", "False", "True")
    changes = {"audit": 3, "number": 9, "after": 1, "design": "other", "seed": 2, "example": "sums-0-9",
               "probability": 0.5, "label": "Maybe", "answer": "Maybe"}  # fmt: skip
    after = frozenset(event.audit["after"] for event in store.read_after(run, kinds=(AUDIT,)))
    for event, walk in walked(store, run, after):
        if event.kind == AUDIT:
            for name, value in changes.items():
                changed = json.loads(json.dumps(event.body | {name: value}))
                assert is_found(walk.again(), type(event)(event.number, AUDIT, 0.0, 0.0, changed)), name


def test_answers_are_exported_in_a_column_of_their_own(store: Store) -> None:
    run = add_run(store, "finished")
    assert "icm_audit_label" not in next(read_labels(store, run).rows(human=True))
    found = answer(store, run, "False")
    rows = {row["icm_id"]: row["icm_audit_label"] for row in read_labels(store, run).rows(human=True)}
    asked = load(store, run).run.codec.ids[found.answers[1][0]]
    assert {name for name, said in rows.items() if said} == {asked}
    assert rows[asked] == "False"
    assert "icm_audit_label" not in next(read_labels(store, run).rows())


# -- answers that are there already


def test_gold_answers_without_leaving_a_trace(store: Store) -> None:
    run = add_run(store, "finished")
    before = "\n".join(store.db.conn.iterdump())
    found = audit.answered_by(store, load(store, run), "gold", 10, 4)
    reading = load(store, run)
    right = [reading.labeling[i] == reading.gold[reading.run.codec.ids[i]] for i in found.places]
    assert len(found.answers) == 10
    assert [m for m in found.finding.marks if m is not None] == [
        right[found.places.index(i)] for i, _ in found.answers.values()
    ]
    facts = audit.facts(run, found, True)
    assert facts["supervised"] is True
    assert facts["audit"] is None
    assert facts["mirror"]["low"] == pytest.approx(1 - facts["high"])
    assert "\n".join(store.db.conn.iterdump()) == before


def test_people_and_columns_answer_what_they_have_labelled(store: Store) -> None:
    run = add_run(store, "finished")
    ids = list(load(store, run).run.codec.ids)
    add_human(store, "sums", "ann", {name: "True" for name in ids[:7]})
    assert len(audit.answered_by(store, load(store, run), "ann", 20, 1).places) <= 7
    with pytest.raises(NotFound, match="'bob' has no label of an example of this run: use gold, ann, question, claim"):
        audit.answered_by(store, load(store, run), "bob", 20, 1)


def test_an_audit_of_the_mirrored_labels_of_facts_says_mirrored_within_15_answers(store: Store) -> None:
    """100 seeds, about 64 labels: gold with 4 wrong ones, as ICM leaves them (docs/results.md), swapped."""
    ensure_sample_dataset(store, "facts")
    opened = open_run(store, store.add_run(RunSpec("facts", "fake", limit=64)))
    ids = list(opened.codec.ids)
    known = load(store, opened.name).gold
    swap = {"True": "False", "False": "True"}
    labels = {name: gold if k % 16 == 0 else swap[gold] for k, name in enumerate(ids) for gold in [known[name]]}
    run = labelled(store, "facts", labels, 64)
    reading = load(store, run)
    found = [audit.answered_by(store, reading, "gold", 15, seed).finding for seed in range(100)]
    assert sum(one.verdict == "mirrored" for one in found) >= 95
    assert not any(one.verdict == "right" for one in found)
    mirror = found[0].mirror
    assert mirror is not None
    assert mirror.verdict == "right"


def test_gold_of_the_audited_labels_alone_is_read(store: Store) -> None:
    small_dataset(store, gold=False)
    run = add_run(store, "finished")
    ids = list(load(store, run).run.codec.ids)
    add_gold(store, "sums", {name: "True" for name in ids[:5]})
    found = audit.answered_by(store, load(store, run), "gold", 20, 1)
    assert {ids[i] for i in found.places} == set(ids[:5]) & {ids[i] for i in load(store, run).labeling}
