"""The home side of a cluster: the only writer, and the bundle that a remote worker gets.

Gold and human labels cannot get in: a bundle contains what `Store` reads, which never touches their tables. Other
columns of the input file, label counts and the answers of audits stay behind too.

A worker begins with a bundle and sends every event back before its next step. Leases are in the name of the driving
process, so run status stays derived: if the driver dies, its runs are interrupted.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

from icm_engine import jobs
from icm_engine.core.errors import RunBusy, RunError, SettingError, StoreError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.resources import PACKAGE
from icm_engine.jobs import downstream_eval
from icm_engine.runs import model_registry
from icm_engine.runs.lease import Holder, claim
from icm_engine.store import datasets
from icm_engine.store.events import Json, RunSpec
from icm_engine.store.replay import AUDIT
from icm_engine.store.store import Command, Event, Store


@dataclass(frozen=True, slots=True)
class Piece:
    """The examples of a data set that a worker needs: the first ones up to a limit, or those of one batch."""

    dataset: str
    task: Task
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as it stands: its spec, all its events, and the latest snapshot."""

    name: str
    spec: RunSpec
    events: tuple[Event, ...]
    snapshot: tuple[int, Json] | None


@dataclass(frozen=True, slots=True)
class RunBundle:
    """Everything a worker needs for one run, or for one job and the run it is about."""

    pieces: tuple[Piece, ...]
    run: RunRecord
    job: tuple[str, jobs.JobSpec] | None = None
    job_events: tuple[Event, ...] = ()


def pack(store: Store, name: str) -> RunBundle:
    """Return what a worker needs to continue this run or job. Raises NotFound, SettingError."""
    if store.has_run(name):
        if (model := store.spec(name).model).startswith(model_registry.PREFIX):
            raise SettingError(f"model {model!r} is stored with this machine's database: start {name!r} without Ray")
        part = _part(store, name)
        return RunBundle((part,) if part else _pieces(store, _reads(store, name)), _record(store, name))
    spec = jobs.spec(store, name)
    if spec.kind != downstream_eval.KIND or store.spec(spec.body["run"]).part is not None:
        raise SettingError(f"job {name!r} is a {spec.kind}, which only this machine can do: start it without Ray")
    run = spec.body["run"]
    own = store.spec(run).dataset  # complete, since its groups decide what the limit takes
    test = [
        (part["dataset"], store.dataset_size(own) if part["dataset"] == own else part["start"] + spec.body["most"])
        for part in spec.body["test"]
    ]
    pieces = _pieces(store, _reads(store, run), *test)
    return RunBundle(pieces, _record(store, run), (name, spec), tuple(store.read_after(name)))


def unpack(store: Store, parcel: RunBundle) -> None:
    """Write a bundle into an empty database."""
    with store.transaction():
        for piece in parcel.pieces:
            inputs: tuple[Json, ...] = tuple({} for _ in piece.examples)
            datasets.insert_dataset(store.db, datasets.Dataset(piece.dataset, piece.task, piece.examples, inputs))
        run = parcel.run
        store.db.table("runs").insert({"name": run.name, "spec": json.dumps(run.spec.to_json()), "created": 0.0})
        put_events(store, run.name, run.events)
        if run.spec.part is not None:
            datasets.keep_whole(store.db, run.spec.dataset, len(parcel.pieces[0].examples), run.spec.part)
        if run.snapshot is not None:
            store.keep_snapshot(run.name, *run.snapshot)
        if parcel.job is not None:
            name, spec = parcel.job
            row = {"name": name, "kind": spec.kind, "spec": json.dumps(spec.to_json()), "created": 0.0}
            store.db.table("jobs").insert(row)
            put_events(store, name, parcel.job_events)


def put_events(store: Store, name: str, events: Sequence[Event]) -> None:
    """Copy events from another database unchanged."""
    rows = ({"run": name, **asdict(event), "body": json.dumps(event.body, ensure_ascii=False)} for event in events)
    store.db.table("events").insert_all(rows)


@cache
def code_sha256() -> str:
    """Return the hash of the code that events depend on; a machine with other code would write other events."""
    found = hashlib.sha256()
    for room in ("core", "models", "runs"):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            found.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


# -- what is needed


def _part(store: Store, run: str) -> Piece | None:
    """The examples of the batch that a run labels; None for a run without one."""
    spec = store.spec(run)
    if spec.part is None:
        return None
    opened = store.open_dataset(spec.dataset, spec.cut, spec.part)
    return Piece(spec.dataset, opened.task, tuple(opened.examples))


def _reads(store: Store, run: str) -> tuple[str, int]:
    """A run's data set, and how much of it its search uses."""
    spec = store.spec(run)
    places = store.places(spec.dataset, spec.cut)
    return spec.dataset, len(places) if isinstance(places, range) else store.dataset_size(spec.dataset)


def _record(store: Store, run: str) -> RunRecord:
    """A run without its parent: what a fork inherits is in its first event, except the dtype, which is set here."""
    dtype = model_registry.model_of_run(store, run).dtype
    spec = replace(store.spec(run), dtype=dtype, forked_from=None, forked_at=None)
    events = tuple(map(_sent, store.read_after(run)))
    return RunRecord(run, spec, events, store.snapshot(run, store.last_number(run)))


def _sent(event: Event) -> Event:
    """An event as a remote worker gets it: answers of an audit stay here, only their places in the log are sent."""
    return replace(event, body={}) if event.kind == AUDIT else event


def _pieces(store: Store, *wanted: tuple[str, int]) -> tuple[Piece, ...]:
    """The first part of each data set, as long as the longest request for it."""
    lengths = dict[str, int]()
    for dataset, stop in wanted:
        lengths[dataset] = max(stop, lengths.get(dataset, 0))
    return tuple(_piece(store, dataset, stop) for dataset, stop in lengths.items())


def _piece(store: Store, dataset: str, stop: int) -> Piece:
    examples = tuple(example for example, _ in datasets.read_examples(store.db, dataset, stop=stop))
    return Piece(dataset, store.dataset_info(dataset).task, examples)


FROM_OUTSIDE = ("start", "cancel", AUDIT)  # events of a run or job that others than its worker append


class StoreServer:
    """What a remote worker may ask of the database. It keeps no state outside the database, so it can be restarted."""

    def __init__(self, path: Path, holder: Holder) -> None:
        self._store, self._holder, self._code = Store(path), holder, code_sha256()

    def begin(self, name: str, code: str, place: str) -> tuple[str, RunBundle]:
        """Hand a run or job to a worker: its lease and what it needs; the previous holder can append no more.

        Raises RunBusy while a local worker holds it, RunError for a machine with other code.
        """
        if code != self._code:
            raise RunError(
                f"{place} has other icm_engine code ({code[:12]}) than this machine ({self._code[:12]}): "
                "install the same version on both and start it again"
            )
        token = claim(self._store, name, place, self._holder)
        return token, pack(self._store, name)

    def append(
        self, name: str, token: str, number: int, kind: str, body: Json, seconds: float, answered: Sequence[Command]
    ) -> list[Event]:
        """Append an event under this number, with receipts for the commands it answers; return nothing.

        Sending the same event twice has no effect, since an answer may be lost on the way. If others have appended
        meanwhile (a job was cancelled from outside), nothing is appended and their events are returned. Raises RunBusy
        for a replaced worker, StoreError if another event has this number.
        """
        with self._store.transaction():
            self._require(name, token)
            there = self._store.read_after(name, number - 1)
            if there:
                return self._known(name, there, kind, body)
            if (last := self._store.last_number(name)) != number - 1:
                raise StoreError(f"event {number} of {name!r} came after event {last}: nothing was written")
            self._store.answer(name, answered, kind, body, token, seconds)
        return []

    def _known(self, name: str, there: Sequence[Event], kind: str, body: Json) -> list[Event]:
        first = there[0]
        if first.kind == kind and json.dumps(first.body) == json.dumps(body):
            return []
        if all(event.kind in FROM_OUTSIDE for event in there):
            return list(map(_sent, there))
        raise StoreError(f"event {first.number} of {name!r} is another one already: nothing was written")

    def _require(self, name: str, token: str) -> None:
        if self._store.lease_token(name) != token:
            raise RunBusy(f"{name!r} was taken over by another worker: this one stops, nothing was written")

    def pending(self, name: str) -> list[Command]:
        """Return the commands that no event has answered yet."""
        return self._store.pending(name)

    def renew(self, name: str, token: str, ready: bool) -> None:
        """Record that the worker is alive, and whether it has its model; uses this machine's clock."""
        values = {"heartbeat": time.time(), **({"ready": 1} if ready else {})}
        self._store.update_lease(name, token, **values)

    def keep_snapshot(self, name: str, token: str, number: int, state: Json) -> None:
        """Store a run's whole state after an event."""
        with self._store.transaction():
            self._require(name, token)
            self._store.keep_snapshot(name, number, state)

    def end(self, name: str, token: str) -> None:
        """Release a run or job from its worker."""
        self._store.drop_lease(name, token)
