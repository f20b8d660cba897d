"""The commands, links and files that the README and the manual name exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from icm_engine.cli.main import main
from tests.golden.in_process import parsed
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS = sorted(
    {line for text in TEXTS.values() for line in re.findall(r"^python -m icm_engine (.+)$", text, re.MULTILINE)}
)
PYTHON = TEXTS[ROOT / "docs" / "python.md"]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    assert parsed(shlex.split(command, comments=True))


@pytest.mark.slow
@pytest.mark.model
def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The block as it stands: a frame comes back labelled, and its run is there as frames."""
    (block,) = re.findall(r"^```python\n(.+?)^```", PYTHON, re.MULTILINE | re.DOTALL)
    monkeypatch.setenv("ICM_DB", str(tmp_path / "icm.db"))
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    exec(compile(block, "python.md", "exec"), names)
    labelled, run = names["labelled"], names["run"]
    assert len(labelled) == 24
    labels = labelled["icm_label"].dropna()  # an example that is never drawn has none
    assert set(labels) <= {"True", "False"}
    assert len(labels) >= 20
    assert list(labelled.columns[-6:]) == re.findall(r"`(icm_\w+)`", PYTHON)[:6]
    assert run.summary["status"] == "finished"
    assert len(run.steps) == 4 * 24
    assert run.labels["icm_label"].tolist() == labelled["icm_label"].tolist()
    assert run.flips["new"].isin(["True", "False"]).all()


QUESTIONS = """Type,Category,Question,Best Answer,Correct Answers,Incorrect Answers,Source
Adversarial,Geography,Do rivers flow south?,"No, downhill","No, downhill; In any direction; Some flow north",\
"Yes, always; Only in the north",https://example.org/rivers
Non-Adversarial,Cooking,What is steam?,Water,Water; Vapour,"Salt; Nothing, it is hot",https://example.org/water
"""


@pytest.fixture
def beside_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nine claims of two questions and no database, in which commands are called."""
    (tmp_path / "TruthfulQA.csv").write_text(QUESTIONS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ICM_DB", str(tmp_path / "icm.db"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def commands_of(page: str, heading: str) -> list[str]:
    """The commands in a page of the docs from a heading on, with the sample model."""
    _, section = TEXTS[ROOT / "docs" / page].split(heading)
    found: list[str] = re.findall(r"^python -m icm_engine (.+)$", section, re.MULTILINE)
    return [command.replace("./Llama-3.1-8B", "sample") for command in found]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_recipe_for_truthfulqa_runs_with_the_sample_model(
    beside_questions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of the section, in its order."""
    commands = commands_of("running.md", "## An 8B base model on TruthfulQA")
    assert [command.split()[0] for command in commands] == [
        "import", "context", "run", "show", "verify", "evaluate", "export",
    ]  # fmt: skip
    for command in commands:
        assert main(shlex.split(command.replace("--examples 256", "--examples 4"))) == 0, capsys.readouterr().err
    labels = (beside_questions / "labels.csv").read_text().splitlines()
    assert len(labels) == 1 + 9
    assert "False" in "".join(labels)


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.timeout(600)
def test_the_usual_exercise_runs_with_the_sample_model(
    beside_questions: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of the section: five claims of one question are labelled, four of another are the test."""
    commands = commands_of("experiments.md", "## The usual exercise")
    assert [command.split()[0] for command in commands] == ["import", "evaluate", "evaluate"]
    for command in commands:
        words = shlex.split(command)
        assert main(words + (["--examples", "5"] if words[0] == "evaluate" else [])) == 0, capsys.readouterr().err
    report = (beside_questions / "reports" / "truthfulqa" / "report.md").read_text()
    for bar in ("zero-shot", "ICM", "golden \\*", "random labels"):
        assert re.search(rf"^\| {bar} \|.*\[.*\| [05] \|", report, re.MULTILINE), bar
    assert "has no chat template" in report


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 7


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^make (\w+)", README, re.MULTILINE))
    assert targets == {"app", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", TEXTS[page])
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', TEXTS[page])
    for path in (*links, *pictures):
        assert (page.parent / path).exists(), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_picture_in_two_themes_is_the_same_page_twice(page: Path) -> None:
    for dark, light in re.findall(r'srcset="([^"]+)">\n  <img [^>]*src="([^"]+)"', TEXTS[page]):
        assert dark == f"{light.removesuffix('.png')}-dark.png"


def test_the_files_to_read_first_exist() -> None:
    named = re.findall(r"^\| `([^`]+)`", README, re.MULTILINE)
    assert len(named) >= 5
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_page_of_the_manual_can_be_reached() -> None:
    """From the README, in as many clicks as it takes."""
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = {(page.parent / link).resolve() for link in re.findall(r"\]\((?!http)([^)#]+\.md)", TEXTS[page])}
        waiting += [link for link in links if link in TEXTS and link not in reached]
    assert reached == set(PAGES)
