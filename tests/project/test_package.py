"""The package: what is in the sdist and the wheel, and an installed wheel at work from any folder, read-only.

Everything is built and installed once, without a network, from a copy of the tree that has files nobody wants to ship.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml  # type: ignore[import-untyped]
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from starlette.routing import Match
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets import Origin, Subprotocol
from websockets.sync.client import connect

import icm_engine
from icm_engine.cli import app_commands
from icm_engine.cli.main import main
from icm_engine.core import resources
from pages.parts import charts
from tests.golden.in_process import parsed
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
NAME = "icm_workbench"
# in _app of the wheel: what the checkout has at its top
APP = ("app.py", ".streamlit/config.toml", "pages/", "static/", "sample_data/")
NOT_IN_THE_WHEEL = ("sample_data/__init__.py", "sample_data/make/")  # the programs that made the data and the model
SHIPPED_AS_SOURCE = (
    *APP, "icm_engine/", "docs/", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "README.md",
    "SECURITY.md", "pyproject.toml", "requirements.txt", ".gitignore",
)  # fmt: skip
# put into the tree before it is built; git ignores each of them
UNWANTED = (
    "icm.db", "icm_engine/icm.db", "icm_engine/icm.db-wal", "sample_data/icm.db",
    "pages/__pycache__/data.cpython-311.pyc", "icm_engine/core/__pycache__/text.cpython-311.pyc",
    "icm_engine/.mypy_cache/x.json", ".streamlit/secrets.toml", "static/plotly.min.js", "build/x.py", "dist/x.whl",
)  # fmt: skip
HEADINGS = {
    "annotate": "Annotate", "compare": "Evaluate", "consistency": "Conflicts and repairs", "data": "Data",
    "examples": "Labels", "experiments": "Experiments", "flips": "Label changes", "forks": "Fork", "search": "Overview",
    "steps": "Steps", "tour": "Help", "training": "Train",
}  # fmt: skip
PAGES = ("", *(path.stem for path in sorted((ROOT / "pages").glob("*.py"))))
RUN = "run --dataset arithmetic --model fake --limit 8 --steps 4 --json"
PATIENCE = 60.0  # seconds


def tracked() -> set[str]:
    """The files of the tree as git has them or would take them."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in listed if name and (ROOT / name).is_file()}


def run(command: Sequence[str | Path], folder: Path, **environment: str) -> str:
    """Run a command in a clean environment and return its stdout."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=clean(**environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def clean(**environment: str) -> dict[str, str]:
    """An environment with nothing of ours in it."""
    return {"PATH": os.environ["PATH"], "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}


@dataclass(frozen=True)
class Built:
    sdist: Path
    wheel: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of the tree with unwanted files in it, and the wheel that pip makes of that sdist."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for name in tracked():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tree / name)
    for name in UNWANTED:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("unwanted")
    run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", out], tree)
    (sdist,) = out.iterdir()
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-index",
            "--no-build-isolation",
            "--wheel-dir",
            out,
            sdist,
        ],
        tree,
    )
    (wheel,) = out.glob("*.whl")
    return Built(sdist, wheel)


@dataclass(frozen=True)
class Installed:
    """An environment that has the wheel and sees the packages of this one; `site` is its site-packages."""

    folder: Path
    site: Path

    @property
    def icm(self) -> Path:
        return self.folder / "bin" / "icm"


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel in a fresh environment, all of it read-only; afterwards nothing in it has changed."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", folder], folder.parent)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "packages.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            folder / "bin" / "python",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            built.wheel,
        ],
        folder.parent,
    )
    paths = [site, *site.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path, mode in modes.items():
        path.chmod(mode & ~0o222)
    before = stamps(site)
    yield Installed(folder, site)
    after = stamps(site)
    for path, mode in modes.items():
        path.chmod(mode)
    assert after == before  # root may write anywhere: hence the look


def stamps(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob("*"))}


# -- what is in it


def test_the_wheel_has_one_package_and_in_it_what_the_app_needs(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        names = {name for name in wheel.namelist() if not name.endswith("/")}
    info = f"{NAME}-{icm_engine.__version__}.dist-info"
    assert {name.split("/")[0] for name in names} == {"icm_engine", info}
    engine = {name for name in tracked() if name.startswith("icm_engine/")}
    app = {name for name in tracked() if name.startswith(APP) and not name.startswith(NOT_IN_THE_WHEEL)}
    assert {"app.py", "pages/search.py", "sample_data/model/model.safetensors", "static/icon.svg"} <= app
    assert names - {name for name in names if name.startswith(info)} == engine | {f"icm_engine/_app/{n}" for n in app}
    assert f"{info}/licenses/LICENSE" in names
    assert "icm_engine/py.typed" in names


def test_the_sdist_has_no_tests_and_nothing_that_git_ignores(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {member.name.split("/", 1)[1] for member in sdist.getmembers() if member.isfile()}
    assert names - {"PKG-INFO"} == {name for name in tracked() if name.startswith(SHIPPED_AS_SOURCE)}


def test_nothing_unwanted_is_shipped(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist, zipfile.ZipFile(built.wheel) as wheel:
        shipped = [*sdist.getnames(), *wheel.namelist()]
    assert not [
        name for name in shipped if re.search(r"\.db|\.pyc|__pycache__|secrets|/\.\w+_cache|(^|/)tests?/", name)
    ]


# -- installed, from an empty folder


def test_the_command_says_its_version(installed: Installed, tmp_path: Path) -> None:
    assert run([installed.icm, "--version"], tmp_path) == f"icm-workbench {icm_engine.__version__}\n"


@dataclass(frozen=True)
class Labelled:
    """A run by the installed command in an empty folder: where it was, its user's home, and what it printed."""

    folder: Path
    home: Path
    end: Mapping[str, Any]

    @property
    def database(self) -> Path:
        return self.home / ".local" / "share" / "icm-workbench" / "icm.db"


@pytest.fixture(scope="module")
def labelled(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """Label sample data with the fake model."""
    folder, home = tmp_path_factory.mktemp("folder"), tmp_path_factory.mktemp("home")
    return Labelled(folder, home, json.loads(run([installed.icm, *RUN.split()], folder, HOME=str(home))))


def test_a_run_labels_sample_data_and_writes_into_the_users_folder_alone(labelled: Labelled) -> None:
    end = labelled.end
    assert (end["status"], end["labelled"], end["examples"]) == ("finished", 8, 8)
    assert labelled.database.is_file()
    assert list(labelled.folder.iterdir()) == []


def test_the_installed_files_are_the_ones_that_are_used(installed: Installed, tmp_path: Path) -> None:
    code = """
import json, icm_engine
from icm_engine.experiments import suites
from icm_engine.core.resources import resource
from icm_engine.data.importing import SAMPLE_DIRECTORY
from icm_engine.data.tasks import SAMPLE_DATASETS
assert len(list(suites.FOLDER.glob("*.toml"))) > 10
assert all((SAMPLE_DIRECTORY / f"{name}{part}.csv").is_file() for name in SAMPLE_DATASETS for part in ("", "_test"))
print(json.dumps([icm_engine.__file__, str(SAMPLE_DIRECTORY), str(resource("app.py"))]))
"""
    used = json.loads(run([installed.folder / "bin" / "python", "-c", code], tmp_path, HOME=str(tmp_path)))
    assert len(used) == 3
    assert all(Path(path).is_relative_to(installed.site) for path in used)


def test_one_module_knows_where_files_outside_the_package_are() -> None:
    """`__file__` and a way up would be right in the checkout alone, or in the wheel alone."""
    modules = [ROOT / "app.py", *(ROOT / "pages").rglob("*.py"), *(ROOT / "icm_engine").rglob("*.py")]
    upwards = re.compile(r"__file__.*(parents|parent\.parent|\.\.)")
    found = [path.relative_to(ROOT).as_posix() for path in modules if upwards.search(path.read_text(encoding="utf-8"))]
    assert found == ["icm_engine/core/resources.py"]


def test_what_is_missing_is_installed_as_an_extra_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    for extra in ("hub", "ray", "train"):
        assert extra in PROJECT["project"]["optional-dependencies"]
        assert (ROOT / resources.install_command(extra).removeprefix("pip install -r ")).is_file()
    monkeypatch.setattr(resources, "INSTALLED", ROOT)
    assert resources.install_command("train") == "pip install 'icm-workbench[train]'"


# -- the app


@dataclass(frozen=True)
class Drawn:
    """What a session of the app was sent for one page."""

    headings: tuple[str, ...]
    errors: tuple[str, ...]
    telemetry: bool
    primary_colour: str


@pytest.mark.parametrize("layout", ["installed", "installed, a folder that disagrees", "checkout"])
def test_the_app_answers_on_this_machine_alone_and_draws_every_page(
    layout: str, installed: Installed, labelled: Labelled, tmp_path: Path
) -> None:
    folder, environment, command = tmp_path / "folder", {"HOME": str(tmp_path)}, [str(installed.icm)]
    folder.mkdir()
    if layout == "checkout":
        command, environment["PYTHONPATH"] = [sys.executable, "-m", "icm_engine"], str(ROOT)
    database = shutil.copy(labelled.database, tmp_path)
    if "disagrees" in layout:  # neither its options nor its modules are the app's
        (folder / ".streamlit").mkdir()
        (folder / ".streamlit" / "config.toml").write_text(
            '[server]\naddress = "0.0.0.0"\n[browser]\ngatherUsageStats = true\n'
            '[theme.light]\nprimaryColor = "#ff0000"\n'
        )
        for name in ("random.py", "icm_engine.py", "pages.py", "streamlit.py"):
            (folder / name).write_text("raise ImportError('a module of the current folder')")
    with serving([*command, "app", "--db", str(database)], folder, environment) as (port, process):
        assert listening(process) == {("127.0.0.1", port)}
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/app/static/plotly.min.js", timeout=PATIENCE) as answer:
            script, kind = answer.read(), answer.headers["content-type"]
        drawn = {page: draw(port, page, "run=arithmetic-1") for page in PAGES}
    assert script == (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    assert kind.startswith("text/javascript")
    assert len(drawn) == len(HEADINGS) + 1
    for page, one in drawn.items():
        assert one.errors == (), page
        assert one.headings[0] == HEADINGS.get(page, "ICM Workbench")
        assert not one.telemetry
        assert one.primary_colour == "#0067A0"


@contextmanager
def serving(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[tuple[int, psutil.Process]]:
    """Start the app on a free port, wait until it answers, and end it afterwards."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = int(sock.getsockname()[1])
    log = folder.parent / "app.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [*command, "--port", str(port), "--", "--server.headless=true"],
            cwd=folder,
            env=clean(**environment),
            stdout=file,
            stderr=file,
        )
    try:
        end = time.monotonic() + PATIENCE
        while not answers(port):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
        yield port, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(PATIENCE)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(f"GET /_stcore/health HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            return b" 200 " in sock.makefile("rb").readline()
    except OSError:
        return False


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    found = [one for part in (process, *process.children(recursive=True)) for one in part.net_connections("inet")]
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}


def draw(port: int, page: str, query: str) -> Drawn:
    """Open a page in a session of its own, as a browser does."""
    own = f"127.0.0.1:{port}"
    headings, errors, new = list[str](), list[str](), None
    origin, spoken = Origin(f"http://{own}"), [Subprotocol("streamlit")]
    with connect(f"ws://{own}/_stcore/stream", origin=origin, subprotocols=spoken, max_size=None) as ws:
        asked = BackMsg()
        asked.rerun_script.query_string, asked.rerun_script.page_name = query, page
        ws.send(asked.SerializeToString())
        while True:
            got = ForwardMsg()
            got.ParseFromString(ws.recv(timeout=PATIENCE))
            kind = got.WhichOneof("type")
            if kind == "new_session":
                new = got.new_session
            elif kind == "delta" and got.delta.new_element.WhichOneof("type") == "exception":
                errors.append(got.delta.new_element.exception.message)
            elif kind == "delta" and got.delta.new_element.WhichOneof("type") == "heading":
                headings.append(got.delta.new_element.heading.body)
            elif kind == "page_not_found":
                errors.append(f"{page} is not a page")
            elif kind == "script_finished" and headings:  # the first page of a cold server runs twice
                assert new is not None
                return Drawn(
                    tuple(headings), tuple(errors), new.config.gather_usage_stats, new.custom_theme.light.primary_color
                )


@pytest.mark.parametrize(
    ("path", "is_script"),
    [
        ("/app/static/plotly.min.js", True),
        ("/lab/icm/app/static/plotly.min.js", True),  # below server.baseUrlPath
        ("/app/static/plotly_min.js", False),
        ("/app/static/icon.svg", False),
    ],
)
def test_the_script_of_the_charts_is_served_below_any_path(path: str, is_script: bool) -> None:
    match, _ = charts.route().matches({"type": "http", "method": "GET", "path": path})
    assert (match is Match.FULL) == is_script


def test_the_command_of_the_app_takes_a_port_a_database_and_options_of_streamlit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.chdir(tmp_path)
    given = parsed("app --port 8600 --db runs.db -- --server.headless=true --logger.level info".split())
    command, environment = app_commands.started(given["port"], given["db"], given["further"])
    assert command == [
        sys.executable,
        "-P",
        "-m",
        "streamlit",
        "run",
        str(ROOT / "app.py"),
        "--server.port=8600",
        "--server.headless=true",
        "--logger.level",
        "info",
    ]
    assert environment["ICM_DB"] == str(tmp_path / "runs.db")
    assert environment["PYTHONPATH"] == f"{ROOT}{os.pathsep}elsewhere"


@pytest.mark.parametrize(
    ("called", "program"), [("/usr/bin/icm", "icm"), ("/lib/icm_engine/__main__.py", "python -m icm_engine")]
)
def test_the_help_names_the_program_as_it_was_called(
    called: str, program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out.startswith(f"Usage: {program} [OPTIONS] COMMAND")


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1"])
def test_a_port_that_cannot_be_is_refused(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["app", f"--port={port}"])
    assert refused.value.code == 2
    assert f"'{port}' is not a port" in capsys.readouterr().err


# -- one version, and requirements that agree


def test_the_version_is_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "icm_engine/core/__init__.py"
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert headings[1] == f"{cited['version']} ({cited['date-released']})"
    assert cited["version"] == icm_engine.__version__


# a file of exact versions, and the part of pyproject.toml that it is for
FILES = {
    "": "requirements.txt",
    "hub": "requirements-hub.txt",
    "login": "requirements-login.txt",
    "ray": "requirements-ray.txt",
    "train": "requirements-training.txt",
    "dev": "requirements-dev.txt",
}
# a package that stands in another part of pyproject.toml than its file says
MOVED = {"pytest": ("", "dev")}  # `make app` sets up one environment for the app and for a first test
# files without a part: each is for an environment of its own, which the package is not installed in
APART = {"requirements-audit.txt": "tools/audit.py", "requirements-server.txt": "tools/server.sh"}


def lines(file: str) -> list[str]:
    return [
        text for line in (ROOT / file).read_text(encoding="utf-8").splitlines() if (text := line.split("#")[0].strip())
    ]


def pins(part: str) -> dict[str, Version]:
    """The exact versions of a part, by package."""
    found: dict[str, Version] = {}
    for wanted in (Requirement(line) for line in lines(FILES[part]) if not line.startswith("-r")):
        (pin,) = wanted.specifier
        assert pin.operator == "==", wanted
        found[canonicalize_name(wanted.name)] = Version(pin.version)
    return found


def ranges(part: str) -> dict[str, Requirement]:
    project = PROJECT["project"]
    given = project["dependencies"] if not part else project["optional-dependencies"][part]
    found = {canonicalize_name(one.name): one for one in map(Requirement, given)}
    return {name: one for name, one in found.items() if name != "icm-workbench"}


def test_every_range_takes_the_exact_version_that_the_tests_run_with() -> None:
    assert set(FILES) == {"", *PROJECT["project"]["optional-dependencies"]}
    pinned = {part: pins(part) for part in FILES}
    for name, (here, there) in MOVED.items():
        pinned[there][name] = pinned[here].pop(name)
    for part in FILES:
        assert pinned[part].keys() == ranges(part).keys(), part
        for name, wanted in ranges(part).items():
            assert wanted.specifier.contains(pinned[part][name]), f"{wanted} leaves out {pinned[part][name]}"
            assert any(one.operator == ">=" for one in wanted.specifier), f"{wanted} has no lowest version"
    (backend,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert backend.specifier.contains(pinned["dev"]["hatchling"])


def test_the_files_build_on_each_other_as_the_extras_do() -> None:
    on: dict[str, Any] = {
        part: {line[3:] for line in lines(file) if line.startswith("-r ")} for part, file in FILES.items()
    }
    (whole,) = [one for one in map(Requirement, PROJECT["project"]["optional-dependencies"]["dev"]) if one.extras]
    assert whole.name == "icm-workbench"
    assert on.pop("dev") == {FILES[extra] for extra in whole.extras}
    assert on.pop("") == set()
    assert all(files == {"requirements.txt"} for files in on.values())
    assert {path.name for path in ROOT.glob("requirements*.txt")} == {*FILES.values(), *APART}
    for file, user in APART.items():
        assert file in (ROOT / user).read_text(encoding="utf-8")


# -- what contributors run


def test_the_hooks_and_the_workflow_run_what_make_runs() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    entries = [hook["entry"] for repo in hooks for hook in repo["hooks"]]
    assert len(entries) == 3
    for entry in entries:  # by the tools of the environment that make sets up, so of the same versions
        assert f"$(BIN)/python {entry.split(' ', 1)[1]}" in makefile
        assert entry.startswith(".venv/bin/python -m ")
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(workflow)["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    targets = {word for command in commands for word in re.findall(r"\bmake (\w+)", command)}
    assert {"test", "check"} <= targets
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in targets)
