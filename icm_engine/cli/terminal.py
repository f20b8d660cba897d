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
    """Discard further output after the pipe was closed (`| head`); else Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass(frozen=True, slots=True)
class Output:
    """What a command prints: a value as JSON, and a text for a person."""

    value: Any
    text: str


def show(output: Output | Mapping[str, Any] | None, as_json: bool) -> None:
    """Print what a command returned; a mapping has a line for each name, and None has nothing to print."""
    if output is None:
        return
    if not isinstance(output, Output):
        output = Output(output, text_of(output))
    print(json.dumps(output.value, ensure_ascii=False) if as_json else output.text)


def text_of(found: Mapping[str, Any]) -> str:
    """Return a line for each name and its value."""
    return "\n".join(f"{name:<22} {one_line(str(value))}" for name, value in found.items())
