"""Area of designs with latches: their mapping to a library's latch cells, and the sum of the cells.

yosys maps flip-flops to Liberty cells, not latches; here a techmap made from the library does. Static timing and power
do not know transparent latches (:mod:`lutscape.rtl.linked` refuses them), so that only area comes out; the mapped
netlist can be simulated (:func:`lutscape.rtl.verify.verify`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty, synth
from lutscape.rtl.liberty import Cell, Library
from lutscape.rtl.synth_process import run
from lutscape.rtl.synth_script import RECIPES, commands, constraints

MAP = "latches.v"
_YOSYS = {False: "$_DLATCH_N_", True: "$_DLATCH_P_"}


@dataclass(frozen=True, eq=False)
class LatchDesign:
    """A mapped design with latches.

    Attributes:
        netlist: structural Verilog.
        area_um2: of all cells; likewise ``latch_area_um2`` and ``register_area_um2`` of latches and flip-flops.
        latches: latches; likewise ``registers``.
        cells: instances by library cell.
    """

    netlist: str
    area_um2: float
    latch_area_um2: float
    register_area_um2: float
    latches: int
    registers: int
    cells: dict[str, int]


def synthesise(
    verilog: str,
    top: str,
    library: Sequence[str | Path] | str | Path = "nangate45",
    *,
    period_ps: float,
    driving_cell: str | None = None,
    load_ff: float | None = None,
    timeout_s: float = synth.TIMEOUT_S,
) -> LatchDesign:
    """Map a module with latches by the recipe for area; nothing is cached.

    Args:
        verilog: text with all modules.
        top: module.
        library: Liberty files, or the name of one in the cache.
        period_ps: target of buffering and sizing.
        driving_cell: as in :func:`lutscape.rtl.synth.synthesise`; likewise ``load_ff``.
        timeout_s: of yosys.

    Raises:
        UserError: as :func:`lutscape.rtl.synth.synthesise`, or a library without latches.
    """
    names = [library] if isinstance(library, str | Path) else list(library)
    paths = [liberty.find(name) for name in names]
    cells = liberty.load(paths)
    drive, load = synth.drive(names, tuple(paths), driving_cell, load_ff)
    large = [cell.name for cell in synth.flip_flops(cells)[1:]]
    delay = f"{max(1.0, period_ps - synth.register_overhead_ps(cells)):.0f}"
    script = with_latches(commands(top, len(paths), delay, True, (), large, RECIPES[0]))
    limits, more = constraints(drive, load), {MAP: techmap(cells)}
    mapped = run(verilog, top, synth.unpacked(paths), script, limits, timeout_s, more)
    counts = dict(sorted(mapped.modules[top].items()))
    kinds = {name: cells[name].register.kind if cells[name].register else "" for name in counts}  # type: ignore[union-attr]

    def area(kind: str) -> float:
        return sum(cells[n].area_um2 * counts[n] for n, k in kinds.items() if k == kind)

    return LatchDesign(
        mapped.netlist,
        sum(cells[n].area_um2 * c for n, c in counts.items()),
        area("latch"),
        area("ff"),
        sum(counts[n] for n, k in kinds.items() if k == "latch"),
        sum(counts[n] for n, k in kinds.items() if k == "ff"),
        counts,
    )


def with_latches(script: list[str]) -> list[str]:
    """Return yosys commands that map latches, too, right behind the flip-flops."""
    at = next(i for i, line in enumerate(script) if line.startswith("dfflibmap"))
    return [*script[: at + 1], f"techmap -map {MAP}", *script[at + 1 :]]


def latch_cells(library: Library) -> dict[bool, Cell]:
    """Return the smallest plain latch of each kind: transparent while its enable is high (True), low (False).

    Raises:
        UserError: there is none of either kind.
    """
    found: dict[bool, Cell] = {}
    for name in library:
        cell = library[name]
        register = cell.register
        if register is None or register.kind != "latch" or cell.unsupported:
            continue
        if register.clear is not None or register.preset is not None or len(cell.outputs) != 1:
            continue
        enable, data, output = register.clocked_on, register.next_state, cell.pins[cell.outputs[0]]
        plain = len(enable.variables) == 1 and len(data.variables) == 1 and bool(data.table()[1])
        through = output.function is not None and output.function.variables == (register.state[0],)
        if not plain or not through or output.three_state or not output.function.table()[1]:  # type: ignore[union-attr]
            continue
        high = bool(enable.table()[1])
        if high not in found or cell.area_um2 < found[high].area_um2:
            found[high] = cell
    if not found:
        raise UserError(f"{', '.join(p.name for p in library.paths)}: no latch; give all Liberty files")
    return found


def techmap(library: Library) -> str:
    """Return the Verilog that yosys' techmap turns its latches into the library's with."""
    text = []
    for high, cell in latch_cells(library).items():
        assert cell.register is not None
        pins = {cell.register.clocked_on.variables[0]: "E", cell.register.next_state.variables[0]: "D"}
        pins[cell.outputs[0]] = "Q"
        connected = ", ".join(f".{pin}({net})" for pin, net in pins.items())
        text.append(
            f"module \\{_YOSYS[high]} (input E, input D, output Q);\n"
            f"  {cell.name} _TECHMAP_REPLACE_ ({connected});\nendmodule\n"
        )
    return "\n".join(text)
