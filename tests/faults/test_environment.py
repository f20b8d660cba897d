"""Where it runs: later Pythons, a path with spaces, a user without root, no network once it is installed."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.faults import Fault
from tests.support.isolated_command import NOBODY
from tests.support.paths import ROOT, TESTS

# an interpreter under root's home is closed to others: then the system's own of this version, with the same packages
PYTHONS = (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}")
LATER = ("3.13", "3.12")
INDEX = "https://pypi.org/simple/pip/"
# the app's home page answers, and every page of it is drawn: what a browser would be sent
APP = """
import subprocess, sys, time, urllib.request
command = "-m streamlit run app.py --server.port=8501 --server.headless=true".split()
server = subprocess.Popen([sys.executable, *command])
for _ in range(300):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:8501/_stcore/health").read().decode())
        break
    except OSError:
        assert server.poll() is None
        time.sleep(0.2)
server.kill()
from streamlit.testing.v1 import AppTest
test = AppTest.from_file("app.py", default_timeout=120).run()
assert not test.exception, test.exception
test.switch_page("pages/search.py").run()
assert not test.exception, test.exception
"""


@dataclass(frozen=True)
class Alone:
    """A copy of the project in a path with spaces, and who may run it there: without root, without network."""

    folder: Path
    python: str = PYTHONS[0]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python with these arguments in the folder; its output is read afterwards."""
        root = os.geteuid() == 0
        unshare = ["unshare", "--net"] if root else ["unshare", "--map-root-user", "--net"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ICM_", "PYTEST_", "COV_"))}
        home = str(self.folder.parent)
        return subprocess.run(
            [*unshare, sys.executable, str(TESTS / "support" / "isolated_command.py"), self.python, *arguments],
            cwd=self.folder, capture_output=True, text=True,
            env={**kept, "HOME": home, "TMPDIR": home, "PYTHONPATH": sysconfig.get_path("purelib"),
                 **({"ICM_BECOME_NOBODY": "1"} if root else {})},
        )  # fmt: skip


@pytest.fixture
def there() -> Iterator[Alone]:
    """The project as git has it, in a path with spaces that belongs to who will run it."""
    home = Path(tempfile.mkdtemp(prefix="a path with spaces "))  # pytest's own folders are closed to other users
    try:
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        for name in filter(None, tracked.split("\0")):
            (home / "icm workbench" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, home / "icm workbench" / name)
        if os.geteuid() == 0:
            for path in (home, *home.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield able(home / "icm workbench")
    finally:
        shutil.rmtree(home)


def able(folder: Path) -> Alone:
    """Return what can run there with the first interpreter that can; skips where nothing can be run alone."""
    trials = [(there, there.run("-c", "import streamlit")) for there in (Alone(folder, python) for python in PYTHONS)]
    for there, trial in trials:
        if trial.returncode == 0:
            return there
    pytest.skip(f"nothing can be run alone here: {trials[0][1].stderr.strip()[-200:]}")


@pytest.mark.timeout(1200)
@pytest.mark.fault(
    "a path with spaces, a user without root, no network, the environment being installed",
    "the app answers, its pages are drawn, and a search on the sample model finishes",
)
def test_alone_in_a_path_with_spaces(there: Alone, fault: Fault) -> None:
    for _ in range(fault.times(quick=1, long=3)):
        found = there.run("-c", APP)
        assert (found.returncode, "ok" in found.stdout) == (0, True), found.stderr[-2000:]
        search = "-m icm_engine run --dataset arithmetic --model sample --limit 8 --steps 4 --json".split()
        found = there.run(*search)
        assert found.returncode == 0, found.stderr[-2000:]
        assert json.loads(found.stdout)["status"] == "finished"
    fault.happened = "all three, with no connection but loopback"


@pytest.mark.timeout(1200)
@pytest.mark.fault("Python 3.12 and 3.13", "every pinned version has a build for them, without conflicts")
def test_pins_resolve_for_later_pythons(tmp_path: Path, fault: Fault) -> None:
    try:
        urllib.request.urlopen(INDEX, timeout=20).close()
    except OSError as error:
        pytest.skip(f"{INDEX} cannot be reached: {error}")
    versions = LATER[: fault.times(quick=1, long=len(LATER))]
    files = ["requirements-dev.txt"] if fault.torture else ["requirements.txt"]
    for version in versions:
        for file in files:
            resolve(file, version, tmp_path)
    fault.happened = f"pip resolved {', '.join(files)} for {' and '.join(versions)}"


def resolve(file: str, version: str, target: Path) -> None:
    """Let pip resolve a file of requirements for a version of Python that need not be there."""
    asked = f"--quiet --dry-run --only-binary=:all: --python-version {version} --requirement {file}".split()
    command = [sys.executable, "-m", "pip", "install", *asked, "--target", str(target)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
