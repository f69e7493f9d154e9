"""LMMA, the matrix instruction of lookup-table tensor cores: its name, its operands in registers, its cycles.

One warp issues ``lmma.m{M}n{N}k{K}.{A}{W}{Accum}{O}`` (arXiv 2408.06003, sec. 3.3.2: O[M,N] = A[M,K] · W[N,K]ᵀ +
Accum[M,N]) to the arrays of its sub-core, A of them, arranged as c_m x c_n arrays of m x n x k. The paper prints the
name and no encoding, register layout, latency or legal shapes; these are the ones of this model:

    shape      M a multiple of m, N of n, K of k; at most 256 x 1024 x 1024
    operands   tables M ⌈K/k⌉ 2^(k-1) table_bits / 8 bytes (``on-the-fly``: M K activations), weights N K W / 8,
               sums M N bytes of Accum (output in place); each spread over the warp's 32 threads in 4-byte registers
    steps      S = ⌈M/(m c_m)⌉ ⌈N/(n c_n)⌉ K/k,   beats B = S P,   P = passes of W bits
    ports      r = (tables ⌈N/(n c_n)⌉ + weights ⌈M/(m c_m)⌉ + sums) / 384 cycles to read, w = sums / 128 to write
    interval   I = ⌈max(B, r, w)⌉ cycles between instructions of one sub-core
    latency    I + STAGES + 2: the array's tile (array_timing.tile_cycles), one cycle to read, one to write registers

384 bytes per clock: three operands of 32 threads, what an FFMA instruction reads (grade derived; the A100's
mma.sync m16n8k16 reads 1280 bytes in 8 cycles); 128: one operand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from lutscape.hw.errors import UserError, choose
from lutscape.hw.machines.gpu import LutUnit
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import array_timing, golden

ACTIVATIONS = {"int8": 8, "int16": 16, "fp8_e4m3": 8, "fp8_e5m2": 8, "fp16": 16, "bf16": 16}
WEIGHTS = {f"int{bits}": bits for bits in range(1, 9)}
ACCUMULATORS = {"int16": 16, "int32": 32, "fp16": 16, "fp32": 32}
OUTPUTS = {
    "int8": 8, "int16": 16, "int32": 32, "fp8_e4m3": 8, "fp8_e5m2": 8, "fp16": 16, "bf16": 16, "fp32": 32,
}  # fmt: skip
"""Format: bits."""
LARGEST = (256, 1024, 1024)
THREADS, REGISTER_BYTES = 32, 4
WARP_BYTES = THREADS * REGISTER_BYTES
"""Bytes of one register in every thread of a warp."""
SUB_CORES = 4
"""Sub-cores of an SM, each with its own warp scheduler, registers and arrays (NVIDIA A100 whitepaper)."""
READ_BYTES, WRITE_BYTES = 3 * WARP_BYTES, WARP_BYTES
"""Register file ports of a sub-core, bytes per clock."""
REGISTER_STAGES = 2
THREAD_REGISTERS = 255
"""Registers that an instruction can name (CUDA programming guide, compute capability 8.0 and 9.0)."""

_NAME = re.compile(r"lmma\.m(\d+)n(\d+)k(\d+)\.(.+)")


@dataclass(frozen=True)
class Lmma:
    """One instruction.

    Attributes:
        m, n, k: shape.
        activation: A, the format that tables are built from.
        weight: W.
        accumulator: of the sums.
        output: O.
    """

    m: int
    n: int
    k: int
    activation: str
    weight: str
    accumulator: str
    output: str

    def __str__(self) -> str:
        return f"lmma.m{self.m}n{self.n}k{self.k}.{self.activation}{self.weight}{self.accumulator}{self.output}"

    @property
    def weight_bits(self) -> int:
        """W."""
        return WEIGHTS[self.weight]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one instruction."""
        return self.m * self.n * self.k


@dataclass(frozen=True)
class Issue:
    """How one instruction runs on the arrays of a sub-core.

    Attributes:
        arrangement: (c_m, c_n) of the arrays.
        beats: cycles of the arrays alone.
        interval: cycles between instructions.
        latency: cycles from issue to sums in registers.
        table_bytes: of the row operand: tables, or activations where tables are built inside.
        weight_bytes, sum_bytes: of the other operands.
        table_registers, weight_registers, sum_registers: of each thread.
    """

    arrangement: tuple[int, int]
    beats: int
    interval: int
    latency: int
    table_bytes: int
    weight_bytes: int
    sum_bytes: int
    table_registers: int
    weight_registers: int
    sum_registers: int

    @property
    def registers(self) -> int:
        """Registers per thread of all operands."""
        return self.table_registers + self.weight_registers + self.sum_registers


def parse(text: str) -> Lmma:
    """Read an instruction's name.

    Raises:
        UserError: not of that form, an unknown format, or formats that do not combine.
    """
    match = _NAME.fullmatch(text.strip())
    if match is None:
        raise UserError(f"{text!r} is no LMMA; write lmma.mMnNkK.AWAccumO, like lmma.m8n64k32.int8int2int32fp16")
    m, n, k = (int(match[i]) for i in (1, 2, 3))
    rest, found = match[4], []
    for what, known in (
        ("activation", ACTIVATIONS), ("weight", WEIGHTS), ("accumulator", ACCUMULATORS), ("output", OUTPUTS),
    ):  # fmt: skip
        fits = [name for name in known if rest.startswith(name)]
        if not fits:
            word = re.match(r"[a-z]*\d*(?:_e\dm\d)?", rest)
            given = (word[0] if word else "") or rest
            try:
                choose(given, known, f"{what} format")
            except UserError as error:
                raise UserError(f"{text}: {error}") from None
            raise UserError(f"{text}: {what} format {given!r}; allowed: {', '.join(known)}")
        name = max(fits, key=len)
        found.append(name)
        rest = rest[len(name) :]
    if rest:
        raise UserError(f"{text}: {rest!r} after the output format; write lmma.mMnNkK.AWAccumO")
    instruction = Lmma(m, n, k, *found)
    check_formats(instruction)
    return instruction


def check_formats(instruction: Lmma) -> None:
    """Refuse formats that do not combine.

    Raises:
        UserError: with the reason and the nearest legal choice.
    """
    i = instruction
    for what, value, known in (
        ("activation", i.activation, ACTIVATIONS), ("weight", i.weight, WEIGHTS),
        ("accumulator", i.accumulator, ACCUMULATORS), ("output", i.output, OUTPUTS),
    ):  # fmt: skip
        if value not in known:
            hint = "; lookup selects table entries by integer weight bits" if what == "weight" else ""
            try:
                choose(value, known, f"{what} format")
            except UserError as error:
                raise UserError(f"{i}: {error}{hint}") from None
    if i.activation.startswith("int") and not i.accumulator.startswith("int"):
        raise UserError(f"{i}: tables of {i.activation} add up in integers, not {i.accumulator}; nearest: int32")
    if not i.accumulator.startswith("int") and i.output.startswith("int"):
        raise UserError(f"{i}: {i.accumulator} sums have no scale that makes them {i.output}; nearest: fp16")
    if ACCUMULATORS[i.accumulator] < OUTPUTS[i.output]:
        raise UserError(
            f"{i}: output {i.output} is wider than its {i.accumulator} sums, in whose registers it is written; "
            f"nearest: {i.accumulator}"
        )


def array_of(unit: LutUnit, weight_bits: int = 8, accumulator_bits: int = 32) -> Array:
    """Return one array of a unit as generator and array timing take it."""
    return Array(
        datapath="lut", m=unit.m, n=unit.n, k=unit.k, count=1, table_bits=unit.table_bits,
        activation_bits=ACTIVATIONS[unit.activation_format], accumulator_bits=accumulator_bits,
        serial_weight_bits=weight_bits,
    )  # fmt: skip


def check(instruction: Lmma, unit: LutUnit, group: int = 0) -> None:
    """Refuse an instruction that a unit cannot issue.

    Args:
        instruction: with formats that combine.
        unit: of the SM.
        group: products that one sum collects before scales are applied; 0: not checked.

    Raises:
        UserError: shape, formats, registers or overflow, with the nearest legal choice.
    """
    check_formats(instruction)
    i = instruction
    sides = zip("MNK", (i.m, i.n, i.k), (unit.m, unit.n, unit.k), LARGEST, strict=True)
    for side, value, step, most in sides:
        if value < 1 or value % step or value > most:
            nearest = min(max(step, round(value / step) * step), most // step * step)
            raise UserError(
                f"{i}: {side} = {value} is no multiple of the array's {side.lower()} = {step} up to {most}; "
                f"nearest: {nearest}"
            )
    if unit.precompute == "on-the-fly" and i.activation != unit.activation_format:
        raise UserError(
            f"{i}: tables are built inside the unit, from {unit.activation_format} alone; nearest: "
            f"{unit.activation_format}, or precompute: fused"
        )
    if i.accumulator.startswith("fp") and unit.table_bits < 16:
        raise UserError(
            f"{i}: entries of {unit.table_bits} bits are integers and do not add up in {i.accumulator}; nearest: int32"
        )
    if group and i.accumulator.startswith("int"):
        array = array_of(unit, i.weight_bits, ACCUMULATORS[i.accumulator])
        need = golden.accumulator_bits_needed(array, i.weight_bits, group)
        if need > array.accumulator_bits:
            safe = golden.safe_values(array, i.weight_bits)
            raise UserError(
                f"{i}: {group} products of {i.weight} can reach {golden.largest_sum(array, i.weight_bits, group)}, "
                f"which needs {need} bits; nearest: "
                + ("int32" if need <= 32 and i.accumulator != "int32" else f"scale groups of at most {safe}")
            )
    need, most = issue(i, unit, arrays_per_sub_core(unit)).registers, thread_registers(unit)
    if need > most:
        raise UserError(f"{i}: operands take {need} registers per thread of {most}; nearest: {_smaller(i, unit, most)}")


def _smaller(instruction: Lmma, unit: LutUnit, most: int) -> str:
    """Return the instruction with its largest side halved until it fits, or what to change instead."""
    i, arrays = instruction, arrays_per_sub_core(unit)
    while issue(i, unit, arrays).registers > most:
        halves = [
            Lmma(max(a, 1), max(b, 1), max(c, 1), i.activation, i.weight, i.accumulator, i.output)
            for a, b, c in (
                (i.m // 2 // unit.m * unit.m, i.n, i.k), (i.m, i.n // 2 // unit.n * unit.n, i.k),
                (i.m, i.n, i.k // 2 // unit.k * unit.k),
            )
            if min(a, b, c) > 0
        ]  # fmt: skip
        if not halves:
            return "a larger register_scale"
        i = min(halves, key=lambda h: issue(h, unit, arrays).registers)
    return str(i)


def arrays_per_sub_core(unit: LutUnit) -> int:
    """Return the arrays that one warp scheduler feeds."""
    return max(1, unit.arrays_per_sm // SUB_CORES)


def sub_cores(unit: LutUnit) -> int:
    """Return the sub-cores of an SM that have arrays."""
    return min(SUB_CORES, unit.arrays_per_sm)


def thread_registers(unit: LutUnit) -> int:
    """Return the registers of a thread; they grow with the register file (``register_scale``)."""
    return int(THREAD_REGISTERS * unit.register_scale)


def issue(instruction: Lmma, unit: LutUnit, arrays: int) -> Issue:
    """Return how an instruction runs on some arrays, in the arrangement with the shortest interval.

    Args:
        instruction: of a legal shape.
        unit: whose m, n, k and tables.
        arrays: of the sub-core.
    """
    i = instruction
    table = i.m * row_bytes(unit, i.k)
    weight = i.n * i.k * i.weight_bits / 8
    sums = i.m * i.n * ACCUMULATORS[i.accumulator] // 8
    array = array_of(unit, i.weight_bits)
    best: tuple[tuple[int, int], Issue] | None = None
    for c_m in (d for d in range(1, arrays + 1) if arrays % d == 0):
        c_n = arrays // c_m
        rows, columns = ceil(i.m / (unit.m * c_m)), ceil(i.n / (unit.n * c_n))
        steps = rows * columns * (i.k // unit.k)
        beats = steps * array_timing.passes(array, i.weight_bits)
        ports = max((table * columns + weight * rows + sums) / READ_BYTES, sums / WRITE_BYTES)
        interval = ceil(max(beats, ports))
        tile = array_timing.tile_cycles(array, steps, i.weight_bits)
        latency = max(interval + array_timing.STAGES, tile) + REGISTER_STAGES
        found = Issue(
            (c_m, c_n), beats, interval, latency, ceil(table), ceil(weight), sums, ceil(table / WARP_BYTES),
            ceil(weight / WARP_BYTES), ceil(sums / WARP_BYTES),
        )  # fmt: skip
        key = (interval, ceil(1000 * ports))
        if best is None or key < best[0]:
            best = (key, found)
    assert best is not None
    return best[1]


def row_bytes(unit: LutUnit, k: int) -> float:
    """Return bytes of one row's operand over ``k`` activations: tables; activations if tables are built inside."""
    if unit.precompute == "on-the-fly":
        return k * ACTIVATIONS[unit.activation_format] / 8
    return ceil(k / unit.k) * 2 ** (unit.k - 1) * unit.table_bits / 8


@lru_cache(maxsize=4096)
def best(unit_json: str, warp: tuple[int, int, int], formats: tuple[str, str, str, str]) -> tuple[Lmma, Issue] | None:
    """Return the instruction that covers a warp's tile in the fewest cycles, then with the fewest registers.

    Args:
        unit_json: the LutUnit.
        warp: rows, columns and K step of the warp's tile; the instruction divides each.
        formats: A, W, Accum, O.

    Returns:
        None if no instruction divides the tile.
    """
    unit = LutUnit.model_validate_json(unit_json)
    arrays, most = arrays_per_sub_core(unit), thread_registers(unit)
    found: tuple[tuple[float, int], Lmma, Issue] | None = None
    for c_m in (d for d in range(1, arrays + 1) if arrays % d == 0):
        for rows in (1, 2, 4):
            shape = (unit.m * c_m * rows, unit.n * (arrays // c_m), warp[2])
            m, n, k = (min(s, w) for s, w in zip(shape, warp, strict=True))
            if warp[0] % m or warp[1] % n or m % unit.m or n % unit.n or k % unit.k:
                continue
            one = Lmma(m, n, k, *formats)
            run = issue(one, unit, arrays)
            key = (run.interval / one.macs, run.registers)
            if run.registers <= most and (found is None or key < found[0]):
                found = (key, one, run)
    return None if found is None else (found[1], found[2])
