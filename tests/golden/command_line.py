"""What the command line accepts, and which keys its JSON has.

Help texts and values are left out: they may be put in other words. Of the JSON, every key and the kind of its value is
kept, of a list those of its first element. What cannot be had cheaply with the fake model is in `NOT_TRIED`.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from icm_engine.cli.options import Many

from .event_logs import import_tables
from .in_process import Session, choices, command_parsers, session

ACCEPTED = Path(__file__).parent / "command_line.json"
KEYS = Path(__file__).parent / "json_keys.json"
NOT_TRIED = {
    "finetune": "trains an adapter, which needs a model with weights",
    "reward": "trains a reward model",
    "prefer": "trains a policy",
    "reinforce": "trains a policy",
    "respond": "samples from a model that generates text",
    "self-reward": "trains policies",
    "self-teach": "trains judges",
    "trained NAME": "shows a model that was trained",
    "push": "uploads to the hub",
    "model fetch": "downloads a model",
    "run --ray": "needs a Ray cluster",
    "evaluate --ray": "needs a Ray cluster",
    "app": "serves the app until it is ended, in place of this process: tests/project/test_package.py does that",
    "log": "prints events whatever is asked: the golden event logs have them",
}
# a worker may still be on its way out when its run has ended: the number of its process, or nothing
NUMBER_OR_NULL = {"pid"}

SUITE = """
name = "tiny"
title = "Tiny"
question = "Does it run?"
datasets = ["claims"]
examples = 12
seeds = [0]
[[arms]]
name = "search"
"""


def accepted() -> dict[str, Any]:
    """Return every command with its arguments and options."""
    return {words: list(_arguments(parser)) for words, parser in sorted(command_parsers().items())}


def _arguments(command: click.Command) -> Iterator[dict[str, Any]]:
    for parameter in command.params:
        nargs = _nargs(parameter)
        yield {
            "names": parameter.opts if isinstance(parameter, click.Option) else [str(parameter.metavar).strip("[].")],
            "choices": choices(parameter),
            "default": _default(parameter),
            "nargs": nargs,
            "required": parameter.required or nargs == "*",  # argparse, which the files are from, called it required
            "again": parameter.multiple and not isinstance(parameter, Many),
        }


def _nargs(parameter: click.Parameter) -> int | str | None:
    """How many values there are, as argparse wrote it."""
    if isinstance(parameter, click.Option):
        return 0 if parameter.is_flag else "+" if isinstance(parameter, Many) else None
    if parameter.nargs == -1:
        return "+" if parameter.required else "*"
    return None if parameter.required else "?"


def _default(parameter: click.Parameter) -> Any:
    default = parameter.to_info_dict()["default"]
    return default if default is None or isinstance(default, (str, int, float, list)) else str(default)


def transcript() -> dict[str, Any]:
    """Return the key structure of what each command prints with --json."""
    with tempfile.TemporaryDirectory() as folder, session(Path(folder).resolve()) as now:
        import_tables(now)
        found = {}
        for words, value in _said(now):
            found[words] = structure(value)
            if words.endswith("--detach") and words != "run --detach":
                now.close()
        return found


def _said(now: Session) -> Iterator[tuple[str, Any]]:
    """Each command once, in an order in which each finds what it needs."""
    Path("more.csv").write_text("id,question,claim,group,gold\na,What?,This.,g,True\nb,What?,That.,g,False\n")
    yield "import", now.json("import", "more.csv", "--task", "truthfulness")
    yield "check", now.json("check", "claims", "--rule", "exactly-one")
    given = ("run", "--dataset", "claims", "--model", "fake", "--rule", "exactly-one", "--steps", 8)
    now.held_until = "pause"
    yield "run --detach", now.json(*given, "--detach")
    yield "pause", now.json("pause", "claims-1")
    now.held_until = None
    yield "step", now.json("step", "claims-1", 3)
    yield "pin", now.json("pin", "claims-1", "q0-0=True")
    yield "override", now.json("override", "claims-1", "q1-0=True")
    yield "unpin", now.json("unpin", "claims-1", "q0-0")
    yield "note", now.json("note", "claims-1", "q0-0", "see page 3")
    yield "undo", now.json("undo", "claims-1")
    yield "redo", now.json("redo", "claims-1")
    yield "retune", now.json("retune", "claims-1", "alpha=20")
    yield "resume", now.json("resume", "claims-1")
    yield "resume --detach", now.json("resume", "claims-1", "--detach")
    yield "stop", now.json("stop", "claims-1")
    yield "show", now.json("show", "claims-1")
    yield "run", now.json(*given, "--limit", 12)
    yield "run --source", now.json(*given, "--source", "random")
    yield "run --restarts", now.json(*given, "--restarts", 2, "--side-by-side", 1)
    yield "run --batch-size", now.json(*given, "--batch-size", 9)
    yield "show of batches", now.json("show", "batches.1")
    yield "resume of batches", now.json("resume", "batches.1")
    yield "pause of batches", now.json("pause", "batches.1")
    yield "verify of batches", now.json("verify", "batches.1")
    yield "export of batches", now.json("export", "batches.1", "--output", "batches.csv")
    yield "list", now.json("list")
    yield "export", now.json("export", "claims-2", "--output", "labels.csv")
    yield "export --format sft", now.json("export", "claims-2", "--output", "labels.jsonl", "--format", "sft")
    yield "share", now.json("share", "claims-2", "--output", "claims.html")
    yield "verify", now.json("verify", "claims-2")
    yield "audit", now.json("audit", "claims-2", stdin="1\n?\n")
    yield "audit --answers", now.json("audit", "claims-2", "--answers", "gold", "--number", 6)
    yield "compare", now.json("compare", "claims-2", "claims-3")
    yield "compare --against", now.json("compare", "claims-2", "claims-3", "--against", "gold")
    yield "concepts", now.json("concepts", "claims-2", "--model", "fake")
    yield "verify --rescore", now.json("verify", "claims-2", "--rescore", 4)
    yield "fork", now.json("fork", "claims-2", "--step", 4, "--steps", 4)
    yield "what-if", now.json("what-if", "claims-2", "q0-0", "True")
    yield "context", now.json("context", "claims", "--model", "fake")
    yield "templates", now.json("templates", "claims", "--model", "fake")
    yield "use", now.json("use", "claims-2", "--shots", 0, 2)
    Path("tiny.toml").write_text(SUITE)
    yield "evaluate", now.json("evaluate", "tiny.toml", "--model", "fake", "--output", "report")
    yield "predictors", now.json("predictors")
    yield "jobs", now.json("jobs")
    yield "jobs JOB", now.json("jobs", "context-check.1")
    yield "delete", now.json("delete", "claims-1", "--yes")
    yield "trained", now.json("trained")
    yield "model list", now.json("model", "list")
    yield "password", now.json("password", stdin="a long enough password\n")
    yield "run --restarts --detach", now.json(*given, "--restarts", 2, "--side-by-side", 1, "--seed", 5, "--detach")
    yield "run --batch-size --detach", now.json(*given, "--batch-size", 6, "--detach")
    yield "fork --detach", now.json("fork", "claims-2", "--step", 4, "--steps", 4, "--detach")
    yield "context --detach", now.json("context", "claims", "--model", "fake", "--detach")
    yield "evaluate --detach", now.json("evaluate", "tiny.toml", "--model", "fake", "--detach")


def structure(value: Any, key: str = "") -> Any:
    """Return what a JSON value is made of."""
    if key in NUMBER_OR_NULL:
        return "number or null"
    if isinstance(value, dict):
        return {name: structure(part, name) for name, part in value.items()}
    if isinstance(value, list):
        return [structure(value[0])] if value else []
    if value is None:
        return "null"
    return "boolean" if isinstance(value, bool) else "number" if isinstance(value, (int, float)) else "text"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield every value in a golden table with the way to it."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from leaves(part, f"{path} > {name}" if path else str(name))
    elif isinstance(value, list):
        yield path, f"a list of {len(value)}"
        for place, part in enumerate(value):
            yield from leaves(part, f"{path} > {_named(part, place)}")
    else:
        yield path, json.dumps(value)


def _named(part: Any, place: int) -> str:
    return str(part["names"][-1]) if isinstance(part, dict) and part.get("names") else f"[{place}]"


def differences(golden: Any, now: Any) -> list[str]:
    """Return in words what is gone, what is new, and what changed."""
    then, found = dict(leaves(golden)), dict(leaves(now))
    return [
        *(f"gone: {path} (was {value})" for path, value in then.items() if path not in found),
        *(f"new: {path} ({value})" for path, value in found.items() if path not in then),
        *(f"changed: {path}, {then[path]} became {found[path]}" for path in then.keys() & found.keys()
          if then[path] != found[path]),
    ]  # fmt: skip


def text(value: Any) -> str:
    """Return a golden table as its file has it."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def files() -> dict[Path, str]:
    """Return every golden file with what it should hold, made anew."""
    return {ACCEPTED: text(accepted()), KEYS: text(transcript())}
