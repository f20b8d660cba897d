"""A run's labels as files: a table, training files, or a folder with a data card, which can go to the hub.

    csv, jsonl, parquet   one row an example: every input column, then ours, which begin with `icm_`, gold included
    sft, preference       JSONL to train on, from `data.label_export`; never gold
    datasets              a folder for `datasets.load_dataset`: labels, sft, preference and a data card

In CSV, text cells that a spreadsheet would run as a formula get a leading apostrophe, which our importer removes; with
`excel`, so do ids and texts that it would turn into numbers, dates or truth values.
"""

import io
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

from icm_engine.core.errors import HubError, SettingError
from icm_engine.data.export_files import (
    CardTable,
    Writer,
    card_facts,
    data_card,
    whole_file,
    whole_folder,
    write_csv,
    write_jsonl,
    write_parquet,
)
from icm_engine.data.label_export import (
    TRAINING,
    LabelledRow,
    LabelledRun,
    read_label_set,
    read_labels,
    training_rows,
    training_sets,
)
from icm_engine.jobs import batches
from icm_engine.runs import control
from icm_engine.store.store import Store

TABLES: Mapping[str, Writer] = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet}
FORMATS = (*TABLES, *TRAINING, "datasets")


@dataclass(frozen=True, slots=True)
class Exported:
    """The number of rows written, and of judgements left out of a training file, by reason.

    `withheld` are input columns of a folder left out because they look like labels and gold was not asked for.
    """

    rows: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    withheld: tuple[str, ...] = ()


def labelled_rows(store: Store, run: str) -> list[LabelledRow]:
    """Return one row per example of the run with gold and human labels, as the tables have it. Raises NotFound."""
    return list(read_labels(store, run).rows(gold=True, human=True))


def csv_bytes(store: Store, run: str, gold: bool = True, excel: bool = False) -> bytes:
    """Return the run's rows as CSV: UTF-8, CRLF between rows, formulas defused, empty cells for None."""
    out = io.BytesIO()
    if batches.is_batched(store, run):
        write_csv(read_label_set(store, run).rows(gold), out, excel)
        return out.getvalue()
    write_csv(read_labels(store, run).rows(gold, human=True), out, excel)
    return out.getvalue()


def export_run(
    store: Store,
    run: str,
    path: Path | str,
    format: str = "csv",
    gold: bool = False,
    human: bool = False,
    excel: bool = False,
    until: int | None = None,
) -> Exported:
    """Write the labels of a run, or of a batched run, to a file or folder, whole or not at all.

    `gold` and `human` add these columns to a folder's labels; tables always have them, training files never. `excel`
    makes a CSV that Excel reads unchanged. `until` is the event whose labels are exported. An existing file is
    replaced; a non-empty folder is refused. Raises SettingError, NotFound.
    """
    if format not in FORMATS:
        raise SettingError(f"format {format!r} does not exist: use one of {', '.join(FORMATS)}")
    if format in TRAINING and (gold or human):
        raise SettingError(f"format {format!r} cannot hold gold or human labels: use format datasets for these")
    if excel and format != "csv":
        raise SettingError(f"excel needs format csv, not {format!r}: leave one of them out (--excel, --format)")
    if batches.is_batched(store, run):
        return _export_batches(store, run, Path(path), format, excel)
    labels, path = read_labels(store, run, until), Path(path)
    if format == "datasets":
        return export_folder(store, labels, path, gold, human)
    if format in TRAINING:
        return _export_training(labels, path, format)
    with whole_file(path) as file:
        return Exported(_writer(format, excel)(labels.rows(gold=True, human=True), file))


def export_folder(store: Store, run: LabelledRun, path: Path, gold: bool = False, human: bool = False) -> Exported:
    """Write a folder for `load_dataset`: `labels` by default, `sft` and `preference` where there are any."""
    model = store.last_event(run.name, ("model",))
    facts = card_facts(run, model.body if model else {}, control.status(store, run.name).phase)
    with whole_folder(path) as folder:
        parts = [_write_part(folder, "labels", run.rows(gold, human), {})]
        parts += [_write_part(folder, name, made.rows, made.left_out) for name, made in training_sets(run).items()]
        (folder / "README.md").write_text(data_card(run, facts, parts, gold, human), encoding="utf-8")
        (folder / "run.json").write_text(json.dumps(facts, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    kept = run.opened.dataset.columns if gold else run.public_columns()
    return Exported(parts[0].rows, {}, tuple(c for c in run.opened.dataset.columns if c not in kept))


def _writer(format: str, excel: bool) -> Writer:
    return partial(write_csv, excel=True) if excel else TABLES[format]


def _export_batches(store: Store, name: str, path: Path, format: str, excel: bool) -> Exported:
    """Export the labels of a batched run, row by row."""
    if format == "datasets":
        raise SettingError(f"format datasets describes one run, and {name!r} has many: use csv, jsonl, parquet or sft")
    if format in TABLES:
        with whole_file(path) as file:
            return Exported(_writer(format, excel)(read_label_set(store, name).rows(), file))
    left_out = Counter[str]()
    rows = iter(training_rows(store, name, format, left_out))
    first = next(rows, None)
    if first is None:
        raise _no_row(name, format, left_out)
    with whole_file(path) as file:
        return Exported(write_jsonl(chain([first], rows), file), left_out)


def _no_row(name: str, format: str, left_out: Mapping[str, int]) -> SettingError:
    why = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in left_out.items())
    return SettingError(f"run {name!r} gives no row of format {format!r} ({why}): let it label more first")


def _export_training(run: LabelledRun, path: Path, format: str) -> Exported:
    made = TRAINING[format](run)
    if not made.rows:
        raise _no_row(run.name, format, made.left_out)
    with whole_file(path) as file:
        return Exported(write_jsonl(made.rows, file), made.left_out)


def _write_part(folder: Path, name: str, rows: Iterable[LabelledRow], left_out: Mapping[str, int]) -> CardTable:
    """Write Parquet, whose columns stay text: readers of JSON take a column of dates for dates."""
    file = f"{name}/train.parquet"
    (folder / name).mkdir()
    with (folder / file).open("wb") as out:
        return CardTable(name, file, write_parquet(rows, out), left_out)


Upload = Callable[[Path, str, bool, bool], str]


def upload_folder(folder: Path, repo: str, public: bool, update: bool) -> str:
    """Upload a folder as a data set repository and return its address; the only code that writes to the hub.

    Raises HubError without a token, for an invalid name, for an existing repository (unless `update`), or if the hub is
    unreachable or refuses.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    from huggingface_hub.errors import HTTPError as NetworkError  # type: ignore[attr-defined]  # its client's own

    if get_token() is None:
        raise HubError("there is no token for the hub: log in with `hf auth login`, or set HF_TOKEN")
    try:
        made = HfApi().create_repo(repo, repo_type="dataset", private=not public, exist_ok=update)
        HfApi().upload_folder(repo_id=made.repo_id, folder_path=folder, repo_type="dataset")
    except HFValidationError:
        raise HubError(f"repository {repo!r} is not a name that the hub accepts: use OWNER/NAME") from None
    except HfHubHTTPError as error:
        raise HubError(_refused(repo, error.response.status_code, str(error))) from None
    except (NetworkError, OSError) as error:
        raise HubError(f"the hub cannot be reached ({error}): check the network, then push again") from None
    return str(made)


def push_run(
    store: Store,
    run: str,
    repo: str,
    public: bool = False,
    update: bool = False,
    gold: bool = False,
    human: bool = False,
    upload: Upload = upload_folder,
) -> tuple[str, int]:
    """Upload the folder that `export --format datasets` writes; return the repository's address and its rows.

    Raises NotFound, HubError.
    """
    labels = read_labels(store, run)
    with TemporaryDirectory(prefix="icm-push-") as place:
        folder = Path(place) / "folder"
        exported = export_folder(store, labels, folder, gold, human)
        return upload(folder, repo, public, update), exported.rows


def _refused(repo: str, status: int, message: str) -> str:
    if status == 409:
        return f"repository {repo!r} exists already: name another, or add to it with --update"
    if status in (401, 403):
        return (
            f"the hub does not let this token write to {repo!r} ({status}): log in with one that may (`hf auth login`)"
        )
    return f"the hub refused repository {repo!r} ({status}: {message}): nothing else was tried"
