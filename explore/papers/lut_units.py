"""Synthesised integer units of LUT Tensor Core's figures 11 and 14: processing elements by K, arrays by tile shape.

Areas alone: what an array of a shape costs at one clock, and what one element costs without the operand registers
that a whole array shares.
"""

from __future__ import annotations

from typing import Any

from lutscape.explore.rtl_compare import Library
from lutscape.hw.machines.fused_dot import Unit
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import synth
from lutscape.rtl.cells import fused_dot
from lutscape.rtl.cells.array import array_cell, element

PRODUCTS = 512
"""M N K of every array."""
ACCUMULATOR_BITS = 16
TILES: tuple[tuple[str, int, int, int], ...] = (
    ("lut", 2, 64, 4), ("lut", 4, 32, 4), ("lut", 8, 16, 4), ("lut", 1, 128, 4), ("mac", 8, 16, 4), ("lut", 4, 64, 2),
    ("add", 2, 64, 4), ("lut", 2, 32, 8),
)  # fmt: skip
"""Datapath and m, n, k."""
ELEMENT_K = (2, 3, 4, 5, 6)
TIMEOUT_S = 3600.0


def design(datapath: str, m: int, n: int, k: int, table_bits: int = 8, weight_bits: int = 2) -> Array:
    """Return an array for INT8 activations and weights of up to ``weight_bits``; multipliers are 8 x 8 bits."""
    return Array.model_validate(
        {
            "datapath": datapath, "m": m, "n": n, "k": k, "count": 1, "accumulator_bits": ACCUMULATOR_BITS,
            "serial_weight_bits": weight_bits, "table_bits": table_bits, "multiplier_weight_bits": 8,
        }
    )  # fmt: skip


def tile(datapath: str, m: int, n: int, k: int, library: Library) -> dict[str, Any]:
    """Return the synthesised area of one array, W2A8."""
    cell = array_cell(design(datapath, m, n, k))
    return {"unit": "array", "datapath": datapath, "m": m, "n": n, "k": k, **_areas(cell, library)}


def pe(datapath: str, k: int, library: Library, table_bits: int = 8) -> dict[str, Any]:
    """Return the synthesised area of one combinational processing element, W1A8: select, negate, add."""
    cell = element(design(datapath, 1, 1, k, table_bits, 1))
    return {"unit": "element", "datapath": datapath, "k": k, "table_bits": table_bits, **_areas(cell, library)}


def floating(format_: str, products: int, library: Library) -> dict[str, Any]:
    """Return the synthesised area of a combinational floating-point dot product with FP16 sums, by block.

    L products of FP16 or E4M3 and an FP16 sum, F = 13 fraction bits, rounded once to nearest (rtl/cells/fused_dot).
    Without its product block it is an adder of L + 1 floating-point numbers.
    """
    parameters = Unit.model_validate(
        {"products": products, "fraction_bits": 13, "input": format_, "rounding": "RNE-FP16", "stages": 0}
    )
    cell = fused_dot.unit(parameters)
    done = synth.synthesise(
        cell.verilog(), cell.name, library.files, period_ps=library.period_ps, driving_cell=library.driving_cell,
        load_ff=library.load_ff, keep_hierarchy_for_area=True, timeout_s=TIMEOUT_S,
    )  # fmt: skip
    blocks = {name: block.area_um2 * block.instances for name, block in done.blocks.items()}
    product = sum(a for name, a in blocks.items() if "product" in name)
    return {
        "unit": "float", "format": format_, "products": products, "cell": cell.name, "library": done.library,
        "library_name": library.name, "node": library.node, "area_um2": done.area_um2, "blocks": blocks,
        "product_share": product / sum(blocks.values()), "min_period_ps": done.min_period_ps, "key": done.key,
    }  # fmt: skip


def _areas(cell: Any, library: Library) -> dict[str, Any]:
    done = synth.synthesise(
        cell.verilog(), cell.name, library.files, period_ps=library.period_ps, driving_cell=library.driving_cell,
        load_ff=library.load_ff, timeout_s=TIMEOUT_S,
    )  # fmt: skip
    return {
        "cell": cell.name, "library": done.library, "library_name": library.name, "node": library.node,
        "area_um2": done.area_um2, "register_area_um2": done.register_area_um2, "registers": done.registers,
        "min_period_ps": done.min_period_ps, "target_period_ps": done.period_ps, "key": done.key,
    }  # fmt: skip
