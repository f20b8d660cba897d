"""From bytes to text: gzip, UTF-8, a byte order mark, or a named encoding. Nothing is guessed."""

import codecs
import errno
import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn, TextIO

from icm_engine.core.errors import ImportRefused, SettingError
from icm_engine.core.text import is_pointer

GZIP = b"\x1f\x8b"
PACKED = ".gz"
UNSUSPICIOUS = 1 << 26  # bytes that any file may unpack to
MOST = 200  # allowed unpacking ratio: tables of text reach 3 to 30, gzip's limit is 1,032


class Unpacked(io.RawIOBase):
    """The content of a gzip file, from its beginning. Raises ImportRefused if far larger than a table would be."""

    def __init__(self, stored: BinaryIO, name: str) -> None:
        self._stored, self._name = stored, name
        self._file, self._given = gzip.GzipFile(fileobj=stored), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._file.read(len(buffer))
        buffer[: len(piece)] = piece
        self._given += len(piece)
        if self._given > max(UNSUSPICIOUS, MOST * self._stored.tell()):
            raise ImportRefused(
                f"{self._name}: the file unpacks to more than {MOST} times its size, far more than a table of texts "
                "does: unpack it yourself (gunzip), look at it, and import what it holds"
            )
        return len(piece)

    def close(self) -> None:
        self._file.close()
        self._stored.close()
        super().close()


CHUNK = 1 << 16  # bytes
_ZIP = b"PK\x03\x04"
MARKS = (  # longer ones first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class TextFile:
    """The text of a file, or of `content`; unpacked, and reopened for every pass."""

    def __init__(self, path: Path, content: bytes | None = None, encoding: str | None = None) -> None:
        self.path, self.name, self.content = path, path.name, content
        with self._stored() as file:
            beginning = file.read(CHUNK)
        refuse_strangers(beginning, self.name)
        self.packed = beginning.startswith(GZIP)
        if b"\0" in beginning and self._misnamed:
            self._refuse_misnamed()
        with self._told(), self.binary() as file:
            self.encoding = _encoding(file.read(CHUNK), encoding, self.name)

    def binary(self) -> BinaryIO:
        """Open the bytes of the text. Raises ImportRefused for an unreadable file."""
        stored = self._stored()
        return io.BufferedReader(Unpacked(stored, self.name), CHUNK) if self.packed else stored

    def _stored(self) -> BinaryIO:
        if self.content is not None:
            return io.BytesIO(self.content)
        try:
            if self.path.exists() and not self.path.is_file():
                raise OSError(errno.EINVAL, "it is a pipe or a device, which cannot be read twice")
            return self.path.open("rb")
        except (OSError, ValueError) as error:  # ValueError: a name with a NUL character
            cause = error.strerror if isinstance(error, OSError) else error
            raise ImportRefused(f"{self.path}: the file cannot be read ({cause}): check its name") from None

    @contextmanager
    def open(self, newline: str = "") -> Iterator[TextIO]:
        """Open the text; bytes outside its encoding raise ImportRefused with the line, whoever reads them."""
        with self.binary() as file, io.TextIOWrapper(file, self.encoding, newline=newline) as text, self._told():
            try:
                yield text
            except UnicodeError:
                self._refuse_undecodable()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the errors of damaged files and disks into ImportRefused."""
        try:
            yield
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ImportRefused(
                f"{self.name}: the gzip file is damaged or cut off ({error}): download or pack it again"
            ) from None
        except OSError as error:
            raise ImportRefused(f"{self.path}: the file cannot be read ({error.strerror}): check it") from None

    def _refuse_undecodable(self) -> None:
        """Raise ImportRefused with the line and the byte that the encoding does not allow."""
        decoder, line = codecs.getincrementaldecoder(self.encoding)(), 1
        with self.binary() as file:
            while chunk := file.read(CHUNK):
                try:
                    line += decoder.decode(chunk).count("\n")
                except UnicodeDecodeError as error:
                    line += error.object.count(b"\n", 0, error.start)
                    self._refuse_byte(line, f"the byte 0x{error.object[error.start]:02x}, which")
                except UnicodeError as error:
                    self._refuse_byte(line, f"bytes ({error}) of which one")
        self._refuse_byte(line, "an end amid a character, which")

    @property
    def _misnamed(self) -> bool:
        """Whether the file is packed in name only; some programs unpack what they download."""
        return self.name.lower().endswith(PACKED) and not self.packed

    def _refuse_misnamed(self) -> NoReturn:
        raise ImportRefused(f"{self.name}: the file is neither gzip nor text: download or pack it again")

    def _refuse_byte(self, line: int, found: str) -> None:
        if self._misnamed:
            self._refuse_misnamed()
        shown = "UTF-8" if self.encoding == "utf-8" else self.encoding.removesuffix("-sig").upper()
        raise ImportRefused(
            f"{self.name}: line {line} has {found} is not {shown}: save the file as UTF-8, "
            "or name the encoding it has (--encoding cp1252)"
        )


def _encoding(beginning: bytes, given: str | None, name: str) -> str:
    """The encoding of a file that begins with these bytes."""
    if given:
        return _known(given)
    for mark, encoding in MARKS:
        if beginning.startswith(mark):
            return encoding
    if len(beginning) > 1 and beginning[:2].count(0) == 1:  # no text has a NUL among its first two bytes
        likely = "utf-16-le" if beginning[1] == 0 else "utf-16-be"
        raise ImportRefused(
            f"{name}: line 1 has a NUL byte, the file looks like UTF-16 without its mark: save it as UTF-8, "
            f"or name its encoding (--encoding {likely})"
        )
    return "utf-8"


def _known(given: str) -> str:
    """The named encoding, in its variant without byte order mark. Raises SettingError."""
    try:
        found = codecs.lookup(given)
        "".encode(found.name)  # raises for encodings that are not of text, such as base64
        codecs.getincrementaldecoder(found.name)
    except (LookupError, ValueError, TypeError):
        raise SettingError(
            f"encoding {given!r} does not exist: use utf-8, utf-16, cp1252, or another of Python's"
        ) from None
    return "utf-8-sig" if found.name == "utf-8" else found.name


def refuse_strangers(beginning: bytes, name: str) -> None:
    """Raise ImportRefused for files that are never data: a git-LFS pointer, a spreadsheet, an archive."""
    if is_pointer(beginning):
        raise ImportRefused(
            f"{name}: this is a git-LFS pointer, not the file itself: fetch it (git lfs pull), then import it"
        )
    if beginning.startswith(_ZIP):
        raise ImportRefused(
            f"{name}: this is an Excel workbook or a zip archive: save the sheet as CSV (UTF-8) in the spreadsheet, or "
            "unpack the archive, and import that"
        )


def kind_ending(name: str) -> str:
    """Return the ending that tells a file's format, without .gz: ".csv" for d.CSV.gz."""
    return Path(unpacked_name(name)).suffix.lower()


def unpacked_name(name: str) -> str:
    """Return a file's name without .gz."""
    return name[: -len(PACKED)] if name.lower().endswith(PACKED) else name
