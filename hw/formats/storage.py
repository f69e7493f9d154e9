"""Names and storage sizes of the number formats in traces and specs.

An *element format* is what one number is (``int4``, ``fp16``, ``ternary``). A *weight format* adds
how scales are shared: ``int4-g64`` has one scale and one zero point per 64 consecutive weights of a
row, ``int8-row`` one per output row, ``ternary-tensor`` one scale for the tensor. A tail group may
be shorter (576 = 4·128 + 64) and still costs a whole scale. GGUF block formats (``q4_1``) keep the
sizes of the file format.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

from lutscape.hw.errors import UserError, nearest

SCALE_BITS = 16
"""Bits of a group scale: FP16, as in GPTQ/AWQ checkpoints and GGUF blocks."""


@dataclass(frozen=True)
class ElementFormat:
    """One number format as it is stored.

    Attributes:
        name: name used in traces, specs and on the command line.
        bits: storage bits of one element (8/5 for five trits in a byte).
        kind: ``int``, ``float``, ``ternary`` or ``block`` (scales included in ``bits``).
        weight_bits: bit planes that a bit-serial lookup unit processes; 0 where it cannot.
    """

    name: str
    bits: float
    kind: Literal["int", "float", "ternary", "block"]
    weight_bits: int = 0


ELEMENT_FORMATS: dict[str, ElementFormat] = {
    f.name: f
    for f in [
        ElementFormat("fp32", 32, "float"),
        ElementFormat("tf32", 32, "float"),
        ElementFormat("fp16", 16, "float"),
        ElementFormat("bf16", 16, "float"),
        ElementFormat("fp8_e4m3", 8, "float"),
        ElementFormat("fp8_e5m2", 8, "float"),
        *(ElementFormat(f"int{b}", b, "int", b) for b in range(1, 9)),
        ElementFormat("int16", 16, "int"),
        ElementFormat("int32", 32, "int"),
        ElementFormat("ternary", 2, "ternary", 2),
        ElementFormat("ternary_5in8", 8 / 5, "ternary", 2),
        # GGUF blocks: bytes per block * 8 / elements per block (ggml-common.h).
        ElementFormat("q4_0", 18 * 8 / 32, "block", 4),
        ElementFormat("q4_1", 20 * 8 / 32, "block", 4),
        ElementFormat("q5_0", 22 * 8 / 32, "block", 5),
        ElementFormat("q5_1", 24 * 8 / 32, "block", 5),
        ElementFormat("q8_0", 34 * 8 / 32, "block", 8),
        ElementFormat("q2_k", 84 * 8 / 256, "block", 2),
        ElementFormat("q3_k", 110 * 8 / 256, "block", 3),
        ElementFormat("q4_k", 144 * 8 / 256, "block", 4),
        ElementFormat("q5_k", 176 * 8 / 256, "block", 5),
        ElementFormat("q6_k", 210 * 8 / 256, "block", 6),
    ]
}
ALIASES = {"fp8": "fp8_e4m3", "f32": "fp32", "f16": "fp16", "int1.58": "ternary"}
ACTIVATION_FORMATS = ("fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int16")
KV_FORMATS = ("fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int4", "int2")
DEFAULT_GROUP = 128


@dataclass(frozen=True)
class WeightFormat:
    """Element format plus the sharing of scales and zero points.

    Attributes:
        element: what one weight is.
        group: weights per scale along K; 0 = one per output row, -1 = one per tensor; None = no scale.
        zero_point: whether each group also stores an element-wide zero point.
    """

    element: ElementFormat
    group: int | None
    zero_point: bool

    @property
    def name(self) -> str:
        """Canonical spelling, ``int4-g128``."""
        if self.group is None:
            return self.element.name
        return self.element.name + {0: "-row", -1: "-tensor"}.get(self.group, f"-g{self.group}")

    def bytes(self, rows: int, columns: int) -> int:
        """Return stored bytes of a (rows, columns) = (N, K) weight, scales and zero points included.

        Elements are packed without padding between rows; scale and zero-point arrays are packed
        too; each of the two is rounded up to whole bytes.
        """
        data = -(-round(rows * columns * self.element.bits * 1_000_000) // 8_000_000)
        if self.group is None:
            return data
        groups = {0: rows, -1: 1}.get(self.group) or rows * -(-columns // self.group)
        bits = SCALE_BITS + (self.element.bits if self.zero_point else 0)
        return data + -(-int(groups * bits) // 8)


@cache
def parse_weight_format(text: str) -> WeightFormat:
    """Read ``int4``, ``int4-g64``, ``int8-row``, ``ternary``, ``fp16``, ``q4_1``.

    Integers have zero points (one bit, a sign, has none) and, without a suffix, groups of 128; ternary has
    one scale per tensor and no zero point (BitNet b1.58, arXiv 2402.17764, eq. 1-3).

    Raises:
        UserError: unknown element or suffix.
    """
    name, _, suffix = text.strip().lower().partition("-")
    element = parse_element_format(name, what="weight format")
    if element.kind in ("float", "block"):
        if suffix:
            raise UserError(f"weight format {text!r}: {element.name} carries no group suffix; drop -{suffix}")
        return WeightFormat(element, None, False)
    zero_point = element.kind == "int" and element.bits > 1
    if not suffix:
        return WeightFormat(element, DEFAULT_GROUP if element.kind == "int" else -1, zero_point)
    if suffix == "row":
        return WeightFormat(element, 0, zero_point)
    if suffix == "tensor":
        return WeightFormat(element, -1, zero_point)
    match = re.fullmatch(r"g(\d+)", suffix)
    if not match or not 1 <= int(match[1]) <= 65536:
        raise UserError(f"weight format {text!r}: suffix -{suffix} is not one of -g<group 1..65536>, -row, -tensor")
    return WeightFormat(element, int(match[1]), zero_point)


@cache
def parse_element_format(
    text: str, allowed: tuple[str, ...] = tuple(ELEMENT_FORMATS), what: str = "number format"
) -> ElementFormat:
    """Read one element format by name or alias.

    Raises:
        UserError: not among ``allowed``; the message lists them and the nearest spelling.
    """
    name = ALIASES.get(text.strip().lower(), text.strip().lower())
    if name not in allowed:
        raise UserError(f"unknown {what} {text!r}{nearest(text, [*allowed, *ALIASES])}; allowed: {', '.join(allowed)}")
    return ELEMENT_FORMATS[name]


def kv_bytes(tokens: int, kv_heads: int, head_dim: int, name: str) -> int:
    """Return bytes of the keys **and** values of ``tokens`` tokens in one layer.

    Integer formats store, per token and head, one FP16 scale and one FP16 minimum (asymmetric,
    per-token quantisation of a head's ``head_dim`` values).
    """
    element = parse_element_format(name, KV_FORMATS, "KV format")
    vector_bits = head_dim * element.bits + (2 * SCALE_BITS if element.kind == "int" else 0)
    return 2 * tokens * kv_heads * -(-int(vector_bits) // 8)
