"""Commands that open no database: `app` (open the app) and `password` (the hash of a password)."""

import argparse
import getpass
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from icm_engine.access.password import HASH, hashed
from icm_engine.core.errors import SettingError
from icm_engine.core.resources import resource, search_path
from icm_engine.core.text import expanded, whole_number


def add_password(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("password", help=password.__doc__, description=password.__doc__)
    command.add_argument("--json", action="store_true", help="print JSON on stdout")
    command.set_defaults(function=password)


def password(given: argparse.Namespace) -> dict[str, str] | None:
    """Print the hash of a password, typed twice or read from a pipe, for the environment of an exposed app."""
    text = _typed() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    made = hashed(text)
    if given.json:
        return {HASH: made}
    print(f"{HASH}={made}")
    return None


def _typed() -> str:
    text = getpass.getpass("Password: ")
    if getpass.getpass("The same again: ") != text:
        raise SettingError("the two passwords differ: type the same one twice")
    return text


LARGEST_PORT = 65_535


def add_app(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("app", help=app.__doc__, description=app.__doc__)
    command.add_argument("--port", type=_port, metavar="N", help="the port (else 8501, or the next free one)")
    command.add_argument("--db", type=Path, metavar="FILE", help="the database (else ICM_DB, else the user's own)")
    command.add_argument("options", nargs="*", metavar="-- OPTION", help="further options of `streamlit run`")
    command.set_defaults(function=app, json=False)


def app(given: argparse.Namespace) -> None:
    """Open the app in a browser, on this machine alone, until Ctrl-C."""
    become(*started(given))


def started(given: argparse.Namespace) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves the app, and its environment.

    Streamlit finds config.toml beside app.py, which overrules one of the current folder and one of the user. Modules
    in the current folder are not imported (-P).
    """
    command = [sys.executable, "-P", "-m", "streamlit", "run", str(resource("app.py"))]
    if given.port is not None:
        command.append(f"--server.port={given.port}")
    database = {} if given.db is None else {"ICM_DB": str(expanded(given.db).absolute())}
    return [*command, *given.options], {**os.environ, "PYTHONPATH": search_path(), **database}


def become(command: list[str], environment: dict[str, str]) -> None:
    """Run the command in place of this process, so that signals reach the server itself."""
    sys.stdout.flush()
    sys.stderr.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment)
    raise SystemExit(subprocess.call(command, env=environment))


def _port(text: str) -> int:
    number = whole_number(text)
    if not number or number > LARGEST_PORT:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: use a whole number from 1 to {LARGEST_PORT:,}")
    return number
