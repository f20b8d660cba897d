"""Restarts as pages and commands show them: which chain is proposed and why, and warnings about the choice.

The job makes the choice, without gold; it is only described here.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from icm_engine import jobs
from icm_engine.analysis.alerts import collapsed
from icm_engine.analysis.formatting import decimal, percent
from icm_engine.analysis.run_form import begin, put_sample
from icm_engine.analysis.seed_agreement import SeedAgreement, agreement, labels_of
from icm_engine.analysis.views import load
from icm_engine.cluster import ClusterSpec
from icm_engine.jobs import restarts
from icm_engine.jobs.restarts import WIDE, Support, job_of
from icm_engine.jobs.restarts import chains_of as chains_of
from icm_engine.runs import control
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas

# a share of U: a smaller lead may come from the order of demonstrations, which differs by seed. On the sample model,
# chains with identical labels had U from 83.6 to 93.4 (16 examples) and from 88.3 to 91.6 (32 examples)
CLOSE = 0.1


@dataclass(frozen=True, slots=True)
class ChainOutcome:
    """One chain of a restarts job, finished or in progress.

    `compared` is the number it was compared by, None if it was not; `same` is the share of its labels that equal the
    proposal's; `mirror` says that it agrees with the mirrored proposal.
    """

    run: str
    seed: int
    phase: str
    message: str
    utility: float | None
    labelled: int
    steered: bool = False
    counts: bool = False
    compared: float | None = None
    same: float | None = None
    mirror: bool = False
    proposed: bool = False

    @property
    def role(self) -> str:
        """Its role in the choice, in a few words."""
        if self.proposed:
            return "proposed"
        if self.steered:
            return "not counted: changed by a person"
        if not self.counts:
            return f"not counted: {self.phase}"
        if self.compared is None:
            return "not compared: labelled too few"
        return "the proposal's mirror" if self.mirror else "compared"


@dataclass(frozen=True)
class Proposal:
    """The result of a restarts job."""

    run: str
    per_example: bool  # U was divided by the number of labelled examples
    outcomes: tuple[ChainOutcome, ...]
    supports: Mapping[str, Support]  # by example id

    @property
    def best(self) -> ChainOutcome:
        return next(one for one in self.outcomes if one.proposed)

    @property
    def second(self) -> ChainOutcome | None:
        """The best of the other compared chains; None if there are none."""
        others = [(one.compared, one) for one in self.outcomes if one.compared is not None and not one.proposed]
        return max(others, key=lambda pair: pair[0])[1] if others else None

    @property
    def compared(self) -> int:
        return sum(one.compared is not None for one in self.outcomes)

    @property
    def counted(self) -> tuple[str, ...]:
        """The runs that agreement is computed over."""
        return tuple(one.run for one in self.outcomes if one.counts)

    @property
    def has_mirror(self) -> bool:
        return any(one.mirror for one in self.outcomes)


def proposal(found: Json) -> Proposal:
    """Return a restarts job's stored result as a Proposal."""
    supports = [Support(**row) for row in found["examples"]]
    return Proposal(
        found["proposed"],
        found["per_example"],
        tuple(ChainOutcome(**row) for row in found["chains"]),
        {support.example: support for support in supports},
    )


def proposal_of(store: Store, job: str) -> Proposal | None:
    """Return what a restarts job found; None while it is unfinished."""
    found = jobs.result(store, job)
    return proposal(found) if found is not None else None


def standing(store: Store, job: str) -> tuple[ChainOutcome, ...]:
    """Return the state of the chains while there is no result."""
    statuses = {run: control.status(store, run) for run in chains_of(store, job)}
    outcomes = []
    for run, now in statuses.items():
        message = f"{now.steps:,} of {now.max_steps:,} steps" if now.phase != "failed" else now.message
        outcomes.append(ChainOutcome(run, store.spec(run).search.seed, now.phase, message, None, 0))
    return tuple(outcomes)


def submit(
    store: Store,
    spec: RunSpec,
    chains: int,
    side_by_side: int = restarts.SIDE_BY_SIDE,
    where: ClusterSpec | None = None,
) -> str:
    """Start a job with this many chains, first importing a sample data set; return its name."""
    put_sample(store, spec.dataset)
    return restarts.submit(store, spec, chains, side_by_side, where)


def begin_chains(store: Store, spec: RunSpec, chains: int) -> str:
    """Start one run, or a job of several chains; return the first run."""
    return begin(store, spec) if chains == 1 else chains_of(store, submit(store, spec, chains))[0]


# -- words


def why(found: Proposal) -> str:
    """Say in one sentence which chain is proposed and why, with the numbers."""
    best, second = found.best, found.second
    if second is None:
        return f"{best.run} (seed {best.seed}) is proposed: no other chain can be compared with it."
    what = "U per labelled example" if found.per_example else "U"
    first = f"{best.run} (seed {best.seed}) is proposed: its {what} is {decimal(best.compared, 2)}"
    first = f"{first}, the highest of {found.compared} chains"
    if second.compared == best.compared:
        return f"{first}; {second.run} has the same, and the first is taken."
    return f"{first}; {second.run} is next, {decimal(second.compared, 2)}."


def warnings(found: Proposal) -> tuple[str, ...]:
    """Return warnings to read before trusting the choice."""
    return (*_constant(found), *_left_out(found), *_sizes(found), *_close(found), *_mirrors(found))


def _constant(found: Proposal) -> list[str]:
    """Warn of a proposal that gives all examples one label, which a model may find most coherent."""
    told = collapsed(Counter(support.label for support in found.supports.values()))
    return [f"Of the proposal, {told} U cannot tell: compare with the other chains."] if told else []


def _left_out(found: Proposal) -> list[str]:
    told = []
    for one in found.outcomes:
        if not one.counts:
            reason = "a person changed it on the way" if one.steered else f"{one.phase}, {one.message}"
            told.append(f"{one.run} (seed {one.seed}) is not counted: {reason}.")
    return told


def _sizes(found: Proposal) -> list[str]:
    """Warn of chains that labelled different numbers of examples."""
    counted, told = [one for one in found.outcomes if one.counts], []
    most = max(one.labelled for one in counted)
    for one in counted:
        if one.compared is None:
            told.append(
                f"{one.run} labelled {one.labelled:,} examples, less than {WIDE:.0%} of the {most:,} of another chain, "
                "and is not compared: few examples of one label predict each other best."
            )
    sizes = sorted({one.labelled for one in counted if one.compared is not None})
    if len(sizes) > 1:
        told.append(f"The chains compared labelled {sizes[0]:,} to {sizes[-1]:,} examples. {_SIZES[found.per_example]}")
    return told


_SIZES = {
    True: "P is a sum here and falls with every example, so U was divided by their number: a small lead says little.",
    False: "P is a mean over each chain's own examples, so each U is about others: a small lead says little.",
}


def _close(found: Proposal) -> list[str]:
    """Warn of another chain that is equally good and disagrees."""
    best, second = found.best.compared, found.second
    if best is None or second is None or second.compared is None or second.same == 1.0:
        return []
    lead = best - second.compared
    if lead >= CLOSE * max(abs(best), abs(second.compared)):
        return []
    return [
        f"The lead over {second.run} is {decimal(lead, 2)}, and it gives other labels to some examples. The order of "
        f"demonstrations, which differs by seed, was seen to move U by up to {CLOSE:.0%}: take the two as equally good."
    ]


def _mirrors(found: Proposal) -> list[str]:
    return [
        f"{one.run} agrees with the mirror of the proposal ({percent(one.same)} equal labels). Only U chose between "
        "them, and it can be as high for mirrored labels: look at a few examples before you trust either."
        for one in found.outcomes
        if one.mirror
    ]


def agreement_of(store: Store, found: Proposal) -> SeedAgreement | None:
    """Return the agreement of the chains that count; None for a single one."""
    labelings = [labels_of(load(store, run)) for run in found.counted]
    return agreement(labelings) if len(labelings) > 1 else None


def membership(store: Store, run: str) -> str | None:
    """Say in a sentence which job a chain belongs to; None if it belongs to none."""
    job = job_of(store, run)
    if job is None:
        return None
    chains, found = chains_of(store, job), proposal_of(store, job)
    first = f"Chain {chains.index(run) + 1} of {len(chains)} that differ in their seed alone."
    if found is not None:
        return f"{first} {why(found)}"
    done = sum(control.status(store, one).complete for one in chains)
    return f"{first} {done} of them finished; the best by U is proposed when all have ended."


# -- tables


def outcomes_frame(found: Proposal) -> "pandas.DataFrame":
    """Return the finished chains; the compared number has a column only if it is not U itself."""
    import pandas

    frame = pandas.DataFrame(
        [
            {
                "run": one.run,
                "seed": one.seed,
                "status": one.phase,
                "labelled": one.labelled,
                "U": one.utility,
                "U per example": one.compared,
                "same as proposed": one.same,
                "in the choice": one.role,
            }
            for one in found.outcomes
        ]
    )
    return frame if found.per_example else frame.drop(columns="U per example")


def standing_frame(outcomes: Sequence[ChainOutcome]) -> "pandas.DataFrame":
    """Return the chains in progress."""
    import pandas

    rows: list[dict[str, Any]] = []
    for one in outcomes:
        rows.append({"run": one.run, "seed": one.seed, "status": one.phase, "so far": one.message})
    return pandas.DataFrame(rows)


def supports_frame(rows: "pandas.DataFrame", found: Proposal) -> "pandas.DataFrame":
    """Return examples with the proposed label and the share of chains that give it."""
    import pandas

    supports = [found.supports[example] for example in rows["example"]]
    front = pandas.DataFrame({"proposed": [one.label for one in supports], "give it": [one.share for one in supports]})
    if found.has_mirror:
        front["mirrors turned"] = [one.turned_share for one in supports]
    return pandas.concat([front, rows], axis="columns")
