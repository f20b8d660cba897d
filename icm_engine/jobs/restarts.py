"""Restarts: chains that differ only in their seed; one of them is proposed.

Chains that finished without a person's interventions are compared by U. Chains that labelled different numbers of
examples need two precautions. A sum of log p falls with every example, so the chain that labelled least would have the
highest U: with that form of P, U is divided by the number of labelled examples (each form declares how it compares, in
`core.objective`). And a few examples of one label predict each other best, in every form but the centred one: a chain
is therefore compared only if it labelled at least the share `WIDE` of the most that any chain labelled. The margin is
deliberate, so that a mirror that labelled everything does not win for that reason alone. If the numbers differ, the
result is shown with a warning.

A chain is an ordinary run with its own worker. This process only starts chains, a few at a time, waits, and compares
how they ended. It has no model and reads no gold. It is a job, so chains continue when the page is closed. Progress is
read from the chains, so another process of the job continues with what is left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from icm_engine import cluster, jobs
from icm_engine.core.errors import RunError, SettingError
from icm_engine.core.labeling import Label, equal_share
from icm_engine.core.objective import PREDICTABILITY
from icm_engine.jobs import scheduler
from icm_engine.jobs.job_process import Job
from icm_engine.jobs.scheduler import OwnWorkers, RayWorkers
from icm_engine.runs import control
from icm_engine.runs.control import RunStatus
from icm_engine.runs.life_cycle import Phase
from icm_engine.runs.new_run import resolved
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import open_run, state_at
from icm_engine.store.store import Event, Store

WIDE = 0.75  # a chain is compared if it labelled this share of the most that any chain labelled
OPPOSITE = 0.25  # share of equal labels below which two labelings look like mirrors

Labels = Mapping[str, Label]  # by example id


@dataclass(frozen=True, slots=True)
class Chain:
    """One chain as it ended; `labels` and `utility` are those of its last step, empty and None before it has any."""

    run: str
    seed: int
    phase: Phase
    message: str
    steered: bool  # a person changed labels, pins or settings during the run
    utility: float | None
    labels: Labels

    @property
    def counts(self) -> bool:
        """Whether it takes part in comparison and agreement."""
        return self.phase == "finished" and not self.steered and self.utility is not None and bool(self.labels)


def wide(chains: Sequence[Chain]) -> list[Chain]:
    """Return the chains that count and labelled enough to be compared."""
    counted = [chain for chain in chains if chain.counts]
    most = max((len(chain.labels) for chain in counted), default=0)
    return [chain for chain in counted if len(chain.labels) >= WIDE * most]


def worth(chain: Chain, per_example: bool) -> float:
    """Return the number by which chains that count are compared: U, or U per labelled example if P's form says so."""
    assert chain.utility is not None
    return chain.utility / len(chain.labels) if per_example else chain.utility


def propose(chains: Sequence[Chain], per_example: bool) -> Chain | None:
    """Return the best chain, the first of equals; None if none counts."""
    return max(wide(chains), key=lambda chain: worth(chain, per_example), default=None)


def same_share(one: Labels, other: Labels) -> float | None:
    """Return the share of equal labels among examples that both label; None if there are none.

    >>> same_share({"a": "True", "b": "True", "c": "True"}, {"a": "True", "b": "False"})
    0.5
    """
    return equal_share((label, other[example]) for example, label in one.items() if example in other)


def is_mirror(chain: Labels, proposed: Labels, labels: Sequence[Label]) -> bool:
    """Say whether a chain mirrors the proposal: of two labels, nearly all swapped."""
    share = same_share(chain, proposed)
    return len(labels) == 2 and share is not None and share < OPPOSITE


@dataclass(frozen=True, slots=True)
class Support:
    """How many chains support one proposed label, the proposal included.

    `chains` is how many label the example, `same` how many give it the proposed label. `turned` is `same` with mirrors
    swapped back, so that one mirror does not make every example look uncertain.
    """

    example: str
    label: Label
    chains: int
    same: int
    turned: int

    @property
    def share(self) -> float:
        return self.same / self.chains

    @property
    def turned_share(self) -> float:
        return self.turned / self.chains


def supports(chains: Sequence[Chain], proposed: Chain, labels: Sequence[Label]) -> tuple[Support, ...]:
    """Return the support of each example of the proposal, in its order."""
    counted = [(chain.labels, is_mirror(chain.labels, proposed.labels, labels)) for chain in chains if chain.counts]
    return tuple(_support(example, label, counted) for example, label in proposed.labels.items())


def _support(example: str, label: Label, counted: Sequence[tuple[Labels, bool]]) -> Support:
    given = [(labels[example] == label, mirror) for labels, mirror in counted if example in labels]
    same, turned = sum(equal for equal, _ in given), sum(equal != mirror for equal, mirror in given)
    return Support(example, label, len(given), same, turned)


KIND = "restarts"
SIDE_BY_SIDE = 2  # concurrent chains: each has its own model in memory, and too many slow each other down
_HOW = ("side_by_side", "where")  # options in a job's body that say how its chains are run, not which


def submit(
    store: Store, spec: RunSpec, chains: int, side_by_side: int = SIDE_BY_SIDE, where: cluster.ClusterSpec | None = None
) -> str:
    """Start or continue a job with this many chains of a spec, and return its name; seeds count up from the spec's.

    With `where`, workers are on that cluster, else on this machine. Chains that were requested before are not made
    again: their last job is left alone while it works or if it has no unfinished chain; otherwise that job, or a new
    one, does what is left. Raises SettingError, NotFound.
    """
    if min(chains, side_by_side) < 1:
        raise SettingError(f"{chains} chains with {side_by_side} side by side are not possible: use 1 or more of each")
    if where is not None:
        cluster.require_ray(where)
    how: Json = {"side_by_side": side_by_side, **({"where": asdict(where)} if where else {})}
    with store.transaction():
        known = _asked_before(store, spec, chains)
        if known is not None and _as_it_is(store, known, how):
            job = known
        else:
            job = jobs.create(store, _job_spec(store, spec, chains, how, known))
    jobs.start(store, job)
    return job


def chains_of(store: Store, job: str) -> list[str]:
    """Return the runs of a restarts job, by seed."""
    return list(jobs.spec(store, job).body["chains"])


def job_of(store: Store, run: str) -> str | None:
    """Return the newest restarts job that a run is a chain of; None if there is none."""
    made = jobs.names(store, KIND, dataset=store.spec(run).dataset)
    return next((job for job in made if run in chains_of(store, job)), None)


def _asked_before(store: Store, spec: RunSpec, chains: int) -> str | None:
    """The newest job whose chains have these specs."""
    wanted = _seeded(resolved(store, spec), chains)
    made = jobs.names(store, KIND, dataset=spec.dataset)
    return next((job for job in made if [store.spec(run) for run in chains_of(store, job)] == wanted), None)


def _as_it_is(store: Store, job: str, how: Json) -> bool:
    """Whether a job can be kept: it works, has no unfinished chain, or can be restarted with the same options."""
    now = jobs.status(store, job)
    if now.complete:
        return all(control.status(store, run).over for run in chains_of(store, job))
    body = jobs.spec(store, job).body
    return now.moving or how == {name: body[name] for name in _HOW if name in body}


def _job_spec(store: Store, spec: RunSpec, chains: int, how: Json, before: str | None) -> jobs.JobSpec:
    """The spec of these chains' job: those of the previous job, or new ones."""
    runs = chains_of(store, before) if before else [control.create_run(store, one) for one in _seeded(spec, chains)]
    return jobs.JobSpec(KIND, {"dataset": spec.dataset, "chains": runs, **how})


def _seeded(spec: RunSpec, chains: int) -> list[RunSpec]:
    first = spec.search.seed
    return [replace(spec, search=replace(spec.search, seed=first + k)) for k in range(chains)]


# -- the job's process


def restarts(job: Job) -> Json:
    """Run the chains to their ends and propose the best. Raises RunError if none counts."""
    job.ready({})
    store, body, look = job.store, job.spec.body, _teller(job)
    runs: list[str] = body["chains"]
    elsewhere = [run for run in runs if control.status(store, run).left] if "where" in body else []
    if elsewhere:
        scheduler.work_off(RayWorkers(store, elsewhere, cluster.ClusterSpec(**body["where"])), look)
    scheduler.work_off(OwnWorkers(store, runs, body["side_by_side"], set(elsewhere)), look)
    return judged(store, runs)


def _teller(job: Job) -> Callable[[], None]:
    """A function that checks the chains and reports only changes, because they may take hours."""
    told, runs = (-1, ""), job.spec.body["chains"]

    def look() -> None:
        nonlocal told
        now = {run: control.status(job.store, run) for run in runs}
        if (news := (sum(status.complete for status in now.values()), words(now))) != told:
            job.progress(news[0], len(runs), news[1])
            told = news
        job.stop_if_cancelled()

    return look


def words(now: Mapping[str, RunStatus]) -> str:
    """Describe the chains for the job's progress bar."""
    waiting = [run for run, status in now.items() if status.phase == "paused" and not status.pending]
    running = sum(status.moving for status in now.values())
    told = f"{running} chains at work" if running != 1 else "1 chain at work"
    return f"{told}, waiting for {waiting[0]}, which is paused; finished" if waiting else f"{told}; finished"


# -- how the chains ended


def judged(store: Store, runs: Sequence[str]) -> Json:
    """Return the proposal among chains that ended, as the job's result. Raises RunError if none counts."""
    chains = [_ended(store, run) for run in runs]
    labels = store.dataset_info(store.spec(runs[0]).dataset).task.labels
    form = store.spec(runs[0]).search.predictability
    per_example = PREDICTABILITY[form].per_example
    best = propose(chains, per_example)
    if best is None:
        told = "; ".join(f"{chain.run} {chain.phase}: {chain.message}" for chain in chains)
        raise RunError(f"none of {len(chains)} chains can be proposed ({told}): fix what failed and start it again")
    return {
        "proposed": best.run,
        "predictability": form,
        "per_example": per_example,
        "labels": list(labels),
        "chains": [_row(chain, best, wide(chains), per_example, labels) for chain in chains],
        "examples": [asdict(support) for support in supports(chains, best, labels)],
    }


def _row(chain: Chain, best: Chain, compared: Sequence[Chain], per_example: bool, labels: Sequence[str]) -> Json:
    return {
        "run": chain.run,
        "seed": chain.seed,
        "phase": chain.phase,
        "message": chain.message,
        "steered": chain.steered,
        "utility": chain.utility,
        "labelled": len(chain.labels),
        "counts": chain.counts,
        "compared": worth(chain, per_example) if chain in compared else None,
        "same": same_share(chain.labels, best.labels) if chain.counts else None,
        "mirror": chain.counts and is_mirror(chain.labels, best.labels, labels),
        "proposed": chain is best,
    }


def _ended(store: Store, run: str) -> Chain:
    """A chain as its search left it; changes by a person after its end are ignored."""
    status, opened = control.status(store, run), open_run(store, run)
    finished = store.last_event(run, ("finished",)) if status.complete else None
    number = finished.number if finished else store.last_number(run)
    state = state_at(store, opened, number)
    hand = store.read_between(run, 0, number, ("hand", "retuned"))
    return Chain(
        run,
        opened.spec.search.seed,
        status.phase,
        status.message,
        any(map(_steers, hand)),
        state.evaluation.utility if state else None,
        {opened.codec.ids[i]: label for i, label in state.labeling.items()} if state else {},
    )


def _steers(event: Event) -> bool:
    """Whether an event is a person's change to the search; notes and blinding are not."""
    if event.kind == "retuned":
        return True
    changes = [change for act in event.hand["acts"] for change in act["changes"]]
    return any(change["before"][name] != change["after"][name] for change in changes for name in ("label", "pinned"))
