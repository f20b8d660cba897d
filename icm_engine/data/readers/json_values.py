"""JSON values as they are written, and a window that moves over a text too long to hold."""

import json
from typing import Any, TextIO

PIECE = 1 << 20  # characters read at once
NEAR_END = 16  # an error so near the end of a piece may be its end's: no literal or escape is longer
SPACE = " \t\n\r"


class JsonObject(list[tuple[str, Any]]):
    """A JSON object as its pairs: a key that appears twice is seen, not overwritten."""


class JsonNumber(str):
    """A number as it is written."""

    __slots__ = ()


def _constant(name: str) -> str | None:
    return None if name == "NaN" else name  # pandas writes NaN for a missing value, so that is one


DECODER = json.JSONDecoder(
    object_pairs_hook=JsonObject, parse_float=JsonNumber, parse_int=JsonNumber, parse_constant=_constant
)


def written(value: Any) -> str:
    """Return a decoded value as JSON again, its numbers as they were."""
    if isinstance(value, JsonObject):
        return "{" + ", ".join(f"{written(key)}: {written(item)}" for key, item in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return str(value) if isinstance(value, JsonNumber) else json.dumps(value, ensure_ascii=False)


class Window:
    """A piece of a text, moved forward as it is read; `at` is the place of the next character in it."""

    def __init__(self, text: TextIO) -> None:
        self.text, self.piece, self.at = text, "", 0
        self._lines, self._column = 0, 0  # before the piece: line ends, and characters after the last one

    def sign(self) -> str:
        """Return the next character that is no space, without passing it; nothing at the end."""
        while True:
            while self.at < len(self.piece) and self.piece[self.at] in SPACE:
                self.at += 1
            if self.at < len(self.piece) or not self._read():
                return self.piece[self.at : self.at + 1]

    def value(self) -> Any:
        """Return the JSON value that begins here, and pass it. Raises json.JSONDecodeError."""
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
        """Return the line and the character in it of a place in the piece, both from 1."""
        lines, last = self.piece.count("\n", 0, at), self.piece.rfind("\n", 0, at)
        return self._lines + lines + 1, at - last if lines else self._column + at + 1

    def _read(self) -> bool:
        """Drop what was passed and read on, the more the longer what is left; say whether there was more."""
        rest = self.piece[self.at :]
        more = self.text.read(max(PIECE, len(rest)))
        if not more:
            return False
        line, column = self.place(self.at)
        self._lines, self._column = line - 1, column - 1
        self.piece, self.at = rest + more, 0
        return True
