"""The README's commands are commands that exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from icm_engine.__main__ import parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m icm_engine (.+)$", README, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    parser().parse_args(shlex.split(command))


@pytest.mark.slow
@pytest.mark.model
def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The block as it stands: a frame comes back labelled, and its run is there as frames."""
    (block,) = re.findall(r"^```python\n(.+?)^```", README, re.MULTILINE | re.DOTALL)
    monkeypatch.setenv("ICM_DB", str(tmp_path / "icm.db"))
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    labelled, run = names["labelled"], names["run"]
    assert len(labelled) == 24
    labels = labelled["icm_label"].dropna()  # an example that is never drawn has none
    assert set(labels) <= {"True", "False"}
    assert len(labels) >= 20
    assert list(labelled.columns[-6:]) == re.findall(r"`(icm_\w+)`", README)[:6]
    assert run.summary["status"] == "finished"
    assert len(run.steps) == 4 * 24
    assert run.labels["icm_label"].tolist() == labelled["icm_label"].tolist()
    assert run.flips["new"].isin(["True", "False"]).all()


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 7


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert targets == {"app", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_links_and_files_exist() -> None:
    paths = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    assert len(paths) > 10
    for path in paths:
        assert (ROOT / path.split(",")[0].strip("` ")).exists(), path
