"""Generate ``instructions.inc``: one C++ struct with inline PTX per instruction.

Everything that does not depend on the instruction (loading fragments, files, launching) is in
``harness.cu``, which includes the generated file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from lutscape.sim.mma.capture.instructions import BITS, Instruction

HARNESS = Path(__file__).parent / "harness.cu"
_REGISTER = {"f64": ("double", "d"), "f32": ("float", "f"), "f16": ("uint32_t", "r"), "s32": ("uint32_t", "r")}


def generate(instructions: Iterable[Instruction]) -> str:
    """Return the text of ``instructions.inc``: structs, then the table as an X macro."""
    rows = list(instructions)
    structs = [_struct(f"I{i}", row) for i, row in enumerate(rows)]
    table = [f'  X(I{i}, {row.kind}_tile, "{row.name}")' for i, row in enumerate(rows)]
    return "\n".join(structs) + "\n#define INSTRUCTIONS(X) \\\n" + " \\\n".join(table) + "\n"


def harness_hash(instructions: Iterable[Instruction]) -> str:
    """Return the SHA-256 of the source that captures: harness.cu, then instructions.inc."""
    return hashlib.sha256(HARNESS.read_bytes() + generate(instructions).encode()).hexdigest()


def _struct(name: str, row: Instruction) -> str:
    operand, _ = ("double", "d") if row.a == "f64" else ("uint32_t", "r")
    c, d = _REGISTER[row.c][0], _REGISTER[row.d][0]
    a_row, b_row = row.terms * BITS[row.a] // 8, row.k * BITS[row.b] // 8
    sizes = f"{row.m}, {row.n}, {a_row}, {b_row}, {BITS[row.c] // 8}, {BITS[row.d] // 8}"
    body = _wgmma(row) if row.kind == "wgmma" else _mma(row, a_row, b_row)
    flags = f"{str(row.sparse).lower()}, {str(bool(row.a_shared)).lower()}"
    return f"struct {name} : Tile<{operand}, {c}, {d}, {sizes}, {flags}> {{\n{body}\n}};"


def _list(first: int, count: int) -> str:
    return "{" + ", ".join(f"%{i}" for i in range(first, first + count)) + "}"


def _operands(letter: str, variable: str, count: int) -> str:
    return ", ".join(f'"{letter}"({variable}[{i}])' for i in range(count))


def _mma(row: Instruction, a_row: int, b_row: int) -> str:
    letter = "d" if row.a == "f64" else "r"
    unit = 4 * (8 if row.a == "f64" else 4)  # bytes of a row that four lanes hold in one register each
    n_a = 2 if row.kind == "quad" else a_row // unit * (row.m // 8)
    n_b = 2 if row.kind == "quad" else b_row // unit
    per_lane = row.m * row.n // (8 if row.kind == "quad" else 32)
    n_c, n_d = (per_lane * BITS[f] // max(32, BITS[f]) for f in (row.c, row.d))
    (_, c_letter), (_, d_letter) = _REGISTER[row.c], _REGISTER[row.d]
    first_a, first_b, first_c = n_d, n_d + n_a, n_d + n_a + n_b
    text = f"{row.ptx} {_list(0, n_d)}, {_list(first_a, n_a)}, {_list(first_b, n_b)}, {_list(first_c, n_c)}"
    inputs = [_operands(letter, "a", n_a), _operands(letter, "b", n_b), _operands(c_letter, "c", n_c)]
    if row.sparse:
        text += f", %{first_c + n_c}, 0x0"
        inputs.append('"r"(e)')
    outputs = _operands("=" + d_letter, "d", n_d)
    return (
        "  __device__ static void issue(const Operand* a, const Operand* b, const AccC* c, AccD* d, uint32_t e) {\n"
        f'    asm volatile("{text};"\n        : {outputs}\n        : {", ".join(inputs)});\n  }}'
    )


def _wgmma(row: Instruction) -> str:
    n_d = row.m * row.n // 128 * BITS[row.d] // 32
    a = f"%{n_d}" if row.a_shared else _list(n_d, 4)
    b = n_d + (1 if row.a_shared else 4)
    metadata = f", %{b + 2}, 0x0" if row.sparse else ""
    scales = "" if row.integer else f", {row.scale_a}, {row.scale_b}"
    if row.a in ("f16", "bf16"):  # transposes: A only where it is in shared memory; both are K-major
        scales += ", 0, 0" if row.a_shared else ", 0"
    text = f"{row.ptx} {_list(0, n_d)}, {a}, %{b}{metadata}, p{scales};"
    letter = _REGISTER[row.d][1]
    last = ', "r"(e)' if row.sparse else ""
    inputs = ['"l"(a_desc)'] if row.a_shared else [_operands("r", "a", 4)]
    return (
        "  __device__ static void issue(const uint32_t* a, uint64_t a_desc, uint64_t b_desc, AccD* d, "
        "uint32_t e) {\n"
        f'    asm volatile("{{ .reg .pred p; setp.ne.b32 p, %{b + 1}, 0; wgmma.fence.sync.aligned; "\n'
        f'        "{text} "\n'
        '        "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; }"\n'
        f"        : {_operands('+' + letter, 'd', n_d)}\n"
        f'        : {", ".join(inputs)}, "l"(b_desc), "r"({row.scale_d}){last} : "memory");\n  }}'
    )
