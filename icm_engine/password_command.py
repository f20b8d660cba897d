"""The command that makes the hash of a password, for an app that others reach. It opens no database."""

import argparse
import getpass
import sys
from typing import Any

from icm_engine.core.errors import SettingError
from icm_engine.doors.passwords import HASH, hashed


def add(commands: Any) -> None:
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
