"""The card of what was trained: README.md, for people, made of the facts beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from icm_engine.runs.events import SEARCH, Json
from icm_engine.runs.store import Store


def about_run(store: Store, run: str) -> Json:
    """Return what a card says of a run whose labels were trained on."""
    spec = store.spec(run)
    return {
        "run": run, "dataset": spec.dataset, "limit": spec.limit, "source": spec.source, "given_from": spec.given_from,
        "model": spec.model, "seed": spec.search.seed, "supervised": spec.supervised,
    }  # fmt: skip


def card(facts: Json) -> str:
    """Return README.md: what this is, whose labels it learned, with which settings, and how to use it."""
    sections = [
        f"---\nbase_model: {_yaml(_public(facts['base']))}\nlibrary_name: peft\ntags: [icm, lora]\n---",
        f"# {facts['name']}",
        _opening(facts),
        _USES.get(facts["kind"], _AS_MODEL).format(name=facts["name"]),
        *(_table(f"Labels of run {run['run']}", run) for run in facts["runs"]),
        _table("Rows", {"rows": facts["rows"], **facts["left_out"], "sha256": facts["labels_sha256"]}),
        _table("Settings", {**facts["settings"], "alpha / rank": facts["scale"]}),
        _table("Training", {name: facts[name] for name in _TRAINING}),
        _table("Versions", facts["versions"]),
    ]
    return "\n\n".join(sections) + "\n"


_TRAINING = ("base", "quantization", "dtype", "device", "steps", "first_loss", "last_loss", "parameters")


_AS_MODEL = "Use it in place of a model: `--model trained:{name}`, or `--model` with the path of this folder."
_AS_POLICY = "Sample it with `respond DATASET --model trained:{name}`."
_USES = {
    "reward": "It gives rewards and no labels: `reinforce {name} --dataset NAME`, `respond DATASET --judge {name}`.",
    "preference-tuning": _AS_POLICY,
    "reinforce": _AS_POLICY,
}
_MADE = {
    "finetune": "A LoRA adapter for `{base}`, tuned on {rows:,} labels ({sources}).",
    "reward": "A reward model on `{base}`, from {rows:,} preferences ({sources}), {ranked:,} of them labelled by a "
    "first reward model.",
    "preference-tuning": "A policy: a LoRA adapter for `{base}`, tuned on {rows:,} preferences ({sources}) by DPO.",
    "reinforce": "A policy: a LoRA adapter for `{base}`, reinforced (RLOO) against the reward model `{reward}`, which "
    "learned from {rows:,} preferences ({sources}).",
}


def _opening(facts: Json) -> str:
    how = (
        "The labels were supervised: gold or people made them."
        if facts["supervised"]
        else "No gold and no human label was used."
    )
    sources = ", ".join(dict.fromkeys(_source(run) for run in facts["runs"]))
    ranked = facts.get("rest", {}).get("rows", 0)
    told = {**facts, "base": _public(facts["base"]), "sources": sources, "ranked": ranked}
    return f"{_MADE[facts['kind']].format(**told)} {how}"


def _source(run: Json) -> str:
    if run["source"] == SEARCH:
        return "Internal Coherence Maximization"
    return str(run["given_from"] or run["source"])


def _public(value: Any) -> Any:
    """The name of a file or directory of this machine without the way to it, which is nobody else's business."""
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _yaml(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _table(title: str, cells: Mapping[str, object]) -> str:
    rows = [f"| {name} | {_cell(value)} |" for name, value in cells.items()]
    return "\n".join([f"## {title}", "", "| | |", "|---|---|", *rows])


def _cell(value: object) -> str:
    text = "" if value is None else " ".join(str(_public(value)).split())
    return f"`{text.replace('|', chr(92) + '|').replace('`', chr(39))}`" if text else ""
