"""GGUF files: metadata and tensors, memory-mapped, with every length checked before it is used.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
Block sizes and dequantisation come from the ``gguf`` package. The header is read here because
``gguf.GGUFReader`` 0.19 does not end on a damaged array length (it loops over absent elements), reports
other damage as an exception from deep inside, and takes 2 s for a vocabulary that this reads in 0.1 s;
a test holds both to the same metadata and tensors.
"""

from __future__ import annotations

import hashlib
import math
import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_FLOAT_NAMES = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}
_CHUNK = 1 << 22
"""Elements that are dequantised at once: bounds the temporaries to tens of megabytes."""


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies in the file.

    Attributes:
        name: name in the file, ``blk.0.attn_q.weight``.
        shape: row-major shape, ``(N, K)`` for a matrix (GGUF lists K first).
        type_name: GGML type, ``Q4_1``.
        type_id: the same as a number.
        offset: first byte, from the beginning of the file.
        bytes: stored size.
    """

    name: str
    shape: tuple[int, ...]
    type_name: str
    type_id: int
    offset: int
    bytes: int

    @property
    def format(self) -> str:
        """Name of the number format in traces: ``q4_1``, ``fp32``."""
        return _FLOAT_NAMES.get(self.type_name, self.type_name.lower())


class GgufFile:
    """An open GGUF file.

    Attributes:
        path: the file.
        metadata: key -> scalar, string, numpy array or list of strings.
        tensors: name -> :class:`TensorInfo`, in file order.

    Raises (on construction):
        UserError: not found, wrong magic, unsupported version, damaged or cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size < 24:
                    file.seek(0)
                    self._check_magic(file.read(4))
                    raise UserError(f"{path}: cut short: {size} bytes, a GGUF header needs at least 24")
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise UserError(f"GGUF file {str(path)!r} not found") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
        self._position = 0
        self._check_magic(self._map[:4])
        self._position = 4
        version = self._scalar("I")
        if version not in VERSIONS:
            order = " (a big-endian file)" if int.from_bytes(version.to_bytes(4, "big"), "little") < 10 else ""
            raise UserError(f"{path}: GGUF version {version}{order} is not supported; supported: 2, 3")
        tensor_count, key_count = self._scalar("Q"), self._scalar("Q")
        self.metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = self._string()
            self.metadata[key] = self._value(self._scalar("I"), key)
        self.tensors: dict[str, TensorInfo] = self._tensor_infos(tensor_count)

    # Header -------------------------------------------------------------------------------------

    def _check_magic(self, magic: bytes) -> None:
        if magic != MAGIC:
            raise UserError(f"{self.path}: not a GGUF file: it begins with {magic!r}, not {MAGIC!r}")

    def _take(self, count: int) -> int:
        """Advance by ``count`` bytes; return the position before."""
        start = self._position
        if start + count > len(self._map):
            raise UserError(
                f"{self.path}: cut short or damaged: the header needs {count} bytes at byte {start}, "
                f"the file has {len(self._map)}"
            )
        self._position = start + count
        return start

    def _scalar(self, code: str) -> Any:
        return struct.unpack_from("<" + code, self._map, self._take(struct.calcsize("<" + code)))[0]

    def _string(self) -> str:
        length = self._scalar("Q")
        start = self._take(length)
        return self._map[start : start + length].decode("utf-8", errors="replace")

    def _value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            return self._scalar(_SCALARS[kind])
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            item, count = self._scalar("I"), self._scalar("Q")
            if item == _STRING:
                return self._strings(count)
            if item in _SCALARS:
                dtype = np.dtype("<" + np.dtype(_SCALARS[item]).str[1:])
                start = self._take(count * dtype.itemsize)
                return np.frombuffer(self._map, dtype, count, start)
            if item == _ARRAY:
                return [self._value(_ARRAY, key) for _ in range(count)]
            kind = item
        raise UserError(f"{self.path}: damaged: metadata key {key!r} has unknown value type {kind}")

    def _strings(self, count: int) -> list[str]:
        # Inlined: vocabularies have 10⁵ entries.
        position, data, size = self._position, self._map, len(self._map)
        strings, unpack = [], struct.Struct("<Q").unpack_from
        for _ in range(count):
            if position + 8 > size:
                break
            end = position + 8 + unpack(data, position)[0]
            if end > size:
                break
            strings.append(data[position + 8 : end].decode("utf-8", errors="replace"))
            position = end
        if len(strings) < count:
            raise UserError(f"{self.path}: cut short or damaged: string {len(strings)} of {count} ends past the file")
        self._position = position
        return strings

    def _tensor_infos(self, count: int) -> dict[str, TensorInfo]:
        from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

        found: list[tuple[str, tuple[int, ...], int, int]] = []
        for _ in range(count):
            name = self._string()
            dimensions = self._scalar("I")
            if not 1 <= dimensions <= 4:
                raise UserError(f"{self.path}: damaged: tensor {name!r} has {dimensions} dimensions")
            shape = tuple(self._scalar("Q") for _ in range(dimensions))[::-1]
            found.append((name, shape, self._scalar("I"), self._scalar("Q")))
        alignment = self.metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1:
            raise UserError(f"{self.path}: damaged: general.alignment is {alignment!r}")
        start = -(-self._position // alignment) * alignment
        infos: dict[str, TensorInfo] = {}
        for name, shape, type_id, offset in found:
            try:
                kind = GGMLQuantizationType(type_id)
            except ValueError:
                raise UserError(f"{self.path}: tensor {name!r} has unknown GGML type {type_id}") from None
            block, block_bytes = GGML_QUANT_SIZES[kind]
            if 0 in shape:
                raise UserError(f"{self.path}: damaged: tensor {name!r} has shape {shape}")
            if shape[-1] % block:
                raise UserError(
                    f"{self.path}: damaged: tensor {name!r} has rows of {shape[-1]}, "
                    f"not a multiple of the {block} elements of a {kind.name} block"
                )
            stored = math.prod(shape) // block * block_bytes
            infos[name] = TensorInfo(name, shape, kind.name, type_id, start + offset, stored)
            if start + offset + stored > len(self._map):
                raise UserError(
                    f"{self.path}: cut short: tensor {name!r} ends at byte {start + offset + stored}, "
                    f"the file has {len(self._map)}; download it again"
                )
        return infos

    # Access -------------------------------------------------------------------------------------

    def key(self, name: str, default: Any = None) -> Any:
        """Return a metadata value.

        Raises:
            UserError: absent, and no default given.
        """
        value = self.metadata.get(name, default)
        if value is None:
            raise UserError(f"{self.path}: metadata key {name!r} is missing")
        return value

    def info(self, name: str, shape: tuple[int, ...] | None = None) -> TensorInfo:
        """Return where a tensor lies; with ``shape``, check that it has that shape.

        Raises:
            UserError: absent, or not of that shape.
        """
        info = self.tensors.get(name)
        if info is None:
            raise UserError(f"{self.path}: tensor {name!r} is missing")
        if shape is not None and info.shape != shape:
            raise UserError(
                f"{self.path}: tensor {name!r} is {info.shape} (rows, columns), the hyper-parameters say {shape}"
            )
        return info

    def tensor(self, name: str, part: int | None = None) -> np.ndarray:
        """Return a dequantised copy of a tensor.

        Args:
            name: name in the file.
            part: index into the first axis (one expert of a stacked tensor).

        Returns:
            float32 array of ``info.shape`` (without the first axis when ``part`` is given).

        Raises:
            UserError: absent, or of a type that the ``gguf`` package cannot dequantise.
        """
        from gguf.constants import GGMLQuantizationType
        from gguf.quants import dequantize

        info = self.info(name)
        kind = GGMLQuantizationType(info.type_id)
        shape = info.shape if part is None else info.shape[1:]
        columns = shape[-1]
        rows = math.prod(shape[:-1])
        row_bytes = info.bytes // math.prod(info.shape[:-1])
        start = info.offset + (0 if part is None else part * rows * row_bytes)
        stored = np.frombuffer(self._map, np.uint8, rows * row_bytes, start).reshape(rows, row_bytes)
        values = np.empty((rows, columns), np.float32)
        step = max(1, _CHUNK // columns)
        for first in range(0, rows, step):
            chunk = stored[first : first + step]
            if kind.name in ("F32", "F16"):
                values[first : first + step] = chunk.view("<f4" if kind.name == "F32" else "<f2")
                continue
            try:
                values[first : first + step] = dequantize(chunk, kind)
            except NotImplementedError:
                raise UserError(f"{self.path}: tensor {name!r}: GGML type {kind.name} cannot be dequantised") from None
        return values.reshape(shape)

    def sha256(self) -> str:
        """Return the SHA-256 of the whole file as hexadecimal text."""
        return hashlib.sha256(self._map).hexdigest()
