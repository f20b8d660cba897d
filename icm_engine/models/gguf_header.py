"""The header of a GGUF file, the checks before loading, and what a run records about it.

"GGUF", version, number of tensors, number of entries
entries     key, type, value
tensors     name, dimensions, type, offset from where the data begins
data
"""

import hashlib
import mmap
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

from icm_engine.core.errors import ModelNotUsable
from icm_engine.core.text import is_pointer_file

MAGIC = b"GGUF"
VERSIONS = (2, 3)  # version 1 predates all files in circulation
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST = 1 << 20  # entries, tensors or dimensions; more means damage


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its shape in torch's order, its storage type, and its offset in the data."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int

    @property
    def count(self) -> int:
        """The number of its weights."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """A file's own description; arrays of texts are reduced to their length."""

    path: Path
    size: int
    facts: Mapping[str, Any]
    tensors: tuple[Tensor, ...]
    data: int  # where the data begins

    @property
    def architecture(self) -> str:
        """The model family, in llama.cpp's names."""
        return str(self.facts.get("general.architecture", ""))

    def own(self, name: str) -> Any:
        """A property of the architecture; None if the file lacks it."""
        return self.facts.get(f"{self.architecture}.{name}")


def is_gguf(source: str) -> bool:
    """Say whether this is meant as a GGUF file, by its first bytes or its name."""
    path = Path(source)
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC or path.suffix.lower() == ".gguf"


def read_header(model: str) -> GgufHeader:
    """Read the header of a file. Raises ModelNotUsable if it is not GGUF, damaged or truncated."""
    path = Path(model)
    size = path.stat().st_size
    if is_pointer_file(path):
        raise ModelNotUsable(
            f"model {model!r} is a git-LFS pointer ({size:,} bytes), not the file itself: `git lfs pull` fetches that"
        )
    with path.open("rb") as file:
        if (start := file.read(8))[:4] != MAGIC:
            raise ModelNotUsable(
                f"model {model!r} is not a GGUF file (it begins with {start[:4]!r}, not {MAGIC!r}): download it again"
            )
        _require_version(model, start[4:])
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            try:
                return _header(path, size, _Reader(mapped))
            except (struct.error, IndexError, OverflowError):
                raise _ends(model, size) from None
            except (ValueError, UnicodeDecodeError) as error:
                raise ModelNotUsable(f"model {model!r} is damaged ({error}): download it again") from None


def _require_version(model: str, four: bytes) -> None:
    if len(four) < 4:
        raise _ends(model, 4 + len(four))
    (version,) = struct.unpack("<I", four)
    if version not in VERSIONS:
        kind = "big-endian" if struct.unpack(">I", four)[0] in VERSIONS else f"of GGUF version {version}"
        raise ModelNotUsable(
            f"model {model!r} is {kind}: use a little-endian file of version {' or '.join(map(str, VERSIONS))}"
        )


def _ends(model: str, size: int) -> ModelNotUsable:
    return ModelNotUsable(f"model {model!r} ends within its header ({size:,} bytes): download it again")


class _Reader:
    """Reads values in file order. Reading past the end raises struct.error or IndexError."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at = data, 8

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.data, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def few(self, what: str, code: str = "Q") -> int:
        if (count := int(self.number(code))) > _MOST:
            raise ValueError(f"it says that it has {count:,} {what}")
        return count

    def skip(self, count: int) -> int:
        """Skip that many bytes, and return where they began."""
        begins, self.at = self.at, self.at + count
        if self.at > len(self.data):
            raise IndexError(self.at)
        return begins

    def text(self) -> str:
        length = self.number("Q")
        begins = self.skip(length)
        return self.data[begins : begins + length].decode("utf-8")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self.array()
        if kind not in _SCALARS:
            raise ValueError(f"it has a value of type {kind}, which does not exist")
        return self.number(_SCALARS[kind])

    def array(self) -> Any:
        """Numbers as a list; for texts, which may be a vocabulary, only their count."""
        kind, count = self.number("I"), self.number("Q")
        if kind == _STRING:
            for _ in range(count):
                self.skip(self.number("Q"))
            return count
        if kind not in _SCALARS:
            raise ValueError(f"it has an array of values of type {kind}")
        code = _SCALARS[kind]
        begins = self.skip(count * struct.calcsize(code))
        return list(struct.unpack_from(f"<{count}{code}", self.data, begins))

    def tensor(self) -> Tensor:
        name = self.text()
        sizes = [self.number("Q") for _ in range(self.few("dimensions", "I"))]
        return Tensor(name, tuple(reversed(sizes)), self.number("I"), self.number("Q"))


def _header(path: Path, size: int, reader: _Reader) -> GgufHeader:
    tensors, entries = reader.few("tensors"), reader.few("entries")
    facts = {}
    for _ in range(entries):
        key = reader.text()
        facts[key] = reader.value(reader.number("I"))
    listed = tuple(reader.tensor() for _ in range(tensors))
    step = int(facts.get("general.alignment", 32)) or 32
    return GgufHeader(path, size, facts, listed, -(-reader.at // step) * step)


_ELSE = "use the GGUF file of a text model, or a directory with safetensors weights"
_KINDS = {
    "mmproj": "an image encoder",
    "clip": "an image encoder",
    "adapter": "an adapter",
    "imatrix": "a table of importances",
    "vocab": "a vocabulary alone",
}
_SCALED = ("linear", "yarn")  # context extensions that are carried over to transformers


def checked_gguf(model: str) -> GgufHeader:
    """Return the header of a file that can be loaded, as far as the header shows. Raises ModelNotUsable."""
    if find_spec("gguf") is None:
        raise ModelNotUsable(
            f"model {model!r} is a GGUF file, and gguf is not installed: pip install -r requirements.txt"
        )
    header = read_header(model)
    _require_model(model, header)
    _require_whole(model, header)
    _require_context(model, header)
    return header


def gguf_facts(header: GgufHeader) -> dict[str, str]:
    """Return the facts that identify this file."""
    with header.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "gguf_sha256": digest,
        "gguf_architecture": header.architecture,
        "gguf_quantization": quantization(header),
    }


def quantization(header: GgufHeader) -> str:
    """Return the file's quantisation, such as Q4_K_M; if undeclared, that of most of its weights."""
    from gguf import GGMLQuantizationType, LlamaFileType

    try:
        return LlamaFileType(header.facts["general.file_type"]).name.removeprefix("MOSTLY_").removeprefix("ALL_")
    except (KeyError, ValueError):
        counts: Counter[int] = Counter()
        for tensor in header.tensors:
            counts[tensor.type] += tensor.count
        return GGMLQuantizationType(counts.most_common(1)[0][0]).name


def _require_model(model: str, header: GgufHeader) -> None:
    from transformers.integrations.gguf.utils import is_gguf_arch_supported
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    parts = header.facts.get("split.count", 0)
    if parts > 1:
        raise ModelNotUsable(
            f"model {model!r} is part {header.facts.get('split.no', 0) + 1} of {parts} of a split file: join the parts "
            "with `llama-gguf-split --merge FIRST-PART WHOLE.gguf`, and give the whole"
        )
    told = header.architecture
    kind = _KINDS.get(str(header.facts.get("general.type"))) or _KINDS.get(told)
    if kind or not header.tensors:
        raise ModelNotUsable(f"model {model!r} is {kind or 'a GGUF file without weights'}, not a model: {_ELSE}")
    name = {"qwen2moe": "qwen2_moe", "qwen3moe": "qwen3_moe", "gpt-oss": "gpt_oss", "minimax-m2": "minimax_m2"}
    if not is_gguf_arch_supported(told) and name.get(told, told) not in GGUF_SUPPORTED_ARCHITECTURES:
        raise ModelNotUsable(
            f"model {model!r} has the architecture {told!r}, which transformers does not read from GGUF: use a "
            "directory with the same model's safetensors weights"
        )


def _require_whole(model: str, header: GgufHeader) -> None:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    def end(tensor: Tensor) -> int:
        count, size = GGML_QUANT_SIZES[GGMLQuantizationType(tensor.type)]
        return int(header.data + tensor.offset + tensor.count // count * size)

    unknown = sorted({tensor.type for tensor in header.tensors if not _is_read(tensor.type)})
    if unknown:
        raise ModelNotUsable(
            f"model {model!r} has tensors of the GGUF type {_type_name(unknown[0])}, which cannot be unpacked here: "
            "use a file with another quantisation, such as Q4_K_M or Q8_0"
        )
    if (last := max(map(end, header.tensors))) > header.size:
        raise ModelNotUsable(
            f"model {model!r} is cut short ({header.size:,} of {last:,} bytes are there): download it again; of a "
            "file in parts, join all of them in order"
        )


def _require_context(model: str, header: GgufHeader) -> None:
    """Refuse context extensions that would silently be ignored."""
    kind, factors = header.own("rope.scaling.type"), [t for t in header.tensors if "rope_factors" in t.name]
    if factors or kind not in (None, "none", *_SCALED):
        raise ModelNotUsable(
            f"model {model!r} stretches its context ({'long factors' if factors else kind}), which is not read from "
            "GGUF: use a directory with the same model's safetensors weights"
        )


def _is_read(kind: int) -> bool:
    from gguf import GGMLQuantizationType, quants

    try:
        known: Any = GGMLQuantizationType(kind)
    except ValueError:
        return False
    return known.name in ("F32", "F16", "F64") or known in quants._type_traits


def _type_name(kind: int) -> str:
    from gguf import GGMLQuantizationType

    return str(GGMLQuantizationType(kind).name) if kind in set(GGMLQuantizationType) else f"number {kind}"
