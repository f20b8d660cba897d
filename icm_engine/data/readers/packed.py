"""Files packed by gzip, unpacked a piece at a time; one that would fill the disk or the memory is refused."""

import gzip
import io
from typing import BinaryIO

from icm_engine.core.errors import ImportRefused

GZIP = b"\x1f\x8b"
PACKED = ".gz"
UNSUSPICIOUS = 1 << 26  # bytes that any file may unpack to
MOST = 200  # times what was read of it: tables of text reach 3 to 30, and what gzip cannot exceed is 1,032


class Unpacked(io.RawIOBase):
    """What a packed file holds, from its beginning. Raises ImportRefused for far more than a table would."""

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
                f"{self._name}: the file unpacks to more than {MOST} times its size, which no table of texts does: "
                "unpack it yourself (gunzip), look at it, and import what it holds"
            )
        return len(piece)

    def close(self) -> None:
        self._file.close()
        self._stored.close()
        super().close()
