"""Two label sources on the same examples: how far they agree, and which is nearer to a reference.

Sources are runs, people, gold and stored zero-shot labels. Of the examples that both label and the reference has, b are
right in the first source alone and c in the second alone. Exact McNemar asks how likely a split of b + c as uneven as
this is if both are equally good:

    p = min(1, 2 P(X <= min(b, c)))     X binomial, b + c draws, 1/2

It takes examples as independent. The interval of the difference resamples whole groups instead (`analysis.evaluation`).
A pair and its swapped twin are one judgement, so the twin is left out.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import NamedTuple

from icm_engine import jobs
from icm_engine.analysis import evaluation
from icm_engine.analysis.evaluation import Estimate, Right
from icm_engine.analysis.formatting import decimal, percent
from icm_engine.analysis.gold_agreement import gold_shown
from icm_engine.analysis.label_history import is_right
from icm_engine.analysis.run_history import Reading
from icm_engine.analysis.seed_agreement import SeedAgreement, agreement, labels_of
from icm_engine.analysis.views import load
from icm_engine.core.errors import NotFound, SettingError
from icm_engine.core.labeling import Example, Label, judgements
from icm_engine.data.gold import gold_of, human_of, human_sources, load_gold, load_human
from icm_engine.jobs.rescoring import ZERO_SHOT
from icm_engine.jobs.restarts import Labels
from icm_engine.store.events import Json
from icm_engine.store.replay import state_at
from icm_engine.store.store import Store

GOLD, AUDIT = "gold", "audit"  # names of sources beside runs, sets of human labels and ZERO_SHOT
LANDSCAPES = ("landscape", "witness")  # kinds of jobs whose result has labelings of a run
Look = Callable[[str], Reading]


def zero_shot_labels(store: Store, dataset: str, reading: Reading | None = None) -> dict[str, Label]:
    """Return stored labels that a model gave without demonstrations, by example id; empty if there are none.

    Of a run's own model: of the newest run with this source, else of a landscape of the run. Without a run, of any
    model.
    """
    for name in store.run_names():
        spec = store.spec(name)
        own = reading is None or spec.model == reading.run.spec.model
        if spec.source == ZERO_SHOT and spec.dataset == dataset and own and (labels := labels_of(load(store, name))):
            return labels
    return _zero_shot_of_landscape(store, reading) if reading is not None else {}


def _zero_shot_of_landscape(store: Store, reading: Reading) -> dict[str, Label]:
    ids = reading.run.codec.ids
    for job in jobs.names(store, LANDSCAPES[0], run=reading.run.name):
        found = jobs.result(store, job) or {"rows": []}
        rows = {row["name"]: row["labels"] for row in found["rows"]}
        state = state_at(store, reading.run, found["event"]) if ZERO_SHOT in rows else None
        if state is not None:
            return {ids[i]: label for i, label in zip(state.labeling, rows[ZERO_SHOT], strict=True)}
    return {}


def audit_answers(reading: Reading) -> dict[str, Label]:
    """Return a person's answers in the audits of a run by example id, the last answer of each."""
    said = {body["example"]: body["answer"] for body in reading.audited}
    return {example: answer for example, answer in said.items() if answer is not None}


def sources_of(store: Store, reading: Reading, names: Sequence[str]) -> list[str]:
    """Return what a run can be compared with: runs on its data (of `names`), human labels, zero-shot labels, gold."""
    dataset = reading.run.spec.dataset
    runs = [name for name in names if store.spec(name).dataset == dataset]
    others = [*human_sources(store, dataset)]
    if zero_shot_labels(store, dataset, reading):
        others.append(ZERO_SHOT)
    return [*runs, *others, *([GOLD] if gold_shown(reading) else [])]


def references_of(store: Store, reading: Reading) -> list[str]:
    """Return what can say which of two labels is right: gold, audit answers, human labels."""
    gold, answers = [GOLD] if gold_shown(reading) else [], [AUDIT] if audit_answers(reading) else []
    return [*gold, *answers, *human_sources(store, reading.run.spec.dataset)]


def labels_named(store: Store, reading: Reading, name: str, look: Look) -> dict[str, Label]:
    """Return the labels of a source for the examples of a run; `look` reads a run. Raises NotFound, SettingError."""
    run, ids = reading.run, list(reading.run.codec.ids)
    if store.has_run(name):
        if (other := store.spec(name).dataset) != run.spec.dataset:
            raise SettingError(f"run {name!r} labels data set {other!r}: name a run on {run.spec.dataset!r}")
        return labels_of(look(name))
    if name == GOLD:
        return gold_of(store, run.dataset.name, ids)
    if name == AUDIT:
        return audit_answers(reading)
    if name == ZERO_SHOT:
        return zero_shot_labels(store, run.spec.dataset, reading)
    known = human_of(store, run.dataset.name, ids)
    if name not in known:
        raise NotFound(f"{name!r} has no labels here: name a run, {GOLD}, {ZERO_SHOT}{_listed_names(known)}")
    return known[name]


def _listed_names(known: Iterable[str]) -> str:
    return "".join(f", {name}" for name in known)


class PairedRow(NamedTuple):
    """One example with the labels of two sources, and that of the reference, if there is one."""

    example: str  # id
    group: str
    one: Label
    other: Label
    truth: Label | None


@dataclass(frozen=True)
class Paired:
    """Two label sources on the examples that both label, and the reference if there is one; `twins` are left out."""

    names: tuple[str, str]
    labels: tuple[Label, ...]
    reference: str | None
    rows: tuple[PairedRow, ...]
    twins: int

    @cached_property
    def agreement(self) -> SeedAgreement:
        """Share of equal labels, and Cohen's kappa."""
        return agreement([{row.example: row.one for row in self.rows}, {row.example: row.other for row in self.rows}])

    @cached_property
    def confusion(self) -> tuple[tuple[int, ...], ...]:
        """Examples by label of the first source (rows) and of the second (columns)."""
        counts = Counter((row.one, row.other) for row in self.rows)
        return tuple(tuple(counts[a, b] for b in self.labels) for a in self.labels)

    @property
    def apart(self) -> list[PairedRow]:
        """The examples on which the two differ."""
        return [row for row in self.rows if row.one != row.other]

    @property
    def groups(self) -> int:
        return len({row.group for row in self.rows})

    @property
    def depend(self) -> bool:
        """Whether examples share groups, so that they may depend on each other."""
        return self.groups < len(self.rows)

    @cached_property
    def against(self) -> "AgainstReference | None":
        """The two against the reference; None without one, or without examples."""
        if self.reference is None or not self.rows:
            return None
        one = [(row.group, is_right(row.one, row.truth or "")) for row in self.rows]
        other = [(row.group, is_right(row.other, row.truth or "")) for row in self.rows]
        marks = Counter((a, b) for (_, a), (_, b) in zip(one, other, strict=True))
        return against_reference(evaluation.by_group(one), evaluation.by_group(other), marks)


@dataclass(frozen=True, slots=True)
class AgainstReference:
    """Two label sources against a reference: accuracies, their difference, and on how many examples which is right."""

    one: Estimate
    other: Estimate
    difference: Estimate
    both_right: int
    only_one: int
    only_other: int
    neither: int

    @property
    def p(self) -> float:
        return mcnemar(self.only_one, self.only_other)


def against_reference(one: Right, other: Right, marks: Mapping[tuple[bool, bool], int]) -> AgainstReference:
    """Return what two sources have right, by group, with their examples counted by who is right."""
    counts = [marks.get(key, 0) for key in ((True, True), (True, False), (False, True), (False, False))]
    single = evaluation.estimate([one]), evaluation.estimate([other])
    return AgainstReference(*single, evaluation.difference([one], [other]), *counts)


def mcnemar(only_one: int, only_other: int) -> float:
    """Return the two-sided p value of the exact McNemar test.

    By hand, for 1 against 5: 2 (C(6, 0) + C(6, 1)) / 2^6 = 14/64.

    >>> mcnemar(1, 5), mcnemar(0, 0)
    (0.21875, 1.0)
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    return float(exact([[0, only_one], [only_other, 0]], exact=True).pvalue)


def paired(
    examples: Iterable[Example],
    labels: Sequence[Label],
    names: tuple[str, str],
    sides: tuple[Labels, Labels],
    reference: tuple[str, Labels] | None = None,
) -> Paired:
    """Return two label sources on the examples that both label, and the reference if there is one."""
    (one, other), truth = sides, reference[1] if reference else None
    common = {e.id: e for e in examples if e.id in one and e.id in other and (truth is None or e.id in truth)}
    rows = tuple(
        PairedRow(name, common[name].group, one[name], other[name], None if truth is None else truth[name])
        for name in judgements(common)
    )
    return Paired(names, tuple(labels), reference[0] if reference else None, rows, len(common) - len(rows))


def paired_in(store: Store, reading: Reading, one: str, other: str, reference: str | None, look: Look) -> Paired:
    """Return two named sources on the examples of a run, against a named reference if there is one. Raises IcmError.

    Gold is refused if a run among them is annotated blind.
    """
    if GOLD in (one, other, reference):
        _require_seen([reading, *(look(name) for name in (one, other) if store.has_run(name))])
    sides = labels_named(store, reading, one, look), labels_named(store, reading, other, look)
    truth = (reference, labels_named(store, reading, reference, look)) if reference else None
    if truth and reference == AUDIT:  # answers in an audit of the other run are a person's too
        truth = AUDIT, _all_answers(store, (one, other), look) | truth[1]
    ids = [name for name in sides[0] if name in sides[1] and (truth is None or name in truth[1])]
    examples, place = reading.run.dataset.examples, reading.run.codec.index
    known = frozenset(reading.run.codec.ids)
    order = sorted(place(name) for name in ids if name in known)
    return paired((examples[i] for i in order), reading.tally.labels, (one, other), sides, truth)


def _require_seen(readings: Iterable[Reading]) -> None:
    if blind := next((one.run.name for one in readings if one.blind), None):
        raise SettingError(f"run {blind!r} is annotated blind: its gold is hidden")


def _all_answers(store: Store, names: Iterable[str], look: Look) -> dict[str, Label]:
    answers = dict[str, Label]()
    for name in names:
        if store.has_run(name):
            answers |= audit_answers(look(name))
    return answers


def compare(
    store: Store, one: str, other: str, reference: str | None = None, dataset: str | None = None
) -> tuple[str, Paired]:
    """Return the data set and two named label sources on it. Raises IcmError.

    The data set is that of the first run among the two, unless one is named. Without a run, gold and human labels alone
    are known.
    """
    run = next((name for name in (one, other) if store.has_run(name)), None)
    if run is not None:
        reading = load(store, run)
        found = paired_in(store, reading, one, other, reference, lambda name: load(store, name))
        return reading.run.spec.dataset, found
    if dataset is None:
        raise SettingError(f"neither {one!r} nor {other!r} is a run: name the data set too (--dataset)")
    info, known = store.dataset_info(dataset), _of_people(store, dataset)
    for name in filter(None, (one, other, reference)):
        if name not in known:
            raise NotFound(f"{name!r} has no labels in data set {dataset!r}: name a run{_listed_names(known)}")
    truth = (reference, known[reference]) if reference else None
    sides = known[one], known[other]
    return dataset, paired(store.examples(dataset), info.task.labels, (one, other), sides, truth)


def _of_people(store: Store, dataset: str) -> dict[str, Mapping[str, Label]]:
    human = {source: found.labels for source, found in load_human(store, dataset).items()}
    zero = zero_shot_labels(store, dataset)
    return {**human, **({ZERO_SHOT: zero} if zero else {}), GOLD: load_gold(store, dataset).labels}


def paired_words(found: Paired) -> list[str]:
    """Say what a comparison found, in a few sentences; without a reference, how far the two agree."""
    one, other = found.names
    if not found.rows:
        by = f" and {found.reference}" if found.reference else ""
        return [f"No example has a label of {one}, {other}{by}."]
    agreed = found.agreement
    kappa = "not defined, since all labels are equal" if agreed.kappa is None else decimal(agreed.kappa, 2)
    said = [
        f"{one} and {other} agree on {percent(agreed.raw)} of {len(found.rows):,} examples. Cohen's kappa: {kappa}."
    ]
    if (against := found.against) is not None:
        said += _against_words(found, against)
    if found.twins:
        said.append(f"{found.twins:,} swapped twins are left out: a pair is one judgement.")
    return said


def _against_words(found: Paired, against: AgainstReference) -> list[str]:
    one, other = found.names
    gap = against.difference
    grouped = " It takes examples as independent; the interval resamples whole groups." if found.depend else ""
    return [
        f"Against {found.reference}, {one} is right in {percent(against.one.mean)} and {other} in "
        f"{percent(against.other.mean)}: {points(gap)}.",
        f"{one} alone is right in {against.only_one:,}, {other} alone in {against.only_other:,}. "
        f"Exact McNemar: p = {p_words(against.p)}.{grouped}",
    ]


def points(gap: Estimate) -> str:
    """Return a difference in percentage points with its interval.

    >>> points(Estimate(0.1, -0.02, 0.22, (0.1,)))
    '+10.0 points [-2.0, +22.0]'
    """
    return f"{100 * gap.mean:+.1f} points [{100 * gap.low:+.1f}, {100 * gap.high:+.1f}]"


def p_words(p: float) -> str:
    """Return a p value with two digits that count.

    >>> p_words(0.21875), p_words(0.00042), p_words(1.0)
    ('0.22', '0.00042', '1')
    """
    return f"{p:.2g}"


def paired_facts(dataset: str, found: Paired) -> Json:
    """Return a comparison as JSON."""
    against = found.against
    return {
        "one": found.names[0],
        "other": found.names[1],
        "dataset": dataset,
        "reference": found.reference,
        "examples": len(found.rows),
        "groups": found.groups,
        "twins_left_out": found.twins,
        "agreement": found.agreement.raw,
        "kappa": found.agreement.kappa,
        "labels": list(found.labels),
        "confusion": [list(row) for row in found.confusion],
        "against_reference": None if against is None else {**asdict(against), "mcnemar_p": against.p},
    }
