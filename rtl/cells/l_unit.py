"""L-Unit: a ROM and the dot product beside it (ROMA, arXiv 2503.12988, read from digests of the paper).

Channel ``x`` brings the aligned activations of one slice and the negative of their sum, which all L-Units of a
Matrix Unit share; channel ``w`` one row index after the other. A row is ``planes`` ROM words, read from the highest
plane down, ``cycles_per_word`` steps each:

    fetch   address of a word -> word register
    add     sum <- (0 | sum | sum · 2^plane_bits) + Σ code · activation + zero point · (-Σ activation)
    scale   sum · significand of the FP16 scale, and its exponent

The zero point is one more lane, whose activation is the negative sum; it is added with the first step of a word. The
activations stay on their channel until the last step of the last row has used them, so the unit has no registers
for them: that of the alignment unit serves all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit, RomaSpec
from lutscape.models.quantise.rom import code_values
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import signed_sum
from lutscape.rtl.cells.adder_tree import adder_tree
from lutscape.rtl.cells.rom_cell import rom_cell
from lutscape.rtl.cells.text import indented, index_bits, module, slice_of, vector
from lutscape.sim.roma import golden, stage_timing
from lutscape.sim.roma import words as roma_words

FORMULA = "n rows take n S + 4 cycles, S = planes x cycles_per_word, first address and last result counted"
PLANES = (1, 2, 4)
SIGNIFICAND = 12  # bits of an FP16 significand with its sign


def l_unit(unit: LUnit, words: npt.NDArray[np.uint8], weight_bits: int, form: str = "block") -> Cell:
    """Return an L-Unit of given words.

    Args:
        unit: the design.
        words: (depth, bytes) of its ROM (:mod:`lutscape.sim.roma.words`), whole rows of planes.
        weight_bits: of the weights in it.
        form: of the ROM (:data:`lutscape.rtl.cells.rom_cell.FORMS`).

    Raises:
        UserError: weights that the unit does not read, accumulators that can overflow, or half a row.
    """
    golden.check(unit, unit.encoding, weight_bits)
    planes = -(-weight_bits // unit.plane_bits)
    if planes not in PLANES:
        raise UserError(f"l_unit: {weight_bits}-bit weights take {planes} planes; in Verilog: 1, 2 or 4")
    if len(words) % planes or len(words) < 2 * planes:
        raise UserError(f"l_unit: {len(words)} words; allowed: two rows or more of {planes} planes each")
    if unit.group // unit.cycles_per_word < 2:
        raise UserError(
            f"l_unit.cycles_per_word = {unit.cycles_per_word}: one weight a step; allowed: at most {unit.group // 2}"
        )
    rom = rom_cell(words, unit.word_bits, form)
    rows = len(words) // planes
    inside: dict[str, int | str] = {
        "group": unit.group,
        "encoding": unit.encoding,
        "plane_bits": unit.plane_bits,
        "planes": planes,
        "cycles_per_word": unit.cycles_per_word,
        "activation_bits": unit.activation_bits,
        "accumulator_bits": unit.accumulator_bits,
        "rows": rows,
        "form": form,
        "crc32": rom.parameters["crc32"],
    }
    name = (
        f"l_unit_{unit.encoding}{weight_bits}p{unit.plane_bits}g{unit.group}c{unit.cycles_per_word}"
        f"a{unit.activation_bits}s{unit.accumulator_bits}z{unit.zero_bits}f{unit.scale_bits}_{rom.name}"
    )
    channels = (
        Channel(
            "x",
            "in",
            (
                Field("values", unit.activation_bits, unit.group, True, "aligned activations of a slice"),
                Field("offset", sum_bits(unit), 1, True, "the negative of their sum"),
            ),
            "activations; taken with the last step of a slice's last row",
        ),
        Channel(
            "w",
            "in",
            (Field("row", index_bits(rows), 1, False, "of the ROM"), Field("last", 1, 1, False, "of the slice")),
            "rows to multiply",
        ),
        Channel("d", "out", result_fields(unit), "dot product times scale, exact: value 2^exponent"),
    )
    trees, adders = _products(unit)
    part = f"{weight_bits}-bit" if unit.encoding == "uint" else unit.encoding
    numbers = f"INT{unit.activation_bits} activations, {part} weights; INT{unit.accumulator_bits} sums, exact"
    step = stage_timing.row_steps(unit, planes)
    return Cell(
        name=name,
        kind="l_unit",
        parameters=inside,
        source=module(
            name,
            f"L-Unit: ROM of {rows} rows and the dot product of {unit.group} weights.",
            inside,
            channels,
            indented(_body(unit, planes, rows, rom, adders)),
            numbers=numbers,
            latency=step + stage_timing.STAGES - 1,
            interval=step,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: evaluate(unit, words, planes, beats),
        stimulus=lambda rng, count: stimulus(unit, rows, rng, count),
        coverage=lambda beats: coverage(unit, words, planes, beats),
        schedule=lambda beats: {"d": edges(unit, planes, len(beats["w"]["row"]))},
        latency=step + stage_timing.STAGES - 1,
        interval=step,
        formula=FORMULA,
        numbers=numbers,
        parts=(rom, *trees),
        operations=unit.group,
        notes=("operations: multiply-accumulates of one row",),
    )


def sum_bits(unit: LUnit) -> int:
    """Return bits of the sum of a slice's activations."""
    return signed_sum.signed_bits(*(s * unit.group * golden.largest_activation(unit) for s in (-1, 1)))


def result_fields(unit: LUnit) -> tuple[Field, ...]:
    """Return the fields of channel ``d``."""
    if not unit.scale_bits:
        return (Field("value", unit.accumulator_bits, 1, True, "dot product"),)
    value = Field("value", unit.accumulator_bits + SIGNIFICAND - 1, 1, True, "dot product times significand")
    return value, Field("exponent", 6, 1, True, "of the scale's last place, -24 ... 6")


def edges(unit: LUnit, planes: int, count: int) -> npt.NDArray[np.int64]:
    """Return the edge on which each result leaves."""
    return np.array([stage_timing.result_edge(unit, row, planes) for row in range(count)], np.int64)


def _products(unit: LUnit) -> tuple[tuple[Cell, ...], list[str]]:
    """Return cells and Verilog of ``partial``, the products of one step."""
    lanes, bits, code = unit.group // unit.cycles_per_word, unit.activation_bits, unit.plane_bits
    tree = adder_tree(lanes, bits)
    wide, half = tree.channel("y").fields[0].width, 1 << (bits - 1)
    lines, digits = [], list[list[str]]()  # digits of the weights' magnitudes, by plane and lane
    signed = unit.encoding in ("ternary", "fp4")
    for j in range(lanes):
        value = slice_of("values", j, bits, lanes)
        c = [f"codes[{j * code + i}]" for i in range(code)]
        if signed:
            lines.append(f"wire [{bits - 1}:0] v{j} = {c[-1]} ? -{value} : {value};")
        if unit.encoding == "fp4":
            digits.append(
                [
                    f"!{c[2]} && {c[0]}",
                    f"{c[2]} ? !{c[1]} && {c[0]} : {c[1]}",
                    f"{c[2]} && (!{c[1]} || {c[0]})",
                    f"{c[2]} && {c[1]}",
                ]
            )
        else:
            digits.append(c[:1] if unit.encoding == "ternary" else c)
    terms = []
    for p in range(len(digits[0])):
        gated = ", ".join(
            f"{f'v{j}' if signed else slice_of('values', j, bits, lanes)} & {{{bits}{{{digits[j][p]}}}}}"
            for j in reversed(range(lanes))
        )
        lines += [
            f"wire [{lanes * bits - 1}:0] gated{p} = {{{gated}}};",
            f"wire [{wide - 1}:0] digit{p};",
            f"{tree.name} tree{p} (.x_values(gated{p}), .y_sum(digit{p}));",
        ]
        terms.append(signed_sum.plain(f"digit{p}", -lanes * half, lanes * (half - 1), p))
    total, adders = signed_sum.tree(terms, "products")
    lines += adders
    bits = unit.accumulator_bits
    lines.append(f"wire [{bits - 1}:0] partial = {signed_sum.extend(total, bits)};")
    return (tree,), lines


def _body(unit: LUnit, planes: int, rows: int, rom: Cell, products: list[str]) -> Iterator[str]:
    """Return the Verilog inside an L-Unit."""
    yield "// Everything moves unless a result waits to be taken, or a step waits for activations."
    yield "reg  fetching;  // a row's words are being read"
    yield "reg  adding;    // the word register holds a word"
    yield "reg  summed;    // the sum of a row is complete"
    yield "reg  done;      // a result waits to be taken"
    yield "wire leave = !done || d_ready;"
    yield "wire move = leave && (!adding || x_valid);"
    yield "assign d_valid = done;"
    yield ""
    yield from _fetch(unit, planes, rows, rom)
    yield ""
    yield from _add(unit, planes, products)
    yield ""
    yield from _scale(unit)


def _marked(unit: LUnit, planes: int) -> bool:
    """Whether the add stage must know the first step of a word: to shift the sum, or to add the zero point."""
    return unit.cycles_per_word > 1 and (planes > 1 or unit.zero_bits > 0)


def _fetch(unit: LUnit, planes: int, rows: int, rom: Cell) -> Iterator[str]:
    """Return the Verilog of the first stage: rows to words, and where in its row the word register is."""
    steps, word = unit.cycles_per_word, unit.word_bits
    row, plane, step = index_bits(rows), index_bits(planes), index_bits(steps)
    last_step, first_step = f"step == {step}'d{steps - 1}", f"step == {step}'d0"
    counted, marked = planes > 1 or steps > 1, _marked(unit, planes)
    ending = [f"plane == {plane}'d0"] * (planes > 1) + [last_step] * (steps > 1)
    first = [f"plane == {plane}'d{planes - 1}"] * (planes > 1) + [first_step] * (steps > 1)
    yield "// fetch: planes from the highest down, steps from the first up"
    yield f"reg  {vector(row)}row;"
    yield "reg  last;"
    yield from [f"reg  {vector(plane)}plane;"] * (planes > 1)
    yield from [f"reg  {vector(step)}step;"] * (steps > 1)
    yield "wire ending = " + (" && ".join(ending) or "1'b1") + ";"
    yield "assign w_ready = move && (!fetching || ending);"
    yield "wire accept = w_valid && w_ready;"
    yield f"wire [{word - 1}:0] stored;"
    yield f"{rom.name} rom (.a_address({'row' if planes == 1 else '{row, plane}'}), .q_word(stored));"
    yield f"reg  [{word - 1}:0] word;"
    yield from ["reg  word_first;  // first step of a row"] * counted
    yield "reg  word_final;  // last step of a row"
    yield "reg  word_last;   // last row of the slice"
    yield from ["reg  word_start;  // first step of a word"] * marked
    yield from [f"reg  {vector(step)}word_step;"] * (steps > 1)
    yield "always @(posedge clk) begin"
    yield "    if (accept) begin"
    yield "        row <= w_row;"
    yield "        last <= w_last;"
    yield "    end"
    yield "    if (move && fetching) begin"
    yield f"        {f'if ({first_step}) ' if steps > 1 else ''}word <= stored;"
    yield from [f"        word_first <= {' && '.join(first)};"] * counted
    yield "        word_final <= ending;"
    yield "        word_last <= last;"
    yield from [f"        word_start <= {first_step};"] * marked
    yield from ["        word_step <= step;"] * (steps > 1)
    yield "    end"
    yield "    if (rst) begin"
    yield "        fetching <= 1'b0;"
    yield "        adding <= 1'b0;"
    yield from [f"        plane <= {plane}'d{planes - 1};"] * (planes > 1)
    yield from [f"        step <= {step}'d0;"] * (steps > 1)
    yield "    end else if (move) begin"
    yield "        fetching <= accept || (fetching && !ending);"
    yield "        adding <= fetching;"
    yield from [f"        if (fetching) step <= {last_step} ? {step}'d0 : step + 1'b1;"] * (steps > 1)
    whole = f"fetching && {last_step}" if steps > 1 else "fetching"
    yield from [f"        if ({whole}) plane <= plane - 1'b1;  // from 0 back to {planes - 1}"] * (planes > 1)
    yield "    end"
    yield "end"


def _add(unit: LUnit, planes: int, products: list[str]) -> Iterator[str]:
    """Return the Verilog of the second stage: the sum of a row, and the scale that goes with it."""
    steps, lanes, code = unit.cycles_per_word, unit.group // unit.cycles_per_word, unit.plane_bits
    bits, word, width = unit.accumulator_bits, unit.word_bits, lanes * unit.activation_bits
    yield "// add: the lanes of one step, and the zero point with the first step of a word"
    yield "assign x_ready = move && adding && word_final && word_last;"
    at = f"[word_step*{width} +: {width}]" if steps > 1 else ""
    yield f"wire [{width - 1}:0] values = x_values{at};"
    at = f"[word_step*{lanes * code} +: {lanes * code}]" if steps > 1 else f"[{lanes * code - 1}:0]"
    yield f"wire [{lanes * code - 1}:0] codes = word{at};"
    yield from products
    yield f"reg  [{bits - 1}:0] sum;"
    shifted = f"{{sum[{bits - 1 - code}:0], {code}'d0}}"
    kept = f"{bits}'d0"
    if planes > 1 and steps > 1:
        kept = f"word_first ? {kept} : word_start ? {shifted} : sum"
    elif planes > 1 or steps > 1:
        kept = f"word_first ? {kept} : {shifted if planes > 1 else 'sum'}"
    yield f"wire [{bits - 1}:0] kept = {kept};"
    yield from _zero_point(unit)
    yield from [f"reg  [{unit.scale_bits - 1}:0] scale;"] * (unit.scale_bits > 0)
    yield "always @(posedge clk) begin"
    yield "    if (move && adding) begin"
    yield f"        sum <= kept + partial{' + shifted' if unit.zero_bits else ''};"
    yield from [f"        scale <= word[{word - 1}:{word - unit.scale_bits}];"] * (unit.scale_bits > 0)
    yield "    end"
    yield "    if (rst) summed <= 1'b0;"
    yield "    else if (leave) summed <= move && adding && word_final;"
    yield "    if (rst) done <= 1'b0;"
    yield "    else if (leave) done <= summed;"
    yield "end"


def _zero_point(unit: LUnit) -> Iterator[str]:
    """Return the Verilog of ``shifted``, the zero point times the negative sum of the activations."""
    bits, wide, zero, low = unit.accumulator_bits, sum_bits(unit), unit.zero_bits, unit.group * unit.plane_bits
    if not zero:
        yield "wire offset_unused = ^x_offset;"
        return
    present = f"word[{low + zero - 1}:{low}]"
    if unit.cycles_per_word > 1:
        present = f"({present} & {{{zero}{{word_start}}}})"
    yield f"wire [{zero - 1}:0] zero = {present};"
    extended = f"{{{{{bits - wide}{{x_offset[{wide - 1}]}}}}, x_offset}}" if bits > wide else "x_offset"
    yield f"wire [{bits - 1}:0] offset = {extended};"
    each = [f"({{{bits}{{zero[{i}]}}}} & {f'(offset << {i})' if i else 'offset'})" for i in range(zero)]
    yield f"wire [{bits - 1}:0] shifted = {' + '.join(each)};"


def _scale(unit: LUnit) -> Iterator[str]:
    """Return the Verilog of the last stage."""
    bits = unit.accumulator_bits
    if not unit.scale_bits:
        yield f"reg  [{bits - 1}:0] value;"
        yield "assign d_value = value;"
        yield "always @(posedge clk) if (leave && summed) value <= sum;"
        return
    out = bits + SIGNIFICAND - 1
    yield "// scale: FP16 without special cases"
    yield "wire [4:0] field = scale[14:10];"
    yield f"wire [{SIGNIFICAND - 1}:0] magnitude = {{1'b0, field != 5'd0, scale[9:0]}};"
    yield f"wire signed [{SIGNIFICAND - 1}:0] significand = scale[15] ? -magnitude : magnitude;"
    yield f"wire signed [{bits - 1}:0] total = sum;"
    yield f"wire signed [{out - 1}:0] product = total * significand;"
    yield f"reg  [{out - 1}:0] value;"
    yield "reg  [5:0] exponent;"
    yield "assign d_value = value;"
    yield "assign d_exponent = exponent;"
    yield "always @(posedge clk) begin"
    yield "    if (leave && summed) begin"
    yield "        value <= product;"
    yield "        exponent <= {1'b0, field == 5'd0 ? 5'd1 : field} - 6'd25;"
    yield "    end"
    yield "end"


def evaluate(unit: LUnit, words: npt.NDArray[np.uint8], planes: int, beats: Beats) -> Beats:
    """Return the results of rows."""
    total, scales = sums(unit, words, planes, beats)
    if not unit.scale_bits:
        return {"d": {"value": total[:, None]}}
    value, exponent = golden.products(total, scales)
    return {"d": {"value": value[:, None], "exponent": exponent[:, None]}}


def sums(
    unit: LUnit, words: npt.NDArray[np.uint8], planes: int, beats: Beats
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return D and the scale's field of every row."""
    place = roma_words.Layout(len(words) // planes, unit.group, 1, planes)
    found = roma_words.fields(unit, place, words)
    values = code_values(found.codes[0], unit.encoding).astype(np.int64) - found.zeros[0].astype(np.int64)[:, None]
    rows, last = beats["w"]["row"][:, 0], beats["w"]["last"][:, 0]
    slices = np.concatenate([[0], np.cumsum(last)[:-1]])
    total = (values[rows] * beats["x"]["values"][slices]).sum(axis=1)
    return total, found.scales[0].astype(np.int64)[rows]


def slice_beats(unit: LUnit, slices: list[npt.NDArray[np.int64]], rows: list[npt.NDArray[np.int64]]) -> Beats:
    """Return the beats of slices of activations and the rows that meet each."""
    values = np.stack(slices)
    last = np.concatenate([np.arange(len(r)) == len(r) - 1 for r in rows]).astype(np.int64)
    return {
        "x": {"values": values, "offset": -values.sum(axis=1, keepdims=True)},
        "w": {"row": np.concatenate(rows).astype(np.int64)[:, None], "last": last[:, None]},
    }


def stimulus(unit: LUnit, rows: int, rng: np.random.Generator, count: int) -> Beats:
    """Return slices of extreme and random activations, each with one row, a few, or all rows of the ROM in turn."""
    top = golden.largest_activation(unit)
    slices = [np.full(unit.group, top), np.full(unit.group, -top), np.zeros(unit.group, np.int64)]
    chosen = [np.arange(rows), np.arange(rows)[::-1], np.array([rows - 1])]
    total = sum(map(len, chosen))
    while total < count or len(slices) < 40:
        size = int(rng.integers(1, 6))
        slices.append(rng.integers(-top, top + 1, unit.group) >> int(rng.integers(0, unit.activation_bits)))
        chosen.append(rng.integers(0, rows, size))
        total += size
    return slice_beats(unit, slices, chosen)


def coverage(unit: LUnit, words: npt.NDArray[np.uint8], planes: int, beats: Beats) -> dict[str, int]:
    """Return hits of kinds of slices, signs of results, and whether every row was read."""
    total, _ = sums(unit, words, planes, beats)
    last = beats["w"]["last"][:, 0] == 1
    starts = np.concatenate([[True], last[:-1]])
    rows = len(words) // planes
    return {
        "slice of one row": int((starts & last).sum()),
        "slice of several rows": int((starts & ~last).sum()),
        "every row": int(len(np.unique(beats["w"]["row"])) == rows),
        "greatest activations": int((beats["x"]["values"] == golden.largest_activation(unit)).all(axis=1).sum()),
        "least activations": int((beats["x"]["values"] == -golden.largest_activation(unit)).all(axis=1).sum()),
        "positive sum": int((total > 0).sum()),
        "negative sum": int((total < 0).sum()),
        "sum of zero": int((total == 0).sum()),
    }


def cells(spec: RomaSpec) -> list[Cell]:
    """Return the alignment unit and one L-Unit of a spec, that last; its ROM holds reference words, not weights.

    Raises:
        UserError: RAM in place of the ROM, or a unit that cannot be built.
    """
    from lutscape.rtl.cells.align_unit import align_unit

    unit = spec.l_unit
    if unit.form == "sram":
        raise UserError(f"{spec.name}: l_unit.form = 'sram' has no Verilog; allowed: standard, b-rom, fused")
    bits = unit.plane_bits
    if unit.encoding == "uint" and golden.accumulator_bits_needed(unit, 2 * bits) <= unit.accumulator_bits:
        bits = min(2 * bits, 8)
    golden.check(unit, unit.encoding, bits, f"{spec.name}: l_unit")
    planes = -(-bits // unit.plane_bits)
    words = reference_words(unit, unit.rom_words // planes, planes)
    built = l_unit(unit, words, bits, "standard" if unit.form == "standard" else "block")
    return list({cell.name: cell for cell in (*align_unit(unit).all_parts, *built.all_parts)}.values())


@cache
def reference_words(unit: LUnit, rows: int, planes: int, seed: int = 1) -> npt.NDArray[np.uint8]:
    """Return words for tests and examples: the extremes of codes and scales first, then uniform random bits.

    They stand for no model: a design's real words come from its weights (``lutscape roma rom``).
    """
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2, (rows, planes, unit.word_bits)).astype(np.uint8)
    weights, zero = unit.group * unit.plane_bits, unit.zero_bits
    corners = min(4, rows)
    for i in range(corners):
        bits[i, :, :weights] = i % 2  # all codes 0, or all ones
        bits[i, :, weights : weights + zero] = 1 - i % 2
    for i, field in enumerate((0x7BFF, 0x0001, 0x8400, 0x7C00)[:corners]):
        if unit.scale_bits:
            bits[i, :, weights + zero :] = field >> np.arange(16) & 1
    return np.packbits(bits.reshape(rows * planes, unit.word_bits), axis=1, bitorder="little")
