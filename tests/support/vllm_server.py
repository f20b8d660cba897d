"""A real vLLM server with the sample model, where tools/server.sh has installed it."""

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from icm_engine.models.loading import SAMPLE_MODEL
from tests.support.paths import ROOT

INSTALLED = (ROOT / ".venv-vllm" / "ready").is_file()
NEEDS_SERVER = [
    pytest.mark.server,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not INSTALLED and "ICM_REQUIRE_SERVER" not in os.environ,
        reason="vLLM is not installed here: tools/server.sh install (Linux, x86-64 with AVX2)",
    ),
]
DTYPE = "float32"  # what both sides compute with, so that their log-probabilities can be compared closely
STARTING = 600.0  # seconds it may take on a busy machine


class RealServer:
    """The server's process; it can be killed and started again at the same address."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.address = f"http://127.0.0.1:{self.port}/v1"
        self.log = Path(tempfile.mkdtemp()) / "vllm.log"
        self.start()

    def start(self) -> None:
        command = [str(ROOT / "tools" / "server.sh"), "serve", str(SAMPLE_MODEL), str(self.port)]
        environment = {**os.environ, "DTYPE": DTYPE}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        before = time.monotonic()
        while not self._up():
            assert self.process.poll() is None, self.log.read_text(errors="replace")[-3000:]
            assert time.monotonic() - before < STARTING, "the server did not come up"
            time.sleep(0.5)

    def kill(self) -> None:
        """End it and its engine, as a machine that goes down does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _up(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def real_server() -> Iterator[RealServer]:
    """A server for some tests; what it printed is shown if it does not come up."""
    server = RealServer()
    try:
        yield server
    finally:
        server.kill()
