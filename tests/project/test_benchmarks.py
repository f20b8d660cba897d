"""Every benchmark is a command with --json, which prints one JSON object and nothing else on stdout."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import report
from tests.support.paths import ROOT

FOLDER = ROOT / "benchmarks"
ONE_ARGUMENT = {"paced_worker"}  # a worker that the load benchmark starts, not a command for people
COMMANDS = sorted(
    path.stem
    for path in FOLDER.glob("*.py")
    if "\ndef main(" in path.read_text(encoding="utf-8") and path.stem not in ONE_ARGUMENT
)
OWN_KEYS = {"acceptance", "real_data", "tokenizers"}  # had --json before the others, with keys of their own
KEYS = ["benchmark", "version", "arguments", "machine", "tables", "lines"]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *arguments], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200", "OMP_NUM_THREADS": "1"}, check=True,
    )  # fmt: skip


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) == 23
    assert {"leave_one_out", "terms", "clicks", "server", "acceptance"} < {*COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json(name: str) -> None:
    """In its source: each has the shared way in, or its own option from before; starting all of them takes a minute."""
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert ("with reported(parser)" in source) is (name not in OWN_KEYS)
    assert name not in OWN_KEYS or '"--json"' in source


def test_a_reward_model_is_tried_on_the_distinct_claims_that_a_policy_samples() -> None:
    from benchmarks.rewards import sampled_pairs

    responses = [["right", "wrong", "right", "odd"], ["wrong"]]
    truth = {"Q": [1.0, 0.0, 1.0, 0.0], "R": [0.0]}
    rewards = {"Q": [0.5, 0.1, 0.5, 0.5], "R": [2.0]}
    # right beats wrong and ties odd; about R nothing right was sampled
    assert sampled_pairs(responses, truth, rewards) == {"Q": (1.5, 2), "R": (0, 0)}


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_tells_of_json_in_its_help(name: str) -> None:
    assert "--json" in run(name, "--help").stdout


CHEAP: dict[str, tuple[str, ...]] = {
    "overhead": ("--n", "100", "200", "--steps", "3"),
    "replay": ("--steps", "40", "--labelled", "8", "--repeat", "1"),
    "importing": ("--rows", "200", "--forms", "csv"),
    "leave_one_out": ("--n", "4", "--repeat", "1", "--sample", "1", "--ways", "one by one", "ours"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "overhead" else pytest.mark.slow) for name in CHEAP]
)
def test_what_is_printed_is_one_object(name: str, tmp_path: Path) -> None:
    database = ("--db", str(tmp_path / "b.db")) if name == "leave_one_out" else ()
    done = run(name, *CHEAP[name], *database, "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert list(told) == KEYS
    assert told["benchmark"] == name
    assert told["machine"]["torch"]
    assert "json" not in told["arguments"]
    assert told["tables"][0]
    for table in told["tables"]:  # the same rows, with all their digits, as the Markdown beside
        for row in table:
            assert f"| {' | '.join(map(report._cell, row.values()))} |" in done.stderr


def test_a_text_with_tables_is_kept_in_rows_and_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report._tables.clear()
    report._lines.clear()
    report.say("| a | b |\n| --- | --- |\n| 1 | x, y |\n| 2 |  |\n\none less two: 3 points\n")
    assert report._tables == [[{"a": "1", "b": "x, y"}, {"a": "2", "b": ""}]]
    assert report._lines == ["one less two: 3 points"]
    assert capsys.readouterr().out.startswith("| a | b |")
