"""The kernels' C interface through ctypes: device memory, launches, graphs and their times."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError

FLUSH_BYTES = 256 << 20
"""Read before every timed replay: five times the L2 of an H100."""


class _Info(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 128),
        *((n, ctypes.c_int) for n in (
            "major", "minor", "sms", "driver", "runtime", "clock_khz", "memory_clock_khz", "l2_bytes",
            "shared_bytes_sm",
        )),
        ("memory_bytes", ctypes.c_ulonglong),
        ("free_bytes", ctypes.c_ulonglong),
    ]  # fmt: skip


class GemvItem(ctypes.Structure):
    """A product of ``lut_gemv_list``: addresses, N, K, and whether it needs the results of those before."""

    _fields_ = [
        *((n, ctypes.c_void_p) for n in ("weights", "scales", "x", "y")),
        *((n, ctypes.c_int) for n in ("n", "k", "waits", "unused")),
    ]  # fmt: skip


@dataclass(frozen=True)
class Buffer:
    """Device memory."""

    address: int
    bytes: int

    def at(self, offset: int) -> Buffer:
        """Return the part from a byte offset on."""
        if not 0 <= offset < max(self.bytes, 1):
            raise ValueError(f"offset {offset} outside a buffer of {self.bytes} bytes")
        return Buffer(self.address + offset, self.bytes - offset)


class Gpu:
    """One GPU. Use as a context manager; every failure is a UserError of one line."""

    def __init__(self, library: Path, device: int = 0) -> None:
        try:
            self._c = ctypes.CDLL(str(library))
        except OSError as error:
            raise UserError(f"{library}: cannot be loaded: {error}") from None
        self._c.lut_error.restype = ctypes.c_char_p
        info = _Info()
        bad = self._c.lut_open(device, ctypes.byref(info))
        if bad:
            raise UserError(f"no usable NVIDIA GPU or driver here: {self._c.lut_error().decode()}")
        self.info = {n: getattr(info, n) for n, *_ in _Info._fields_}
        self.info["name"] = info.name.decode()
        if (info.major, info.minor) != (9, 0):
            raise UserError(
                f"{self.info['name']} has compute capability {info.major}.{info.minor}; the kernels are "
                "written for 9.0 (H100, H200)"
            )
        self._buffers: list[Buffer] = []
        self._flush: Buffer | None = None

    def __enter__(self) -> Gpu:
        return self

    def __exit__(self, *_: object) -> None:
        for buffer in self._buffers:
            self._c.lut_free(ctypes.c_void_p(buffer.address))
        self._c.lut_close()

    def call(self, name: str, *arguments: Any) -> None:
        """Call ``lut_<name>``: buffers, None and ints, floats become pointers, int and float; arrays stay."""
        converted = [_convert(a) for a in arguments]
        self._check(getattr(self._c, "lut_" + name)(*converted), name)

    def ask(self, name: str, *arguments: int) -> int:
        """Call ``lut_<name>`` that returns a number instead of an error."""
        return int(getattr(self._c, "lut_" + name)(*arguments))

    def has(self, name: str) -> bool:
        """Whether the library was built with ``lut_<name>``."""
        return hasattr(self._c, "lut_" + name)

    def alloc(self, size: int) -> Buffer:
        """Allocate device memory until the GPU is closed or :meth:`free` is called."""
        pointer = ctypes.c_void_p()
        self._check(self._c.lut_alloc(ctypes.c_size_t(max(size, 16)), ctypes.byref(pointer)), f"{size} bytes")
        buffer = Buffer(pointer.value or 0, max(size, 16))
        self._buffers.append(buffer)
        return buffer

    def free(self, *buffers: Buffer) -> None:
        """Free buffers that :meth:`alloc` or :meth:`upload` returned."""
        for buffer in buffers:
            self._buffers.remove(buffer)
            self._check(self._c.lut_free(ctypes.c_void_p(buffer.address)), "free")

    def upload(self, array: npt.NDArray[Any]) -> Buffer:
        """Copy an array to new device memory."""
        source = np.ascontiguousarray(array)
        buffer = self.alloc(source.nbytes)
        size = ctypes.c_size_t(source.nbytes)
        self._check(self._c.lut_upload(_convert(buffer), ctypes.c_void_p(source.ctypes.data), size), "upload")
        return buffer

    def download(self, buffer: Buffer, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Copy device memory into a new array."""
        out = np.empty(shape, dtype)
        if out.nbytes > buffer.bytes:
            raise ValueError(f"{out.nbytes} bytes from a buffer of {buffer.bytes}")
        size = ctypes.c_size_t(out.nbytes)
        self._check(self._c.lut_download(ctypes.c_void_p(out.ctypes.data), _convert(buffer), size), "download")
        return out

    def poison(self, buffer: Buffer) -> None:
        """Fill with 0xFF: NaN in every float format."""
        self._check(self._c.lut_fill(_convert(buffer), 255, ctypes.c_size_t(buffer.bytes)), "fill")

    def random_bits(self, buffer: Buffer, seed: int, mask: int = 2**64 - 1) -> None:
        """Fill with random bits, of which ``mask`` (repeated every eight bytes) lets some through."""
        words = (ctypes.c_size_t(buffer.bytes), ctypes.c_uint64(seed), ctypes.c_uint64(mask))
        self._check(self._c.lut_random_bits(_convert(buffer), *words), "random bits")

    def random_half(self, buffer: Buffer, low: float, high: float, seed: int) -> None:
        """Fill with FP16 numbers, uniform between two bounds."""
        bounds = (ctypes.c_float(low), ctypes.c_float(high), ctypes.c_uint64(seed))
        self._check(self._c.lut_random_half(_convert(buffer), ctypes.c_size_t(buffer.bytes // 2), *bounds), "random")

    def read(self, buffer: Buffer, size: int) -> None:
        """Read memory and drop it."""
        self._check(self._c.lut_read(_convert(buffer), ctypes.c_size_t(size)), "read")

    def copy(self, source: Buffer, target: Buffer, size: int) -> None:
        """Copy device memory with a kernel."""
        self._check(self._c.lut_copy(_convert(source), _convert(target), ctypes.c_size_t(size)), "copy")

    def sync(self) -> None:
        """Wait for the GPU; raises where a kernel failed."""
        self._check(self._c.lut_sync(), "kernel")

    def open_vendor(self, path: str) -> int:
        """Open cuBLASLt; returns its version number."""
        version = ctypes.c_int()
        self._check(self._c.lut_vendor_open(path.encode(), ctypes.byref(version)), path)
        return version.value

    def graph(self, launches: Callable[[], None]) -> Graph:
        """Capture what ``launches`` calls into a CUDA graph."""
        self._check(self._c.lut_capture_begin(), "capture")
        pointer = ctypes.c_void_p()
        try:
            launches()
        except BaseException:
            self._c.lut_capture_end(ctypes.byref(pointer))
            raise
        self._check(self._c.lut_capture_end(ctypes.byref(pointer)), "capture")
        return Graph(self, pointer)

    def _check(self, code: int, what: str) -> None:
        if code:
            raise UserError(f"GPU: {what}: {self._c.lut_error().decode()}")


class Graph:
    """A captured sequence of launches; free it with :meth:`free`."""

    def __init__(self, gpu: Gpu, pointer: ctypes.c_void_p) -> None:
        self._gpu, self._pointer = gpu, pointer

    def launch(self) -> None:
        """Queue one replay."""
        self._gpu._check(self._gpu._c.lut_graph_launch(self._pointer), "graph")

    def time(self, repetitions: int) -> npt.NDArray[np.float64]:
        """Seconds of each replay, by events on the GPU, L2 flushed before each."""
        gpu = self._gpu
        if gpu._flush is None:
            gpu._flush = gpu.alloc(FLUSH_BYTES)
            gpu.random_bits(gpu._flush, 1)
        ms = (ctypes.c_float * repetitions)()
        flush = (_convert(gpu._flush), ctypes.c_size_t(FLUSH_BYTES))
        gpu._check(gpu._c.lut_graph_time(self._pointer, repetitions, *flush, ms), "timing")
        return np.array(ms, np.float64) * 1e-3

    def free(self) -> None:
        """Free the graph."""
        self._gpu._check(self._gpu._c.lut_graph_free(self._pointer), "graph")


def _convert(value: Any) -> Any:
    if isinstance(value, Buffer):
        return ctypes.c_void_p(value.address)
    if isinstance(value, ctypes.Array):
        return value
    if value is None:
        return ctypes.c_void_p()
    return ctypes.c_float(value) if isinstance(value, float) else ctypes.c_int(value)
