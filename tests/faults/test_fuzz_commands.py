"""Commands that nobody meant: rows of the table `commands`, and arguments of the command line."""

import contextlib
import io
import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from icm_engine.analysis.run_cache import RunCache
from icm_engine.cli import app_commands
from icm_engine.cli.main import icm, main
from icm_engine.runs import control, life_cycle, worker
from icm_engine.runs.verify import verify
from icm_engine.store.replay import open_run
from icm_engine.store.store import Store
from tests.golden.in_process import choices
from tests.support.faults import Fault
from tests.support.processes import spawn_by
from tests.support.stores import add_run, small_dataset

pytestmark = pytest.mark.usefixtures("subnormal_floats")
EACH = settings(database=None, phases=[Phase.generate], deadline=None, suppress_health_check=list(HealthCheck))
ODD = ["", "x", "\0", "\x1b[2J", "\u202e", "9" * 400, "nan", "inf", "-1", "[]", "null", "true", "1e999", "é" * 500]
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(ODD), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=6,
)
NAMES = st.one_of(st.lists(st.sampled_from(["sums-0-0", "sums-0-1", "nobody"]), max_size=3), JSON)
BODIES = st.one_of(
    JSON,
    st.fixed_dictionaries({}, optional={
        "verb": st.one_of(
            st.sampled_from(["pin", "override", "unpin", "note", "undo", "redo", "blind", "unblind"]), JSON
        ),
        "examples": NAMES, "labels": st.one_of(st.lists(st.sampled_from(["True", "False", "Maybe"]), max_size=3), JSON),
        "text": JSON, "flips": NAMES, "utility_falls": JSON, "inconsistent_for": JSON,
        "settings": st.one_of(
            st.dictionaries(st.sampled_from(["alpha", "cooling_rate", "neighbour_weight", "seed", "magic"]), JSON), JSON
        ),
    }),
)  # fmt: skip
VERBS = ["start", "pause", "resume", "step", "hand", "retune", "breakpoints"]
ROWS = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(VERBS), st.sampled_from(ODD), st.none()),
        st.one_of(st.integers(0, 2), st.integers(-(2**63), 2**63 - 1), st.floats(), st.sampled_from(ODD), st.none()),
        st.one_of(BODIES.map(json.dumps), st.sampled_from(["", "{", "[" * 100_000, "NaN", '{"verb": NaN}', "\0"])),
    ),
    min_size=1, max_size=5,
)  # fmt: skip
MEANT = [
    ("hand", 0, '{"verb": "pin", "examples": ["sums-0-0"], "labels": ["True"]}'),
    ("retune", 0, '{"settings": {"alpha": 20}}'),
    ("breakpoints", 0, '{"flips": ["sums-0-0"]}'),
    ("step", 2, "{}"),
]


@pytest.mark.smoke
@pytest.mark.fault(
    "malformed rows in the table of commands: unknown verbs, arbitrary bodies, broken JSON, numbers",
    "each gets a receipt, applied or refused with the reason; the run continues, its log verifies, pages can read it",
)
def test_any_command_is_answered(store: Store, fault: Fault) -> None:
    small_dataset(store)
    answered: dict[str, int] = {}

    @seed(8)
    @settings(EACH, max_examples=fault.times(quick=40, long=400, push=10))
    @given(rows=ROWS)
    def each(rows: list[tuple[Any, ...]]) -> None:
        run = add_run(store, "paused", steps=3)
        with store.transaction():
            for verb, steps, body in [*rows, *MEANT]:
                row = {
                    "token": uuid.uuid4().hex,
                    "run": run,
                    "verb": verb,
                    "steps": steps,
                    "created": 0.0,
                    "body": body,
                }
                store.db.table("commands").insert(row)
        control.status(store, run)
        assert worker.run_in_process(store, run, idle=0) == 0
        assert store.pending(run) == []
        for event in store.read_after(run, kinds=("control", "refused", "hand", "retuned", "breakpoints")):
            answered[event.kind] = answered.get(event.kind, 0) + 1
        assert verify(store, open_run(store, run))[1] == []
        control.status(store, run)
        RunCache().reading(store, run)

    each()
    assert set(answered) == {"control", "refused", "hand", "retuned", "breakpoints"}
    done, said = sum(answered.values()) - answered["refused"], answered["refused"]
    fault.happened = (
        f"{fault.tried:,} runs got {done + said:,} receipts: {done:,} done, {said:,} refused; no worker crashed"
    )


# -- the command line

TEXTS = [
    "", " ", "x", "sums", "sums-1", "sums-2", "batches.1", "context-check.1", "../..", "/", "/dev/null", "/dev/full",
    "/nowhere/x.csv", "a" * 300, "\x1b[2J\x07", "\u202etxt.exe", "\u200b", "\udcff", "-1", "0", "1", "2", "9" * 25,
    "9" * 5000,
    "nan", "inf", "1e999", "a=b", "alpha=nan", "seed=x", "alpha=1e999", "max_steps=99999999999999999999", "=", "=cmd",
    "sums-0-0=True", "nobody=True", "sums-0-0=Maybe", "%s%n", "{}", "[]", "null", "True", "None", "fake",
    "http://127.0.0.1:1/v1", "http://user:secret@host/v1", "trained:../../x", "trained:x", "hub:", "hub:../..", "hub:a",
    "rule.py", "x.csv", "x.json", "x.parquet", "x.toml", "fifo.csv", "folder", "gold=", "human=x", "q\0c",
]  # fmt: skip
LEFT_OUT = {"--ray", "--public", "--db"}  # a cluster takes minutes; nothing is pushed; the database is ours
NETWORK = {"push"}


def commands() -> dict[str, click.Command]:
    """Every subcommand."""
    return dict(icm.commands)


def arguments(command: click.Command, draw: random.Random) -> list[str]:
    """Arguments that such a command could have, most of them hostile."""
    found = [draw.choice(sorted(command.commands))] if isinstance(command, click.Group) else list[str]()
    for parameter in command.params:
        option = isinstance(parameter, click.Option)
        flag = isinstance(parameter, click.Option) and parameter.is_flag
        if set(parameter.opts) & LEFT_OUT:
            continue
        if option and not parameter.required and draw.random() < 0.7:
            continue
        good = choices(parameter) or TEXTS
        values = [] if flag else [draw.choice(TEXTS if draw.random() < 0.3 else good)]
        found += [*(parameter.opts[:1] if option else []), *values]
    return found


@pytest.mark.fault(
    "every command with malformed arguments: names, paths, numbers, settings, control characters, unpaired surrogates",
    "exit status 0, 1 or 2, one line on stderr where it is 1, no traceback, and no control character written",
)
def test_any_arguments_are_obeyed_or_refused(
    store: Store, fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("four words and a dot\n"))
    monkeypatch.setattr(life_cycle, "LAUNCH_GRACE", 0.0)
    monkeypatch.setattr(control, "POLL", 0.0)
    spawn_by(monkeypatch, refusing_worker)
    monkeypatch.setattr(app_commands, "become", lambda command, environment: None)
    small_dataset(store)
    add_run(store, "paused", steps=5)
    add_run(store, "finished", steps=5)
    for name in ("x.csv", "x.json", "x.parquet", "x.toml", "rule.py"):
        (tmp_path / name).write_text("question,claim\nq,c\n", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    statuses = {0: 0, 1: 0, 2: 0}
    draw = random.Random(8)
    names = sorted(set(commands()) - NETWORK)
    for k in range(fault.times(quick=len(names) * 4, long=len(names) * 15)):
        name = names[k % len(names)]
        given = [name, *arguments(commands()[name], draw)]
        code, out, err = run(given)
        assert code in statuses, given
        statuses[code] += 1
        said = [line for line in err.splitlines() if line.startswith("icm: ")]
        assert len(said) == (code == 1), (given, err)
        assert "Traceback" not in err, (given, err)
        assert not any(sign < " " and sign not in "\n\t\r" for sign in out + err), (given, out, err)
        assert not {"\u202e", "\u200b", "\x9b", "\x7f"} & set(out + err), (given, out, err)
    done, refused, unknown = statuses.values()
    fault.happened = (
        f"{len(names)} commands: {done:,} calls succeeded, {refused:,} were refused in one line, "
        f"{unknown:,} were usage errors"
    )


def refusing_worker(store: Store, _: str, name: str) -> None:
    """In place of a process: what was asked is refused at once, a job failed."""
    if not (commands := store.pending(name) if store.has_run(name) else []):
        store.append(name, "failed", {"error": "NoWorker", "message": "there is no worker here \x1b[2J\u202e"})
    for command in commands:
        store.answer(name, [command], "refused", {"verb": command.verb, "message": "not here \x1b[2J"}, None)


def run(given: list[str]) -> tuple[int, str, str]:
    """One command: its exit status and what it wrote."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(given)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()
