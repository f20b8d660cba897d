"""How far a run's labels can be trusted: a person labels some of its examples, drawn at random, without seeing them.

An audit is about the labels after one event. Its questions are drawn without replacement, each example not yet asked
about being equally likely (docs/design.md: no other design gave narrower intervals). A number K of right labels among N
is excluded once

    mixture / likelihood(K) >= 1 / (1 - LEVEL)     likelihood(K) = [K]_r [N - K]_w / [N]_(r + w)

where r of n answers agree with the label, w do not, [K]_r is K (K - 1) ... (K - r + 1), and the mixture is the mean of
the likelihood over all K from 0 to N, 1 / ((n + 1) C(n, r)). Under the true K the ratio is a martingale that begins at
1, so it ever reaches 20 with a probability of at most 1/20: the interval holds after every answer, whenever a person
looks or stops (Waudby-Smith and Ramdas 2020, Confidence sequences for sampling without replacement, arXiv 2006.04347).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from math import lgamma, log
from typing import Literal

from icm_engine.analysis.formatting import percent
from icm_engine.analysis.gold_agreement import LEVEL
from icm_engine.analysis.run_history import Reading
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Label
from icm_engine.data.gold import gold_of, human_of
from icm_engine.data.spellings import folded
from icm_engine.store.bodies import AuditBody
from icm_engine.store.events import Json
from icm_engine.store.replay import AUDIT, SIMPLE, audit_draw, audited_places, state_at
from icm_engine.store.store import Store

Verdict = Literal["right", "mirrored", "wrong", "chance", "undecided"]
Bounds = tuple[float, float]
HALF = 0.5
BAND = 0.1  # accuracies this near to chance count as no better
ONE_SIDED = 0.8  # share of one label from which accuracy says little
FEW = 5  # answers from which the number still needed is foreseen
HORIZON = 2000  # further answers that are looked ahead at most
GOLD = "gold"


# -- the interval after some answers


def log_evidence(size: int, right: int, asked: int, total: int) -> float:
    """Return the log of mixture / likelihood for `total` right labels among `size`.

    Of two labels one was asked about and is right. Mixture: 1 / (2 · 1). One of two right: likelihood 1/2, ratio 1.
    Both right: likelihood 1, ratio 1/2.

    >>> log_evidence(2, 1, 1, 1), round(2.718281828 ** log_evidence(2, 1, 1, 2), 6)
    (0.0, 0.5)
    """
    wrong = asked - right
    mixture = _log_factorial(right) + _log_factorial(wrong) - _log_factorial(asked + 1)
    return mixture - _log_falling(total, right) - _log_falling(size - total, wrong) + _log_falling(size, asked)


def _log_factorial(n: int) -> float:
    return lgamma(n + 1)


def _log_falling(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(n - k + 1)


@cache
def plausible(size: int, right: int, asked: int) -> tuple[int, int]:
    """Return the fewest and the most right labels among `size` that these answers do not exclude.

    >>> plausible(100, 0, 0), plausible(100, 8, 8), plausible(100, 0, 8)
    ((0, 100), (54, 100), (0, 46))
    """
    if not asked:
        return 0, size
    wrong, limit = asked - right, -log(1 - LEVEL)
    likeliest = min(max((size + 1) * right // asked, right), size - wrong)

    def kept(total: int) -> bool:
        return log_evidence(size, right, asked, total) < limit

    return _outermost(kept, likeliest, right), _outermost(kept, likeliest, size - wrong)


def _outermost(kept: Callable[[int], bool], inside: int, end: int) -> int:
    """The kept number nearest to `end`; the likelihood falls on both sides of the likeliest number."""
    if kept(end):
        return end
    while abs(end - inside) > 1:
        middle = (inside + end) // 2
        inside, end = (middle, end) if kept(middle) else (inside, middle)
    return inside


def intervals(size: int, marks: Iterable[bool | None]) -> Iterator[Bounds]:
    """Yield the interval of the accuracy after each answer: right, wrong, or None where the person cannot tell.

    An interval only ever shrinks, since all of them hold together. Examples that the person cannot judge are left out
    of the `size` too.
    """
    low, high, counts = 0.0, 1.0, Counter[bool | None]()
    for mark in marks:
        counts[mark] += 1
        judged = size - counts[None]
        few, most = plausible(judged, counts[True], counts[True] + counts[False]) if judged else (0, 0)
        now = (few / judged, most / judged) if judged else (0.0, 1.0)
        narrower = max(low, now[0]), min(high, now[1])
        low, high = narrower if narrower[0] <= narrower[1] else now  # apart: in one of twenty audits at most
        yield low, high


# -- the verdict


def verdict_of(low: float, high: float, labels: int) -> Verdict:
    """Return what an interval of the accuracy says; `labels` is the number of labels of the task.

    >>> verdict_of(0.6, 0.9, 2), verdict_of(0.05, 0.4, 2), verdict_of(0.05, 0.34, 3), verdict_of(0.41, 0.58, 2)
    ('right', 'mirrored', 'chance', 'chance')
    """
    if low > HALF:
        return "right"
    if high < HALF and labels == 2:
        return "mirrored"
    if high <= 1 / labels + BAND and (labels > 2 or low >= HALF - BAND):
        return "chance"
    return "wrong" if high <= HALF and labels > 2 else "undecided"


@dataclass(frozen=True)
class AuditFinding:
    """What the answers so far say about the labels: `size` labels are audited, `labels` are those of the task.

    `pairs` has (label, answer) in the order of the questions; an answer None says that the person cannot tell.
    `given` counts the audited labels.
    """

    size: int
    labels: tuple[Label, ...]
    pairs: tuple[tuple[Label, Label | None], ...]
    given: Mapping[Label, int]

    @property
    def marks(self) -> list[bool | None]:
        return [None if answer is None else answer == label for label, answer in self.pairs]

    @cached_property
    def intervals(self) -> list[Bounds]:
        """The interval after each answer."""
        return list(intervals(self.size, self.marks))

    @property
    def right(self) -> int:
        return self.marks.count(True)

    @property
    def wrong(self) -> int:
        return self.marks.count(False)

    @property
    def unsure(self) -> int:
        return self.marks.count(None)

    @property
    def judged(self) -> int:
        return self.right + self.wrong

    @property
    def estimate(self) -> float | None:
        """The share of right labels among those judged."""
        return self.right / self.judged if self.judged else None

    @property
    def bounds(self) -> Bounds:
        """The interval of the accuracy now."""
        return self.intervals[-1] if self.pairs else (0.0, 1.0)

    @property
    def verdict(self) -> Verdict:
        return verdict_of(*self.bounds, len(self.labels))

    @property
    def mirror(self) -> "AuditFinding | None":
        """The same answers about the labels with both swapped; None unless the task has two."""
        if len(self.labels) != 2:
            return None
        swap = dict(zip(self.labels, reversed(self.labels), strict=True))
        pairs = tuple((swap[label], answer) for label, answer in self.pairs)
        return AuditFinding(self.size, self.labels, pairs, {swap[label]: n for label, n in self.given.items()})

    @property
    def balanced(self) -> float | None:
        """The mean over answers of the share of right labels; None until each of two labels at least was answered."""
        said = defaultdict[Label, list[bool]](list)
        for label, answer in self.pairs:
            if answer is not None:
                said[answer].append(label == answer)
        return sum(sum(marks) / len(marks) for marks in said.values()) / len(said) if len(said) > 1 else None

    @cached_property
    def more(self) -> int | None:
        """About how many more answers decide, if they go on as they began; None beyond `HORIZON`.

        Answers are foreseen at the rate (right + 1) / (judged + 2).
        """
        most = min(HORIZON, self.size - len(self.pairs))
        if self.verdict != "undecided":
            return 0
        if not self._decided(most):
            return None
        low, high = 0, most
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._decided(middle) else (middle, high)
        return high

    def _decided(self, more: int) -> bool:
        """Whether the verdict is known after so many more answers."""
        right = self.right + round(more * (self.right + 1) / (self.judged + 2))
        size, asked = self.size - self.unsure, self.judged + more
        if not asked:
            return False
        few, most = plausible(size, min(right, self.right + more), asked)
        return verdict_of(few / size, most / size, len(self.labels)) != "undecided"


# -- in words


VERDICTS: Mapping[Verdict, str] = {
    "right": "Right",
    "mirrored": "Mirrored",
    "wrong": "Wrong",
    "chance": "No better than chance",
    "undecided": "Cannot tell yet",
}


def verdict_words(found: AuditFinding) -> str:
    """Return what the verdict rests on, in a sentence or two."""
    low, high = found.bounds
    between = f"Between {percent(low)} and {percent(high)} of the labels are right."
    if low == high:
        return f"{percent(low)} of the labels are right: every one was judged."
    if found.verdict == "mirrored":
        return f"At most {percent(high)} of the labels are right. Swapped, at least {percent(1 - high)} are."
    return f"{between} {_more_words(found)}" if found.verdict == "undecided" else between


def _more_words(found: AuditFinding) -> str:
    if found.judged < FEW:
        return "Ten to twenty answers are often enough."
    if found.more is None:
        return f"More than {HORIZON:,} more answers would be needed if they go on like this."
    return f"About {found.more:,} more answer{'' if found.more == 1 else 's'} would be needed if they go on like this."


def caution_words(found: AuditFinding) -> str:
    """Say that accuracy means little where nearly all labels are equal; empty elsewhere."""
    label, count = max(found.given.items(), key=lambda row: row[1], default=("", 0))
    if not found.size or count / found.size < ONE_SIDED:
        return ""
    so_far = "" if found.balanced is None else f" Balanced accuracy so far: {percent(found.balanced)}."
    return (
        f"{percent(count / found.size)} of the labels are {label}. If the truth is as one-sided, labels that ignore "
        f"the texts are right as often.{so_far}"
    )


def answers_words(found: AuditFinding) -> str:
    """Say how many labels are audited, how many answers agree, and the accuracy of the labels and of their mirror."""
    if not found.judged:
        return f"{found.size:,} labels are audited."
    unsure = f", {found.unsure:,} left out" if found.unsure else ""
    mirror = f"; with both labels swapped {_share(found.mirror)}" if found.mirror else ""
    return (
        f"{found.right:,} of {found.judged:,} answers agree with the label{unsure}. Accuracy of the {found.size:,} "
        f"labels: {_share(found)}{mirror}."
    )


def _share(found: AuditFinding) -> str:
    low, high = found.bounds
    return f"{percent(found.estimate)} [{percent(low)}, {percent(high)}]"


# -- the audits of a run


@dataclass(frozen=True)
class Audit:
    """One audit of a run: what is audited, and the answers so far by number of the question, from 1."""

    number: int
    after: int
    seed: int
    places: tuple[int, ...]
    labels: tuple[Label, ...]
    labeling: Mapping[int, Label] = field(repr=False)
    answers: Mapping[int, tuple[int, Label | None]] = field(default_factory=dict)  # the place, and what was said

    @property
    def finding(self) -> AuditFinding:
        """What the answers say."""
        pairs = tuple((self.labeling[place], answer) for place, answer in self.answers.values())
        return AuditFinding(len(self.places), self.labels, pairs, Counter(self.labeling[i] for i in self.places))

    @property
    def next(self) -> int:
        """The number of the next question."""
        return len(self.answers) + 1

    def place(self, number: int) -> int | None:
        """Return the place of the example that a question is about; None if every example was asked about."""
        return self.places[audit_draw(self.seed, len(self.places), number)] if number <= len(self.places) else None


def audit_of(store: Store, reading: Reading, seed: int | None = None, fresh: bool = False) -> Audit:
    """Return the last audit of a run; a new one where there is none, or with `fresh`. Raises SettingError.

    A new audit is about the labels that the run has now. Its seed is its number, unless one is given.
    """
    last = max((body["audit"] for body in reading.audited), default=0)
    said = [body for body in reading.audited if body["audit"] == last and not fresh]
    if said:
        number, after, seed = last, said[0]["after"], said[0]["seed"]
    else:
        event = reading.trajectory.last
        number, after = last + 1, event.event if event else 0
        seed = number if seed is None else seed
    labeling, pins = _labels_after(store, reading, after)
    places, index = audited_places(reading.run, labeling, pins), reading.run.codec.index
    if not places:
        raise SettingError("this run has no labels to audit yet: take a step first")
    answers = {body["number"]: (index(body["example"]), body["answer"]) for body in said}
    return Audit(number, after, seed, places, reading.tally.labels, labeling, answers)


def _labels_after(store: Store, reading: Reading, after: int) -> tuple[Mapping[int, Label], frozenset[int]]:
    """The labels and pins after an event; those of now where nothing has changed since."""
    events = [*(change.event for change in reading.history[-1:]), *(act.event for act in reading.moments[-1:])]
    if all(event <= after for event in events):
        return reading.labeling, reading.pins
    state = state_at(store, reading.run, after)
    return (state.labeling, state.hand.pins) if state else ({}, frozenset())


def changed_since(reading: Reading, audit: Audit) -> int:
    """Return how many of the audited labels are other ones now."""
    return sum(reading.labeling.get(i) != audit.labeling[i] for i in audit.places)


def record(store: Store, reading: Reading, audit: Audit, number: int, answer: Label | None) -> None:
    """Append a person's answer to the run's log; the answer to an earlier question replaces the one before.

    The answer None says that the person cannot tell. Raises SettingError for a question that is not asked, or a label
    that does not exist.
    """
    place = audit.place(number)
    if place is None or not 1 <= number <= audit.next:
        raise SettingError(f"audit {audit.number} does not ask question {number}: answer question {audit.next}")
    if answer is not None and answer not in audit.labels:
        raise SettingError(f"label {answer!r} does not exist: use one of {', '.join(audit.labels)}")
    body: AuditBody = {
        "audit": audit.number,
        "number": number,
        "after": audit.after,
        "design": SIMPLE,
        "seed": audit.seed,
        "example": reading.run.codec.ids[place],
        "probability": 1 / (len(audit.places) - number + 1),
        "label": audit.labeling[place],
        "answer": answer,
    }
    with store.transaction():
        _require_turn(store, reading.run.name, audit, number)
        store.append(reading.run.name, AUDIT, body)


def _require_turn(store: Store, run: str, audit: Audit, number: int) -> None:
    """Raise SettingError if somebody else has answered meanwhile, or begun another audit."""
    asked = [event.audit for event in store.read_after(run, kinds=(AUDIT,)) if event.audit["audit"] >= audit.number]
    if number > len({body["number"] for body in asked}) + 1 or any(
        body["audit"] > audit.number or body["after"] != audit.after for body in asked
    ):
        raise SettingError(f"audit {audit.number} of {run!r} has gone on elsewhere: open it again")


# -- an audit that answers by itself


def answered_by(store: Store, reading: Reading, source: str, number: int, seed: int) -> Audit:
    """Return an audit with the answers of gold, of a set of human labels, or of a column; nothing is stored.

    It is about the labels that have an answer there. Raises NotFound for an unknown source.
    """
    audit = audit_of(store, reading, seed, fresh=True)
    said = _answers_in(store, reading, audit, source)
    places = tuple(i for i in audit.places if i in said)
    if not places:
        raise NotFound(f"{source!r} has no label of an example of this run: use gold, {_known(store, reading)}")
    drawn = {k: places[audit_draw(seed, len(places), k)] for k in range(1, min(number, len(places)) + 1)}
    return replace(audit, places=places, answers={k: (i, said[i]) for k, i in drawn.items()})


def _answers_in(store: Store, reading: Reading, audit: Audit, source: str) -> dict[int, Label]:
    run, ids = reading.run, {i: reading.run.codec.ids[i] for i in audit.places}
    if source == GOLD:
        found = gold_of(store, run.dataset.name, list(ids.values()))
    else:
        found = human_of(store, run.dataset.name, list(ids.values())).get(source, {})
    if found or source == GOLD:
        return {i: found[name] for i, name in ids.items() if name in found}
    names = {folded(label): label for label in audit.labels}
    cells = {i: names.get(folded(row.get(source) or "")) for i, row in enumerate(run.dataset.inputs) if i in ids}
    return {i: label for i, label in cells.items() if label is not None}


def _known(store: Store, reading: Reading) -> str:
    sources = human_of(store, reading.run.dataset.name, list(reading.run.codec.ids))
    return ", ".join([*sources, *reading.run.dataset.columns]) or "which it has to have"


def facts(run: str, audit: Audit, supervised: bool) -> Json:
    """Return what an audit found as JSON: for the labels, and for their mirror where there are two labels."""
    found = audit.finding
    return {
        "run": run,
        "audit": None if supervised else audit.number,
        "supervised": supervised,
        "seed": audit.seed,
        "after_event": audit.after,
        "labels_audited": found.size,
        "answers": len(found.pairs),
        "right": found.right,
        "wrong": found.wrong,
        "cannot_tell": found.unsure,
        "level": LEVEL,
        **_said(found),
        "more_answers": found.more,
        "balanced_accuracy": found.balanced,
        "largest_share": max(found.given.values()) / found.size,
        "mirror": _said(found.mirror) if found.mirror else None,
    }


def _said(found: AuditFinding) -> Json:
    low, high = found.bounds
    return {"accuracy": found.estimate, "low": low, "high": high, "verdict": found.verdict}
