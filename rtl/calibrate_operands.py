"""Operands of a calibration: uniformly random, and captured from a language model; as ports of the gates.

Captured activations are INT8 per token (:func:`lutscape.rtl.streams.captured`); arrays of other widths take them
shifted to their width, with random bits below where they are wider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.formats.encode import encode
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell
from lutscape.rtl.streams import Operands
from lutscape.sim.lut_tensor_core import golden

Ints = npt.NDArray[np.int64]
STREAMS = 64
CYCLES = 64
DEPTH = 64
SEED = 1
ROWS, COLUMNS, VALUES = 128, 512, 512


@dataclass(frozen=True, eq=False)
class Source:
    """Activations, and weight codes by their bits.

    Attributes:
        activations: (T, K) INT8.
        codes: weight bits -> (N, K).
        text: where they come from.
    """

    activations: Ints
    codes: Mapping[int, Ints]
    text: str

    def operands(self, array: Array, weight_bits: int, seed: int = SEED) -> Operands:
        """Return operands for an array's activation width."""
        return Operands(
            at_width(self.activations, array.activation_bits, seed), self.codes[weight_bits], weight_bits, self.text
        )

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` for other processes."""
        arrays: dict[str, Any] = {f"w{bits}": c.astype(np.uint8) for bits, c in self.codes.items()}
        np.savez(path, a=self.activations.astype(np.int8), text=np.array(self.text), **arrays)


def load(path: Path) -> Source:
    """Read what :meth:`Source.save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        codes = {int(name[1:]): file[name].astype(np.int64) for name in file.files if name.startswith("w")}
        return Source(file["a"].astype(np.int64), codes, str(file["text"]))


def captured(weight_bits: range) -> Source:
    """Return operands of one linear layer of SmolLM2-135M.

    Raises:
        UserError: its weights are not in the cache.
    """
    from lutscape.rtl import streams

    found = {bits: streams.captured(bits) for bits in weight_bits}
    first = next(iter(found.values()))
    codes = {bits: f.codes[:COLUMNS, :VALUES] for bits, f in found.items()}
    text = first.source.split(" x int")[0]
    return Source(first.activations[:ROWS, :VALUES], codes, text)


def uniform(weight_bits: range, seed: int = SEED) -> Source:
    """Return uniformly random INT8 activations and codes."""
    rng = np.random.default_rng(seed)
    codes = {bits: rng.integers(0, 1 << bits, (COLUMNS, VALUES)) for bits in weight_bits}
    return Source(rng.integers(-128, 128, (ROWS, VALUES)), codes, "uniform")


def at_width(activations: Ints, bits: int, seed: int = SEED) -> Ints:
    """Return INT8 activations at another width."""
    if bits <= 8:
        return activations >> (8 - bits)
    more = bits - 8
    return (activations << more) + np.random.default_rng(seed).integers(0, 1 << more, activations.shape)


def builder_ports(array: Array, source: Source, seed: int = SEED) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the ports of a registered table builder: in each cycle the next k activations of a row.

    A stream keeps the least shift that clamps no entry of its row, as a tile does.
    """
    activations = at_width(source.activations, array.activation_bits, seed)
    rng = np.random.default_rng(seed)
    groups = golden.grouped(activations, array.k)  # (T, S, k)
    steps = min(CYCLES, groups.shape[1])
    rows = rng.integers(0, len(groups), STREAMS)
    begin = rng.integers(0, groups.shape[1] - steps + 1, STREAMS)
    values = np.stack([groups[r, b : b + steps] for r, b in zip(rows, begin, strict=True)], axis=1)  # (cycles, s, k)
    ports = {"x_values": as_bits(values, array.activation_bits)}
    if array.largest_shift:
        shift = np.array([int(golden.smallest_shift(array, values[:, s].reshape(1, -1)).max()) for s in range(STREAMS)])
        width = (array.largest_shift).bit_length()
        ports["x_shift"] = as_bits(np.broadcast_to(shift[None, :, None], (steps, STREAMS, 1)), width)
    return ports


def block_ports(cell: Cell, seed: int = SEED) -> dict[str, npt.NDArray[np.uint8]]:
    """Return the ports of a block at full rate: Gaussian numbers for fused dot products, else uniformly random bits.

    Reset is active in the first two cycles.
    """
    rng = np.random.default_rng(seed)
    ports: dict[str, npt.NDArray[np.uint8]] = {}
    if cell.clocked:
        ports["rst"] = np.zeros((CYCLES, STREAMS, 1), np.uint8)
        ports["rst"][:2] = 1
    for channel in cell.channels:
        if cell.clocked:
            flow = "valid" if channel.direction == "in" else "ready"
            ports[channel.signal(flow)] = np.ones((CYCLES, STREAMS, 1), np.uint8)
        for field in channel.fields if channel.direction == "in" else ():
            if cell.kind == "fused_dot":
                x = rng.standard_normal((CYCLES, STREAMS, field.lanes))
                codes = encode(x, field.meaning.split(", ")[-1]).astype(np.int64)
                ports[channel.signal(field.name)] = as_bits(codes, field.width)
            else:
                bits = rng.integers(0, 2, (CYCLES, STREAMS, field.bits), np.uint8)
                ports[channel.signal(field.name)] = bits
    return ports


def as_bits(values: Ints, width: int) -> npt.NDArray[np.uint8]:
    """Return (cycles, streams, lanes * width) bits of (cycles, streams, lanes) integers, lane 0 first."""
    bits = (values[..., None] >> np.arange(width)) & 1
    return bits.astype(np.uint8).reshape(*values.shape[:2], -1)
