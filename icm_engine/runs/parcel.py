"""What a worker on another machine needs of one run or job, and nothing more: task, examples, spec, events so far.

Gold and human labels have no way in here: a parcel is made of what `Store` reads, which never looks at their tables;
the other columns of the input file and the counts of labels stay behind too.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache

from icm_engine.core.errors import SettingError
from icm_engine.core.labeling import Example, Task
from icm_engine.core.resources import PACKAGE
from icm_engine.runs import datasets, jobs, parts, trained, use
from icm_engine.runs.events import Json, RunSpec
from icm_engine.runs.store import Event, Store


@dataclass(frozen=True, slots=True)
class Piece:
    """The first examples of a data set, as many as are looked at, or those of one batch."""

    dataset: str
    task: Task
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A run as it stands: its spec, all of its events, and the latest whole state that was kept."""

    name: str
    spec: RunSpec
    events: tuple[Event, ...]
    snapshot: tuple[int, Json] | None


@dataclass(frozen=True, slots=True)
class Parcel:
    """Everything for one run, or for one job and the run that it is about."""

    pieces: tuple[Piece, ...]
    run: Record
    job: tuple[str, jobs.JobSpec] | None = None
    job_events: tuple[Event, ...] = ()


def pack(store: Store, name: str) -> Parcel:
    """Return what a worker needs to go on with this run or job. Raises NotFound, SettingError."""
    if store.has_run(name):
        if (model := store.spec(name).model).startswith(trained.PREFIX):
            raise SettingError(f"model {model!r} lies beside this machine's database: start {name!r} without Ray")
        part = _part(store, name)
        return Parcel((part,) if part else _pieces(store, _reads(store, name)), _record(store, name))
    spec = jobs.spec(store, name)
    if spec.kind != use.KIND or store.spec(spec.body["run"]).part is not None:
        raise SettingError(f"job {name!r} is a {spec.kind}, which only this machine can do: start it without Ray")
    run = spec.body["run"]
    own = store.spec(run).dataset  # sent whole: what its groups are decides what the limit takes
    test = [
        (part["dataset"], store.dataset_size(own) if part["dataset"] == own else part["start"] + spec.body["most"])
        for part in spec.body["test"]
    ]
    pieces = _pieces(store, _reads(store, run), *test)
    return Parcel(pieces, _record(store, run), (name, spec), tuple(store.read_after(name)))


def unpack(store: Store, parcel: Parcel) -> None:
    """Put a parcel into an empty database."""
    with store.transaction():
        for piece in parcel.pieces:
            inputs: tuple[Json, ...] = tuple({} for _ in piece.examples)
            datasets.insert_dataset(store.db, datasets.Dataset(piece.dataset, piece.task, piece.examples, inputs))
        run = parcel.run
        store.db.table("runs").insert({"name": run.name, "spec": json.dumps(run.spec.to_json()), "created": 0.0})
        put_events(store, run.name, run.events)
        if run.spec.part is not None:
            parts.keep_whole(store.db, run.spec.dataset, len(parcel.pieces[0].examples), run.spec.part)
        if run.snapshot is not None:
            store.keep_snapshot(run.name, *run.snapshot)
        if parcel.job is not None:
            name, spec = parcel.job
            row = {"name": name, "kind": spec.kind, "spec": json.dumps(spec.to_json()), "created": 0.0}
            store.db.table("jobs").insert(row)
            put_events(store, name, parcel.job_events)


def put_events(store: Store, name: str, events: Sequence[Event]) -> None:
    """Put events that another database has into this one, as they are."""
    rows = ({"run": name, **asdict(event), "body": json.dumps(event.body, ensure_ascii=False)} for event in events)
    store.db.table("events").insert_all(rows)


@cache
def code_sha256() -> str:
    """Return the hash of the code that events depend on: machines with other code would write other events."""
    found = hashlib.sha256()
    for room in ("core", "models", "runs"):
        for path in sorted((PACKAGE / room).rglob("*.py")):
            found.update(f"{path.relative_to(PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()


# -- what is needed


def _part(store: Store, run: str) -> Piece | None:
    """The examples of the batch that a run labels, None for a run without one."""
    spec = store.spec(run)
    if spec.part is None:
        return None
    opened = store.open_dataset(spec.dataset, spec.cut, spec.part)
    return Piece(spec.dataset, opened.task, tuple(opened.examples))


def _reads(store: Store, run: str) -> tuple[str, int]:
    """The data set of a run, and how far its search looks into it."""
    spec = store.spec(run)
    places = store.places(spec.dataset, spec.cut)
    return spec.dataset, len(places) if isinstance(places, range) else store.dataset_size(spec.dataset)


def _record(store: Store, run: str) -> Record:
    """A run without its parent: what a fork takes over is in its first event, but for the dtype, which is said here."""
    dtype = jobs.model_of_run(store, run).dtype
    spec = replace(store.spec(run), dtype=dtype, forked_from=None, forked_at=None)
    return Record(run, spec, tuple(store.read_after(run)), store.snapshot(run, store.last_number(run)))


def _pieces(store: Store, *wanted: tuple[str, int]) -> tuple[Piece, ...]:
    """The beginnings of data sets, each as long as the longest that is wanted of it."""
    lengths = dict[str, int]()
    for dataset, stop in wanted:
        lengths[dataset] = max(stop, lengths.get(dataset, 0))
    return tuple(_piece(store, dataset, stop) for dataset, stop in lengths.items())


def _piece(store: Store, dataset: str, stop: int) -> Piece:
    examples = tuple(example for example, _ in datasets.read_examples(store.db, dataset, stop=stop))
    return Piece(dataset, store.dataset_info(dataset).task, examples)
