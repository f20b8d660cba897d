"""How rows are arranged in a JSON file: one per line, in an array, under a key, by column, or by number.

A file of objects that is not an array is walked through once, one value at a time, to find out.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.data.readers.encoding import TextFile

PIECE = 1 << 20  # characters read at once
NEAR_END = 16  # an error this close to the end of the window may be due to the window: no literal or escape is longer
SPACE = " \t\n\r"


class JsonObject(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that repeated keys are seen rather than overwritten."""


class JsonNumber(str):
    """A number as written in the file."""

    __slots__ = ()


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name  # pandas writes NaN for missing values, so it is accepted


DECODER = json.JSONDecoder(
    object_pairs_hook=JsonObject, parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=_constant
)


def written(value: Any) -> str:
    """Return a decoded value as JSON, its numbers as they were written."""
    if isinstance(value, JsonObject):
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value) if isinstance(value, JsonNumber) else json.dumps(value, ensure_ascii=False)


class Window:
    """A window on a text that moves forward as it is read; `at` is the index of the next character in it."""

    def __init__(self, text: TextIO) -> None:
        self.text, self.piece, self.at = text, "", 0
        self._lines, self._column = 0, 0  # before the window: line ends, and characters after the last one

    def sign(self) -> str:
        """Return the next non-space character without consuming it; empty at the end."""
        while True:
            while self.at < len(self.piece) and self.piece[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.piece) or not self._read():
                return self.piece[self.at : self.at + 1]

    def value(self) -> Any:
        """Return and consume the JSON value that begins here. Raises json.JSONDecodeError."""
        while True:
            try:
                value, self.at = DECODER.raw_decode(self.piece, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos >= len(self.piece) - NEAR_END
                if not (cut and self._read()):
                    raise
            else:
                return value

    def place(self, at: int) -> tuple[int, int]:
        """Return line and column, both from 1, of an index in the window."""
        lines, last = self.piece.count("\n", 0, at), self.piece.rfind("\n", 0, at)
        return self._lines + lines + 1, at - last if lines else self._column + at + 1

    def _read(self) -> bool:
        """Drop consumed text and read more, in growing steps; return whether there was more."""
        rest = self.piece[self.at :]
        more = self.text.read(max(PIECE, len(rest)))
        if not more:
            return False
        line, column = self.place(self.at)
        self._lines, self._column = line - 1, column - 1
        self.piece, self.at = rest + more, 0
        return True


class JsonWalk:
    """Walks through a JSON text once; invalid JSON raises ImportRefused with its line."""

    def __init__(self, name: str, text: TextIO) -> None:
        self.name, self.window = name, Window(text)

    def sign(self) -> str:
        """Return the next non-space character; empty at the end."""
        return self.window.sign()

    def value(self) -> Any:
        """Consume and return the value that begins here."""
        try:
            self.sign()
            return self.window.value()
        except json.JSONDecodeError as error:
            raise self.invalid(error.pos, error.msg) from None
        except RecursionError:
            raise too_deep(self.name, f"line {self.window.place(self.window.at)[0]}") from None

    def items(self) -> Iterator[int]:
        """Iterate over the array that begins here; each item must be consumed before the next."""
        yield from (number for number, _ in enumerate(self._between("]"), 1))

    def members(self) -> Iterator[str]:
        """Iterate over the keys of the object that begins here; each value must be consumed before the next."""
        for _ in self._between("}"):
            key = self.value()
            if not isinstance(key, str) or isinstance(key, JsonNumber):
                raise self.invalid(self.window.at, "Expecting property name enclosed in double quotes")
            if self.sign() != ":":
                raise self.invalid(self.window.at, "Expecting ':' delimiter")
            self.window.at += 1
            yield key

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Iterate over keys and values of the object or array that begins here; an item's key is its number."""
        keys = self.members() if self.sign() == "{" else map(str, self.items())
        for key in keys:
            yield key, self.value()

    def skip(self) -> None:
        """Skip the value that begins here, holding at most one of its items."""
        if self.sign() in ("{", "["):
            for _ in self.entries():
                pass
        else:
            self.value()

    def end(self) -> None:
        """Raise ImportRefused unless the text ends here."""
        if self.sign():
            raise self.invalid(self.window.at, "Extra data")

    def _between(self, closing: str) -> Iterator[None]:
        self.sign()
        self.window.at += 1
        first = True
        while self.sign() != closing or not first:
            first = False
            yield
            if self.sign() != ",":
                break
            self.window.at += 1
        if self.sign() != closing:
            raise self.invalid(self.window.at, f"Expecting ',' or '{closing}'")
        self.window.at += 1

    def invalid(self, at: int, message: str) -> "InvalidJson":
        return InvalidJson(self.name, *self.window.place(at), message)


class InvalidJson(ImportRefused):
    """Invalid JSON, with its position."""

    def __init__(self, name: str, line: int, column: int, message: str) -> None:
        super().__init__(f"{name}: line {line} is not valid JSON ({message}, character {column}): correct it")
        self.line = line


def too_deep(name: str, where: str) -> ImportRefused:
    """Return the error for a value nested too deeply."""
    return ImportRefused(f"{name}: {where} is nested too deeply: use plain values")


@dataclass(frozen=True, slots=True)
class Layout:
    """How rows are arranged: `form` is lines, array, key (in `names`), columns (in `names`) or numbers."""

    form: str
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Member:
    """The value of a key: its first character, its first item's, its size, and the form of its keys."""

    sign: str
    first: str
    size: int
    numbered: bool

    @classmethod
    def taken(cls, walk: JsonWalk) -> "_Member":
        sign = walk.sign()
        if sign not in ("{", "["):
            walk.value()
            return cls("", "", 0, False)
        first, size, numbered = "", 0, True
        for key in walk.members() if sign == "{" else map(str, walk.items()):
            first = first or walk.sign()
            size, numbered = size + 1, numbered and key.isdecimal()
            walk.value()
        return cls(sign, first, size, numbered)


def layout_of(file: TextFile, lines: bool, split: str | None) -> Layout:
    """Find the layout of a file; one called .jsonl has objects a line. Raises ImportRefused, SettingError."""
    with file.open(newline="\n") as text:
        walk = JsonWalk(file.name, text)
        single = not lines and walk.sign() == "{"
        members, alone = _members(walk) if single else ({}, "")
        found = _of_one(file.name, members, alone, split) if alone else None
        layout = found or Layout("lines" if lines or single else "array")
    if split is not None and layout.form != "key":
        raise SettingError(f"split is {split!r}, but {file.name} has one list of rows: leave it out (--split)")
    return layout


def _members(walk: JsonWalk) -> tuple[Mapping[str, _Member], str]:
    """The values of the first object, and "line" or "lines" for what it spans if nothing follows it."""
    members: dict[str, _Member] = {}
    try:
        for key in walk.members():
            if key in members:
                raise ImportRefused(f"{walk.name}: the file has key {key!r} twice: keep one")
            members[key] = _Member.taken(walk)
        line = walk.window.place(walk.window.at)[0]
        return members, "" if walk.sign() else "line" if line == 1 else "lines"
    except InvalidJson as error:
        if error.line == 1:
            return {}, ""  # perhaps one object a line, the first invalid
        raise


def _of_one(name: str, members: Mapping[str, _Member], alone: str, split: str | None) -> Layout | None:
    """The layout of a file that is a single object; None if it is one row."""
    lists = [key for key, member in members.items() if member.sign == "[" and member.first == "{"]
    signs = {member.sign for member in members.values()}
    if lists:
        return _under_key(name, lists, list(members), split)
    if signs == {"["} or (signs == {"{"} and all(member.numbered for member in members.values())):
        return _by_column(name, members)
    if signs == {"{"} and all(key.isdecimal() for key in members):
        return Layout("numbers", notes=("The rows are the objects of the file; their numbers were left out.",))
    if alone == "lines":
        raise no_rows(name)
    return None


def _under_key(name: str, lists: Sequence[str], keys: Sequence[str], split: str | None) -> Layout:
    chosen = lists[0] if split is None and len(lists) == 1 else split
    if chosen not in lists:
        asked = "" if split is None else f", but none under {split!r}"
        raise ImportRefused(
            f"{name}: the file has lists of objects under {', '.join(lists)}{asked}: name one (--split {lists[0]})"
        )
    others = ", ".join(repr(key) for key in keys if key != chosen)
    left_out = f"; {others} was left out" if others else ""
    return Layout("key", (str(chosen),), (f"The rows are the objects under {chosen!r}{left_out}.",))


def _by_column(name: str, members: Mapping[str, _Member]) -> Layout:
    sizes = {member.size for member in members.values()}
    if len(sizes) > 1:
        told = ", ".join(f"{key} {member.size}" for key, member in members.items())
        raise ImportRefused(f"{name}: the columns of the file have different numbers of cells ({told}): correct them")
    return Layout("columns", tuple(members), ("The file has its cells column by column.",))


def no_rows(name: str) -> ImportRefused:
    """Return the error for JSON in which no rows are found."""
    return ImportRefused(
        f"{name}: the file is not an array of objects: write [{{...}}, ...], or one object a line; a list of objects "
        'under a key ({"data": [...]}) and columns ({"text": [...], "label": [...]}) are read, too'
    )
