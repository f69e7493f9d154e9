"""What an array or a table builder costs at a technology node: from the calibrated libraries, or between them.

At a library's own node its fitted costs are taken. Between two libraries every cost is interpolated, linear in
logarithms:

    area             against the area of a gate, which says how dense the node is; the libraries' own NAND2 at the ends
    dynamic energy   as E / V², an effective switched capacitance, against feature size; times the node's V²
    leakage          as P / V, a current, against feature size; times the node's V

:mod:`lutscape.hw.calibration.published` holds areas at 28 nm against published ones; against feature size they would
be 40 % larger and miss all of them by 30 to 70 %.

Below the smallest or above the largest library, the nearest one is scaled by the node's gate area and energy factors
(:mod:`lutscape.hw.technology`). Rows and columns beyond the synthesised arrays are extrapolated, linear in elements,
rows and columns: grade assumed. All other parameters must lie within the calibrated ranges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lutscape.hw import technology
from lutscape.hw.calibration import features, tables
from lutscape.hw.calibration.tables import Floats, Library
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.hw.provenance import Grade
from lutscape.hw.technology import Technology


@dataclass(frozen=True)
class Price:
    """Cost of one piece of hardware at a node.

    Attributes:
        area_um2: of its cells.
        energy_pj: dynamic, of one operation: a beat of an array, a table of a builder.
        leakage_uw: at all times.
        grade: synthesised at a library's node and supply; derived between nodes or at another supply; assumed where
            rows or columns are extrapolated.
        source: in words, for tables.
    """

    area_um2: float
    energy_pj: float
    leakage_uw: float
    grade: Grade
    source: str


def array_price(array: Array, node: Technology) -> Price:
    """Return the cost of one array without table builders.

    Raises:
        UserError: a parameter outside the calibrated range, naming the nearest that is inside.
    """
    libraries = around(node)
    beyond = [text for library in libraries for text in check(array, library)]
    return of_counts("array", features.of_array(array), node, libraries, beyond)


def builder_price(array: Array, node: Technology) -> Price:
    """Return the cost of one table builder with its input registers; one table per cycle.

    Raises:
        UserError: as :func:`array_price`.
    """
    libraries = around(node)
    for library in libraries:
        check(array, library)
    return of_counts("builder", features.of_builder(array), node, libraries, [])


def check(array: Array, library: Library) -> list[str]:
    """Refuse an array outside a library's calibrated ranges; return the dimensions that are extrapolated.

    Parameters that the datapath does not have are not looked at.
    """
    beyond = []
    for name, (least, greatest) in library.ranges.items():
        value = getattr(array, name)
        if least <= value <= greatest or name in _unused(array):
            continue
        if name in tables.SHAPE:
            beyond.append(f"{name} = {value} beyond the synthesised {least} … {greatest}")
            continue
        near = least if value < least else greatest
        raise UserError(
            f"array.{name} = {value} is outside the calibrated range {least} … {greatest} of {library.name}; "
            f"nearest: {near}"
        )
    return beyond


def _unused(array: Array) -> frozenset[str]:
    if array.datapath == "mac":
        return frozenset({"table_bits", "planes_per_cycle"})
    return frozenset({"multiplier_weight_bits"} | (set() if array.looks_up else {"table_bits"}))


def around(node: Technology) -> tuple[Library, ...]:
    """Return the libraries on both sides of a node, or the nearest one."""
    return _around(node.calibration, node.node_nm)


@lru_cache(maxsize=64)
def _around(names: tuple[str, ...], node_nm: float) -> tuple[Library, ...]:
    known = sorted((tables.load(name) for name in names), key=lambda library: library.node_nm)
    exact = [library for library in known if library.node_nm == node_nm]
    if exact:
        return (exact[0],)
    below = [library for library in known if library.node_nm < node_nm]
    above = [library for library in known if library.node_nm > node_nm]
    return (below[-1], above[0]) if below and above else (below[-1] if below else above[0],)


def of_counts(
    kind: str, counts: Mapping[str, float], node: Technology, libraries: Sequence[Library], beyond: Sequence[str]
) -> Price:
    """Return the cost of a design at a node from its counts and the coefficients of its kind.

    Args:
        kind: of the coefficients.
        counts: of the design.
        node: where.
        libraries: one or two, as :func:`libraries` returns them.
        beyond: what is extrapolated, in words.
    """
    values = [_at_node_supply(library.coefficients[kind].price(counts), library, node) for library in libraries]
    names = " and ".join(f"{library.name} ({library.node_nm:g} nm)" for library in libraries)
    library = libraries[0]
    if len(libraries) == 2:
        dense = _share(node.gate_area_um2, library.gate_area_um2, libraries[1].gate_area_um2)
        fine = _share(node.node_nm, library.node_nm, libraries[1].node_nm)
        share = np.array([min(max(dense, 0.0), 1.0), fine, fine])
        cost = np.exp((1 - share) * np.log(values[0]) + share * np.log(values[1]))
        grade, source = Grade.DERIVED, f"synthesis with {names}, interpolated"
    elif library.node_nm == node.node_nm:
        cost, same = values[0], library.voltage_v == node.supply_v
        grade = Grade.SYNTHESISED if same else Grade.DERIVED
        source = f"synthesis with {names}" + ("" if same else f", energy from {library.voltage_v:g} V")
    else:
        cost = values[0] * _scale(library, node)
        grade, source = Grade.DERIVED, f"synthesis with {names}, scaled by gate area and energy factors"
    if beyond:
        grade, source = Grade.ASSUMED, f"{source}; extrapolated: {', '.join(dict.fromkeys(beyond))}"
    return Price(float(cost[0]), float(cost[1]), float(cost[2]), grade, source)


def _share(value: float, low: float, high: float) -> float:
    return math.log(value / low) / math.log(high / low)


def _at_node_supply(cost: Floats, library: Library, node: Technology) -> Floats:
    """Return (3,) costs with energy and leakage brought to the node's supply."""
    ratio = node.supply_v / library.voltage_v
    return cost * np.array([1.0, ratio * ratio, ratio])


def _scale(library: Library, node: Technology) -> Floats:
    """Return (3,) factors from a library to a node outside the calibrated ones; energy at the node's supply."""
    name = f"{library.node_nm:g}nm"
    try:
        base = technology.load(name)
    except UserError:
        raise UserError(
            f"technology {node.name}: {node.node_nm:g} nm lies outside the calibrated nodes, and there is no "
            f"technology {name} to scale {library.name} from; nearest node: {library.node_nm:g} nm"
        ) from None
    supplied = base.model_copy(update={"supply_v": node.supply_v})
    return np.array([node.logic_area_ratio(base), node.energy_ratio(supplied), node.logic_area_ratio(base)])
