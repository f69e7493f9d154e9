"""Cycle model of language-model machines with their weights in ROM.

Every operator of a token is a dependent step: activations are aligned and broadcast over the mesh, L-Units stream the
words of their slices, sums are reduced and dequantised. Inside a step, ROM, adapter, KV cache and vector lanes overlap:

    cycles = T · max(T_rom, T_adapter, T_kv, T_macs, T_vector, T_dram) + fill + T · overhead / layers of the step

    T_rom      ⌈N ⌈K/g⌉ / L⌉ P cycles_per_word         groups, P words each, L L-Units that share the layer
    T_adapter  rank (N + K) bytes / β_H                 beside the ROM; β_H bytes per cycle of all H-Units
    T_kv       visible keys x bytes of a key / β_H      one token at a time: no key is reused between queries;
               x query heads of a KV head where each reads anew (``h_unit.kv_reads: head``)
    T_macs     MACs of attention and adapter / (H-Units x macs_per_cycle)
    T_vector   element-wise operations and softmax / (Vector Units x lanes)
    T_dram     the part of the KV cache that exceeds the SRAM / DRAM bandwidth
    fill       stages of the L-Unit, once; T T_rom + fill are the cycles of its Verilog
               (:func:`lutscape.sim.roma.stage_timing.rows_cycles`)

T is the tokens of the operator: prefill streams its tokens one after the other through the same units, as ROMA's two
published times to first token say (10,938 cycles a token at 256, 17,114 at 4,096: hardly less than a decode step).
``overhead`` and β_H have one value for decode and one for prefill. In a decode step of B sequences the first token
takes the overhead of decode, the others that of prefill. Cycles are not rounded: the overhead is a mean.

Four figures are named apart: time of one token at batch 1 (``time_per_token_s``), time to first token
(``time_to_first_token_s``), the rate of the trace's own batch (``tokens_per_s``), and ``aggregate_tokens_per_s``: as
many sequences of the trace's length as the SRAM holds, interleaved step by step, so that a token costs what a token of
prefill costs; with ``placement: layers`` every block works on a sequence of its own.

``placement: layers`` gives every block 1 / blocks of all units. The output projection and the embedding
take no time with ``head: host``. The router of a mixture of experts is FP16 and runs on the H-Units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.storage import parse_weight_format
from lutscape.hw.machines.roma import RomaSpec
from lutscape.hw.provenance import Grade, Source
from lutscape.hw.result import Bools, Floats, Result
from lutscape.models.shape import ModelShape
from lutscape.models.trace import Trace
from lutscape.sim import vector_ops
from lutscape.sim.operators import Operators, prepare
from lutscape.sim.roma import capacity, stage_timing

FP16_BYTES = 2
FITS = Source(grade=Grade.DERIVED, source="(SRAM - adapter) / bytes of one token's keys and values")


@dataclass(frozen=True)
class Work:
    """What each operator does, (R,) each, for all its tokens.

    Attributes:
        tokens: of the operator.
        on_rom: linear layers in ROM.
        words: ROM words per token in the L-Unit with the most.
        reads: ROM words read by all L-Units.
        adapter: bytes of adapter read, and of the router of a mixture of experts.
        kv: bytes of keys and values read and written.
        kv_dram: those that come from DRAM.
        macs: of attention and adapter.
        vector: lane operations.
        alone: share of a step's overhead that the operator takes: 1 / layers that read one tensor.
    """

    tokens: Floats
    on_rom: Bools
    words: Floats
    reads: Floats
    adapter: Floats
    kv: Floats
    kv_dram: Floats
    macs: Floats
    vector: Floats
    alone: Floats


def timing(spec: RomaSpec, trace: Trace) -> Result:
    """Time every distinct operator of a trace.

    Raises:
        UserError: weights that the ROM's words do not hold, more weights than ROM, more context than SRAM.
    """
    ops, header, shape = prepare(trace), trace.header, model_shape(spec, trace)
    bits = weight_bits(spec, ops)
    capacity.check_rom(spec, shape, bits)
    length = header.prompt_tokens + header.decode_tokens
    split = capacity.check_sram(spec, shape, header.kv, length, header.batch)
    held = min(1.0, split.tokens / (length * header.batch))

    work = measure(spec, trace, ops, held)
    prefill = (ops.frame["phase"] == "prefill").to_numpy()
    blocks = shape.layers if spec.placement == "layers" else 1
    parts = busy(spec, work, prefill, blocks)
    stacked = np.stack(list(parts.values()))
    longest = stacked.max(axis=0)
    fill = np.where(work.on_rom, float(stage_timing.STAGES), 0.0)
    overhead = fill + steps(spec, work, prefill)
    cycles = longest + overhead
    bound = np.array(list(parts))[stacked.argmax(axis=0)]
    bound = np.where(overhead > longest, "step", bound)
    bound = np.where(cycles > 0, bound, "host")
    figures = {
        "context_tokens": (float(split.tokens), FITS),
        "lora_rank": (float(spec.lora.rank), Source(grade=Grade.DERIVED, source="of the spec")),
    }
    if header.decode_tokens and (ops.frame["phase"] == "decode").any():
        rate = aggregate(spec, trace, split, longest, cycles, work)
        figures["aggregate_tokens_per_s"] = (rate, spec.timing_source())
    return Result(
        machine=spec.name,
        clock_mhz=spec.clock_mhz,
        operators=ops.frame,
        cycles=cycles,
        bound_by=bound,
        bytes={"sram": work.adapter + work.kv - work.kv_dram, "dram": work.kv_dram},
        activity={"rom_word": work.reads, "fp16_mac": work.macs, "vector_op": work.vector},
        parts={**parts, "step": overhead},
        sequences=header.batch,
        prefill_tokens=header.prompt_tokens,
        decode_steps=header.decode_tokens,
        figures=figures,
    )


def model_shape(spec: RomaSpec, trace: Trace) -> ModelShape:
    """Return the shape of the traced language model.

    Raises:
        UserError: the trace is of something else.
    """
    if trace.header.shape is None:
        raise UserError(f"{spec.name}: {trace.header.model} is no language model; adapter and KV cache need one")
    return trace.header.shape


def weight_bits(spec: RomaSpec, ops: Operators) -> dict[str, int]:
    """Return the weight bits of each role that is in ROM.

    Raises:
        UserError: a format that the words do not hold.
    """
    found: dict[str, int] = {}
    rows = ops.frame[ops.linear]
    for role, name, text in zip(rows["operator"], rows["name"], rows["weight_format"], strict=True):
        if role == capacity.ROUTER or (role == capacity.HEAD and spec.head == "host"):
            continue
        bits = capacity.check_format(spec, parse_weight_format(text), name)
        found[role] = max(found.get(role, 0), bits)
    return found


def measure(spec: RomaSpec, trace: Trace, ops: Operators, held: float) -> Work:
    """Count the work of every operator; ``held`` is the share of the KV cache that the SRAM holds."""
    shape = model_shape(spec, trace)
    roles = ops.frame["operator"]
    head, router = ((roles == role).to_numpy() for role in (capacity.HEAD, capacity.ROUTER))
    on_rom = ops.linear & ~router & ~(head & (spec.head == "host"))
    groups = np.ceil(ops.k / spec.l_unit.group)
    planes = np.array([spec.planes(int(b)) if b else 0 for b in ops.weight_bits], np.float64)
    shared_by = np.where(head, spec.l_units, capacity.sharing(spec, shape.layers))
    rows = np.where(on_rom, ops.n * groups, 0.0)
    target = roles.isin(spec.lora.projections).to_numpy() & on_rom
    pairs = np.where(target, spec.lora.rank * (ops.n + ops.k), 0.0)
    routed = np.where(router, ops.n * ops.k, 0.0)
    tokens = np.where(ops.attention, ops.m * ops.batch, ops.m)

    keys = np.maximum(ops.n * ops.batch, 1)  # in the cache, all sequences
    visible = vector_ops.scores(ops.frame) / np.maximum(ops.heads, 1)  # (query, key) pairs
    again = np.maximum(ops.heads, 1) / np.maximum(ops.kv_heads, 1) if spec.h_unit.kv_reads == "head" else 1.0
    read = np.where(ops.attention, visible * ops.kv_read_bytes / keys * again, 0.0)
    plain, special = vector_ops.per_value(ops.frame)
    each = plain + special * vector_ops.SPECIAL
    values = np.where(ops.attention, vector_ops.scores(ops.frame), np.where(ops.linear, 0.0, ops.m * ops.n))
    experts = roles.isin(capacity.EXPERT_LAYERS).to_numpy() & (shape.experts > 0)
    readers = ops.readers * np.where(experts, max(shape.experts_per_token, 1), 1)
    return Work(
        tokens=tokens,
        on_rom=on_rom,
        words=np.ceil(rows / shared_by) * planes,
        reads=rows * planes * tokens,
        adapter=(pairs * spec.lora.bits / 8 + routed * FP16_BYTES) * tokens,
        kv=read + ops.kv_write_bytes,
        kv_dram=(read + ops.kv_write_bytes) * (1 - held),
        macs=np.where(ops.attention, ops.macs, (pairs + routed) * tokens),
        vector=values * each,
        alone=np.where(on_rom | router, 1 / np.maximum(readers, 1), 0.0),
    )


def busy(spec: RomaSpec, work: Work, prefill: Bools, blocks: int) -> dict[str, Floats]:
    """Return (R,) cycles of each resource alone; ``blocks`` share H-Units and Vector Units."""
    unit, h_units = spec.h_unit, spec.h_units / blocks
    beta = np.where(prefill, unit.prefill_kv_bytes_per_cycle, unit.kv_bytes_per_cycle) * h_units
    dram = np.zeros(len(work.kv))
    if spec.dram is not None:
        dram = work.kv_dram / (spec.dram.bandwidth_gb_s * 1e3 * spec.dram.efficiency / spec.clock_mhz)
    return {
        "rom": work.words * work.tokens * spec.l_unit.cycles_per_word,
        "adapter": work.adapter / beta,
        "kv": (work.kv - work.kv_dram) / beta,
        "macs": work.macs / (h_units * unit.macs_per_cycle),
        "vector": work.vector / (spec.chips * spec.v_unit.count * spec.v_unit.lanes / blocks),
        "dram": dram,
    }


def steps(spec: RomaSpec, work: Work, prefill: Bools) -> Floats:
    """(R,) cycles of overhead: every token of prefill its own, of a decode step the first token one of decode."""
    step = spec.step
    decode = step.decode_cycles + (work.tokens - 1) * step.prefill_cycles
    each: Floats = np.where(prefill, work.tokens * step.prefill_cycles, decode) * work.alone
    return each


def aggregate(spec: RomaSpec, trace: Trace, split: capacity.Sram, longest: Floats, cycles: Floats, work: Work) -> float:
    """Return generated tokens per second of as many sequences as the SRAM holds.

    Args:
        spec, trace: machine and workload with decode steps.
        split: of the SRAM.
        longest: (R,) cycles of the busiest resource of each operator.
        cycles: (R,) cycles of each operator.
        work: of the operators.
    """
    header, ops = trace.header, prepare(trace)
    count = ops.frame["count"].to_numpy(np.float64)
    decode = (ops.frame["phase"] == "decode").to_numpy()
    generated = header.decode_tokens * header.batch
    blocks = model_shape(spec, trace).layers if spec.placement == "layers" else 1
    hidden = longest + work.tokens * work.alone * spec.step.prefill_cycles
    each = float((hidden * count)[decode].sum()) / generated / blocks
    latency = float((cycles * count)[decode].sum()) / header.decode_tokens
    rate = 1 / each
    if spec.dram is None:
        fit = max(header.batch, split.tokens // (header.prompt_tokens + header.decode_tokens))
        rate = min(rate, fit / latency)
    return rate * spec.clock_mhz * 1e6
