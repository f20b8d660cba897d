"""Rows as files (CSV, JSONL, Parquet), each whole or not at all, and the data card of a folder."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from icm_engine.core import __version__
from icm_engine.core.errors import SettingError
from icm_engine.core.folds import FOLDS, OPTIONS
from icm_engine.core.text import expanded
from icm_engine.data.label_export import LabelledRow, LabelledRun, Value
from icm_engine.data.spellings import HUMAN_PREFIX
from icm_engine.runs.lease import unfinished
from icm_engine.store.events import Json

if TYPE_CHECKING:
    import pandas

Writer = Callable[[Iterable[LabelledRow], IO[bytes]], int]

FORMULA_STARTS = tuple("=+-@'\t\r")
BATCH = 10_000  # rows per Parquet row group, which bounds the memory of a large export
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
LONGEST_VALUE = 400  # characters; longer numbers lose digits after the 15th
# what numbers, amounts, dates and times consist of in any spreadsheet's language, except names of months
_VALUE = re.compile(r"(?=.*\d)[\d\s.,:;/+\-()%'’$€£¥₹etz]*(?:am|pm|a|p)?")
_MONTH = re.compile(
    r"(?<![^\W\d_])(?:jan|fe[bv]|fév|m[aä]r|mrt|a[pbv]r|ma[iyg]|mei|jui?[nl]|jui|giu|lug|aug|ago|aoû|se[pt]|o[ckt]t|out|"
    r"no[vy]|d[eé][cz]|dic|gen|ene)[^\W\d_]{0,7}\.?(?![^\W\d_])"
)
LABELS = ("icm_label", "icm_gold")
_SAME = re.compile(r"True|False|0|[1-9][0-9]{0,8}")
_TRUTHS = {"true", "false", "wahr", "falsch", "vrai", "faux", "verdadero", "falso", "waar", "onwaar", "vero"}


def rows_to_frame(rows: Sequence[LabelledRow]) -> pandas.DataFrame:
    """Return the rows as a pandas frame: text, nullable whole numbers, and probabilities."""
    import pandas  # imported late: it takes half a second

    frame = pandas.DataFrame(list(rows))
    kinds = {"icm_probability": "Float64", "icm_last_change_step": "Int64", "icm_flips": "Int64"}
    return frame.astype({c: kinds.get(c, "string") for c in frame.columns})


def defused(cell: Value) -> str:
    """Return a CSV cell with a leading apostrophe if a spreadsheet would run it; numbers are unchanged."""
    text = "" if cell is None else str(cell)
    runs = isinstance(cell, str) and text.startswith(FORMULA_STARTS) and not _NUMBER.fullmatch(text)
    return "'" + text if runs else text


def as_text(cell: Value, column: str = "") -> str:
    """Return a CSV cell with a leading apostrophe also where a spreadsheet would read a number, date or truth value.

    Labels that it reads as the same truth value or whole number are unchanged.
    """
    text = defused(cell)
    read = isinstance(cell, str) and not text.startswith("'") and _looks_like_a_value(text)
    harmless = column in LABELS or column.startswith(HUMAN_PREFIX)
    return "'" + text if read and not (harmless and _SAME.fullmatch(text)) else text


def _looks_like_a_value(text: str) -> bool:
    plain = _MONTH.sub("", text.strip().casefold())
    return plain in _TRUTHS or (len(text) <= LONGEST_VALUE and _VALUE.fullmatch(plain) is not None)


def write_csv(rows: Iterable[LabelledRow], file: IO[bytes], excel: bool = False) -> int:
    """Write rows as CSV and return their number: UTF-8, CRLF, formulas defused, empty cells for None.

    For Excel, a byte order mark declares UTF-8, and texts that it would convert stay texts.
    """
    text = io.TextIOWrapper(file, encoding="utf-8-sig" if excel else "utf-8", newline="", write_through=True)
    writer, count = csv.writer(text, lineterminator="\r\n"), 0
    for row in rows:
        if not count:
            writer.writerow([as_text(column) if excel else defused(column) for column in row])
        writer.writerow([as_text(cell, column) if excel else defused(cell) for column, cell in row.items()])
        count += 1
    text.detach()  # whoever opened the file closes it
    return count


def write_jsonl(rows: Iterable[Mapping[str, Value]], file: IO[bytes]) -> int:
    """Write rows as one JSON object a line, and return their number."""
    count = 0
    for row in rows:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        count += 1
    return count


def write_parquet(rows: Iterable[LabelledRow], file: IO[bytes]) -> int:
    """Write rows as Parquet and return their number; every batch has the columns and types of the first."""
    import pyarrow
    import pyarrow.parquet

    writer, count = None, 0
    for batch in _batches(rows):
        table = pyarrow.Table.from_pandas(rows_to_frame(batch), preserve_index=False)
        writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
        count += len(batch)
    if writer is not None:
        writer.close()
    return count


def _batches(rows: Iterable[LabelledRow]) -> Iterator[list[LabelledRow]]:
    iterator = iter(rows)
    while batch := list(islice(iterator, BATCH)):
        yield batch


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Write a temporary file, then rename it, so that no reader sees half a file. Raises SettingError."""
    path = expanded(path)
    part = unfinished(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut may leave an empty file of that name
        part.replace(path)
    except OSError as error:
        raise _cannot(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder, then rename it; a non-empty target is refused. Raises SettingError."""
    path = expanded(path)
    part = unfinished(path)
    try:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise SettingError(f"output {path} exists already: name a new folder, or remove this one first")
        part.mkdir()
        yield part
        part.replace(path)
    except OSError as error:
        raise _cannot(path, error) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _cannot(path: Path, error: OSError) -> SettingError:
    return SettingError(f"output {path} cannot be written ({error.strerror}): choose another place")


CITATION = "Wen et al. 2025, [arXiv 2506.10139](https://arxiv.org/abs/2506.10139)"
BY_FOLDS = (
    "The examples were split into folds; in each round, one model for each fold was tuned (LoRA) on the labels of the "
    "other folds. `icm_probability` is that of the label by the model tuned on the other folds, without "
    "demonstrations; `icm_last_change_step` is a round."
)


@dataclass(frozen=True, slots=True)
class CardTable:
    """One table of a folder: its `load_dataset` configuration, file, rows, and what was left out."""

    name: str
    file: str
    rows: int
    left_out: Mapping[str, int]


def card_facts(run: LabelledRun, model: Json, phase: str) -> Json:
    """Return the facts for a data card, as its readers need them; `model` is the scorer's own description."""
    spec, state, dataset = run.opened.spec, run.state, run.opened.dataset
    counts = Counter(run.labeling.values())
    evaluation = state.evaluation if state else None
    return {
        "run": run.name,
        "status": phase,
        "steps": state.step if state else 0,
        "dataset": dataset.name,
        "source": dataset.source,
        "task": run.task.name,
        "rule": _public(spec.rule or run.task.rule),
        "examples": len(dataset.examples),
        "labelled": len(run.labeling),
        "pinned_by_a_person": len(run.pins),
        "label_balance": {label: counts[label] for label in run.task.labels},
        "utility": evaluation.utility if evaluation else None,
        "mutual_predictability": evaluation.mutual_predictability if evaluation else None,
        "inconsistent_pairs": len(evaluation.pairs) if evaluation else None,
        "template": run.task.template,
        "spec": {name: _public(value) for name, value in spec.to_json().items()},
        "model": {name: _public(value) for name, value in model.items()},
        "versions": {"icm-workbench": __version__, "python": platform.python_version()},
    }


def data_card(
    run: LabelledRun, facts: Json, parts: Iterable[CardTable], gold: bool = False, human: bool = False
) -> str:
    """Return README.md: a YAML header that `load_dataset` reads, then the facts for people."""
    parts, spec = tuple(parts), facts["spec"]
    names = ("run", "status", "dataset", "source", "task", "rule")
    about = {name: facts[name] for name in names} | {
        "model": spec["model"],
        "preset": spec["preset"],
        "predictability": spec["search"]["predictability"],
        "seed": spec["search"]["seed"],
        ("rounds" if spec["source"] == FOLDS else "steps"): f"{facts['steps']} of {spec['search']['max_steps']}",
        "utility": facts["utility"],
        "mutual_predictability": facts["mutual_predictability"],
        "inconsistent_pairs": facts["inconsistent_pairs"],
        "pinned_by_a_person": facts["pinned_by_a_person"],
    }
    general = {name: value for name, value in spec.items() if name != "search"}
    if spec["source"] == FOLDS:
        general["source_options"] = {**OPTIONS, **spec["source_options"]}
    sections = [
        _header(run, parts),
        f"# Labels of run {_code(run.name)}",
        _opening(facts),
        _table("About the run", about),
        _table("Labels", {**facts["label_balance"], "(none)": facts["examples"] - facts["labelled"]}),
        _files(parts, gold, human),
        "## Template\n\n" + _block(run.task.template),
        _table("Settings", {**general, **spec["search"]}),
        _table("Model", facts["model"]),
        _table("Versions", facts["versions"]),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _header(run: LabelledRun, parts: Iterable[CardTable]) -> str:
    """The YAML header, written by the hub's own library so that any name is valid in it."""
    from huggingface_hub import DatasetCardData  # imported late: it takes half a second

    configs = [
        {"config_name": part.name, "data_files": [{"split": "train", "path": part.file}]}
        | ({"default": True} if k == 0 else {})
        for k, part in enumerate(parts)
    ]
    tags = ["icm", "internal-coherence-maximization"]
    data = DatasetCardData(pretty_name=f"Labels of run {run.name}", tags=tags, configs=configs)
    return f"---\n{data.to_yaml(line_break=chr(10)).strip()}\n---"


def _opening(facts: Json) -> str:
    spec = facts["spec"]
    how = (
        "The run was supervised: it started from labels that a person or gold gave."
        if spec["supervised"]
        else "No gold and no human label was used: these are the labels the model finds coherent, right or wrong."
    )
    if spec["source"] == FOLDS:
        how += " " + BY_FOLDS
    stand_in = " The model is fake: its labels mean nothing." if spec["model"] == "fake" else ""
    return (
        f"{facts['labelled']:,} of {facts['examples']:,} examples of data set {_code(facts['dataset'])} were labelled "
        f"by Internal Coherence Maximization ({CITATION}) with the model {_code(spec['model'])}. {how}{stand_in}"
    )


def _files(parts: Iterable[CardTable], gold: bool, human: bool) -> str:
    rows = {
        part.name: f"{part.file}: {part.rows:,} rows"
        + "".join(f", {count:,} {reason.replace('_', ' ')} left out" for reason, count in part.left_out.items())
        for part in parts
    }
    asked = [
        name for name, wanted in (("gold (`icm_gold`)", gold), ("human labels (`icm_human_...`)", human)) if wanted
    ]
    apart = f"\n\nThe labels also include, as requested: {' and '.join(asked)}." if asked else ""
    return _table("Files", rows) + apart


def _public(value: Any) -> Any:
    """The name of a local file or folder without its private path."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _table(title: str, cells: Mapping[str, object]) -> str:
    """A Markdown table of names and values, escaped."""
    if not cells:
        return ""
    rows = [f"| {_code(name)} | {_code('' if value is None else value)} |" for name, value in cells.items()]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *rows])


def _code(value: object) -> str:
    """The value as a code span that no text can close; bars are escaped for the table."""
    text = " ".join(str(value).split()).replace("|", "\\|")
    if not text:
        return ""
    fence = "`" * (_longest_ticks(text) + 1)
    return f"{fence} {text} {fence}" if "`" in text else f"{fence}{text}{fence}"


def _block(text: str) -> str:
    fence = "`" * max(3, _longest_ticks(text) + 1)
    return f"{fence}text\n{text}\n{fence}"


def _longest_ticks(text: str) -> int:
    return max((len(found) for found in re.findall(r"`+", text)), default=0)
