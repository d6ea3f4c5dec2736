"""Reads GGUF files: metadata and tensor places, by one pass over the header and a memory map.

The ``gguf`` package reads the same, at 2 s for a vocabulary of 49,152; this takes a tenth. That package's
dequantisation is used, in ``convert.py``.
Source: ggml, docs/gguf.md (versions 2 and 3), read 2026-11.
"""

import mmap
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lowcloud.core.errors import ModelUnusable

Scalar: TypeAlias = int | float | bool | str
Value: TypeAlias = Scalar | Sequence[Scalar]

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_MAX_DIMENSIONS = 8
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """``shape`` as numpy has it (rows first; the file's order reversed); ``kind`` is ggml's number of the quantisation.

    ``offset`` is in bytes from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """An open file. ``data`` is a read-only map of the whole, uint8; it closes with the last array made of it."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: Mapping[str, TensorPlace]
    data: NDArray[np.uint8]

    @property
    def architecture(self) -> str:
        """The name that prefixes the architecture's own keys, such as ``llama``."""
        return self.text("general.architecture")

    def text(self, key: str, default: str | None = None) -> str:
        """A string of the metadata. Raises ModelUnusable where it is missing without a default, or no string."""
        value = self.metadata.get(key, default)
        if not isinstance(value, str):
            raise ModelUnusable(f"{self.path.name}: the metadata has no string {key}.")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number of the metadata. Raises ModelUnusable where it is missing without a default, or no number."""
        value = self.metadata.get(key, default)
        if not isinstance(value, int | float):
            raise ModelUnusable(f"{self.path.name}: the metadata has no number {key}.")
        return value

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number of the metadata. Raises ModelUnusable like ``number``."""
        return int(self.number(key, default))

    def texts(self, key: str) -> list[str]:
        """A list of strings of the metadata, empty where there is none."""
        value = self.metadata.get(key, [])
        return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []

    def integers(self, key: str) -> list[int]:
        """A list of whole numbers of the metadata, empty where there is none."""
        value = self.metadata.get(key, [])
        return [item for item in value if isinstance(item, int)] if isinstance(value, list) else []


def read_gguf(path: Path) -> GgufFile:
    """The file's metadata and tensor places. Raises ModelUnusable for a file that isn't GGUF or is cut short."""
    try:
        with path.open("rb") as file:
            buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError as error:  # an empty file can't be mapped
        raise ModelUnusable(f"{path.name} is empty.") from error
    except OSError as error:
        raise ModelUnusable(f"{path.name} can't be read: {error.strerror}.") from error
    try:
        metadata, tensors = _Header(buffer).read()
    except (struct.error, UnicodeDecodeError, OverflowError, KeyError) as error:
        raise ModelUnusable(f"{path.name} is no whole GGUF file; the log says more.") from error
    except ValueError as error:  # in our own words
        raise ModelUnusable(f"{path.name} is no whole GGUF file: {error}.") from error
    return GgufFile(path, metadata, tensors, np.frombuffer(buffer, np.uint8))


class _Header:
    """A cursor over the header. Raises struct.error, ValueError or KeyError on what no GGUF holds."""

    def __init__(self, buffer: mmap.mmap) -> None:
        self._buffer = buffer
        self._at = 0
        self._scalars: dict[int, Callable[[], Scalar]] = {kind: self._number_reader(c) for kind, c in _NUMBERS.items()}
        self._scalars[_STRING] = self._string

    def read(self) -> tuple[dict[str, Value], dict[str, TensorPlace]]:
        if self._buffer[:4] != _MAGIC:
            raise ValueError("it doesn't begin with GGUF")
        self._at = 4
        version = self._u32()
        if version not in _VERSIONS:
            raise ValueError(f"version {version} is not one of {_VERSIONS}")
        n_tensors, n_pairs = self._u64(), self._u64()
        metadata: dict[str, Value] = {}
        for _ in range(n_pairs):
            key = self._string()
            metadata[key] = self._value(self._u32())
        places = [self._place() for _ in range(n_tensors)]
        align = metadata.get("general.alignment", 32)
        if not isinstance(align, int) or align < 1:
            raise ValueError("general.alignment is no positive number")
        base = -(-self._at // align) * align
        return metadata, {p.name: TensorPlace(p.name, p.shape, p.kind, base + p.offset) for p in places}

    def _place(self) -> TensorPlace:
        name, n_dimensions = self._string(), self._u32()
        if n_dimensions > _MAX_DIMENSIONS:
            raise ValueError(f"tensor {name} has {n_dimensions} dimensions")
        shape = tuple(self._u64() for _ in range(n_dimensions))[::-1]
        return TensorPlace(name, shape, self._u32(), self._u64())

    def _value(self, kind: int) -> Value:
        if kind != _ARRAY:
            return self._scalars[kind]()
        item, count = self._u32(), self._bounded(self._u64())
        if item == _STRING:
            return self._strings(count)
        # An array of arrays is a KeyError: no key that we read is one.
        form = struct.Struct(f"<{count}{_NUMBERS[item]}")
        self._at += form.size
        return list(form.unpack_from(self._buffer, self._at - form.size))

    def _bounded(self, count: int) -> int:
        if count > len(self._buffer):
            raise ValueError(f"an array of {count} items is longer than the file")
        return count

    def _number_reader(self, code: str) -> Callable[[], Scalar]:
        form = struct.Struct("<" + code)

        def read() -> Scalar:
            self._at += form.size
            (value,) = form.unpack_from(self._buffer, self._at - form.size)
            number: Scalar = value
            return number

        return read

    def _string(self) -> str:
        (text,) = self._strings(1)
        return text

    def _strings(self, count: int) -> list[str]:
        """The next strings, in a loop that a vocabulary of 100,000 is worth."""
        buffer, at, size_at = self._buffer, self._at, _U64.unpack_from
        found: list[bytes] = []
        for _ in range(count):
            start = at + _U64.size
            at = start + size_at(buffer, at)[0]
            found.append(buffer[start:at])
        if at > len(buffer):
            raise ValueError("a string runs past the end")
        self._at = at
        return [text.decode() for text in found]

    def _u32(self) -> int:
        self._at += _U32.size
        value: int = _U32.unpack_from(self._buffer, self._at - _U32.size)[0]
        return value

    def _u64(self) -> int:
        self._at += _U64.size
        value: int = _U64.unpack_from(self._buffer, self._at - _U64.size)[0]
        return value
