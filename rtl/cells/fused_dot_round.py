"""Back of a fused dot-product-add unit: magnitude, normaliser, rounder, and the special values on top."""

from __future__ import annotations

import numpy as np

from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import fused_dot_blocks as blocks
from lutscape.rtl.cells.fused_dot_design import Design, top_exponent
from lutscape.rtl.cells.fused_dot_multiply import Arrays, Coverage, Stimulus, special_fields
from lutscape.rtl.cells.fused_dot_part import extend, part, plus
from lutscape.rtl.cells.text import vector


def leading_zeros(width: int) -> Cell:
    """Return the count of zeros in front of the first one: a tree over pairs; all zeros have a flag of their own."""
    bits = max(1, (width - 1).bit_length())
    size = 1 << bits
    # A node covers 2^level bits, numbered from the lowest; below `size - width` there is only padding.
    lines: list[str] = []
    none = {i: f"~x_x[{i - size + width}]" for i in range(size - width, size)}
    count: dict[int, str] = {}
    if width == 1:
        none = {size - 1: "~x_x"}
    for level in range(1, bits + 1):
        more_none: dict[int, str] = {}
        more_count: dict[int, str] = {}
        for i in range(size >> level):
            low, high = 2 * i, 2 * i + 1
            if high not in none:
                continue
            all_of, value = none[high], none[high]
            if low in none:
                all_of = f"{none[high]} & {none[low]}"
            # Zeros of the upper half, or all of them and those of the lower half.
            if level > 1:
                rest = f"{none[high]} ? {count[low]} : {count[high]}" if low in none else count[high]
                value = f"{{{none[high]}, {rest}}}"
            lines.append(f"wire none{level}_{i} = {all_of};")
            lines.append(f"wire {vector(level)}count{level}_{i} = {value};")
            more_none[i], more_count[i] = f"none{level}_{i}", f"count{level}_{i}"
        none, count = more_none, more_count
    lines += [f"assign y_count = {count[0]};", f"assign y_none = {none[0]};"]

    def golden(x: Arrays) -> Arrays:
        length = np.array([int(v).bit_length() for v in x["x"][:, 0]], dtype=np.int64)
        return {"count": np.where(length > 0, width - length, size - 1), "none": length == 0}

    def stimulus(rng: np.random.Generator, count: int) -> Arrays:
        x = rng.integers(0, 1 << width, count, dtype=np.int64) >> rng.integers(0, width + 1, count)
        return {"x": np.concatenate([[0], 1 << np.arange(width, dtype=np.int64), x])}

    def coverage(x: Arrays) -> Arrays:
        out = golden(x)
        return {f"{i} zeros": (out["count"] == i) & ~out["none"] for i in range(width)} | {"all": out["none"]}

    return part(
        kind="leading_zeros",
        name=f"leading_zeros_w{width}",
        what=f"zeros in front of a {width}-bit word",
        parameters={"width": width},
        numbers=f"{width}-bit unsigned in, {bits}-bit count out",
        inputs=(Field("x", width),),
        outputs=(Field("count", bits), Field("none", 1)),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
    )


def stage(design: Design, stimulus: Stimulus, coverage: Coverage) -> Cell:
    """Return sum to result: the magnitude moves up until its first bit, or the subnormal grid, is at the top.

    ``room`` is how far the magnitude may move before the result is subnormal. The exponent field is what room is left;
    adding the significand with its leading bit to it, and then the rounding increment, lets carries run into the
    exponent, so that rounding up to the next binade and to the least normal number need no cases of their own.
    """
    target, m, w = design.target, design.target.mantissa_bits, design.exponent_bits
    mode = design.rounding.mode
    size, below = design.sum_bits - 1, design.below
    # Bits that the shifted word needs: the significand, one to round by and one that collects the rest.
    width = max(below + size, m + 1 if mode == "RZ" else m + 3)
    counter = leading_zeros(width)
    lz = max(1, (width - 1).bit_length())
    # Of infinities and NaNs the sum is not used, nor their room. It may be negative only where `below` was clamped.
    least = design.floor - design.base + design.room_offset
    most = max(top_exponent(design.c), design.largest_product) - design.base + design.room_offset
    rw = max(most.bit_length(), w, lz)
    pad = width - below - size
    pieces = ([f"{below}'d0"] if below else []) + ["magnitude"] + ([f"{pad}'d0"] if pad else [])
    word = f"{{{', '.join(pieces)}}}" if len(pieces) > 1 else "magnitude"
    exponent = extend("x_largest", w, rw)
    if least < 0:
        k = -design.room_offset
        room = f"x_largest > {w}'d{k} ? {exponent} - {rw}'d{k} : {rw}'d0"
    else:
        room = plus(exponent, rw, design.room_offset)
    count = extend("count", lz, rw)
    lines = [
        f"wire negative = x_sum[{size}];",
        f"wire [{size - 1}:0] magnitude = (x_sum[{size - 1}:0] ^ {{{size}{{negative}}}}) + "
        f"{extend('negative', 1, size)};",
        f"wire [{width - 1}:0] word = {word};",
        f"wire {vector(lz)}count;",
        "wire none;",
        f"{counter.name} counter (.x_x(word), .y_count(count), .y_none(none));",
        "",
        f"wire {vector(rw)}room = {room};",
        f"wire subnormal = room < {count};",
        f"wire {vector(lz)}shift = subnormal ? room[{lz - 1}:0] : count;",
        f"wire {vector(rw)}steps = subnormal ? {rw}'d0 : room - {count};",
        f"wire [{width - 1}:0] shifted = word << shift;",
    ]
    carry = int(most + 2 >= 1 << rw)  # the significand adds up to 2 steps
    top, lead = rw + m + carry, "1'b0, " if carry else ""
    up = ""
    if mode != "RZ":
        lines.append(f"wire guard = shifted[{width - m - 2}];")
        lines.append(f"wire sticky = |shifted[{width - m - 3}:0];")
        away = {"RNE": f"guard & (sticky | shifted[{width - m - 1}])", "RD": "(guard | sticky) & negative"}
        away["RU"] = "(guard | sticky) & ~negative"
        lines.append(f"wire away = {away[mode]};")
        up = f" + {extend('away', 1, top)}"
    elif width > m + 1:
        lines.append(f"wire unused_cut = &{{1'b0, shifted[{width - m - 2}:0]}};")
    significand = extend(f"shifted[{width - 1}:{width - m - 1}]", m + 1, top)
    field = m + target.exponent_bits
    lines += [
        f"wire [{top - 1}:0] packed_field = {{{lead}steps, {m}'d0}} + {significand}{up};",
    ]
    infinity = ((1 << target.exponent_bits) - 1) << m
    if design.can_overflow:
        ones = (1 << target.exponent_bits) - 1
        lines += [
            f"wire overflow = packed_field[{top - 1}:{m}] >= {top - m}'d{ones};",
            f"wire [{field - 1}:0] finite = none ? {field}'d0 : overflow ? {field}'h{infinity:x} : "
            f"packed_field[{field - 1}:0];",
        ]
    else:
        lines.append(f"wire [{field - 1}:0] finite = none ? {field}'d0 : packed_field[{field - 1}:0];")
        if top > field:
            lines.append(f"wire unused_top = |packed_field[{top - 1}:{field}];")
    drop = target.dropped_bits
    finite = f"{{finite, {drop}'d0}}" if drop else "finite"
    full = design.c.width - 1
    lines += [
        f"wire [{full - 1}:0] ordinary = {finite};",
        "wire sign = negative & |finite;  // zero is +0",
        f"assign y_d = x_nan ? {full + 1}'h{design.nan:x} :",
        f"    x_infinite ? {{x_infinite_negative, {full}'h{infinity << drop:x}}} : {{sign, ordinary}};",
    ]

    def golden(x: Arrays) -> Arrays:
        code = blocks.rounded(design, x["sum"][:, 0], x["largest"][:, 0])
        infinite = (infinity << drop) | (x["infinite_negative"][:, 0] << full)
        code = np.where(x["infinite"][:, 0] == 1, infinite, code)
        return {"d": np.where(x["nan"][:, 0] == 1, design.nan, code)}

    return part(
        kind="fused_dot_round",
        name=f"fused_dot_round_{design.suffix}",
        what="exact sum to result: normalise, round once, override by NaN and infinity",
        parameters=design.parameters,
        numbers=design.numbers,
        inputs=(Field("sum", design.sum_bits, signed=True), Field("largest", w), *special_fields()),
        outputs=(Field("d", design.c.width),),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
        parts=(counter,),
        operations=1.0,
    )
