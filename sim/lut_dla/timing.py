"""Cycle model of LUT-DLA: time, traffic and activity of every operator of a trace.

What runs where. Linear operators become tables, whatever format their weights have in the trace, except the roles in
``kept_operators``: those run on the multiply-accumulators, as attention does (macs / attention_macs_per_cycle; its
softmax runs on the vector lanes beside them). The vector lanes also scale every looked-up sum once (dequantisation,
bias) and round activations to ``input_bits`` once per tensor, :data:`~lutscape.sim.operators.QUANTISE_OPERATIONS`
operations each, in equal parts by the tensor's readers. Norms and element-wise operators: max(vector operations /
lanes, DRAM).

Looked-up products are timed by :mod:`lutscape.sim.lut_dla.layers`; their activations are read from DRAM as they are
stored, a convolution's once as a map (the columns of its matrix are formed on the way to the input buffers). Tensors of
at most half the activation buffer stay on chip between operators. Tables, kept weights and the KV cache always come
from DRAM.

Accumulators are checked, not assumed: Nc entries of ``table_bits`` must fit ``accumulator_bits``.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.errors import UserError, nearest
from lutscape.hw.machines.lut_dla import LutDlaSpec
from lutscape.hw.result import Bools, Floats, Result
from lutscape.models.trace import Trace
from lutscape.sim import vector_ops
from lutscape.sim.lut_dla.dataflow import subspaces
from lutscape.sim.lut_dla.layers import Layer, Product, time_product
from lutscape.sim.operators import QUANTISE_OPERATIONS, Operators, prepare

PIPELINE = 2
"""Cycles of operators that are not looked up beyond their longest stage: operands in, results out."""


def timing(spec: LutDlaSpec, trace: Trace) -> Result:
    """Time every distinct operator of a trace.

    Raises:
        UserError: attention or a kept operator without multipliers, sums that could overflow, a row that does not fit.
    """
    ops = prepare(trace)
    looked_up = ops.linear & ~ops.frame["operator"].isin(spec.kept_operators).to_numpy(bool)
    _check(spec, ops, looked_up)
    half = 512.0 * spec.buffers.activation_kib
    act_dram = np.where(ops.activation_bytes <= half, 0.0, ops.activation_bytes)
    out_dram = np.where(ops.output_bytes <= half, 0.0, ops.output_bytes)
    layers = _layers(spec, ops, looked_up, act_dram, out_dram)

    plain, special = vector_ops.per_value(ops.frame)
    values = np.where(ops.attention, vector_ops.scores(ops.frame), ops.m * ops.n)
    scale = ops.m * ops.n + QUANTISE_OPERATIONS * ops.m * ops.k / ops.readers
    vector = np.where(looked_up, scale, values * (plain + special * vector_ops.SPECIAL))
    macs = np.where(looked_up, 0.0, np.where(ops.linear | ops.attention, ops.macs, 0.0))
    others = ops.weight_bytes + act_dram + out_dram + ops.kv_read_bytes + ops.kv_write_bytes
    moved = {
        name: np.where(looked_up, _column(layers, f"{name}_bytes"), 0.0)
        for name in ("table", "activation", "centroid", "output")
    }
    dram = np.where(looked_up, sum(moved.values(), np.zeros(len(ops.m))), others)
    parts = {
        "lookup": _column(layers, "lookup"),
        "encode": _column(layers, "encode"),
        "table": _column(layers, "table"),
        "dram": dram / spec.dram_bytes_per_cycle,
        "vector": vector / spec.vector_lanes,
        "mac": macs / max(spec.attention_macs_per_cycle, 1),
    }
    stacked = np.stack(list(parts.values()))
    slowest = stacked.max(axis=0)
    latency = np.where(act_dram > 0, spec.dram.latency_ns * spec.clock_mhz * 1e-3, 0.0) + PIPELINE
    cycles = np.where(looked_up, np.maximum(_column(layers, "cycles"), parts["vector"]), slowest + latency)
    bound = np.array(list(parts))[stacked.argmax(axis=0)]
    # Tables that come from DRAM are DRAM's work, unless the port of the banks is the slower.
    bound = np.where((bound == "table") & (parts["dram"] >= parts["table"]), "dram", bound)
    bound = np.where(cycles > 2 * slowest, "latency", bound)
    header = trace.header
    return Result(
        machine=spec.name,
        clock_mhz=spec.clock_mhz,
        operators=ops.frame,
        cycles=np.ceil(cycles),
        bound_by=bound,
        bytes={"dram": dram, **_chip_bytes(spec, ops, layers, looked_up, act_dram, out_dram)},
        activity=_activity(spec, ops, layers, looked_up, macs, vector),
        parts=parts,
        detail={
            "row_blocks": _column(layers, "blocks"),
            "column_passes": _column(layers, "column_passes"),
            "encodings": _column(layers, "encodings"),
            "table_loads": _column(layers, "table_loads"),
            "centroid_loads": moved["centroid"] * 8 / (spec.codebook.c * spec.codebook.v * spec.codebook.input_bits),
            "waiting_cycles": np.ceil(_column(layers, "exposed")),
            "table_dram_bytes": moved["table"],
        },
        sequences=header.batch,
        prefill_tokens=header.prompt_tokens,
        decode_steps=header.decode_tokens,
    )


def _check(spec: LutDlaSpec, ops: Operators, looked_up: Bools) -> None:
    roles = sorted(set(ops.frame["operator"][ops.linear]))
    for role in spec.kept_operators:
        if role not in roles:
            raise UserError(
                f"{spec.name}: kept_operators: the trace has no linear operator {role!r}{nearest(role, roles)}; "
                f"it has: {', '.join(roles)}"
            )
    on_macs = ops.attention | (ops.linear & ~looked_up)
    if on_macs.any() and not spec.attention_macs_per_cycle:
        name = ops.frame["name"][int(np.argmax(on_macs))]
        raise UserError(
            f"{spec.name}: attention_macs_per_cycle = 0: {name} needs multipliers; use attention_macs_per_cycle >= 1, "
            "or a trace of linear layers alone"
        )
    for row in np.flatnonzero(looked_up):
        need = accumulator_bits_needed(spec, int(ops.k[row]))
        if need > spec.imm.accumulator_bits:
            raise UserError(
                f"{spec.name}: imm.accumulator_bits = {spec.imm.accumulator_bits} can overflow on "
                f"{ops.frame['name'][row]} (K = {int(ops.k[row])}, v = {spec.codebook.v}); "
                f"use accumulator_bits >= {need}"
            )


def accumulator_bits_needed(spec: LutDlaSpec, k: int) -> int:
    """Return bits that hold every sum of Nc table entries, two's complement; entries reach -2^(table_bits-1)."""
    return ((subspaces(k, spec.codebook.v) << (spec.imm.table_bits - 1)) - 1).bit_length() + 1


def _layers(
    spec: LutDlaSpec, ops: Operators, looked_up: Bools, act_dram: Floats, out_dram: Floats
) -> list[Layer | None]:
    """(R,) the looked-up products; None elsewhere."""
    found: list[Layer | None] = [None] * len(ops.m)
    names = ops.frame["name"].tolist()
    for row in np.flatnonzero(looked_up):
        m, n, k = (int(values[row]) for values in (ops.m, ops.n, ops.k))
        found[row] = time_product(spec, Product(names[row], m, n, k, float(act_dram[row]), float(out_dram[row])))
    return found


def _column(layers: list[Layer | None], name: str) -> Floats:
    return np.array([0.0 if layer is None else float(getattr(layer, name)) for layer in layers])


def _activity(
    spec: LutDlaSpec, ops: Operators, layers: list[Layer | None], looked_up: Bools, macs: Floats, vector: Floats
) -> dict[str, Floats]:
    """(R,) elementary operations: distances, indices through the FIFO, lookups (one lane), entries filled."""
    indices = np.where(looked_up, ops.m * _column(layers, "subspaces") * _column(layers, "encodings"), 0.0)
    entries = _column(layers, "table_bytes") * spec.rows_per_cycle * 8 / spec.imm.table_bits  # a copy for each
    return {
        "distance": indices * spec.codebook.c,
        "index": indices,
        "lookup": np.where(looked_up, ops.m * ops.n * _column(layers, "subspaces"), 0.0),
        "table_entry": entries,
        "fp16_mac": macs,
        "vector_op": vector,
    }


def _chip_bytes(
    spec: LutDlaSpec,
    ops: Operators,
    layers: list[Layer | None],
    looked_up: Bools,
    act_dram: Floats,
    out_dram: Floats,
) -> dict[str, Floats]:
    """(R,) bytes read from and written to each memory on the chip.

    Tables: one entry per lookup, and what fills the banks. Scratchpad: a sum is written in all but the last subspace
    and read in all but the first. Index buffer: written once and read once per column pass, where T > 1. Input buffers:
    sub-vectors written and read once per encoding. Activation buffer: tensors that stay, read and written once.
    """
    book, imm = spec.codebook, spec.imm
    nc, tiles = _column(layers, "subspaces"), _column(layers, "column_passes")
    encodings = _column(layers, "encodings")
    lookups = np.where(looked_up, ops.m * ops.n * nc, 0.0)
    sums = np.where(looked_up, 2 * ops.m * ops.n * np.maximum(nc - 1, 0), 0.0)
    kept = looked_up & (tiles > 1) & (encodings == 1)
    indices = np.where(kept, ops.m * nc * (1 + tiles), 0.0)
    padded = np.where(looked_up, ops.m * nc * book.v * encodings, 0.0)
    reads = np.where(looked_up, np.maximum(encodings, 1), 1.0)
    stays = (ops.activation_bytes - act_dram) * reads + (ops.output_bytes - out_dram)
    passing = np.where(looked_up, 0.0, act_dram + out_dram + ops.weight_bytes + ops.kv_read_bytes)
    return {
        "table": lookups * imm.table_bits / 8 + _column(layers, "table_bytes") * spec.rows_per_cycle,
        "scratchpad": sums * imm.accumulator_bits / 8,
        "index_buffer": indices * book.index_bits / 8,
        "input_buffer": 2 * padded * book.input_bits / 8,
        "activation_buffer": stays + 2 * passing,
    }
