"""Cycle model of the stand-alone lookup (or multiply-accumulate) accelerator.

Symbols: M, N, K of the operator; m, n, k of one array; A arrays arranged as c_m x c_n (every divisor
pair of A is tried); W weight bits, P = passes(W) cycles per step (bit-serial lookup: P = W / planes
per cycle; MAC: P = W / multiplier width, rounded up); g groups along K; B_x bytes; β DRAM bytes per
cycle. ⌈·⌉ rounds up. Every stage works on its own and overlaps with the others (double buffers):

    array    T_a = ⌈M/(m c_m)⌉ ⌈N/(n c_n)⌉ ⌈K/k⌉ P
    tables   T_t = M ⌈K/k⌉ r / tables_per_cycle          (lookup only; r builds of each table)
    vector   T_s = (M N g + 3 M K / readers) / vector_lanes   (group scale and zero point, one FMA each;
                   INT8 activations quantised once per tensor: magnitude, scale, sum for the zero point)
    DRAM     T_d = (B_w p + B_a q + B_o) / β

    cycles = max(T_a, T_t, T_s, T_d) + fill + drain

Loop orders; a stripe is n c_n columns of weights over the whole K, what the array needs to finish its
outputs. The faster order and arrangement is taken, then the one with less traffic.
    activation-stationary  tables (or activations) of M_b rows stay on chip while the stripes pass; within a
                           block each stripe serves ⌈M_b/(m c_m)⌉ groups of rows. If a stripe fits half the
                           weight buffer: p = ⌈M/M_b⌉, else it streams for every group: p = ⌈M/(m c_m)⌉.
                           q = 1; r = 1 / readers when all M rows fit at once (q, k and v then share
                           tables), else 1; if not even one row fits, r = ⌈N/(n c_n)⌉.
    weight-stationary      as many stripes as half the weight buffer holds (at least one must fit) stay while
                           all rows pass: p = 1, q = r = ⌈stripes / stripes held⌉ (q = 1 if the activations
                           fit on chip).
Tensors of at most half the activation and half the output buffer stay on chip between operators:
B_a (B_o) = 0. Weights and the KV cache always come from DRAM. Weight streams are prefetched during
the previous operator, so DRAM latency is exposed only by activations that come from DRAM. Buffers have
ports as wide as the array needs.

    fill   = STAGES + ⌈m c_m / tables_per_cycle⌉ (lookup) + DRAM latency (if B_a > 0)
    drain  = 0        (all m c_m x n c_n sums leave in the cycle that STAGES counts last)

T_a, STAGES and the fill of one array are the cycles of its generated Verilog
(:func:`lutscape.sim.lut_tensor_core.array_timing.unit_cycles`); tests hold them equal.

What runs where: integer weights on the arrays (MAC and ADD arrays: with integer activations of at most
``activation_bits``; lookup arrays: with any activations, their tables are quantised to ``table_bits`` as they are
built; finding a scale per table is not charged). Everything else, and attention, runs on the FP16 MACs:
macs / attention_macs_per_cycle; attention's softmax runs on the vector lanes beside them. Prefill re-reads
the keys and values once per block of queries that fits half the activation buffer, unless they fit half
the weight buffer. Norms and element-wise operators: max(vector operations / lanes, DRAM).
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
from lutscape.hw.result import Bools, Floats, Result
from lutscape.models.trace import Trace
from lutscape.sim import vector_ops
from lutscape.sim.lut_tensor_core import array_timing
from lutscape.sim.lut_tensor_core.golden import accumulator_bits_needed, safe_values
from lutscape.sim.operators import Operators, prepare, scaling_operations

STAGES = array_timing.STAGES
FP16_BYTES = 2


def timing(spec: LutTensorCoreSpec, trace: Trace) -> Result:
    """Time every distinct operator of a trace.

    Raises:
        UserError: an accumulator of the spec could overflow for a weight format of the trace.
    """
    ops = prepare(trace)
    _check_accumulators(spec, ops)
    rows = len(ops.frame)
    on_array = _on_array(spec, ops)
    plain, special = vector_ops.per_value(ops.frame)
    vector = ops.m * ops.n * (plain + special * vector_ops.SPECIAL)
    vector = np.where(ops.attention, vector_ops.scores(ops.frame) * (plain + special * vector_ops.SPECIAL), vector)
    scale = scaling_operations(ops, on_array)
    fp16_macs = np.where(ops.attention | (ops.linear & ~on_array), ops.macs, 0.0)

    resident_limit = 512 * min(spec.buffers.activation_kib, spec.buffers.output_kib)  # half of each, bytes
    act_dram = np.where(ops.activation_bytes <= resident_limit, 0.0, ops.activation_bytes)
    out_dram = np.where(ops.output_bytes <= resident_limit, 0.0, ops.output_bytes)

    array = _array(spec, ops, act_dram)
    weight_dram = np.where(on_array, array["weight_traffic"], ops.weight_bytes)
    act_dram = np.where(on_array, array["activation_traffic"], act_dram)
    kv = ops.kv_read_bytes * _kv_passes(spec, ops)
    dram = weight_dram + act_dram + out_dram + kv + ops.kv_write_bytes

    zero = np.zeros(rows)
    parts = {
        "array": np.where(on_array, array["steps"], zero),
        "table": np.where(on_array, array["table_cycles"], zero),
        "fp16": fp16_macs / spec.attention_macs_per_cycle,
        "vector": (vector + scale) / spec.vector_lanes,
        "dram": dram / spec.dram_bytes_per_cycle,
    }
    stacked = np.stack(list(parts.values()))
    latency = np.where(act_dram > 0, spec.dram.latency_ns * spec.clock_mhz * 1e-3, 0.0)
    overhead = latency + STAGES + np.where(on_array, array["fill"], 0.0)
    cycles = np.ceil(stacked.max(axis=0) + overhead)
    bound = np.array(list(parts))[stacked.argmax(axis=0)]
    bound = np.where(overhead > stacked.max(axis=0), "latency", bound)

    lut = spec.array.looks_up
    lookups = np.where(on_array, ops.m * ops.n * np.ceil(ops.k / spec.array.k) * array["passes"], zero)
    macs = np.where(on_array, ops.macs, zero)
    activity = {
        "lookup": lookups if lut else zero,
        "int_mac": zero if lut else macs * array["passes"],
        "table": np.where(on_array, array["tables"], zero) if lut else zero,
        "fp16_mac": fp16_macs,
        "vector_op": vector + scale,
    }
    header = trace.header
    return Result(
        machine=spec.name,
        clock_mhz=spec.clock_mhz,
        operators=ops.frame,
        cycles=cycles,
        bound_by=bound,
        bytes={
            "dram": dram,
            **_buffer_bytes(spec, ops, array, on_array, {"weight": weight_dram + kv, "activation": act_dram}),
        },
        activity=activity,
        parts=parts,
        detail={
            "arrangement": np.where(on_array, array["arrangement"], ""),
            "order": np.where(on_array, array["order"], ""),
        },
        sequences=header.batch,
        prefill_tokens=header.prompt_tokens,
        decode_steps=header.decode_tokens,
    )


def _on_array(spec: LutTensorCoreSpec, ops: Operators) -> Bools:
    """(R,) whether the arrays compute the row; else the FP16 MACs do."""
    integer = ops.linear & (ops.weight_bits > 0)
    if spec.array.looks_up:
        return integer
    return integer & ops.integer_activations & (ops.activation_bits <= spec.array.activation_bits)


def _check_accumulators(spec: LutTensorCoreSpec, ops: Operators) -> None:
    have = spec.array.accumulator_bits
    for row in np.flatnonzero(_on_array(spec, ops)):
        group = int(np.ceil(ops.k[row] / ops.groups[row]))
        bits = int(ops.weight_bits[row])
        need = accumulator_bits_needed(spec.array, bits, group)
        if need > have:
            safe = safe_values(spec.array, bits)
            raise UserError(
                f"{spec.name}: array.accumulator_bits = {have} can overflow on {ops.frame['name'][row]} "
                f"({ops.frame['weight_format'][row]}, {group} weights per scale): needs {need}; "
                f"use accumulator_bits >= {need}" + (f", or groups of at most {safe} weights" if safe else "")
            )


def table_bytes_per_row(spec: LutTensorCoreSpec, k: Floats, activation_bits: Floats) -> Floats:
    """(R,) bytes one activation row takes in the activation buffer: tables, or the values (MAC)."""
    array = spec.array
    if not array.looks_up:
        return k * activation_bits / 8
    entries: Floats = np.ceil(k / array.k) * array.entries * array.table_bits / 8
    return entries


def _array(spec: LutTensorCoreSpec, ops: Operators, act_dram: Floats) -> dict[str, Floats]:
    """Best arrangement and loop order of each row on the array; (R,) arrays."""
    array, rows = spec.array, len(ops.m)
    lut = array.looks_up
    passes = np.array([spec.passes(int(b)) if b else 1 for b in ops.weight_bits], np.float64)
    divisors = np.array([d for d in range(1, array.count + 1) if array.count % d == 0], np.float64)
    c_m, c_n = divisors[None, :], (array.count / divisors)[None, :]  # (1, D)
    m, n, k = ops.m[:, None], ops.n[:, None], ops.k[:, None]
    n_passes = np.ceil(n / (array.n * c_n))
    k_steps = np.ceil(k / array.k)
    steps = np.ceil(m / (array.m * c_m)) * n_passes * k_steps * passes[:, None]  # (R, D)

    half_act, half_weight = 512.0 * spec.buffers.activation_kib, 512.0 * spec.buffers.weight_kib
    rows_held = np.floor(half_act / table_bytes_per_row(spec, ops.k, ops.activation_bits))[:, None]
    column_bytes = np.maximum(ops.weight_bytes / np.maximum(ops.n, 1), 1e-9)[:, None]
    stripe_bytes = np.minimum(n, array.n * c_n) * column_bytes  # (R, D)
    stripe_fits = stripe_bytes <= half_weight
    row_groups = np.ceil(m / (array.m * c_m))
    blocks = np.where(stripe_fits, np.ceil(m / np.maximum(rows_held, 1)), row_groups)
    shared = np.where(rows_held >= m, 1.0 / ops.readers[:, None], 1.0)
    builds_a = np.where(rows_held >= 1, shared, n_passes)
    stripes_held = np.floor(half_weight / stripe_bytes)
    n_blocks = np.ceil(n_passes / np.maximum(stripes_held, 1))
    act_fits = (ops.activation_bytes <= half_act)[:, None]
    act, weight = act_dram[:, None], ops.weight_bytes[:, None]

    ones = np.ones_like(steps)
    orders = {
        "activation-stationary": (weight * blocks, act * ones, builds_a * ones, ones > 0),
        "weight-stationary": (weight * ones, act * np.where(act_fits, 1.0, n_blocks), n_blocks, stripe_fits),
    }
    beta = spec.dram_bytes_per_cycle
    best: dict[str, Floats] = {}
    best_key = np.full(rows, np.inf)
    for name, (weight_traffic, act_traffic, builds, possible) in orders.items():
        tables = m * k_steps * builds
        table_cycles = tables / spec.tables_per_cycle if lut else np.zeros_like(tables)
        traffic = (weight_traffic + act_traffic) / beta
        fill = np.ceil(array.m * c_m / spec.tables_per_cycle) * ones if lut else 0.0 * ones
        time = np.maximum(np.maximum(steps, table_cycles), traffic) + fill
        key = time * (1 + 1e-9 * traffic / np.maximum(time, 1))  # ties go to the smaller traffic
        key = np.where(possible, key, np.inf)
        pick = key.argmin(axis=1)
        take = (np.arange(rows), pick)
        chosen = {
            "steps": steps[take],
            "table_cycles": table_cycles[take],
            "tables": tables[take] if lut else np.zeros(rows),
            "weight_traffic": weight_traffic[take],
            "activation_traffic": act_traffic[take],
            "fill": fill[take],
            "n_passes": n_passes[take],
            "c_m": divisors[pick],
            "arrangement": np.array([f"{int(d)}x{int(array.count // d)}" for d in divisors[pick]], dtype=object),
            "order": np.full(rows, name, dtype=object),
        }
        better = key[take] < best_key
        best_key = np.where(better, key[take], best_key)
        best = {c: np.where(better, v, best[c]) if best else v for c, v in chosen.items()}
    best["passes"] = passes
    return best


def _kv_passes(spec: LutTensorCoreSpec, ops: Operators) -> Floats:
    """(R,) times the KV cache is read: once per block of queries that fits on chip."""
    query_bytes = np.maximum(ops.heads * ops.k * FP16_BYTES, 1)
    held = np.maximum(np.floor(512 * spec.buffers.activation_kib / query_bytes), 1)
    per_sequence = ops.kv_read_bytes / np.maximum(ops.batch, 1)
    fits = per_sequence <= 512 * spec.buffers.weight_kib
    return np.where(ops.attention & ~fits, np.ceil(ops.m / held), 1.0)


def _buffer_bytes(
    spec: LutTensorCoreSpec,
    ops: Operators,
    array: dict[str, Floats],
    on_array: Bools,
    arriving: dict[str, Floats],
) -> dict[str, Floats]:
    """(R,) bytes read from and written to each on-chip buffer.

    Array rows: weights once per group of m c_m rows (one plane of n c_n k bits per step), tables (or
    activations) once per pass over n c_n columns plus their writing, outputs written and read once.
    Other rows: weights, keys and values, inputs and outputs once. What arrives from DRAM (``arriving``)
    is written to its buffer once.
    """
    row_groups = np.ceil(ops.m / (spec.array.m * array["c_m"]))
    per_row = table_bytes_per_row(spec, ops.k, ops.activation_bits)
    written = array["tables"] / np.maximum(np.ceil(ops.k / spec.array.k), 1) * per_row
    weights = np.where(on_array, ops.weight_bytes * row_groups, ops.weight_bytes + ops.kv_read_bytes)
    activations = np.where(on_array, ops.m * per_row * array["n_passes"] + written, ops.activation_bytes)
    return {
        "weight_buffer": weights + arriving["weight"],
        "activation_buffer": activations + arriving["activation"],
        "output_buffer": np.where(on_array, 2.0, 1.0) * ops.output_bytes,
    }
