"""Paths as people write them, and files that only stand for others."""

from pathlib import Path

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
