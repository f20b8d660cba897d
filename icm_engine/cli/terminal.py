"""What the command line writes, to a terminal, a file or a pipe: nothing that a terminal would obey, and no failure."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from icm_engine import jobs
from icm_engine.core.errors import RunError
from icm_engine.core.text import escape_controls, one_line
from icm_engine.runs.control import wait
from icm_engine.store.store import Store


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


def follow(store: Store, job: str, words: Callable[[], str] = str) -> dict[str, Any]:
    """Show a job's progress on stderr and return its result; Ctrl-C cancels it. Raises RunError if there is none.

    `words` say more of it than its own log does, where they say anything.
    """
    live, told = sys.stderr.isatty(), None
    with tqdm(desc=job, file=sys.stderr, mininterval=1, unit="") as bar:
        while True:
            try:
                now = jobs.status(store, job)
                news = now.done, now.total, words() or now.words or now.phase
                bar.n, bar.total, said = news
                bar.set_postfix_str(said, refresh=live or news != told)  # a file gets changes only
                told = news
                if now.settled:
                    break
                wait()
            except KeyboardInterrupt:
                jobs.cancel(store, job)
    found = jobs.result(store, job)
    if found is None:
        raise RunError(f"job {job!r} {now.phase}: {now.message} (`jobs {job} --again` starts it again)")
    return found
