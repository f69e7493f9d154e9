"""How the combinational blocks of a fused dot-product-add unit become cells: header, ports, body."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, module


def extend(expression: str, width: int, to: int) -> str:
    """Return an unsigned Verilog expression of ``width`` bits with zeros in front, ``to`` bits wide."""
    return expression if width == to else f"{{{to - width}'d0, {expression}}}"


def plus(expression: str, width: int, value: int) -> str:
    """Return ``expression + value`` in ``width`` bits; the value may be negative or 0."""
    if value == 0:
        return expression
    return f"{expression} {'+' if value > 0 else '-'} {width}'d{abs(value)}"


def unused(name: str, expression: str) -> str:
    """Return a wire that says bits are left out on purpose; linters go by its name, synthesis drops it."""
    return f"wire unused_{name} = &{{1'b0, {expression}}};"


def joined(names: list[str], per_line: int = 8) -> str:
    """Return a concatenation, the first name lowest, over several lines where it is long."""
    rows = [", ".join(reversed(names[i : i + per_line])) for i in range(0, len(names), per_line)]
    if len(rows) == 1:
        return f"{{{rows[0]}}}"
    return "{\n" + ",\n".join(f"    {row}" for row in reversed(rows)) + "\n}"


def part(
    *,
    kind: str,
    name: str,
    what: str,
    parameters: Mapping[str, int | str],
    numbers: str,
    inputs: tuple[Field, ...],
    outputs: tuple[Field, ...],
    lines: list[str],
    golden: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    stimulus: Callable[[np.random.Generator, int], dict[str, np.ndarray]],
    coverage: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]],
    parts: tuple[Cell, ...] = (),
    operations: float = 0.0,
    notes: tuple[str, ...] = (),
) -> Cell:
    """Return a combinational cell with one channel ``x`` in and one channel ``y`` out.

    ``golden``, ``stimulus`` and ``coverage`` work on the fields of ``x`` and ``y`` alone; coverage returns flags
    of any shape per bin, of which those that are set are counted.
    """
    channels = (Channel("x", "in", inputs), Channel("y", "out", outputs))
    source = module(
        name, what[0].upper() + what[1:] + ".", parameters, channels, indented(lines), numbers=numbers, clocked=False
    )

    def shaped(values: dict[str, np.ndarray], fields: tuple[Field, ...]) -> dict[str, np.ndarray]:
        return {f.name: np.asarray(values[f.name]).astype(np.int64).reshape(-1, f.lanes) for f in fields}

    def cell_golden(beats: Beats) -> Beats:
        return {"y": shaped(golden(beats["x"]), outputs)}

    def cell_stimulus(rng: np.random.Generator, count: int) -> Beats:
        return {"x": shaped(stimulus(rng, count), inputs)}

    def cell_coverage(beats: Beats) -> dict[str, int]:
        return {key: int(np.count_nonzero(flags)) for key, flags in coverage(beats["x"]).items()}

    return Cell(
        name=name,
        kind=kind,
        parameters=parameters,
        source=source,
        channels=channels,
        golden=cell_golden,
        stimulus=cell_stimulus,
        coverage=cell_coverage,
        numbers=numbers,
        parts=parts,
        clocked=False,
        operations=operations,
        notes=notes,
    )
