"""Operand streams for power: a cell's ports, cycle by cycle, while many independent operations run at full rate.

Streams share their protocol (number of beats, marks, weight bits) and differ in data, so one RTL simulation of the
first stream tells on which cycle every input channel accepts which beat; the ports of all streams follow from that.
Operands are captured from a language model (SmolLM2 by default) or drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.rtl import waves
from lutscape.rtl.cell import Beats, Cell, Field
from lutscape.rtl.gatesim import Simulation

Ints = npt.NDArray[np.int64]
RESET_CYCLES = 2
MODEL, LAYER, TOKENS = "smollm2-135m", "layers.12.gate", 256


@dataclass(frozen=True, eq=False)
class Operands:
    """Activations and weights of one linear layer as integers.

    Attributes:
        activations: (T, K) of ``activation_bits``.
        codes: (N, K) weight codes of ``weight_bits``.
        weight_bits: W.
        source: where they come from, in words.
    """

    activations: Ints
    codes: Ints
    weight_bits: int
    source: str


def captured(weight_bits: int, model: str = MODEL, layer: str = LAYER, tokens: int = TOKENS) -> Operands:
    """Return INT8 activations and W-bit weight codes of one linear layer of a language model.

    The model runs as it is stored, so that the activations are those of a working model whatever W; inputs are then
    quantised per token and weights rounded to nearest in groups of 64 (1 bit: sign and mean).

    Args:
        weight_bits: 1 … 8.
        model: name or path, as on the command line.
        layer: operator name.
        tokens: of the prompt.

    Raises:
        UserError: no such model, no weights, or no such operator.
    """
    from lutscape.models.quantise.activation import quantise_rows
    from lutscape.models.quantise.scalar import quantise

    x, w = _layer(model, layer, tokens)
    codes = quantise(w, weight_bits, 64).codes
    source = f"{model}, {layer}, {tokens} tokens, INT8 per token x int{weight_bits}-g64"
    return Operands(quantise_rows(x).codes.astype(np.int64), codes.astype(np.int64), weight_bits, source)


@lru_cache(maxsize=4)
def _layer(model: str, layer: str, tokens: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return inputs (T, K) and weights (N, K) of a linear layer."""
    from lutscape.models.tracing import trace_model

    captured = trace_model(model, tokens, 0, execute=True, capture=[layer]).captured
    found = {name.rsplit(".", 1)[-1]: array for name, array in captured.items()}
    if "w" not in found or found["w"].ndim != 2:
        raise UserError(f"{model}: operator {layer!r} has no weight matrix; choose a linear layer")
    return found["x"].reshape(-1, found["x"].shape[-1]), found["w"]


def gaussian(weight_bits: int, seed: int = 1, tokens: int = TOKENS, k: int = 576, n: int = 512) -> Operands:
    """Return Gaussian activations and weights, quantised as those of a model: for tests and where there is no model."""
    from lutscape.models.quantise.activation import quantise_rows
    from lutscape.models.quantise.scalar import quantise

    rng = np.random.default_rng(seed)
    x = quantise_rows(rng.standard_normal((tokens, k)).astype(np.float32))
    w = quantise(rng.standard_normal((n, k)).astype(np.float32), weight_bits, 64)
    return Operands(x.codes.astype(np.int64), w.codes.astype(np.int64), weight_bits, "Gaussian")


def windows(
    operands: Operands, rows: int, columns: int, depth: int, count: int, seed: int = 1
) -> list[tuple[Ints, Ints]]:
    """Return ``count`` tiles (activations (rows, depth), codes (columns, depth)) from random places of the operands."""
    t, k, n = *operands.activations.shape, len(operands.codes)
    if rows > t or columns > n or depth > k:
        raise UserError(f"a tile of {rows} x {columns} x {depth} does not fit operands of {t} x {n} x {k}")
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        i, j, at = rng.integers(t - rows + 1), rng.integers(n - columns + 1), rng.integers(k - depth + 1)
        span = slice(at, at + depth)
        found.append((operands.activations[i : i + rows, span], operands.codes[j : j + columns, span]))
    return found


@dataclass(frozen=True, eq=False)
class PortStreams:
    """Stimulus of a gate simulation and where its outputs are.

    Attributes:
        ports: input port -> bits (cycles, streams, width), as :func:`lutscape.rtl.gatesim.simulate` takes them.
        first: first cycle that belongs to the operation (reset is over).
        moves: output channel -> cycles on which its beats move.
        beats: of each stream.
    """

    ports: dict[str, npt.NDArray[np.uint8]]
    first: int
    moves: dict[str, list[int]]
    beats: tuple[Beats, ...]

    @property
    def cycles(self) -> int:
        """Simulated cycles."""
        return len(next(iter(self.ports.values())))


def full_rate(cell: Cell, beats: Sequence[Beats]) -> PortStreams:
    """Return the ports of a clocked cell while each stream's beats pass at full rate; outputs are always taken.

    Args:
        cell: with clock.
        beats: one set per stream, equal in everything but data.
    """
    head, marks = beats[0], RESET_CYCLES
    longest = max(len(next(iter(fields.values()))) for fields in head.values())
    edges = [v.max(initial=0) for v in cell.schedule(head).values()] if cell.schedule else [longest * cell.interval]
    cycles = int(max(edges)) + RESET_CYCLES + 2
    seen = {w.name: w.values for w in waves.record(cell, head, cycles)}
    ports: dict[str, npt.NDArray[np.uint8]] = {"rst": np.zeros((cycles, 1, 1), np.uint8)}
    ports["rst"][:marks] = 1
    for channel in cell.outputs:
        ports[channel.signal("ready")] = np.ones((cycles, 1, 1), np.uint8)
    for channel in cell.inputs:
        valid = np.array([v or 0 for v in seen[channel.signal("valid")]])
        ready = np.array([v or 0 for v in seen[channel.signal("ready")]])
        index = np.concatenate([[0], np.cumsum(valid & ready)[:-1]])
        ports[channel.signal("valid")] = valid.astype(np.uint8).reshape(-1, 1, 1)
        for field in channel.fields:
            bits = np.stack([_bits(b[channel.name][field.name], field) for b in beats], axis=1)  # (beats, streams, w)
            ports[channel.signal(field.name)] = bits[np.minimum(index, len(bits) - 1)]
    ports = {n: np.broadcast_to(v, (cycles, len(beats), v.shape[2])) for n, v in ports.items()}
    moves = {}
    for channel in cell.outputs:
        taken = seen[channel.signal("valid")]
        moves[channel.name] = [i for i in range(RESET_CYCLES, cycles) if taken[i]]
    return PortStreams(ports, RESET_CYCLES + 1, moves, tuple(beats))


def mismatches(cell: Cell, streams: PortStreams, simulation: Simulation) -> int:
    """Return how many output values of a gate simulation differ from the golden model, over all streams."""
    wrong = 0
    for channel in cell.outputs:
        at = streams.moves[channel.name]
        for field in channel.fields:
            got = simulation.bits(channel.signal(field.name))[at]  # (beats, streams, width)
            want = np.stack([_bits(cell.golden(b)[channel.name][field.name], field) for b in streams.beats], axis=1)
            if got.shape != want.shape:
                raise UserError(f"{cell.name}: {len(at)} beats of {channel.name} moved, {len(want)} expected")
            shape = (*got.shape[:2], field.lanes, field.width)
            wrong += int((got.reshape(shape) != want.reshape(shape)).any(axis=-1).sum())
    return wrong


def _bits(values: npt.NDArray[Any], field: Field) -> npt.NDArray[np.uint8]:
    """Return (beats, width of the bus) bits of (beats, lanes) values, lane 0 first."""
    lanes = (values[:, :, None] >> np.arange(field.width)) & 1
    return lanes.astype(np.uint8).reshape(len(values), field.bits)
