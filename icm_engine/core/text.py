"""Text from outside: control characters escaped, paths as people write them, whole numbers.

The codes are JSON's, so JSON stays JSON with the same meaning.
"""

import unicodedata
from pathlib import Path

OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})  # controls, directions and what has no width, halves, separators


def escape_controls(text: str) -> str:
    r"""Return the text with every character that is obeyed or unseen as its code; line ends and tabs stay.

    >>> plain("red: " + chr(27) + "[31m, back: " + chr(0x202E) + "abc")
    'red: \\u001b[31m, back: \\u202eabc'
    """
    if text.isprintable():
        return text
    return "".join(_code(sign) if _is_obeyed(sign) else sign for sign in text)


def one_line(text: str) -> str:
    r"""Return the same on one line.

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
LOOKED_AT = 128  # bytes of a file's beginning: a pointer is known by less


def expanded(path: Path | str) -> Path:
    """Return the path with the home directory in place of ~; as it is where there is no such user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def home_expanded(name: str) -> str:
    """Return a name that may be a path: with ~ it is one, and any other text stays as it is."""
    return str(expanded(name)) if name.startswith("~") else name


def is_pointer(beginning: bytes) -> bool:
    """Say whether a file that begins like this is a git-LFS pointer in place of the file itself."""
    return beginning.startswith(_LFS)


def is_pointer_file(path: Path) -> bool:
    """Say whether this file is a git-LFS pointer; one that cannot be read is none."""
    try:
        with path.open("rb") as file:
            return is_pointer(file.read(LOOKED_AT))
    except (OSError, ValueError):
        return False


DIGITS = 18  # of the longest that a database and a page can hold


def whole_number(text: str) -> int | None:
    """Return the number that ASCII digits say, None for other text and for more digits than any number of ours has."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else None
