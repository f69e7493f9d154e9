"""Tile-level cycle model of a GPU, with tensor cores or lookup-table tensor cores.

Matrix product Y[M,N] = X[M,K] · W[N,K]ᵀ with thread-block tiles t_m x t_n x t_k, split-K s, and two
operand stages in flight (double buffering). S SMs; b_x bits per activation (per table operand), b_w
stored bits per weight; R_m MACs, R_s shared bytes, R_v vector operations per cycle and SM; β_2, β_d L2
and DRAM bytes per cycle of the chip; G = ⌈M/t_m⌉ ⌈N/t_n⌉ s blocks; c blocks fit an SM.

    steps    J   = ⌈K / (s t_k)⌉ per block; the busiest SM runs B = ⌈G/S⌉ blocks in w = ⌈B/c⌉ waves
    stage    Q   = (t_m t_k b_x + t_n t_k b_w) / 8 bytes per block and step
    compute  T_c = B J ⌈t_m⌉_g t_n t_k / R_m        (g = rows of the matrix instruction: 16, or m of the array;
                                                     lookup units: R_m = plane rate / W)
    shared   T_s = B J (Q + X t_n/u_n + W t_m/u_m) / R_s   (one write; warps of u_m x u_n re-read both parts
                                                     X = t_m t_k b_x / 8 and W = t_n t_k b_w / 8)
    vector   T_v = (B J t_n t_k d + V / S) / R_v     (d = 1 if weights must be widened to the unit's format;
                                                     V = M N g + 3 M K / readers where scales cannot be applied
                                                     to the weights: integer, FP8 and lookup units, g groups)
    L2       T_2 = max(G J Q / β_2, B J Q / β_s)     (β_s: L2 bytes per clock that one SM takes)
    DRAM     T_d = (D_w + D_x + D_y) / β_d

    cycles = max(T_c, T_s, T_v, T_2, T_d) + w λ + E + split + overhead

λ = L2 latency + DRAM latency (first stage of a wave); E = t_m t_n y c / β_s drains the last tiles
(y output bytes); split-K adds 2 · 4 s M N / β_2 for partial sums. overhead = time between kernels.
If weights, activations and output together fit 80 % of L2, each crosses DRAM once. Otherwise the blocks
that run together form a near-square patch of r x q tiles and each wave reads its rows and columns:
D_x + D_w = waves · (r t_m K b_x + q t_n K b_w) / 8, never less than once each.
A tile needs 4 t_m t_n bytes of accumulators in at most half of the register file (times
register_scale), and its operand stages in shared memory. Of the (tile, split) pairs within 1 % of the
fastest, the one with the least L2 traffic is taken.

Lookup units read tables instead of activations: b_x = 2^(k-1) table_bits / k per activation. Building
them costs, per distinct activation tensor (shared by its readers), additions on the vector units and a
write of the tables; ``separate`` precompute adds a kernel with its own reading and overhead.

What runs where: lookup units take integer weights with any activations (tables are quantised to table_bits as
they are built); INT8 units integer weights with INT8 activations; FP8 units FP8 activations with FP8 weights or
integers of at most 4 bits, which E4M3 holds exactly; FP16 units everything else.

Attention (FlashAttention): max of MACs, exponentials, vector operations and bytes; prefill splits
queries in blocks of 128 over the SMs, decode splits keys in blocks of 256 and computes 16 rows for the
heads / kv_heads queries that share a cache; the cache crosses DRAM once (it is read from L2 if it fits 80 % of
it and was just written: prefill). Norms and element-wise operators: max(vector, bytes). Their inputs and outputs,
and attention's, come from L2 if they fit half of it. Each operator is one kernel.

Where the spec names a measured device, operators that its kernels cover take their fitted time (measured_timing.py);
what bounds them, bytes and activity stay those of the tile model.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.gates import table_additions
from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.hw.result import Bools, Floats, Result
from lutscape.models.trace import Trace
from lutscape.sim import vector_ops
from lutscape.sim.gpu import measured_timing
from lutscape.sim.lut_tensor_core import sm_timing
from lutscape.sim.operators import Operators, prepare, scaling_operations

MMA_ROWS = 16
"""Rows of the mma.sync m16n8 instructions (PTX ISA)."""
TILES = np.array([(m, n) for m in (16, 32, 64, 128, 256) for n in (32, 64, 128, 256, 512)], np.float64)
SPLITS = (1, 2, 4, 8, 16)
TILE_K = 64
STAGES = 2
WARP_M, WARP_N, LUT_WARP_N = 64, 64, 256
"""Rows and columns of a warp's tile: operands are read from shared memory once per warp that needs them.
Lookup units: 64 x 256 (LUT Tensor Core, arXiv 2408.06003, the W1A8 tile [128, 512, 32] / [64, 256, 32])."""
L2_SHARE = 0.8
QUERY_BLOCK, KEY_BLOCK = 128, 256
FP16_BYTES, ACCUMULATOR_BYTES = 2, 4


def timing(spec: GpuSpec, trace: Trace) -> Result:
    """Time every distinct operator of a trace; raises nothing: every format runs, some slowly."""
    ops = prepare(trace)
    rows = len(ops.frame)
    unit = spec.matrix_unit
    on_unit = ops.linear & _on_unit(spec, ops)
    plain, special = vector_ops.per_value(ops.frame)
    values = np.where(ops.attention, vector_ops.scores(ops.frame), ops.m * ops.n)
    values = np.where(ops.linear, 0.0, values)

    gemm = _gemm(spec, ops, on_unit)
    attention = _attention(spec, ops, values, plain, special)
    element = _elementwise(spec, ops, values, plain, special)
    tables = _tables(spec, ops, on_unit)

    parts, levels = {}, {}
    for name in ("compute", "shared", "vector", "l2", "dram"):
        parts[name] = np.where(ops.linear, gemm[name], np.where(ops.attention, attention[name], element[name]))
    parts["table"] = tables["cycles"]
    for level in ("dram_bytes", "l2_bytes", "shared_bytes"):
        base = np.where(ops.linear, gemm[level], np.where(ops.attention, attention[level], element[level]))
        levels[level.removesuffix("_bytes")] = base + tables.get(level, np.zeros(rows))
    busy = np.stack([parts[p] for p in ("compute", "shared", "vector", "l2", "dram")])
    latency = np.where(ops.linear, gemm["latency"], np.where(ops.attention, attention["latency"], 0.0))
    overhead = spec.kernel_overhead_us * spec.clock_mhz * (1.0 + tables["kernels"])
    body = busy.max(axis=0) + latency + tables["cycles"]
    cycles = np.ceil(body + overhead)
    bound = np.array(["compute", "shared", "vector", "l2", "dram"])[busy.argmax(axis=0)]
    bound = np.where(latency > busy.max(axis=0), "latency", bound)
    bound = np.where(tables["cycles"] > busy.max(axis=0), "table", bound)
    bound = np.where(overhead > body, "launch", bound)

    lut = isinstance(unit, LutUnit)
    bits = np.maximum(ops.weight_bits, 1)
    header = trace.header
    result = Result(
        machine=spec.name,
        clock_mhz=spec.clock_mhz,
        operators=ops.frame,
        cycles=cycles,
        bound_by=bound,
        bytes=levels,
        activity={
            "plane_mac" if lut else "matrix_mac": np.where(on_unit, ops.macs * (bits if lut else 1), 0.0),
            "fp16_mac": np.where(ops.linear & ~on_unit | ops.attention, ops.macs, 0.0),
            "vector_op": gemm["vector_ops"] + values * (plain + special) * ~ops.linear + tables["ops"],
        },
        parts=parts,
        detail={
            "tile": np.where(ops.linear, gemm["tile"], ""),
            "waves": np.where(ops.linear, gemm["waves"], 0.0),
        },
        sequences=header.batch,
        prefill_tokens=header.prompt_tokens,
        decode_steps=header.decode_tokens,
    )
    if spec.measured_device:
        result = measured_timing.refine(spec, ops, trace, result)
    return sm_timing.refine(spec, ops, on_unit, result) if lut else result


def _on_unit(spec: GpuSpec, ops: Operators) -> Bools:
    """(R,) whether the spec's matrix unit computes the row; else the FP16 units that attention uses do."""
    unit = spec.matrix_unit
    integer = ops.weight_bits > 0
    if isinstance(unit, LutUnit):
        return integer
    if unit.activation_format == "int8":
        return integer & ops.integer_activations & (ops.activation_bits <= 8)
    if unit.activation_format == "fp8_e4m3":
        fp8 = ~ops.integer_activations & (ops.activation_bits == 8)
        exact = np.where(integer, ops.stored_weight_bits <= 4, ops.stored_weight_bits == 8)
        return fp8 & exact
    return np.ones(len(ops.m), bool)


def _operand_bits(spec: GpuSpec, ops: Operators, on_unit: Bools) -> Floats:
    """(R,) bits per activation that blocks load: values, or tables for lookup units."""
    unit = spec.matrix_unit
    if isinstance(unit, LutUnit):
        tables = 2.0 ** (unit.k - 1) * unit.table_bits / unit.k
        return np.where(on_unit, tables, 16.0)
    unit_bits = 8.0 if unit.activation_format in ("int8", "fp8_e4m3") else 16.0
    return np.where(on_unit, unit_bits, 16.0)


def _gemm(spec: GpuSpec, ops: Operators, on_unit: Bools) -> dict[str, Floats]:
    unit, rows = spec.matrix_unit, len(ops.m)
    lut = isinstance(unit, LutUnit)
    t_m, t_n, split = _candidates()  # (1, C)
    m, n, k = ops.m[:, None], ops.n[:, None], np.maximum(ops.k, 1)[:, None]
    b_x = _operand_bits(spec, ops, on_unit)[:, None]
    scale_bits = np.maximum(8 * ops.weight_bytes / np.maximum(ops.n * ops.k, 1) - ops.stored_weight_bits, 0)
    b_w = np.where(ops.stored_weight_bits > 0, ops.stored_weight_bits + scale_bits, 16.0)[:, None]
    bits = np.maximum(ops.weight_bits, 1).astype(float)
    if isinstance(unit, LutUnit):
        rate = np.where(on_unit, unit.plane_macs_per_cycle_per_sm / bits, spec.attention_macs_per_cycle_per_sm)
        granule = np.where(on_unit, unit.m, MMA_ROWS)[:, None]
        registers = spec.register_file_kib_per_sm * 1024 * unit.register_scale
        widen = np.where(on_unit, 0.0, 1.0)[:, None]
        warp_n = np.where(on_unit, LUT_WARP_N, WARP_N)[:, None]
    else:
        rate = np.where(on_unit, unit.macs_per_cycle_per_sm, spec.attention_macs_per_cycle_per_sm)
        granule = np.full((rows, 1), float(MMA_ROWS))
        registers = float(spec.register_file_kib_per_sm * 1024)
        unit_bits = 8 if unit.activation_format in ("int8", "fp8_e4m3") else 16
        widen = (ops.stored_weight_bits < unit_bits)[:, None] * 1.0
        warp_n = np.full((rows, 1), WARP_N)
    stage = (t_m * b_x + t_n * b_w) * TILE_K / 8
    accumulators = t_m * t_n * ACCUMULATOR_BYTES
    fits = (accumulators <= registers / 2) & (STAGES * stage <= spec.shared_memory_kib_per_sm * 1024)
    per_sm = np.minimum(
        np.floor(spec.shared_memory_kib_per_sm * 1024 / (STAGES * stage)), np.floor(registers / 2 / accumulators)
    )
    per_sm = np.clip(per_sm, 1, 8)
    blocks_m, blocks_n = np.ceil(m / t_m), np.ceil(n / t_n)
    grid = blocks_m * blocks_n * split
    steps = np.ceil(k / (split * TILE_K))
    fits &= (split == 1) | (k >= split * TILE_K)
    busiest = np.ceil(grid / spec.sms)
    waves = np.ceil(busiest / per_sm)
    work = busiest * steps
    mac_rows = np.minimum(np.ceil(np.minimum(m, t_m) / granule) * granule, np.maximum(t_m, granule))
    compute = work * mac_rows * t_n * TILE_K / rate[:, None]
    reads = (t_m * b_x * np.maximum(t_n / warp_n, 1) + t_n * b_w * np.maximum(t_m / WARP_M, 1)) * TILE_K / 8
    shared_bytes = grid * steps * (stage + reads)
    shared = work * (stage + reads) / spec.shared_bytes_per_cycle_per_sm
    scaled_apart = on_unit & (lut | (unit.activation_format in ("int8", "fp8_e4m3")))
    scaling = scaling_operations(ops, scaled_apart)[:, None]
    vector_ops_all = grid * steps * t_n * TILE_K * widen + scaling
    vector = (work * t_n * TILE_K * widen + scaling / spec.sms) / spec.vector_ops_per_cycle_per_sm
    y = np.maximum(ops.output_bytes / np.maximum(ops.m * ops.n, 1), 1)[:, None]
    partial = np.where(split > 1, 2 * ACCUMULATOR_BYTES * split * m * n, 0.0)
    l2_bytes = grid * steps * stage + m * n * y + partial
    l2 = np.maximum(l2_bytes / spec.l2_bytes_per_cycle, work * stage / spec.l2_bytes_per_cycle_per_sm)
    weights, acts = n * k * b_w / 8, m * k * b_x / 8
    resident = weights + acts + m * n * y <= L2_SHARE * spec.l2_mib * 2**20
    slots = np.minimum(spec.sms * per_sm, blocks_m * blocks_n)
    patch_rows = np.clip(np.sqrt(slots * t_n * b_w / (t_m * b_x)), 1, blocks_m)
    patch_columns = np.minimum(np.ceil(slots / patch_rows), blocks_n)
    patches = np.ceil(blocks_m * blocks_n / np.maximum(patch_rows * patch_columns, 1))
    streamed = patches * (patch_rows * t_m * b_x + patch_columns * t_n * b_w) * k / 8
    dram_bytes = np.where(resident, weights + acts, np.maximum(streamed, weights + acts)) + m * n * y
    dram = dram_bytes / spec.dram_bytes_per_cycle
    wait = spec.l2_latency_cycles + spec.dram.latency_ns * spec.clock_mhz * 1e-3
    drain = t_m * t_n * y * np.minimum(per_sm, busiest) / spec.l2_bytes_per_cycle_per_sm
    latency = waves * wait + drain + partial / spec.l2_bytes_per_cycle
    total = np.maximum.reduce([compute, shared, vector, l2, dram]) + latency
    total = np.where(fits, total, np.inf)
    near = total <= 1.01 * total.min(axis=1, keepdims=True)
    pick = (np.arange(rows), np.where(near, l2_bytes, np.inf).argmin(axis=1))
    shape = total.shape

    def at(array: Floats) -> Floats:
        return np.broadcast_to(array, shape)[pick]

    label = [f"{int(a)}x{int(b)}x{TILE_K}/{int(c)}" for a, b, c in zip(t_m[0], t_n[0], split[0], strict=True)]
    return {
        "compute": at(compute),
        "shared": at(shared),
        "vector": at(vector),
        "l2": at(l2),
        "dram": at(dram),
        "latency": at(latency),
        "dram_bytes": at(dram_bytes),
        "l2_bytes": at(l2_bytes),
        "shared_bytes": at(shared_bytes),
        "vector_ops": np.where(ops.linear, at(vector_ops_all), 0.0),
        "waves": at(waves),
        "tile": np.array(label, dtype=object)[pick[1]],
    }


def _candidates() -> tuple[Floats, Floats, Floats]:
    """Tiles crossed with split-K factors, each (1, C)."""
    t_m = np.repeat(TILES[:, 0], len(SPLITS))[None, :]
    t_n = np.repeat(TILES[:, 1], len(SPLITS))[None, :]
    return t_m, t_n, np.tile(np.array(SPLITS, np.float64), len(TILES))[None, :]


def _attention(spec: GpuSpec, ops: Operators, scores: Floats, plain: Floats, special: Floats) -> dict[str, Floats]:
    q_bytes = ops.activation_bytes + ops.output_bytes
    prefill = ops.m > 1
    blocks_q = np.ceil(ops.m / QUERY_BLOCK)
    blocks = np.where(prefill, ops.batch * ops.heads * blocks_q, ops.batch * ops.heads * np.ceil(ops.n / KEY_BLOCK))
    share = np.ceil(np.maximum(blocks, 1) / spec.sms) / np.maximum(blocks, 1)  # busiest SM's part of the work
    compute = ops.macs * share / spec.attention_macs_per_cycle_per_sm
    shared_rows = np.clip(ops.heads / np.maximum(ops.kv_heads, 1), 1, MMA_ROWS)
    waste = np.where(prefill, 1.0, MMA_ROWS / shared_rows)
    vector = scores * plain * share / spec.vector_ops_per_cycle_per_sm
    exponentials = scores * special * share / spec.special_ops_per_cycle_per_sm
    kv = ops.kv_read_bytes
    l2_bytes = kv * np.where(prefill, blocks_q, 1.0) + q_bytes + ops.kv_write_bytes
    in_l2 = prefill & (kv <= L2_SHARE * spec.l2_mib * 2**20)
    spilled = np.where(q_bytes <= 0.5 * spec.l2_mib * 2**20, 0.0, q_bytes)
    dram_bytes = np.where(in_l2, 0.0, kv) + ops.kv_write_bytes + spilled
    shared_bytes = 2 * l2_bytes
    return {
        "compute": compute * waste,
        "shared": shared_bytes * share / spec.shared_bytes_per_cycle_per_sm,
        "vector": np.maximum(vector, exponentials),
        "l2": l2_bytes / spec.l2_bytes_per_cycle,
        "dram": dram_bytes / spec.dram_bytes_per_cycle,
        "latency": np.full(len(ops.m), spec.l2_latency_cycles + spec.dram.latency_ns * spec.clock_mhz * 1e-3),
        "dram_bytes": dram_bytes,
        "l2_bytes": l2_bytes,
        "shared_bytes": shared_bytes,
    }


def _elementwise(spec: GpuSpec, ops: Operators, values: Floats, plain: Floats, special: Floats) -> dict[str, Floats]:
    moved = ops.activation_bytes + ops.output_bytes + ops.weight_bytes
    in_l2 = moved <= 0.5 * spec.l2_mib * 2**20
    dram_bytes = np.where(in_l2, ops.weight_bytes, moved)
    zero = np.zeros(len(ops.m))
    vector = np.maximum(
        values * plain / spec.vector_ops_per_cycle_per_sm, values * special / spec.special_ops_per_cycle_per_sm
    )
    return {
        "compute": zero,
        "shared": zero,
        "vector": vector / spec.sms,
        "l2": moved / spec.l2_bytes_per_cycle,
        "dram": dram_bytes / spec.dram_bytes_per_cycle,
        "latency": zero,
        "dram_bytes": dram_bytes,
        "l2_bytes": moved,
        "shared_bytes": zero,
    }


def _tables(spec: GpuSpec, ops: Operators, on_unit: Bools) -> dict[str, Floats]:
    """Table precompute charged to each reader of a tensor in equal parts; zeros without lookup units."""
    unit, rows = spec.matrix_unit, len(ops.m)
    zero = np.zeros(rows)
    if not isinstance(unit, LutUnit):
        return {"cycles": zero, "kernels": zero, "ops": zero}
    tables = np.where(on_unit, ops.m * np.ceil(ops.k / unit.k) / ops.readers, 0.0)
    entries = 2.0 ** (unit.k - 1)
    operations = tables * (table_additions(unit.k) + entries)  # additions, and one rescale per entry
    written = tables * entries * unit.table_bits / 8
    read = np.where(on_unit, ops.activation_bytes, 0.0) / ops.readers
    separate = unit.precompute == "separate"
    moved = written + (read if separate else -np.minimum(read, written))  # fused: tables replace the output
    vector = operations / (spec.vector_ops_per_cycle_per_sm * spec.sms)
    spilled = np.where(written * ops.readers > 0.5 * spec.l2_mib * 2**20, moved, 0.0)
    cycles = np.maximum.reduce([vector, moved / spec.l2_bytes_per_cycle, spilled / spec.dram_bytes_per_cycle])
    return {
        "cycles": cycles,
        "kernels": np.where(on_unit & separate, 1.0 / ops.readers, 0.0),
        "ops": operations,
        "l2_bytes": moved,
        "dram_bytes": spilled,
    }
