"""Real servers of llama.cpp and of llama-cpp-python, where the environment names them."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

SERVER = os.environ.get("ICM_LLAMA_SERVER") or shutil.which("llama-server") or ""
PYTHON = os.environ.get("ICM_LLAMA_CPP_PYTHON", "")  # a Python with llama-cpp-python[server]
NEEDS_LLAMA_SERVER = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(not SERVER, reason="no llama-server on PATH: name one in ICM_LLAMA_SERVER"),
]
NEEDS_LLAMA_CPP_PYTHON = pytest.mark.skipif(
    not PYTHON, reason="name a Python that has llama-cpp-python[server] in ICM_LLAMA_CPP_PYTHON"
)
STARTING = 120.0  # seconds


@contextlib.contextmanager
def _running(command: Sequence[str], port: int, log: Path, path: str) -> Iterator[str]:
    with log.open("wb") as out:
        process = subprocess.Popen([*command], stdout=out, stderr=out)
    try:
        before = time.monotonic()
        while not _answers(f"http://127.0.0.1:{port}{path}"):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() - before < STARTING, "the server did not come up"
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def llama_server(model: Path, context: int = 2048) -> contextlib.AbstractContextManager[str]:
    """llama.cpp's server with one slot, in float32 all through; gives the address of its API."""
    port = _port()
    command = [SERVER, "-m", str(model), "--host", "127.0.0.1", "--port", str(port), "-c", str(context), "-np", "1",
               "-ctk", "f32", "-ctv", "f32", "-fa", "off"]  # fmt: skip
    return _running(command, port, model.with_suffix(".log"), "/health")


def llama_cpp_python(model: Path) -> contextlib.AbstractContextManager[str]:
    """The server of llama-cpp-python; gives the address of its API."""
    port = _port()
    command = [PYTHON, "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    return _running(command, port, model.with_suffix(".log"), "/v1/models")
