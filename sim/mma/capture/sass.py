"""Which machine instructions a captured PTX instruction became, read from ``cuobjdump --dump-sass``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

# Arithmetic opcodes; address computation, moves and memory access are left out.
_ARITHMETIC = re.compile(r"(?:[HIDQBO]MMA|[A-Z]GMMA|FADD|FMUL|FFMA|HADD2|HMUL2|HFMA2|F2FP|DADD|DFMA)\b[\w.]*")
_FUNCTION = re.compile(r"Function : \S*?_tileI\d*I(\d+)E")
_OPCODE = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")


def opcodes(listing: str, names: Sequence[str]) -> dict[str, str]:
    """Return {instruction: "2 HMMA.16816.F32, 4 FADD"} for the kernels I0, I1, … of ``names``."""
    found: dict[str, Counter[str]] = {}
    kernel = None
    for line in listing.splitlines():
        if match := _FUNCTION.search(line):
            number = int(match[1])
            kernel = found.setdefault(names[number], Counter()) if number < len(names) else None
        elif kernel is not None and (match := _OPCODE.search(line)) and _ARITHMETIC.fullmatch(match[1]):
            kernel[match[1]] += 1
    return {name: ", ".join(f"{n} {op}" for op, n in found[name].items()) for name in names if name in found}
