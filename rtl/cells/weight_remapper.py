"""Weight remapper: k weight codes of one column to the selects of their bit planes (arXiv 2408.06003, eq. 5 and 6).

Plane p of the k codes is a pattern of k bits. The top bit becomes the sign of a lookup, the others, inverted where it
is set, the index into the stored half of the table. The paper remaps offline, before weights are stored; this is that
step as hardware, for weights that arrive as plain codes. Codes are 0 … 2^W - 1, or two's complement r for q - 2^(W-1),
whose highest plane counts negatively: its selects have their sign inverted, and index the same entries.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError, choose
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells.fused_dot_part import part
from lutscape.rtl.cells.text import index_bits
from lutscape.sim.lut_tensor_core import golden

CODES = ("unsigned", "twos")
"""How weights are written: q, or two's complement q - 2^(W-1)."""
Arrays = dict[str, np.ndarray]


@cache
def weight_remapper(k: int, bits: int, codes: str = "unsigned") -> Cell:
    """Return the remapper of one column.

    Args:
        k: weights of a lookup.
        bits: of the widest weight, W; narrower two's complement ones are sign-extended, ``x_top`` is their top plane.
        codes: one of :data:`CODES`.

    Raises:
        UserError: parameters out of range.
    """
    for name, value, low, high in (("k", k, 2, 8), ("bits", bits, 1, 8)):
        if not low <= value <= high:
            raise UserError(f"weight_remapper: {name} = {value}; allowed: {low} … {high}")
    choose(codes, CODES, "weight codes")
    twos = codes == "twos"
    inputs = [Field("codes", bits, k, meaning="weights, element 0 lowest")]
    top = index_bits(bits)
    if twos and bits > 1:
        inputs.append(Field("top", top, meaning="highest plane of these weights"))
    lines = []
    for p in range(bits):
        pattern = ", ".join(f"x_codes[{j * bits + p}]" for j in reversed(range(k)))
        lines.append(f"wire [{k - 1}:0] pattern{p} = {{{pattern}}};")
    lines.append("")
    for p in range(bits):
        sign = f"pattern{p}[{k - 1}]"
        rest = f"pattern{p}[{k - 2}:0]" if k > 2 else f"pattern{p}[0]"
        highest = f"(x_top == {top}'d{p})" if bits > 1 else "1'b1"
        shown = f"{sign} ^ {highest}" if twos else sign
        lines.append(f"assign y_selects[{p * k + k - 1}:{p * k}] = {{{shown}, {rest} ^ {{{k - 1}{{{sign}}}}}}};")
    return part(
        kind="weight_remapper",
        name=f"weight_remapper_k{k}w{bits}{'t' if twos else ''}",
        what=f"remapper of {k} weights: sign and table index of every bit plane",
        parameters={"k": k, "bits": bits, "codes": codes},
        numbers=f"{'two-s complement' if twos else 'unsigned'} INT{bits} weights; selects of {k} bits, sign on top",
        inputs=tuple(inputs),
        outputs=(Field("selects", k, bits, meaning="plane p at lane p"),),
        lines=lines,
        golden=lambda x: {"selects": evaluate(k, bits, twos, x)},
        stimulus=lambda rng, count: stimulus(k, bits, twos, rng, count),
        coverage=lambda x: coverage(k, bits, twos, x),
        operations=float(k),
    )


def unsigned(bits: int, codes: np.ndarray, top: np.ndarray | int) -> np.ndarray:
    """Return codes q of two's complement weights whose highest plane is ``top``; planes above it do not count."""
    return (codes ^ (np.int64(1) << np.asarray(top, np.int64))) & ((1 << bits) - 1)


def evaluate(k: int, bits: int, twos: bool, x: Arrays) -> np.ndarray:
    """Return selects (…, W)."""
    q = x["codes"]
    if twos:
        q = unsigned(bits, q, x.get("top", 0))
    return golden.remap(golden.patterns(golden.bit_planes(q, bits)), k).T


def stimulus(k: int, bits: int, twos: bool, rng: np.random.Generator, count: int) -> Arrays:
    """Return every pattern in every plane, then random codes."""
    pattern = (np.arange(1 << k)[:, None] >> np.arange(k)) & 1
    corners = np.concatenate([pattern << p for p in range(bits)])
    corners = np.concatenate([corners, ((1 << bits) - 1) ^ corners])
    codes = np.concatenate([corners, rng.integers(0, 1 << bits, (max(16, count - len(corners)), k))])
    x = {"codes": codes}
    if twos and bits > 1:
        x["top"] = rng.integers(0, bits, (len(codes), 1))
        x["top"][: len(corners), 0] = np.arange(len(corners)) % bits
    return x


def coverage(k: int, bits: int, twos: bool, x: Arrays) -> Arrays:
    """Return hits of every select of every plane, and of every highest plane."""
    selects = evaluate(k, bits, twos, x)
    bins = {f"plane {p} select {s}": selects[:, p] == s for p in range(bits) for s in range(1 << k)}
    return bins | {f"top {p}": x["top"] == p for p in range(bits if "top" in x else 0)}
