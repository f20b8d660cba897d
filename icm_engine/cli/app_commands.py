"""Commands that open no database: `app` (open the app) and `password` (the hash of a password)."""

import getpass
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from icm_engine.access.password import HASH, hashed
from icm_engine.cli import options
from icm_engine.cli.terminal import Output, show
from icm_engine.core.errors import SettingError
from icm_engine.core.resources import resource, search_path
from icm_engine.core.text import expanded, whole_number

LARGEST_PORT = 65_535


@click.command("password", cls=options.IcmCommand)
@options.as_json
def password_command(as_json: bool) -> None:
    """Print the hash of a password, for an exposed app.

    The password is typed twice, or read from a pipe. The hash goes into the environment of the app.
    """
    made = hashed(_typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n"))
    show(Output({HASH: made}, f"{HASH}={made}"), as_json)


def _typed() -> str:
    text = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != text:
        raise SettingError("the two passwords differ: type the same one twice")
    return text


def _port(text: str) -> int:
    number = whole_number(text)
    if not number or number > LARGEST_PORT:
        raise click.BadParameter(f"{text!r} is not a port: use a whole number from 1 to {LARGEST_PORT:,}")
    return number


@click.command("app", cls=options.IcmCommand)
@click.option("--port", type=_port, metavar="N", help="The port (default: 8501, or the next free one).")
@options.database
@click.argument("further", nargs=-1, metavar="[-- OPTION...]", help="Further options of `streamlit run`.")
def app_command(port: int | None, db: Path | None, further: Sequence[str]) -> None:
    """Open the app in a browser, on this machine, until Ctrl-C."""
    become(*started(port, db, further))


def started(port: int | None, database: Path | None, further: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the app, and its environment.

    Streamlit finds config.toml beside app.py, which overrules one of the current folder and one of the user. Modules
    in the current folder are not imported (-P).
    """
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(resource("app.py"))]
    if port is not None:
        command.append(f"--server.port={port}")
    own = {} if database is None else {"ICM_DB": str(expanded(database).absolute())}
    return [*command, *further], {**os.environ, "PYTHONPATH": search_path(), **own}


def become(command: list[str], environment: dict[str, str]) -> None:
    """Run the command in place of this process, so that signals reach the server itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment)
    raise SystemExit(subprocess.call(command, env=environment))
