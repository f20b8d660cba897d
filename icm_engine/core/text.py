"""Untrusted text: escaped control characters, paths as people write them, whole numbers.

Escapes are JSON's, so JSON stays JSON with the same meaning.
"""

import unicodedata
from pathlib import Path

OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, direction marks, zero-width, surrogates, separators


def escape_controls(text: str) -> str:
    r"""Return the text with control and invisible characters escaped; line ends and tabs stay.

    >>> escape_controls("red: " + chr(27) + "[31m, back: " + chr(0x202E) + "abc")
    'red: \\u001b[31m, back: \\u202eabc'
    """
    if text.isprintable():
        return text
    return "".join(_code(sign) if _is_obeyed(sign) else sign for sign in text)


def one_line(text: str) -> str:
    r"""Return the escaped text on one line.

    >>> one_line("two\nlines")
    'two\\nlines'
    """
    return escape_controls(text.replace("\r", "\\r").replace("\n", "\\n"))


def _is_obeyed(sign: str) -> bool:
    return sign not in "\n\t" and unicodedata.category(sign) in OBEYED


def _code(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k]:02x}{units[k + 1]:02x}" for k in range(0, len(units), 2))


_LFS = b"version https://git-lfs.github.com/spec/v1"
LOOKED_AT = 128  # bytes read from a file's beginning; a pointer is recognised by less


def expanded(path: Path | str) -> Path:
    """Return the path with ~ expanded; unchanged if there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def home_expanded(name: str) -> str:
    """Return a model or data set name with ~ expanded; other text is unchanged."""
    return str(expanded(name)) if name.startswith("~") else name


def is_pointer(beginning: bytes) -> bool:
    """Say whether a file that begins like this is a git-LFS pointer."""
    return beginning.startswith(_LFS)


def is_pointer_file(path: Path) -> bool:
    """Say whether this file is a git-LFS pointer; False if it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_pointer(file.read(LOOKED_AT))
    except (OSError, ValueError):
        return False


DIGITS = 18  # digits of the longest number that databases and pages can hold


def whole_number(text: str) -> int | None:
    """Return the number written in ASCII digits; None for other text and for numbers too long to be ours."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else None
