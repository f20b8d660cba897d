"""The command line in one process: commands are called, and workers run as threads instead of processes of their own.

Nothing here knows how the program is divided into modules, so that it stays as it is when they are moved. A worker is
whatever the program launches as `python -m MODULE ARGUMENTS`: its file is run in a thread, under the name `__main__`.
"""

import contextlib
import importlib.util
import io
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import click

from icm_engine.cli.main import icm, main

LAUNCH = "ICM_LAUNCH"  # the variable that tells a worker which lease is its own
LONGEST = 60.0  # seconds that a worker may take to come to its end
NAP = 0.01  # seconds that anything sleeps at most: between two looks nothing else is waited for


class CommandFailed(Exception):
    """A command ended with another exit status than 0."""


class Session:
    """Commands on one database, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database = folder, folder / "icm.db"
        self.held_until: str | None = None  # a worker that is launched now waits for a command with this verb
        self.workers: list[threading.Thread] = []
        self.arguments = _Arguments(sys.argv)

    def text(self, *words: object, stdin: str = "") -> str:
        """Return what a command prints. Raises CommandFailed unless it exits with 0."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), mock.patch("sys.stdin", _Piped(stdin)):
            code = main([str(word) for word in words])
        if code:
            raise CommandFailed(f"{' '.join(map(str, words))}: exit status {code}\n{err.getvalue()}")
        return out.getvalue()

    def json(self, *words: object, stdin: str = "") -> Any:
        """Return what a command prints with --json."""
        return json.loads(self.text(*words, "--json", stdin=stdin))

    def parser_choices(self, command: str, option: str) -> list[str]:
        """Return the accepted values of an option."""
        (found,) = [parameter for parameter in command_parsers()[command].params if option in parameter.opts]
        return list(choices(found) or ())

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return rows of the database, read without the program."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=30)) as db:
            return db.execute(sql, values).fetchall()

    def launch(self, command: list[str], env: dict[str, str] | None = None, **_: Any) -> "_Launched":
        """Stand in for subprocess.Popen: start a worker as a thread; nothing else is started, such as a browser."""
        if not env or LAUNCH not in env or "--db" not in command:
            raise OSError(f"{command} is not started here")
        assert command[:3] == [sys.executable, "-P", "-m"], command
        os.environ[LAUNCH] = env[LAUNCH]
        worker = threading.Thread(target=self._work, args=(command[3], command[4:], self.held_until), daemon=True)
        self.workers.append(worker)
        worker.start()
        return _Launched()

    def _work(self, module: str, arguments: list[str], held_until: str | None) -> None:
        while held_until and not self.query("select 1 from commands where verb = ?", held_until):
            time.sleep(0.01)
        spec = importlib.util.find_spec(module)
        assert spec is not None, module
        assert spec.origin is not None, module
        self.arguments.own.words = [spec.origin, *arguments]
        code = compile(Path(spec.origin).read_text(encoding="utf-8"), spec.origin, "exec")
        with contextlib.suppress(SystemExit):
            exec(code, {"__name__": "__main__", "__file__": spec.origin})

    def close(self) -> None:
        """Wait for all workers."""
        for worker in self.workers:
            worker.join(LONGEST)
            assert not worker.is_alive(), "a worker did not come to its end: stop its run"


def command_parsers() -> dict[str, click.Command]:
    """Return every command by its words, such as `run` and `model fetch`."""
    found: dict[str, click.Command] = {}

    def add(words: str, one: click.Command) -> None:
        if isinstance(one, click.Group):
            for name, made in one.commands.items():
                add(f"{words} {name}".strip(), made)
        else:
            found[words] = one

    add("", icm)
    return found


def choices(parameter: click.Parameter) -> list[str] | None:
    """Return the accepted values of a parameter, None where they are not listed."""
    return list(parameter.type.choices) if isinstance(parameter.type, click.Choice) else None


def parsed(words: list[str]) -> dict[str, Any]:
    """Return what the words of a command are parsed to, without running it. Raises UsageError."""
    parsers = command_parsers()
    name = next(" ".join(words[:number]) for number in (2, 1) if " ".join(words[:number]) in parsers)
    return parsers[name].make_context(name, words[len(name.split()) :]).params


class _Launched:
    """What is known of a worker: it is this process."""

    pid = os.getpid()


class _Arguments(list[str]):
    """sys.argv, of which every worker has its own."""

    def __init__(self, words: list[str]) -> None:
        super().__init__(words)
        self.own = threading.local()

    def __getitem__(self, place: Any) -> Any:
        return getattr(self.own, "words", list(self))[place]


class _Piped(io.StringIO):
    """An input that is no terminal."""


@contextlib.contextmanager
def session(folder: Path) -> Iterator[Session]:
    """Return commands on a new database in this folder, which is the working directory meanwhile."""
    made, before = Session(folder), Path.cwd()
    with (
        mock.patch.dict(os.environ, {"ICM_DB": str(made.database), LAUNCH: ""}),
        mock.patch.object(subprocess, "Popen", made.launch),
        mock.patch("sys.argv", made.arguments),
        mock.patch("time.sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, NAP))),
    ):
        os.chdir(folder)
        try:
            yield made
            made.close()
        finally:
            os.chdir(before)
