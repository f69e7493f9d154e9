"""Which cells build a spec, and the small configurations of every kind that tests and mutants run on."""

from __future__ import annotations

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS
from lutscape.hw.machines.lut_dla import LutDlaSpec
from lutscape.hw.machines.lut_tensor_core import Array, LutTensorCoreSpec
from lutscape.hw.machines.roma import LUnit, RomaSpec
from lutscape.hw.spec import Spec
from lutscape.rtl.cell import Cell
from lutscape.sim.lut_tensor_core import golden

KINDS = ("fused-dot", "lut-dla", "lut-tensor-core", "roma")
"""Hardware kinds that have Verilog."""

WIDEST_PORT = 1 << 16
"""Bits of one bus: Verilog-2005 promises no wider vectors (IEEE 1364-2005, sec. 4.3.1)."""


def cells(spec: Spec, values: int | None = None) -> list[Cell]:
    """Return the cells of one array of a spec, the top last: table builder, processing element, array, unit.

    Args:
        spec: the design; its Verilog is one of ``array.count`` equal units.
        values: K, products added up in one sum; checked against the accumulators if given.

    Raises:
        UserError: a kind without Verilog, an array too wide to build, or accumulators that can overflow.
    """
    if spec.kind == "fused-dot":
        from lutscape.rtl.cells import fused_dot

        built: list[Cell] = fused_dot.cells(spec)  # type: ignore[arg-type]
        return built
    if isinstance(spec, RomaSpec):
        from lutscape.rtl.cells import l_unit

        return l_unit.cells(spec)
    if isinstance(spec, LutDlaSpec):
        from lutscape.rtl.cells import dla_cells

        return dla_cells.cells(spec, values)
    if not isinstance(spec, LutTensorCoreSpec):
        raise UserError(f"{spec.name}: kind {spec.kind!r} has no Verilog; allowed: {', '.join(KINDS)}")
    from lutscape.rtl.cells.array import array_cell, element
    from lutscape.rtl.cells.table_builder import table_builder
    from lutscape.rtl.cells.unit import unit

    array = spec.array
    check_ports(spec.name, array)
    if not array.integer:
        return float_cells(array, tables_per_array(spec))
    check_accumulators(spec.name, array, values)
    if not array.looks_up:
        return [element(array), array_cell(array)]
    return [table_builder(array), element(array), array_cell(array), unit(array, tables_per_array(spec))]


def synthesised(spec: Spec) -> list[Cell]:
    """Return the cells of a spec that are mapped to gates: all, or those that are not memories.

    Raises:
        UserError: as :func:`cells`.
    """
    if isinstance(spec, LutDlaSpec):
        from lutscape.rtl.cells import dla_cells

        return dla_cells.synthesised(spec)
    return cells(spec)


def float_cells(array: Array, tables_per_cycle: int) -> list[Cell]:
    """Return the cells of an array of float activations: from the adder to the unit with its weight remapper.

    Sums of floats do not wrap: they overflow as the array's ``float_overflow`` says.
    """
    from lutscape.rtl.cells import fp_array, fp_lookup_pe, weight_loader
    from lutscape.rtl.cells.fp_table_builder import fp_table_builder
    from lutscape.rtl.cells.fp_tensor_unit import fp_tensor_unit

    loader = weight_loader.weight_loader(array)
    return [
        fp_lookup_pe.adder(array),
        fp_table_builder(array),
        fp_lookup_pe.fp_lookup_pe(array),
        fp_array.fp_array(array),
        *loader.parts,
        loader,
        fp_array.fp_unit(array, tables_per_cycle),
        fp_tensor_unit(array, tables_per_cycle),
    ]


def tables_per_array(spec: LutTensorCoreSpec) -> int:
    """Return the builders of one unit: its share of the spec's, at most one per row."""
    return min(spec.array.m, -(-spec.tables_per_cycle // spec.array.count))


def check_ports(name: str, array: Array) -> None:
    """Refuse an array with a bus wider than Verilog promises, naming the widest that can be built."""
    from lutscape.rtl.cells import operands

    rows, columns = operands.row_field(array, 1).bits, operands.column_field(array, 1).bits
    for what, dimension, size, each in (
        ("sums", "n", array.n, array.m * array.accumulator_bits),
        ("row operands", "m", array.m, rows),
        ("column operands", "n", array.n, columns),
    ):
        if size * each > WIDEST_PORT:
            most = WIDEST_PORT // each
            raise UserError(
                f"{name}: array.{dimension} = {size} makes a bus of {size * each} bits of {what}; "
                f"allowed: at most {WIDEST_PORT}, so {dimension} <= {most}"
            )


def check_accumulators(name: str, array: Array, values: int | None = None) -> None:
    """Refuse accumulators that can overflow: on one step of the widest weights, or on K values if given.

    The bound is proven in :func:`lutscape.sim.lut_tensor_core.golden.largest_sum`.
    """
    bits, longest = array.serial_weight_bits, array.k if values is None else values
    if longest < 1:
        raise UserError(f"K = {longest}; at least 1")
    safe = golden.safe_values(array, bits)
    if longest <= safe:
        return
    needed = golden.accumulator_bits_needed(array, bits, longest)
    what = f"one step of k = {array.k}" if values is None else f"K = {values}"
    less = f", or K of at most {safe}" if safe >= array.k else ""
    raise UserError(
        f"{name}: array.accumulator_bits = {array.accumulator_bits} can overflow on {what} with {bits}-bit weights: "
        f"needs {needed}; use accumulator_bits >= {needed}{less}"
    )


def small(datapath: str, **changes: int) -> Array:
    """Return a small array of a datapath."""
    fields: dict[str, int | str] = {"datapath": datapath, "m": 2, "n": 3, "k": 4, "count": 1, "accumulator_bits": 20}
    return Array.model_validate(fields | changes)


def reference_arrays() -> list[Array]:
    """Return small arrays of every datapath: bit-serial and parallel planes, narrow and exact tables, odd sizes."""
    return [
        small("lut"),
        small("lut", k=3, planes_per_cycle=2, table_bits=12, accumulator_bits=16),
        small("lut", m=1, n=5, k=2, planes_per_cycle=3, activation_bits=5, table_bits=6),
        small("lut", m=3, n=2, k=3, activation_bits=4, planes_per_cycle=4, table_bits=4, accumulator_bits=32),
        small("lut-full"),
        small("lut-full", m=3, n=2, k=3, planes_per_cycle=2, serial_weight_bits=3, table_bits=12),
        small("unpu", k=2, planes_per_cycle=2, table_bits=7, accumulator_bits=16),
        small("add"),
        small("add", k=3, planes_per_cycle=2, serial_weight_bits=5, activation_bits=6),
        small("mac", multiplier_weight_bits=2),
        small("mac", n=2, k=3, multiplier_weight_bits=4, accumulator_bits=18),
        small("mac", m=1, k=2, multiplier_weight_bits=1, serial_weight_bits=3, activation_bits=4, accumulator_bits=13),
    ]


def reference_l_units() -> list[tuple[LUnit, int, str]]:
    """Return small L-Units, bits of their weights and form of their ROM: all encodings, planes, steps, no scale."""

    def unit(encoding: str, **changes: int) -> LUnit:
        zero = 2 if encoding == "uint" else 0
        fields: dict[str, int | str] = {"group": 8, "encoding": encoding, "zero_bits": zero, "activation_bits": 6}
        return LUnit.model_validate(fields | {"accumulator_bits": 16} | changes)

    return [
        (unit("uint"), 2, "block"),
        (unit("uint", cycles_per_word=2), 4, "or"),
        (unit("uint", cycles_per_word=4, scale_bits=0), 2, "standard"),
        (unit("ternary", cycles_per_word=2), 2, "block"),
        (unit("fp4", plane_bits=4), 4, "block"),
    ]


def reference() -> list[Cell]:
    """Return small cells of every kind but fused dot products, each module once."""
    from lutscape.rtl.cells import l_unit
    from lutscape.rtl.cells.accumulator import accumulator
    from lutscape.rtl.cells.adder_tree import adder_tree
    from lutscape.rtl.cells.align_unit import align_unit
    from lutscape.rtl.cells.array import array_cell
    from lutscape.rtl.cells.fifo import fifo
    from lutscape.rtl.cells.secded_decoder import secded_decoder
    from lutscape.rtl.cells.unit import unit

    found = [adder_tree(5, 6), adder_tree(8, 4), accumulator(20, 8), accumulator(9, 8), fifo(8, 2), fifo(5, 7, 3)]
    for i, array in enumerate(reference_arrays()):
        top = unit(array, 1 + i % 2) if array.looks_up else array_cell(array)
        found += top.all_parts
    for unit_, weight_bits, form in reference_l_units():
        words = l_unit.reference_words(unit_, 6, -(-weight_bits // unit_.plane_bits))
        found += l_unit.l_unit(unit_, words, weight_bits, form).all_parts
    found += [*align_unit(reference_l_units()[0][0]).all_parts, secded_decoder(8)]
    return list({cell.name: cell for cell in found}.values())


def small_float(activation: str, table: str = "same", accumulator: str = "fp32", **changes: int | str) -> Array:
    """Return a small array of float activations."""
    entry = activation if table == "same" else table
    fields: dict[str, int | str] = {
        "datapath": "lut", "m": 2, "n": 2, "k": 4, "count": 1, "activation_format": activation, "table_format": table,
        "accumulator_format": accumulator, "activation_bits": FORMATS[activation].width,
        "table_bits": FORMATS[entry].width, "accumulator_bits": FORMATS[accumulator].width,
    }  # fmt: skip
    return Array.model_validate(fields | changes)


def reference_float_arrays() -> list[Array]:
    """Return small arrays of every format of activations, wider tables, narrow sums, both rules of overflow."""
    return [
        small_float("fp16", serial_weight_bits=2),
        small_float("fp16", accumulator="fp16", m=1, k=2, float_overflow="saturate"),
        small_float("bf16", m=1, n=1, k=3, serial_weight_bits=2),
        small_float("e4m3", m=2, n=1, k=3),
        small_float("e4m3", "fp16", m=1, n=1, serial_weight_bits=3),
        small_float("e5m2", m=1, n=1, serial_weight_bits=1),
        small_float("e5m2", "bf16", "bf16", m=3, n=1, k=2, float_overflow="saturate"),
    ]


def reference_floats() -> list[Cell]:
    """Return small floating-point cells of every kind, and weight loaders for both ways to write weights."""
    from lutscape.rtl.cells.fp_add import fp_add
    from lutscape.rtl.cells.fp_mac_array import fp_mac_array
    from lutscape.rtl.cells.fp_table_builder import fp_table_builder
    from lutscape.rtl.cells.fp_tensor_unit import fp_tensor_unit

    pairs = [("fp16", "fp16", 1), ("e4m3", "e4m3", 1), ("e5m2", "e5m2", 1), ("fp32", "bf16", 4), ("fp16", "e4m3", 3)]
    found = [fp_add(FORMATS[a], FORMATS[b], passes) for a, b, passes in pairs]
    found += [fp_add(FORMATS[name], FORMATS[name], 1, True) for name in ("e4m3", "e5m2", "bf16")]
    found.append(fp_table_builder(small_float("e5m2", k=5)))
    for i, array in enumerate(reference_float_arrays()):
        found += fp_tensor_unit(array, 1 + i % 2, "twos" if i % 3 == 1 else "unsigned").all_parts
    product = fp_mac_array(1, 2, 2)
    found += [*product.parts, product]
    return list({cell.name: cell for cell in found}.values())
