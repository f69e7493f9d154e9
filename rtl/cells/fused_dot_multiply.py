"""Front of a fused dot-product-add unit: operand decoders, exact products, the largest exponent, special values."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lutscape.hw.formats.binary import BinaryFormat
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import fused_dot_blocks as blocks
from lutscape.rtl.cells.fused_dot_design import Design
from lutscape.rtl.cells.fused_dot_part import extend, joined, part, plus, unused
from lutscape.rtl.cells.text import slice_of, vector

Arrays = dict[str, np.ndarray]
Stimulus = Callable[[np.random.Generator, int], Arrays]
Coverage = Callable[[Arrays], Arrays]


def classes(f: BinaryFormat) -> tuple[str, ...]:
    """Return the flags a decoder of the format has, besides ``zero``."""
    return {"ieee": ("infinite", "nan"), "fn": ("nan",)}.get(f.specials, ())


def decoder(f: BinaryFormat) -> Cell:
    """Return the decoder of one format: sign, significand with its leading bit, biased exponent, class."""
    m, e, n = f.mantissa_bits, f.exponent_bits, f.bits
    lines = [
        f"wire {vector(e)}biased = x_code[{n - 2}:{m}];",
        f"wire {vector(m)}mantissa = x_code[{m - 1}:0];" if m > 1 else "wire mantissa = x_code[0];",
        "wire normal = |biased;",
        f"assign y_sign = x_code[{n - 1}];",
        "assign y_significand = {normal, mantissa};",
        f"assign y_exponent = {{biased[{e - 1}:1], biased[0] | ~normal}};  // subnormals share the least exponent",
        "assign y_zero = ~normal & ~|mantissa;",
    ]
    fields = [Field("sign", 1), Field("significand", m + 1), Field("exponent", e), Field("zero", 1)]
    if f.specials == "ieee":
        lines += ["assign y_infinite = &biased & ~|mantissa;", "assign y_nan = &biased & |mantissa;"]
    elif f.specials == "fn":
        lines.append("assign y_nan = &biased & &mantissa;")
    fields += [Field(name, 1) for name in classes(f)]

    def golden(x: Arrays) -> Arrays:
        d = blocks.fields(x["code"], f)
        return {
            "sign": d.negative,
            "significand": d.significand,
            "exponent": d.exponent,
            "zero": d.zero,
            "infinite": d.infinite,
            "nan": d.nan,
        }

    def stimulus(rng: np.random.Generator, count: int) -> Arrays:
        edges = np.array([0, 1, (1 << m) - 1, 1 << m, f.largest, min(f.largest + 1, (1 << (n - 1)) - 1)])
        edges = np.concatenate([edges, edges | 1 << (n - 1), [(1 << (n - 1)) - 1, (1 << n) - 1]])
        return {"code": np.concatenate([edges, rng.integers(0, 1 << n, max(count - len(edges), 1))])}

    def coverage(x: Arrays) -> Arrays:
        d = blocks.fields(x["code"], f)
        every = {
            "zero": d.zero,
            "subnormal": ~d.zero & (d.significand < 1 << m),
            "normal": (d.significand >= 1 << m) & ~d.infinite & ~d.nan,
            "negative": d.negative,
        }
        return every | {key: {"infinite": d.infinite, "nan": d.nan}[key] for key in classes(f)}

    return part(
        kind="fused_dot_decode",
        name=f"fused_dot_decode_{f.name}",
        what=f"a code of {f.name} to its fields",
        parameters={"format": f.name},
        numbers=f"{f.name}; exponent biased, 1 for subnormals and zeros",
        inputs=(Field("code", n),),
        outputs=tuple(fields),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
    )


def product(design: Design) -> Cell:
    """Return the exact product of one pair: significand, sign, exponent offset, special values."""
    a, b = design.a, design.b
    full = design.product_fraction + 2
    dropped = design.product_fraction - design.kept_product
    w = max(design.exponent_bits, a.exponent_bits + 1, b.exponent_bits + 1)
    decoders = {f.name: decoder(f) for f in (a, b)}
    lines = []
    for x, f in (("a", a), ("b", b)):
        m, e = f.mantissa_bits, f.exponent_bits
        names = ["sign", "significand", "exponent", "zero", *classes(f)]
        lines.append(f"wire {vector(m + 1)}{x}_significand;")
        lines.append(f"wire {vector(e)}{x}_exponent;")
        lines.append(f"wire {', '.join(f'{x}_{n}' for n in names if n not in ('significand', 'exponent'))};")
        connections = ", ".join(f".y_{n}({x}_{n})" for n in names)
        lines += [f"fused_dot_decode_{f.name} decode_{x} (", f"    .x_code(x_{x}), {connections}", ");"]
    left, right = (extend(f"{x}_significand", f.mantissa_bits + 1, full) for x, f in (("a", a), ("b", b)))
    lines += ["", "wire zero = a_zero | b_zero;", "assign y_sign = a_sign ^ b_sign;"]
    if dropped:
        lines.append(f"wire [{full - 1}:0] exact = {left} * {right};")
        lines.append(f"assign y_significand = exact[{full - 1}:{dropped}];")
        lines.append(unused("cut", f"exact[{dropped - 1}:0]"))
    else:
        lines.append(f"assign y_significand = {left} * {right};")
    sum_ = f"{extend('a_exponent', a.exponent_bits, w)} + {extend('b_exponent', b.exponent_bits, w)}"
    lines.append(f"wire {vector(w)}exponent = {plus(sum_, w, -a.bias - b.bias - design.base)};")
    lines.append("// A zero never raises the largest exponent.")
    lines.append(f"assign y_exponent = exponent[{design.exponent_bits - 1}:0] & {{{design.exponent_bits}{{~zero}}}};")
    if w > design.exponent_bits:
        lines.append(unused("carry", f"exponent[{w - 1}:{design.exponent_bits}]"))
    flags = product_flags(design)
    nans = [f"{x}_nan" for x, f in (("a", a), ("b", b)) if "nan" in classes(f)]
    infinities = [f"{x}_infinite" for x, f in (("a", a), ("b", b)) if "infinite" in classes(f)]
    if infinities:
        lines.append(f"wire infinite = {' | '.join(infinities)};")
        nans.append("infinite & zero")
        lines.append("assign y_infinite = infinite;")
    if nans:
        lines.append(f"assign y_nan = {' | '.join(nans)};")

    def golden(x: Arrays) -> Arrays:
        p = blocks.product(design, x["a"], x["b"])
        return {
            "significand": p.significand,
            "exponent": p.exponent,
            "sign": p.negative,
            "infinite": p.infinite,
            "nan": p.nan,
        }

    def stimulus(rng: np.random.Generator, count: int) -> Arrays:
        out = {}
        for key, f in (("a", a), ("b", b)):
            every = decoders[f.name].stimulus(rng, max(2 * count, 64))["x"]["code"][:, 0]
            out[key] = rng.permutation(every)[: max(count, 1)]
            special = rng.random(len(out[key])) < 0.2
            out[key] = np.where(special, rng.choice(every[:14], len(out[key])), out[key])
        return out

    def coverage(x: Arrays) -> Arrays:
        p, parts = blocks.product(design, x["a"], x["b"]), [(x["a"], a), (x["b"], b)]
        low = [blocks.fields(v, f).significand < 1 << f.mantissa_bits for v, f in parts]
        bins = {"zero": p.zero, "negative": p.negative, "positive": ~p.negative, "low": low[0] & low[1] & ~p.zero}
        return bins | {key: getattr(p, key) for key in flags}

    return part(
        kind="fused_dot_product",
        name=f"fused_dot_product_{a.name}_{b.name}_k{design.kept_product}_e{design.exponent_bits}_b{-design.base}",
        what="exact product of one pair of operands, not normalised",
        parameters={"a": a.name, "b": b.name, "fraction": design.kept_product, "base": design.base},
        numbers=f"significand below 4 with {design.kept_product} fraction bits, exponent as offset from {design.base}",
        inputs=(Field("a", a.bits), Field("b", b.bits)),
        outputs=(
            Field("significand", design.kept_product + 2),
            Field("exponent", design.exponent_bits),
            Field("sign", 1),
            *(Field(key, 1) for key in flags),
        ),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
        parts=tuple(decoders.values()),
        operations=1.0,
    )


def product_flags(design: Design) -> tuple[str, ...]:
    """Return the special values a product can have."""
    both = {*classes(design.a), *classes(design.b)}
    return tuple(flag for flag in ("infinite", "nan") if flag in both)


def largest(terms: int, width: int, floor: int) -> Cell:
    """Return the largest of ``terms`` unsigned values and a constant: a balanced tree of compare-and-select."""
    lines: list[str] = []
    row = [slice_of("x_x", i, width, terms) for i in range(terms)]
    level = 0
    while len(row) > 1:
        level += 1
        pairs = [f"{x} > {y} ? {x} : {y}" for x, y in zip(row[::2], row[1::2], strict=False)]
        odd = row[len(pairs) * 2 :]
        row = [f"most{level}_{i}" for i in range(len(pairs))]
        lines += [f"wire {vector(width)}{name} = {value};" for name, value in zip(row, pairs, strict=True)]
        row += odd
    if floor:
        lines.append(f"assign y_largest = {row[0]} > {width}'d{floor} ? {row[0]} : {width}'d{floor};")
    else:
        lines.append(f"assign y_largest = {row[0]};")

    def golden(x: Arrays) -> Arrays:
        return {"largest": np.maximum(x["x"].max(axis=1), floor)}

    def stimulus(rng: np.random.Generator, count: int) -> Arrays:
        top = 1 << width
        x = rng.integers(0, top, (count, terms))
        near = rng.integers(0, top, (count, 1)) + rng.integers(-2, 3, (count, terms))
        x = np.where(rng.random((count, 1)) < 0.5, np.clip(near, 0, top - 1), x)
        # Every input is the largest one in turn.
        rows = np.arange(count)
        x[rows, rows % terms] = np.where(rng.random(count) < 0.5, top - 1, x.max(axis=1))
        small = rng.random((count, 1)) < 0.1
        return {"x": np.where(small, rng.integers(0, max(floor, 1) + 1, (count, terms)), x)}

    def coverage(x: Arrays) -> Arrays:
        at = x["x"].argmax(axis=1)
        bins = {f"largest at {i}": at == i for i in range(terms)}
        return bins | ({"floor": x["x"].max(axis=1) < floor} if floor else {})

    return part(
        kind="fused_dot_largest",
        name=f"fused_dot_largest_n{terms}_w{width}_f{floor}",
        what=f"largest of {terms} values and {floor}",
        parameters={"terms": terms, "width": width, "floor": floor},
        numbers=f"{width}-bit unsigned",
        inputs=(Field("x", width, terms),),
        outputs=(Field("largest", width),),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
    )


def front_fields(design: Design) -> tuple[Field, ...]:
    """Return what the multiplying stage hands to the adding stage, special values apart."""
    n, w = design.products, design.exponent_bits
    return (
        Field("product", design.kept_product + 2, n),
        Field("exponent", w, n),
        Field("negative", 1, n + 1, meaning="the accumulator's highest"),
        Field("c", design.kept_c + 1),
        Field("c_exponent", w),
        Field("largest", w),
    )


def special_fields() -> tuple[Field, ...]:
    """Return what overrides the sum."""
    return Field("nan", 1), Field("infinite", 1), Field("infinite_negative", 1)


def operand_fields(design: Design) -> tuple[Field, ...]:
    """Return the operands of the unit."""
    return (
        Field("a", design.a.bits, design.products, meaning=design.a.name),
        Field("b", design.b.bits, design.products, meaning=design.b.name),
        Field("c", design.c.width, meaning=f"accumulator, {design.c.name}"),
    )


def stage(design: Design, stimulus: Stimulus, coverage: Coverage) -> Cell:
    """Return operands to terms: products, accumulator, the largest exponent, and what overrides the sum.

    ``stimulus`` and ``coverage`` are those of the whole unit.
    """
    n, w, c = design.products, design.exponent_bits, design.c
    pair, decode_c = product(design), decoder(c)
    tree = largest(n + 1, w, design.floor - design.base)
    flags = product_flags(design)
    p, m = design.kept_product + 2, c.mantissa_bits
    cut = m - design.kept_c
    lines = ["wire c_negative, c_zero, c_infinite, c_nan;"]
    for k in range(n):
        lines += [
            f"wire {vector(p)}product{k};",
            f"wire {vector(w)}exponent{k};",
            f"wire {', '.join(f'{flag}{k}' for flag in ('negative', *flags))};",
            f"{pair.name} multiply{k} (",
            f"    .x_a({slice_of('x_a', k, design.a.bits, n)}), .x_b({slice_of('x_b', k, design.b.bits, n)}),",
            f"    .y_significand(product{k}), .y_exponent(exponent{k}), .y_sign(negative{k})"
            + "".join(f", .y_{flag}({flag}{k})" for flag in flags),
            ");",
        ]
    for name, of in (("product", "product"), ("exponent", "exponent")):
        lines += f"assign y_{name} = {joined([f'{of}{k}' for k in range(n)])};".split("\n")
    for flag in flags:
        lines += f"wire [{n - 1}:0] {flag} = {joined([f'{flag}{k}' for k in range(n)])};".split("\n")
    lines += f"assign y_negative = {joined([*(f'negative{k}' for k in range(n)), 'c_negative'])};".split("\n")
    lines += [
        "",
        f"wire {vector(m + 1)}c_significand;",
        f"wire {vector(c.exponent_bits)}c_biased;",
        f"{decode_c.name} decode_c (",
        "    .x_code(x_c), .y_sign(c_negative), .y_significand(c_significand),",
        "    .y_exponent(c_biased), .y_zero(c_zero), .y_infinite(c_infinite), .y_nan(c_nan)",
        ");",
        f"assign y_c = c_significand{f'[{m}:{cut}]' if cut else ''};",
    ]
    if cut:
        lines.append(unused("cut", f"c_significand[{cut - 1}:0]"))
    e = max(w, c.exponent_bits)
    shifted = plus(extend("c_biased", c.exponent_bits, e), e, -c.bias - design.base)
    if design.floor < c.emin:
        lines.append(f"wire {vector(e)}c_exponent = {shifted};")
        lines.append(f"assign y_c_exponent = c_exponent[{w - 1}:0] & {{{w}{{~c_zero}}}};")
        if e > w:
            lines.append(unused("carry", f"c_exponent[{e - 1}:{w}]"))
    else:
        # A zero accumulator's exponent is the floor itself.
        lines += [f"assign y_c_exponent = {shifted};", unused("zero", "c_zero")]
    lines.append(f"{tree.name} tree (.x_x({{y_c_exponent, y_exponent}}), .y_largest(y_largest));")
    lines.append("")
    if "infinite" in flags:
        lines += [
            f"wire {vector(n + 1)}any_infinite = {{c_infinite, infinite}};",
            "wire plus = |(any_infinite & ~y_negative);",
            "wire minus = |(any_infinite & y_negative);",
            "assign y_nan = |nan | c_nan | (plus & minus);",
            "assign y_infinite = |any_infinite;",
            "assign y_infinite_negative = minus;",
        ]
    else:
        lines += [
            f"assign y_nan = {'|nan | ' if 'nan' in flags else ''}c_nan;",
            "assign y_infinite = c_infinite;",
            f"assign y_infinite_negative = y_negative[{n}];",
        ]

    def golden(x: Arrays) -> Arrays:
        t = blocks.terms(design, x["a"], x["b"], x["c"])
        return {
            "product": t.significand[:, :n],
            "exponent": t.exponent[:, :n],
            "negative": t.negative,
            "c": t.significand[:, n],
            "c_exponent": t.exponent[:, n],
            "largest": t.largest,
            "nan": t.nan,
            "infinite": t.infinite,
            # Without infinite products it is the accumulator's sign, whatever the accumulator is.
            "infinite_negative": t.infinite_negative if "infinite" in flags else t.negative[:, n],
        }

    return part(
        kind="fused_dot_multiply",
        name=f"fused_dot_multiply_{design.suffix}",
        what="operands to terms: exact products, the accumulator, the largest exponent, special values",
        parameters=design.parameters,
        numbers=design.numbers,
        inputs=operand_fields(design),
        outputs=(*front_fields(design), *special_fields()),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
        parts=(pair, decode_c, tree),
        operations=float(n),
    )
