"""Writes ``wgmma.inc``: the warpgroup matrix instructions that the kernels use, as C++ wrappers.

Accumulators are up to 128 registers, each an operand of the inline assembly; hence a generator.
"""

from __future__ import annotations

COLUMNS = (32, 64, 128, 176, 256)
"""N of the instructions: tokens of a thread block."""


def generate() -> str:
    """Return the text of ``wgmma.inc``: wgmma(d, a, descriptor, accumulate) for every N, FP16 and unsigned x INT8,
    and wgmma_bf16."""
    parts = ["// Written by sim/gpu/wgmma_source.py: D (64 x N) = A (64 x 32 bytes, registers) B (descriptor) + D."]
    for n in COLUMNS:
        parts.append(_wrapper(n, "float", "f", f"m64n{n}k16.f32.f16.f16", ", 1, 1, 0"))
        parts.append(_wrapper(n, "float", "f", f"m64n{n}k16.f32.bf16.bf16", ", 1, 1, 0", "wgmma_bf16"))
        parts.append(_wrapper(n, "int", "r", f"m64n{n}k32.s32.u8.s8", ""))
    return "\n".join(parts) + "\n"


def _wrapper(n: int, kind: str, constraint: str, name: str, tail: str, function: str = "wgmma") -> str:
    count = n // 2
    registers = ",".join(f"%{i}" for i in range(count))
    a = ",".join(f"%{count + i}" for i in range(4))
    outputs = ", ".join(f'"+{constraint}"(d[{i}])' for i in range(count))
    return (
        f"__device__ inline void {function}({kind} (&d)[{count}], const uint32_t (&a)[4], uint64_t b, "
        f"int accumulate) {{\n"
        f'  asm volatile("{{ .reg .pred p; setp.ne.b32 p, %{count + 5}, 0;"\n'
        f'               "wgmma.mma_async.sync.aligned.{name} {{{registers}}}, {{{a}}}, %{count + 4}, p{tail}; }}"\n'
        f"               : {outputs}\n"
        f'               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate));\n}}'
    )
