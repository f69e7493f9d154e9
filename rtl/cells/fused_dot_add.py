"""Middle of a fused dot-product-add unit: terms are cut at the largest exponent and summed exactly."""

from __future__ import annotations

import numpy as np

from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import fused_dot_blocks as blocks
from lutscape.rtl.cells.fused_dot_design import Design
from lutscape.rtl.cells.fused_dot_multiply import Arrays, Coverage, Stimulus, front_fields
from lutscape.rtl.cells.fused_dot_part import joined, part
from lutscape.rtl.cells.text import slice_of


def aligner(design: Design, integer: int, fraction: int) -> Cell:
    """Return the aligner of one term: shift right by the distance to the largest exponent, cut, apply the sign.

    A negative term leaves as the complement of its magnitude, one less than the term: the sum adds the ones back,
    which costs carry inputs instead of an incrementer per term.

    Args:
        design: of the unit.
        integer: integer bits of the significand, 2 (product) or 1 (accumulator).
        fraction: its fraction bits, at most F.
    """
    w, size, f = design.exponent_bits, integer + fraction, design.fraction
    width = integer + f  # of the magnitude
    shift = width.bit_length()  # distances below 2^shift are looked at in full: width and more leave nothing
    low = f"distance[{min(shift, w) - 1}:0]"
    pad = f"{{x_significand, {f - fraction}'d0}}" if f > fraction else "x_significand"
    lines = [
        f"wire [{w - 1}:0] distance = x_largest - x_exponent;",
        f"wire [{width - 1}:0] near = {pad} >> {low};",
    ]
    if w > shift:
        far = f"|distance[{w - 1}:{shift}]" if w > shift + 1 else f"distance[{shift}]"
        lines.append(f"wire [{width - 1}:0] magnitude = near & {{{width}{{~{far}}}}};")
    else:
        lines.append(f"wire [{width - 1}:0] magnitude = near;")
    lines.append(f"assign y_term = {{x_negative, magnitude ^ {{{width}{{x_negative}}}}}};")

    def golden(x: Arrays) -> Arrays:
        magnitude = blocks.aligned(design, x["significand"], fraction, x["largest"] - x["exponent"])
        return {"term": np.where(x["negative"] == 1, -magnitude - 1, magnitude)}

    def stimulus(rng: np.random.Generator, count: int) -> Arrays:
        top = (1 << w) - 1
        largest = rng.integers(0, top + 1, (count, 1))
        distance = np.where(rng.random((count, 1)) < 0.8, rng.integers(0, width + 4, (count, 1)), largest)
        significand = rng.integers(0, 1 << size, (count, 1))
        few = 1 << rng.integers(0, size, (count, 1))
        return {
            "significand": np.where(rng.random((count, 1)) < 0.3, few, significand),
            "exponent": np.maximum(largest - distance, 0),
            "negative": rng.integers(0, 2, (count, 1)),
            "largest": largest,
        }

    def coverage(x: Arrays) -> Arrays:
        distance = x["largest"] - x["exponent"]
        bins = {f"distance {i}": distance == i for i in range(min(width + 1, 1 << w))}
        bins["far"] = distance > width
        lost = (blocks.aligned(design, x["significand"], fraction, distance) << distance.clip(0, 40)) != (
            x["significand"] << (f - fraction)
        )
        return bins | {"cut, negative": lost & (x["negative"] == 1), "cut, positive": lost & (x["negative"] == 0)}

    return part(
        kind="fused_dot_align",
        name=f"fused_dot_align_i{integer}_s{fraction}_f{f}_e{w}",
        what="one term at the largest exponent of its sum, cut toward zero",
        parameters={"integer": integer, "fraction": fraction, "F": f, "exponent": w},
        numbers=f"significand {integer}.{fraction} bits in; sign and {integer}.{f} bits out, one's complement",
        inputs=(Field("significand", size), Field("exponent", w), Field("negative", 1), Field("largest", w)),
        outputs=(Field("term", width + 1, signed=True),),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
    )


def summation(terms: int, width: int, sum_bits: int) -> Cell:
    """Return the exact sum of ``terms`` one's complement terms: their values and one for each sign bit.

    Args:
        terms: number of terms.
        width: of one term, sign included.
        sum_bits: of the result, wide enough for every sum that occurs.
    """
    sign = [f"x_terms[{(i + 1) * width - 1}]" for i in range(terms)]
    values = []
    for i in range(terms):
        value = f"x_terms[{(i + 1) * width - 1}:{i * width}]"
        values.append(f"{{{{{sum_bits - width}{{{sign[i]}}}}}, {value}}}" if sum_bits > width else value)
    ones = [f"{{{sum_bits - 1}'d0, {s}}}" for s in sign]
    # Synthesis merges all of it into one carry-save sum; simulators evaluate the tree as written.
    lines: list[str] = []
    row, level = [*values, *ones], 0
    while len(row) > 1:
        level += 1
        pairs = [f"{x} + {y}" for x, y in zip(row[::2], row[1::2], strict=False)]
        odd = row[2 * len(pairs) :]
        row = [f"sum{level}_{i}" for i in range(len(pairs))]
        lines += [f"wire [{sum_bits - 1}:0] {name} = {value};" for name, value in zip(row, pairs, strict=True)]
        row += odd
    lines.append(f"assign y_sum = {row[0]};")

    def golden(x: Arrays) -> Arrays:
        return {"sum": x["terms"].sum(axis=1) + (x["terms"] < 0).sum(axis=1)}

    def stimulus(rng: np.random.Generator, count: int) -> Arrays:
        low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
        bound = min(high, ((1 << (sum_bits - 1)) - 1 - terms) // terms)
        x = rng.integers(max(low, -bound), bound + 1, (count, terms))
        edge = rng.choice(np.array([0, -1, 1, bound, -bound]), (count, terms))
        one = np.repeat(rng.choice(np.array([bound, -bound]), (count, 1)), terms, axis=1)
        zero = np.repeat(rng.choice(np.array([0, -1]), (count, 1)), terms, axis=1)  # of both signs
        kind = np.arange(count)[:, None] % 8
        return {"terms": np.select([kind < 2, kind < 4, kind == 4], [edge, one, zero], x)}

    def coverage(x: Arrays) -> Arrays:
        total = golden(x)["sum"]
        bins = {"negative": total < 0, "positive": total > 0, "zero": total == 0}
        bins["top bit"] = np.abs(total) >= 1 << (sum_bits - 3)
        return bins | {f"term {i} negative": x["terms"][:, i] < 0 for i in range(terms)}

    return part(
        kind="fused_dot_sum",
        name=f"fused_dot_sum_n{terms}_w{width}_s{sum_bits}",
        what=f"exact sum of {terms} one's complement terms",
        parameters={"terms": terms, "width": width, "sum": sum_bits},
        numbers=f"{width}-bit one's complement terms, {sum_bits}-bit two's complement sum",
        inputs=(Field("terms", width, terms, signed=True),),
        outputs=(Field("sum", sum_bits, signed=True),),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
        operations=float(terms),
    )


def stage(design: Design, stimulus: Stimulus, coverage: Coverage) -> Cell:
    """Return terms to sum: an aligner for each product and for the accumulator, and the adder tree."""
    n, w, t = design.products, design.exponent_bits, design.term_bits
    product = aligner(design, 2, design.kept_product)
    addend = aligner(design, 1, design.kept_c)
    adder = summation(n + 1, t, design.sum_bits)
    p = design.kept_product + 2
    lines = []
    for k in range(n):
        lines += [
            f"wire [{t - 1}:0] term{k};",
            f"{product.name} align{k} (",
            f"    .x_significand({slice_of('x_product', k, p, n)}), .x_exponent({slice_of('x_exponent', k, w, n)}),",
            f"    .x_negative(x_negative[{k}]), .x_largest(x_largest), .y_term(term{k})",
            ");",
        ]
    terms = joined([*(f"term{k}" for k in range(n)), f"{{c_term[{t - 2}], c_term}}"])
    lines += [
        f"wire [{t - 2}:0] c_term;",
        f"{addend.name} align_c (",
        f"    .x_significand(x_c), .x_exponent(x_c_exponent), .x_negative(x_negative[{n}]),",
        "    .x_largest(x_largest), .y_term(c_term)",
        ");",
        *f"{adder.name} adder (.x_terms({terms}), .y_sum(y_sum));".split("\n"),
    ]

    def golden(x: Arrays) -> Arrays:
        largest = x["largest"]
        products = blocks.aligned(design, x["product"], design.kept_product, largest - x["exponent"])
        c = blocks.aligned(design, x["c"], design.kept_c, largest - x["c_exponent"])
        magnitude = np.concatenate([products, c], axis=1)
        return {"sum": np.where(x["negative"] == 1, -magnitude, magnitude).sum(axis=1)}

    return part(
        kind="fused_dot_add",
        name=f"fused_dot_add_{design.suffix}",
        what="terms to their exact sum, cut F bits below the largest exponent",
        parameters=design.parameters,
        numbers=design.numbers,
        inputs=front_fields(design),
        outputs=(Field("sum", design.sum_bits, signed=True),),
        lines=lines,
        golden=golden,
        stimulus=stimulus,
        coverage=coverage,
        parts=(product, addend, adder),
        operations=float(n + 1),
    )
