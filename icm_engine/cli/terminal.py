"""What the command line writes, to a terminal, a file or a pipe: nothing that a terminal would obey, and no failure."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

from icm_engine.core.text import escape_controls


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
