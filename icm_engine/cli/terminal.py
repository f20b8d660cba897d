"""What the command line writes, to a terminal, a file or a pipe: nothing that a terminal would obey, and no failure."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from icm_engine.core.text import escape_controls, one_line


class PlainStream:
    """A stream whose texts are made plain; a progress bar may go back to the beginning of its line."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text. Characters that the stream cannot encode are backslash-escaped."""
        back = "\r" if text.startswith("\r") else ""
        shown = back + escape_controls(text.removeprefix("\r"))
        try:
            self._stream.write(shown)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            self._stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def sanitized() -> Iterator[None]:
    """Let what is printed meanwhile be plain."""
    with redirect_stdout(PlainStream(sys.stdout)), redirect_stderr(PlainStream(sys.stderr)):
        yield


def hang_up() -> None:
    """Let nothing more be written, since nobody reads on (`| head`): Python would complain when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class Told:
    """What a command found, and how a person reads it; what has no such text is shown name by name."""

    found: Any
    text: str


def show(told: Any, as_json: bool) -> None:
    """Print what a command returned, as JSON or for a person; None is nothing more to print."""
    found = told.found if isinstance(told, Told) else told
    if found is not None:
        print(json.dumps(found, ensure_ascii=False) if as_json else told.text if told is not found else text_of(found))


def text_of(found: Mapping[str, Any]) -> str:
    """Return a line for each name and its value."""
    return "\n".join(f"{name:<22} {one_line(str(value))}" for name, value in found.items())
