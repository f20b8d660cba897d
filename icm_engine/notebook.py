"""The workbench from Python: label a data frame, and read stored runs as data frames.

    import icm_engine as icm

    labelled = icm.label(frame, task="truthfulness", model="sample", seed=0)
    run = icm.open_run(labelled["icm_run"].iloc[0])
    run.steps, run.flips, run.labels

It shares store and worker with the app: a run appears there while in progress, outlives the notebook's kernel, and the
same call finds it again.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from icm_engine.analysis.alerts import notes_of_run
from icm_engine.analysis.views import run_summary
from icm_engine.core.custom_rules import rule_reference
from icm_engine.core.errors import ImportRefused, RunError, SettingError, StoreError
from icm_engine.core.labeling import Example
from icm_engine.core.settings import MODEL_OPTIONS, PRESETS, ModelChoice, with_settings
from icm_engine.data.columns import Mapped
from icm_engine.data.export import Exported, export_run
from icm_engine.data.export_files import rows_to_frame
from icm_engine.data.importing import import_file
from icm_engine.data.label_export import read_labels
from icm_engine.data.row_parser import TWIN_SUFFIX
from icm_engine.data.spellings import PREFIX, plain
from icm_engine.data.tasks import task_spec
from icm_engine.runs import control, new_run
from icm_engine.runs.control import follow
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store

if TYPE_CHECKING:
    import pandas

Cells = dict[str, str | None]

DIGEST = 12  # hexadecimal digits of the content hash in a name


@dataclass(frozen=True, slots=True)
class FrameImport:
    """The data set made from a frame, and the example id of each of its rows."""

    dataset: str
    ids: tuple[str, ...]


def import_frame(
    store: Store,
    frame: pandas.DataFrame,
    task: str,
    name: str | None = None,
    mapping: Mapped | None = None,
    rule: str | None = None,
    labels: Sequence[str] = (),
) -> FrameImport:
    """Import a frame, or find the data set made from it before. Raises ImportRefused, SettingError, StoreError.

    Columns that begin with `icm_` are labels of an earlier run and are left out. The importer's notes go to stderr.
    """
    cells = _cells(frame)
    content = "\n".join(json.dumps(row) for row in cells).encode()
    digest = _digest(content, repr(task_spec(task)), mapping or {}, rule, labels)
    name, source = name or f"frame-{digest}", f"{digest}.jsonl"

    def ids() -> tuple[str, ...]:
        return _ids(store.dataset(name).examples, cells, mapping or {}, name)

    if not store.has_dataset(name):
        made = list[str]()  # while the import can still be rolled back
        report = import_file(
            store, source, task, name, mapping, rule, labels, content, stored=lambda report: made.extend(ids())
        )
        for note in report.notes:
            print(note, file=sys.stderr)
        return FrameImport(name, tuple(made))
    if store.dataset_info(name).source != source:
        raise StoreError(f"data set {name!r} exists already and has other rows: give this frame another name")
    return FrameImport(name, ids())


def _cells(frame: pandas.DataFrame) -> list[Cells]:
    """Every row as texts by column; None for missing cells, nested values as JSON."""
    import pandas

    kept = frame.loc[:, [not str(c).startswith(PREFIX) for c in frame.columns]]
    columns = [str(column) for column in kept.columns]
    if doubled := next((c for c in columns if columns.count(c) > 1), None):
        raise ImportRefused(f"the frame has column {doubled!r} twice: rename one")
    if kept.empty:
        raise ImportRefused(f"the frame has {len(kept)} rows and {len(columns)} columns: nothing was imported")

    def text(value: Any) -> str | None:
        if pandas.api.types.is_list_like(value):
            return json.dumps(value.tolist() if hasattr(value, "tolist") else value, ensure_ascii=False, default=str)
        return None if pandas.isna(value) else str(value)

    return [dict(zip(columns, map(text, row), strict=True)) for row in kept.itertuples(index=False, name=None)]


def _digest(content: bytes, task: str, mapping: Mapped, rule: str | None, labels: Sequence[str]) -> str:
    """A hash of everything that decides what the import makes."""
    asked = json.dumps([task, sorted(mapping.items()), rule, list(labels)], default=list)
    return hashlib.sha256(asked.encode() + b"\n" + content).hexdigest()[:DIGEST]


def _ids(examples: Sequence[Example], cells: Sequence[Cells], mapping: Mapped, name: str) -> tuple[str, ...]:
    """Example ids of the frame's rows, in its order, without the twins that the importer made."""
    column = _id_column(list(cells[0]), mapping)
    given = {str(row[column]).strip() for row in cells} if column is not None else None
    own = tuple(_own(examples, given))
    if len(own) != len(cells):
        raise ImportRefused(
            f"the frame has {len(cells)} rows, and would become {len(own)} examples: bring it into one answer per row, "
            "or import it as a file"
        )
    return own


def _own(examples: Sequence[Example], given: set[str] | None) -> Iterator[str]:
    """Whether an example is a row of the frame: ids from a column say so; otherwise a made twin's hash has a suffix."""
    for example in examples:
        made = example.id not in given if given is not None else TWIN_SUFFIX in example.id
        if not made:
            yield example.id


def _id_column(columns: Sequence[str], mapping: Mapped) -> str | None:
    """The column that ids come from: the mapped one, else a free one called id."""
    if "id" in mapping:
        wanted = mapping["id"] if isinstance(mapping["id"], str) else next(iter(mapping["id"]), "")
        return next((c for c in columns if c == wanted), next((c for c in columns if plain(c) == plain(wanted)), None))
    mapped = {c for named in mapping.values() for c in ([named] if isinstance(named, str) else named)}
    return next((c for c in columns if plain(c) == "id" and c not in mapped), None)


Database = Path | str | None


def label(
    frame: pandas.DataFrame,
    task: str,
    model: str,
    *,
    seed: int | None = None,
    steps: int | None = None,
    limit: int | None = None,
    preset: str = "default",
    settings: Mapping[str, Any] | None = None,
    columns: Mapped | None = None,
    rule: str | None = None,
    labels: Sequence[str] = (),
    name: str | None = None,
    db: Database = None,
    fresh: bool = False,
    progress: bool = True,
    **model_options: str,
) -> pandas.DataFrame:
    """Label a frame and return a copy of it, with the same index and with columns that begin with `icm_`.

    `task` may be a file (my_task.toml), and so may `rule` (my_rule.py). `columns` assigns columns to fields; one that
    looks like gold is set apart and never used. `settings`, `seed` and `steps` override the preset; `model_options` are
    quantization, dtype, device and encoding. The same call again returns the labels of the existing run, or continues
    it; `fresh` starts another. An interrupt pauses the run after the step in progress. Raises IcmError, and RunError if
    the run ended without labels.
    """
    if preset in PRESETS:  # checked even if `seed` or `steps` replaces it
        with_settings(PRESETS[preset], dict(settings or {}))
    chosen = dict(settings or {}) | {k: v for k, v in (("seed", seed), ("max_steps", steps)) if v is not None}
    asked = _spec(name or "frame", model, preset, chosen, limit, model_options)  # refused before anything is stored
    with Store(db) as store:
        rule = rule_reference(rule) if rule is not None and rule.endswith(".py") else rule
        made = import_frame(store, frame, task, name, columns, rule, labels)
        spec = replace(asked, dataset=made.dataset)
        new_run.fitted(store, spec, named="predictability" in chosen)
        for words in new_run.remarks(store, spec) if progress else ():
            print(words, file=sys.stderr)
        run = _run(store, spec, fresh)
        _go_on(store, run, progress)
        return _labelled(frame, store, run, made)


def open_run(name: str, db: Database = None) -> Run:
    """Return a stored run. Raises NotFound."""
    with Store(db) as store:
        store.spec(name)
        return Run(name, store.path)


def list_runs(db: Database = None) -> pandas.DataFrame:
    """Return all runs except batches, newest first, with their specs."""
    with Store(db) as store:
        listed = "select * from v_runs where batch is null or forked_from is not null order by created desc, run desc"
        return _query(store, listed).drop(columns="spec")


@dataclass(frozen=True, slots=True)
class Run:
    """A stored run; every table is read again on access."""

    name: str
    database: Path

    @property
    def summary(self) -> dict[str, Any]:
        """The summary of the run, as `show --json` prints it."""
        with Store(self.database) as store:
            return run_summary(store, self.name)

    @property
    def spec(self) -> dict[str, Any]:
        """The spec of the run, with every setting of its search."""
        with Store(self.database) as store:
            return store.spec(self.name).to_json()

    @property
    def steps(self) -> pandas.DataFrame:
        """One row per step: proposal, arithmetic of the decision, verdict."""
        found = self._of_run("v_steps", "step")
        return found.astype({"accepted": bool})

    @property
    def flips(self) -> pandas.DataFrame:
        """One row per label change; step 0 has the initial labels."""
        return self._of_run("v_flips", "event, example")

    @property
    def labels(self) -> pandas.DataFrame:
        """One row per example, twins included: input columns, label, probability, last change, flips."""
        with Store(self.database) as store:
            return rows_to_frame(list(read_labels(store, self.name).rows()))

    @property
    def gold(self) -> pandas.DataFrame:
        """The gold labels of the run's examples, for comparison; the search never sees them."""
        with Store(self.database) as store:
            run = read_labels(store, self.name)
            known = [(example.id, run.gold.get(example.id)) for example, _ in run.examples()]
            return rows_to_frame([{"icm_id": i, "icm_gold": y} for i, y in known if y is not None])

    def resume(self, progress: bool = True) -> None:
        """Continue the run and wait for its end; an interrupt pauses it. Raises RunError."""
        with Store(self.database) as store:
            control.resume(store, self.name)
            _wait(store, self.name, progress)

    def pause(self) -> None:
        """Pause the run after the step in progress."""
        with Store(self.database) as store:
            control.pause(store, self.name)
            control.wait_until_settled(store, self.name)

    def export(self, path: Path | str, format: str = "csv", gold: bool = False, human: bool = False) -> Exported:
        """Write the labels as `icm export` does. Raises SettingError."""
        with Store(self.database) as store:
            return export_run(store, self.name, path, format, gold, human)

    def _of_run(self, view: str, order: str) -> pandas.DataFrame:
        with Store(self.database) as store:
            return _query(store, f"select * from {view} where run = ? order by {order}", self.name).drop(columns="run")


def _spec(
    dataset: str, model: str, preset: str, settings: dict[str, Any], limit: int | None, options: Mapping[str, Any]
) -> RunSpec:
    if preset not in PRESETS:
        raise SettingError(f"preset {preset!r} does not exist: use one of {', '.join(PRESETS)}")
    if unknown := next((name for name in options if name not in MODEL_OPTIONS), None):
        raise SettingError(f"argument {unknown!r} does not exist: of the model, use {', '.join(MODEL_OPTIONS)}")
    search = with_settings(PRESETS[preset], settings)
    return RunSpec.of(dataset, ModelChoice(model, **options), limit=limit, preset=preset, search=search)


def _run(store: Store, spec: RunSpec, fresh: bool) -> str:
    """The newest run with exactly this spec, which would take the same steps again; else a new one."""
    spec = new_run.resolved(store, spec)  # as `create_run` does
    same = [] if fresh else [run for run in store.run_names() if store.spec(run) == spec]
    return same[0] if same else control.create_run(store, spec)


def _go_on(store: Store, run: str, progress: bool) -> None:
    """Bring a run to its end: start, resume, or wait; a stop by a person counts as an end."""
    now = control.status(store, run)
    if now.over:
        return
    if now.phase == "created":
        control.start(store, run)
    elif now.left:
        control.resume(store, run)
    _wait(store, run, progress)
    for words in notes_of_run(store, run) if progress else ():
        print(words, file=sys.stderr)


def _wait(store: Store, run: str, progress: bool) -> None:
    now, interrupted = follow(store, run, tqdm, quiet=not progress)
    if not now.over:
        words = f"run {run!r} is {now.phase} at step {now.steps} of {now.max_steps}: the same call continues it"
        raise KeyboardInterrupt(words) if interrupted else RunError(words)


def _labelled(frame: pandas.DataFrame, store: Store, run: str, made: FrameImport) -> pandas.DataFrame:
    """The frame with the run's labels; rows beyond the run's limit only get an id."""
    said = {row["icm_id"]: row for row in read_labels(store, run).rows()}
    ours = ("icm_label", "icm_probability", "icm_last_change_step", "icm_flips")
    rows = [
        {"icm_id": name, **{c: said[name][c] if name in said else None for c in ours}, "icm_run": run}
        for name in made.ids
    ]
    added = rows_to_frame(rows).set_axis(frame.index, axis=0)
    kept = frame.drop(columns=[c for c in frame.columns if str(c).startswith(PREFIX)])  # of an earlier labelling
    return kept.assign(**{str(c): added[c].array for c in added})


def _query(store: Store, sql: str, *values: str) -> pandas.DataFrame:
    import pandas

    return pandas.read_sql_query(sql, store.db.conn, params=list(values))
