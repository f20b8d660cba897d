"""Batched runs: a data set in batches, each a run of its own.

A finished batch has a summary row, which holds the number of the event it was made after. If the run has continued
since, the row is computed again, so rows can be deleted and are never out of date.

The job of a batched run only starts lanes (processes that take one batch after another) and waits; it has no model and
reads no gold. Its name is the name of the batched run, and each batch is the run JOB-NUMBER. Progress is read from
these runs, so another process of the job, or the same request again, continues with what is left.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from icm_engine import jobs
from icm_engine.cluster import ClusterSpec
from icm_engine.core.batching import BatchPart
from icm_engine.core.errors import RunBusy, RunError, SettingError
from icm_engine.core.folds import FOLDS
from icm_engine.core.settings import ModelChoice
from icm_engine.jobs import scheduler
from icm_engine.jobs.job_process import Cancelled, Job
from icm_engine.jobs.scheduler import Do, RayWorkers
from icm_engine.runs import control
from icm_engine.runs.new_run import require_folds, resolved
from icm_engine.store.database import stored_json
from icm_engine.store.datasets import make_parts
from icm_engine.store.events import Json, RunSpec, encode_state
from icm_engine.store.replay import current_state, open_run
from icm_engine.store.store import Store

_COSTS = (
    "select total(json_extract(body, '$.usage.prompts')), total(json_extract(body, '$.usage.tokens_encoded')), "
    "total(json_extract(body, '$.set_evaluations')), total(seconds) from events "
    "where run = ? and kind in ('initial', 'labelled', 'step', 'hand', 'refreshed', 'fold', 'round')"
)
_KEPT = (
    "select r.name, {names}, (select max(number) from events where run = r.name) from runs r "
    "left join ends e on e.run = r.name where r.name >= ? and r.name < ? "
    "and exists (select 1 from events where run = r.name and kind = 'finished')"
)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """A run's state after its event `number`: labels per class in `balance`, U, and cost."""

    run: str
    number: int
    labelled: int
    utility: float
    inconsistency: float
    steps: int
    balance: Mapping[str, int]
    prompts: int
    tokens_encoded: int
    set_evaluations: int
    seconds: float


def end_of(store: Store, run: str, snapshot: bool = False) -> BatchResult | None:
    """Return the state of a run, None before its initial labels; with `snapshot`, also store its whole state."""
    opened, number = open_run(store, run), store.last_number(run)
    state = current_state(store, opened)
    if state is None:
        return None
    if snapshot:
        store.keep_snapshot(run, number, encode_state(opened.codec, state))
    prompts, tokens, evaluations, seconds = store.db.execute(_COSTS, [run]).fetchone()
    return BatchResult(
        run,
        number,
        len(state.labeling),
        state.evaluation.utility,
        state.evaluation.inconsistency,
        state.step,
        Counter(state.labeling.values()),
        int(prompts),
        int(tokens),
        int(evaluations),
        seconds,
    )


def keep_end(store: Store, run: str) -> None:
    """Store how a run ended, with its last state, so that it need not be replayed."""
    with store.transaction():
        end = end_of(store, run, snapshot=True)
        if end is not None:
            store.db.table("ends").insert({**asdict(end), "balance": json.dumps(end.balance)}, replace=True)


def read_ends(store: Store, first: str, beyond: str) -> list[BatchResult]:
    """Return how the finished runs ended whose names are in the range from `first` to before `beyond`."""
    names = ", ".join(f"e.{field.name}" for field in fields(BatchResult))
    found = list[BatchResult | None]()
    for run, *kept, last in store.db.execute(_KEPT.format(names=names), [first, beyond]).fetchall():
        end = BatchResult(*kept)
        fresh = last == end.number  # not if no row is replaced
        found.append(
            replace(end, balance=stored_json(end.balance, f"the end of run {run!r}")) if fresh else end_of(store, run)
        )
    return [end for end in found if end is not None]


def _kept_end(row: BatchResult) -> BatchResult:
    return replace(row, balance=stored_json(row.balance, f"the end of run {row.run!r}"))


KIND, LANE, MODEL = "batches", "lane", "model-from"


@dataclass(frozen=True, slots=True)
class BatchedRun:
    """A batched run: the settings its batches share, and how the data set is split."""

    name: str
    spec: RunSpec
    size: int
    of: int
    waits: bool = False

    def run(self, number: int) -> str:
        """Return the name of a batch's run."""
        return f"{self.name}-{number}"

    @property
    def between(self) -> tuple[str, str]:
        """The first name that a batch's run can have, and one past the last ("." follows "-")."""
        return f"{self.name}-", f"{self.name}."


# -- asking


def submit(
    store: Store, spec: RunSpec, size: int, side_by_side: int = 1, waits: bool = False, where: ClusterSpec | None = None
) -> str:
    """Start a batched run of this spec and return its name; an existing one continues with what is left.

    `size` is the maximum number of examples per batch; the split depends on the seed of the search. With `waits`, every
    batch after the first waits until `label_with` names its model. `where` is a cluster that does the batches instead
    of this machine. Raises SettingError, NotFound.
    """
    if side_by_side < 1:
        raise SettingError(f"{side_by_side} batches side by side are not possible: use 1 or more")
    if waits and where is not None:
        raise SettingError("batches that wait for their models run on this machine only: leave out the cluster")
    with store.transaction():
        job = _asked_before(store, spec, size, waits)
        if job is None:
            places = store.places(spec.dataset, spec.cut)
            of = make_parts(store.db, spec.dataset, places, size, spec.search.seed)
            resolved(store, _spec_of(spec, BatchPart(1, of, size, spec.search.seed)) if of else spec)
            if spec.source == FOLDS:
                for number in range(2, of + 1):  # a smaller batch would be refused only when its turn comes
                    require_folds(store, _spec_of(spec, BatchPart(number, of, size, spec.search.seed)))
            body = {"dataset": spec.dataset, "spec": spec.to_json(), "size": size, "of": of, "waits": waits}
            job = jobs.create(store, jobs.JobSpec(KIND, body))
    jobs.start(store, job, {"side_by_side": side_by_side, "where": asdict(where) if where else None})
    return job


def _asked_before(store: Store, spec: RunSpec, size: int, waits: bool) -> str | None:
    known = (batched(store, job) for job in jobs.names(store, KIND, dataset=spec.dataset))
    return next((one.name for one in known if (one.spec, one.size, one.waits) == (spec, size, waits)), None)


def names(store: Store) -> list[str]:
    """Return all batched runs, newest first."""
    return jobs.names(store, KIND)


def is_batched(store: Store, name: str) -> bool:
    """Say whether this is the name of a batched run."""
    return name.startswith(f"{KIND}.") and name in names(store)


def batched(store: Store, name: str) -> BatchedRun:
    """Return the request of a batched run. Raises NotFound."""
    body = jobs.spec(store, name).body
    return BatchedRun(name, RunSpec.from_json(body["spec"]), body["size"], body["of"], body["waits"])


def batched_of(store: Store, run: str) -> tuple[BatchedRun, int] | None:
    """Return the batched run that a run belongs to and its batch number; None if it is not a batch."""
    name, _, number = run.rpartition("-")
    return (batched(store, name), int(number)) if is_batched(store, name) and store.has_run(run) else None


# -- the model of each batch


def label_with(store: Store, name: str, number: int, model: ModelChoice) -> None:
    """Use another model for the batches from this number on, such as one tuned on earlier batches.

    A batch that has begun keeps its own.
    """
    store.append(name, MODEL, {"from": number, **asdict(model)})


def spec_of(store: Store, whole: BatchedRun, number: int) -> RunSpec | None:
    """Return the spec of a batch's run; None while it waits for its model to be named.

    Each batch has its own seed; otherwise all would draw the same places and be mirrored together.
    """
    named = [event.body for event in store.read_after(whole.name, kinds=(MODEL,)) if event.body["from"] <= number]
    if whole.waits and number > 1 and not any(body["from"] == number for body in named):
        return None
    chosen = {key: value for key, value in named[-1].items() if key != "from"} if named else {}
    part = BatchPart(number, whole.of, whole.size, whole.spec.search.seed)
    return _spec_of(whole.spec, part).with_model(replace(whole.spec.model_choice, **chosen))


def _spec_of(spec: RunSpec, part: BatchPart) -> RunSpec:
    return replace(spec, part=part, search=replace(spec.search, seed=spec.search.seed + part.number - 1))


# -- the state of batches


def finished(store: Store, whole: BatchedRun) -> list[int]:
    """Return the numbers of the batches whose runs are finished."""
    query = (
        "select json_extract(spec, '$.part.number') from runs where name >= ? and name < ? "
        "and exists (select 1 from events where run = name and kind = 'finished')"
    )
    return [row[0] for row in store.db.execute(query, whole.between)]


def begun(store: Store, whole: BatchedRun) -> int:
    """Return how many batches have started."""
    query = "select count(*) from runs where name >= ? and name < ?"
    return int(store.db.execute(query, whole.between).fetchone()[0])


def ends(store: Store, whole: BatchedRun) -> list[BatchResult]:
    """Return how the finished batches ended, in order of their names."""
    return read_ends(store, *whole.between)


def held(store: Store, whole: BatchedRun) -> list[str]:
    """Return the batches that a process has taken; the process may have died."""
    query = "select run from leases where run >= ? and run < ? order by run"
    return [row[0] for row in store.db.execute(query, whole.between)]


def at_work(store: Store, whole: BatchedRun) -> str:
    """Describe the progress of running batches; empty if there are none."""
    now = ((run, control.status(store, run)) for run in held(store, whole))
    return ", ".join(f"{run} at step {at.steps:,} of {at.max_steps:,}" for run, at in now if at.pid is not None)


def unfinished(store: Store, whole: BatchedRun) -> list[int]:
    """Return the numbers of the batches that are neither finished nor stopped by a person."""
    done = set(finished(store, whole))
    left = [number for number in range(1, whole.of + 1) if number not in done]
    runs = {number: whole.run(number) for number in left}
    return [n for n in left if not store.has_run(runs[n]) or not control.status(store, runs[n]).over]


# -- the job's process


def batches(job: Job) -> Json:
    """Run every batch to its end. Raises RunError if some did not finish."""
    job.ready({})
    store, whole, where = job.store, batched(job.store, job.name), _asked(job, "where")
    if where:
        _drive_elsewhere(job, whole, ClusterSpec(**where))
    else:
        lanes = Lanes(store, whole, _asked(job, "side_by_side") or 1)
        lanes.advance()  # so that the first check sees them
        scheduler.work_off(lanes, _teller(job, whole, lambda: f"{lanes.moving()} at work, batches finished"))
    if left := unfinished(store, whole):
        raise RunError(_why(store, whole, left))
    return {"batches": whole.of}


def _drive_elsewhere(job: Job, whole: BatchedRun, where: ClusterSpec) -> None:
    """Let a cluster do every remaining batch, each as a task."""
    store, left = job.store, unfinished(job.store, whole)
    for number in left:
        make_run(store, whole, number)
    runs = [whole.run(number) for number in left]
    scheduler.work_off(RayWorkers(store, runs, where), _teller(job, whole, lambda: "batches finished elsewhere"))
    for run in runs:
        if control.status(store, run).complete:
            keep_end(store, run)


def _teller(job: Job, whole: BatchedRun, words: Callable[[], str]) -> Callable[[], None]:
    """A function that checks the batches and reports only changes."""
    told = -1

    def look() -> None:
        nonlocal told
        job.stop_if_cancelled()
        if (done := len(finished(job.store, whole))) != told:
            job.progress(done, whole.of, words())
            told = done

    return look


def _asked(job: Job, what: str) -> Any:
    """The latest options for running the batches; a start without options keeps the earlier ones."""
    starts = job.store.read_after(job.name, kinds=("start",))
    return next((event.body.get(what) for event in reversed(starts) if event.body.get("side_by_side")), None)


def living(store: Store, whole: BatchedRun) -> list[str]:
    """The lanes of this batched run that are still running, from an earlier process of the job."""
    made = jobs.names(store, LANE, dataset=whole.spec.dataset)
    mine = [lane for lane in made if jobs.spec(store, lane).body["batches"] == whole.name]
    return [lane for lane in mine if not jobs.status(store, lane).settled]


@dataclass
class Lanes:
    """Processes that take one batch after another; a killed one is replaced if it made progress."""

    store: Store
    whole: BatchedRun
    wanted: int
    lanes: list[str] | None = None
    gained: int = -1  # batches that were finished when a lane was last replaced

    def moving(self) -> int:
        """Return the number of running lanes."""
        return sum(not jobs.status(self.store, lane).settled for lane in self.lanes or ())

    def advance(self) -> bool:
        if self.lanes is None:
            self.lanes = self._filled(living(self.store, self.whole))
            return True
        now = [jobs.status(self.store, lane) for lane in self.lanes]
        killed = [lane.job for lane in now if lane.phase == "interrupted"]
        if not killed:
            return any(not lane.settled for lane in now)
        if (done := len(finished(self.store, self.whole))) == self.gained:
            return False
        self.gained, self.lanes = done, self._filled([lane for lane in self.lanes if lane not in killed])
        return True

    def _filled(self, lanes: list[str]) -> list[str]:
        """These lanes, and new ones in free places."""
        wanted, whole = self.wanted, self.whole
        threads = max(1, (os.cpu_count() or 1) // wanted) if wanted > 1 else None
        taken = [jobs.spec(self.store, lane).body["lane"] for lane in lanes]
        free = [lane for lane in range(min(wanted, whole.of)) if lane not in taken][: max(0, wanted - len(lanes))]
        body = {"dataset": whole.spec.dataset, "batches": whole.name, "lanes": wanted, "threads": threads}
        return [*lanes, *(jobs.request(self.store, jobs.JobSpec(LANE, {**body, "lane": lane})) for lane in free)]

    def end(self) -> None:
        scheduler.end(self.store, living(self.store, self.whole), lambda: held(self.store, self.whole))


def _why(store: Store, whole: BatchedRun, left: Sequence[int]) -> str:
    """The error about unfinished batches, with the reason of the first."""
    runs = [whole.run(number) for number in left if store.has_run(whole.run(number))]
    first = next((run for run in runs if control.status(store, run).phase != "created"), None)
    told = (
        f" (first {first}, {control.status(store, first).phase}: {control.status(store, first).message})"
        if first
        else ""
    )
    return f"{len(left):,} of {whole.of:,} batches have not finished{told}: fix what failed and request it again"


# -- in the process of a lane

IN_A_ROW = 3  # consecutive failed batches after which a lane stops: the next one would fail too


def make_run(store: Store, whole: BatchedRun, number: int) -> bool:
    """Create the run of a batch unless it exists; False while it waits for its model to be named."""
    with store.transaction():
        if store.has_run(whole.run(number)):
            return True
        spec = spec_of(store, whole, number)
        if spec is not None:
            store.add_run(resolved(store, spec), whole.run(number))
        return spec is not None


def work_lane(job: Job, search: Do) -> Json:
    """Run every remaining batch of this lane as far as it goes (`search`); return how many, and the failures."""
    store, whole = job.store, batched(job.store, job.spec.body["batches"])
    taken, failed, in_a_row = 0, dict[str, str](), 0
    for number in _order(whole, job.spec.body["lane"], job.spec.body["lanes"], set(finished(store, whole))):
        run = _take(job, whole, number)
        if run is None:
            continue
        try:
            search(store, run)
        except RunBusy:
            continue
        taken, message = taken + 1, _settle(store, run)
        in_a_row = in_a_row + 1 if message else 0
        if message:
            failed[run] = message
        if in_a_row == IN_A_ROW:
            break
    return {"taken": taken, "failed": failed}


def _order(whole: BatchedRun, lane: int, lanes: int, done: set[int]) -> Iterator[int]:
    """The batches of a lane: every n-th, so that lanes do not collide, then those that other lanes left."""
    mine = range(1 + lane, whole.of + 1, lanes)
    yield from (number for number in mine if number not in done)
    yield from (number for number in range(1, whole.of + 1) if number not in mine and number not in done)


def _take(job: Job, whole: BatchedRun, number: int) -> str | None:
    """The run of a batch, created if necessary and queued; None if there is nothing to do."""
    store, run = job.store, whole.run(number)
    _look(job, whole)
    while not make_run(store, whole, number):  # its model is not ready yet
        scheduler.wait()
        _look(job, whole)
    now = control.status(store, run)
    if now.over or now.pid is not None:
        return None
    control.queue(store, run)
    return run


def _look(job: Job, whole: BatchedRun) -> None:
    """Stop if this lane, or the whole batched run, was cancelled."""
    last = job.store.last_event(whole.name, ("start", "cancel"))
    if job.cancelled() or (last is not None and last.kind == "cancel"):
        raise Cancelled


def _settle(store: Store, run: str) -> str:
    """Store how a run ended, or report why it did not."""
    now = control.status(store, run)
    if now.complete:
        keep_end(store, run)
    return now.message if now.phase == "failed" else ""
