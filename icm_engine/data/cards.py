"""The data card of an exported folder: what was labelled, by which model, in which run, with which settings."""

import platform
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icm_engine
from icm_engine.data.labelled import LabelledRun
from icm_engine.runs.events import Json

CITATION = "Wen et al. 2025, [arXiv 2506.10139](https://arxiv.org/abs/2506.10139)"


@dataclass(frozen=True, slots=True)
class Part:
    """One table of the folder: the configuration under which `load_dataset` finds it, its file, rows, left out."""

    name: str
    file: str
    rows: int
    left_out: Mapping[str, int]


def card_facts(run: LabelledRun, model: Json, phase: str) -> Json:
    """Return what the card says, as a reader of files wants it; `model` is the scorer's own description."""
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
        "versions": {"icm-workbench": icm_engine.__version__, "python": platform.python_version()},
    }


def data_card(run: LabelledRun, facts: Json, parts: Iterable[Part], gold: bool = False, human: bool = False) -> str:
    """Return README.md: a YAML header that `load_dataset` reads, then the facts for people."""
    parts, spec = tuple(parts), facts["spec"]
    names = ("run", "status", "dataset", "source", "task", "rule")
    about = {name: facts[name] for name in names} | {
        "model": spec["model"], "preset": spec["preset"], "predictability": spec["search"]["predictability"],
        "seed": spec["search"]["seed"], "steps": f"{facts['steps']} of {spec['search']['max_steps']}",
        "utility": facts["utility"], "mutual_predictability": facts["mutual_predictability"],
        "inconsistent_pairs": facts["inconsistent_pairs"], "pinned_by_a_person": facts["pinned_by_a_person"],
    }  # fmt: skip
    general = {name: value for name, value in spec.items() if name != "search"}
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


def _header(run: LabelledRun, parts: Iterable[Part]) -> str:
    """The YAML header, made by the hub's own library so that any name is valid in it."""
    from huggingface_hub import DatasetCardData  # half a second that only an export should cost

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
        else "No gold and no human label was used: these labels are what the model finds coherent, right or wrong."
    )
    stand_in = " The model is a stand-in for a real one: its labels mean nothing." if spec["model"] == "fake" else ""
    return (
        f"{facts['labelled']:,} of {facts['examples']:,} examples of data set {_code(facts['dataset'])} were labelled "
        f"by Internal Coherence Maximization ({CITATION}) with the model {_code(spec['model'])}. {how}{stand_in}"
    )


def _files(parts: Iterable[Part], gold: bool, human: bool) -> str:
    rows = {
        part.name: f"{part.file}: {part.rows:,} rows"
        + "".join(f", {count:,} {reason.replace('_', ' ')} left out" for reason, count in part.left_out.items())
        for part in parts
    }
    asked = [
        name for name, wanted in (("gold (`icm_gold`)", gold), ("human labels (`icm_human_...`)", human)) if wanted
    ]
    apart = f"\n\nThe labels also have, as was asked for: {' and '.join(asked)}." if asked else ""
    return _table("Files", rows) + apart


def _public(value: Any) -> Any:
    """The name of a file or directory of this machine without the way to it, which is nobody else's business."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _table(title: str, cells: Mapping[str, object]) -> str:
    """A Markdown table of names and values, in which any text is text."""
    if not cells:
        return ""
    rows = [f"| {_code(name)} | {_code('' if value is None else value)} |" for name, value in cells.items()]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *rows])


def _code(value: object) -> str:
    """The value as a code span that no text can leave; a table needs its bars escaped."""
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
