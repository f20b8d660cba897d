"""A path may begin with ~ wherever one is given, and a pointer in a model's place is named as that."""

import json
import shutil
from pathlib import Path

import pytest

from icm_engine.analysis.import_form import at_path, data_folder
from icm_engine.cli.main import main
from icm_engine.core.custom_rules import rule_reference
from icm_engine.core.errors import ImportRefused, ModelNotUsable, NotFound
from icm_engine.core.settings import ModelChoice
from icm_engine.core.text import expanded, home_expanded
from icm_engine.data.import_plan import preview
from icm_engine.data.importing import import_file
from icm_engine.data.tasks import task_spec
from icm_engine.experiments.suites import FOLDER, read_suite
from icm_engine.models.loading import SAMPLE_MODEL, load
from icm_engine.runs import control
from icm_engine.runs.model_registry import is_supervised, located
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store, default_path

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 12345\n"
RULE = """
from icm_engine.core.consistency import Rule


class Mine(Rule):
    def key(self, example):
        return None

    def consistent(self, i, j, labeling):
        return True
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory with a small file in it."""
    made = tmp_path / "home"
    made.mkdir()
    monkeypatch.setenv("HOME", str(made))
    (made / "d.csv").write_text("question,claim\nq,c\n", encoding="utf-8")
    return made


def test_only_paths_are_expanded(home: Path) -> None:
    assert expanded("~/d.csv") == home / "d.csv"
    assert home_expanded("~/m") == str(home / "m")
    assert home_expanded("owner/model~1") == "owner/model~1"
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")


def test_files_of_the_home_directory(store: Store, home: Path) -> None:
    assert import_file(store, "~/d.csv", "truthfulness").dataset == "d"
    assert preview("~/d.csv").total == 1
    shutil.copy(Path(task_spec.__code__.co_filename).parent / "truthfulness.toml", home / "mine.toml")
    assert import_file(store, "~/d.csv", "~/mine.toml", "again").rows == 1
    (home / "rule.py").write_text(RULE, encoding="utf-8")
    assert rule_reference("~/rule.py").startswith(f"{home}/rule.py#sha256=")
    shutil.copy(FOLDER / "main.toml", home / "suite.toml")
    assert read_suite("~/suite.toml").arms == read_suite("main").arms
    with pytest.raises(NotFound):
        read_suite("~/gone.toml")


def test_the_command_line_takes_them_everywhere(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", "~/d.csv", "--task", "truthfulness", "--db", "~/my.db", "--json"]) == 0
    assert (home / "my.db").is_file()
    with Store("~/my.db") as store:
        run = control.create_run(store, RunSpec("d", "~/model"))
        assert store.spec(run).model == str(home / "model")
    assert main(["export", run, "--db", "~/my.db", "--output", "~/out.csv", "--json"]) == 0
    assert main(["export", run, "--db", "~/my.db", "--output", "~/folder", "--format", "datasets"]) == 0
    capsys.readouterr()
    assert (home / "out.csv").is_file()
    assert (home / "folder" / "README.md").is_file()
    assert main(["import", "~/gone.csv", "--task", "truthfulness", "--db", "~/my.db"]) == 1
    assert f"{home}/gone.csv: the file cannot be read" in capsys.readouterr().err


def test_the_database_of_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_DB", "~/other.db")
    with Store() as store:
        assert store.path == home / "other.db"


def test_the_database_is_in_the_data_folder_of_the_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ICM_DB", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    usual = home / ".local" / "share" / "icm-workbench" / "icm.db"
    assert default_path() == usual
    monkeypatch.setenv("XDG_DATA_HOME", "")
    assert default_path() == usual
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # its specification says: ignore
    assert default_path() == usual
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    assert default_path() == home / "data" / "icm-workbench" / "icm.db"
    assert not (home / ".local").exists()  # asking makes no folder


def test_the_page_takes_them_inside_its_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ICM_DATA", "~")
    assert data_folder() == home
    assert at_path("~/d.csv").path == home / "d.csv"
    monkeypatch.setenv("ICM_DATA", str(home.parent))
    with pytest.raises(ImportRefused, match="reads files inside"):
        at_path("~nobody/../../x")


def test_models_of_the_home_directory(store: Store, home: Path) -> None:
    assert located(store, ModelChoice("~/m")).model == str(home / "m")
    with pytest.raises(ModelNotUsable, match=f"model directory '{home}/m' does not exist"):
        load(ModelChoice("~/m"))
    (home / "m").mkdir()
    (home / "m" / "trained.json").write_text(json.dumps({"supervised": True}), encoding="utf-8")
    assert is_supervised(store, "~/m") == is_supervised(store, str(home / "m"))


@pytest.mark.model
@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "adapter_model.safetensors"])
def test_a_model_whose_files_are_pointers(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(SAMPLE_MODEL, folder)
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(POINTER, encoding="utf-8")
    if name.startswith("adapter"):
        (folder / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    with pytest.raises(ModelNotUsable) as caught:
        load(ModelChoice(str(folder)))
    assert str(caught.value) == (
        f"model {str(folder)!r} has a git-LFS pointer in place of {name}: fetch the files themselves "
        "(git lfs pull, in its folder)"
    )
