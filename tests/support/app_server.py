"""Real servers of the app, each a process of its own on a database of its own."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from icm_engine.runs import control
from icm_engine.store.store import Store
from tests.support.paths import ROOT

MODEL = "sample" if (ROOT / "sample_data" / "model" / "config.json").exists() else "fake"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """One process of `streamlit run app.py` on a database of its own.

    `arguments` are further ones of the command, `script` another one than the app's, `folder` where it is started.
    """

    def __init__(
        self,
        database: Path,
        port: int | None = None,
        arguments: Sequence[str] = (),
        script: Path | str = "app.py",
        folder: Path = ROOT,
        **environment: str,
    ) -> None:
        self.database, self.port, self.environment = database, port or free_port(), environment
        self.arguments, self.script, self.folder = arguments, script, folder
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        """Start the server, cold, and wait until it answers."""
        command = [sys.executable, "-m", "streamlit", "run", str(self.script), f"--server.port={self.port}"]
        self.process = subprocess.Popen(
            [*command, "--server.headless=true", *self.arguments], cwd=self.folder,
            env={**os.environ, **self.environment, "ICM_DB": str(self.database)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not self._answers():
            assert self.process.poll() is None, "the server ended while it started"
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        """End the server as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def serving(database: Path, port: int | None = None, **started: Any) -> Iterator[Server]:
    """Serve the app for a while; `started` is as in `Server`."""
    server = Server(database, port, **started)
    try:
        yield server
    finally:
        server.kill()


def end_workers(database: Path) -> None:
    """Kill what still works at the runs of a database."""
    with Store(database) as store:
        for run in store.run_names():
            if (pid := control.status(store, run).pid) is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).kill()
