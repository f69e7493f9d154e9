"""What passes between :mod:`lutscape.rtl.verify` and the bench in the simulator: a wrapper module and packed beats.

The wrapper gives every cell the same few signals, so that the bench reads one bus per edge instead of two signals
per channel:

    clk, rst       of clocked cells; NAME_clk and NAME_rst of further clock domains
    offers         {valid of the outputs, ready of the inputs}, first channel lowest; inputs below outputs
    wants          {ready of the outputs, valid of the inputs}, the same order
    c0, c1, ...    the fields of each channel side by side, first field lowest
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lutscape.rtl.cell import Cell, Channel, clock, reset

TOP = "lutscape_bench"
_ROWS = 1 << 22  # bits expanded at a time


def bits(channel: Channel) -> int:
    """Width of a channel's fields side by side."""
    return sum(f.bits for f in channel.fields)


def ordered(cell: Cell) -> tuple[Channel, ...]:
    """Return the channels in the order of the harness: inputs, then outputs."""
    return (*cell.inputs, *cell.outputs)


def wrapper(cell: Cell) -> str:
    """Return the Verilog of the harness around a cell."""
    inputs, outputs = cell.inputs, cell.outputs
    ports: list[str] = []
    pins: list[str] = []
    public = "/*verilator public_flat_rw*/"
    if cell.clocked:
        wide = len(inputs) + len(outputs) - 1
        signals = [signal for d in cell.domains for signal in (clock(d), reset(d))]
        ports += [f"input {signal} {public}" for signal in signals]
        ports += [f"output [{wide}:0] offers {public}", f"input [{wide}:0] wants {public}"]
        pins += [f".{signal}({signal})" for signal in signals]
        for i, channel in enumerate(inputs):
            pins += [f".{channel.signal('valid')}(wants[{i}])", f".{channel.signal('ready')}(offers[{i}])"]
        for i, channel in enumerate(outputs, len(inputs)):
            pins += [f".{channel.signal('valid')}(offers[{i}])", f".{channel.signal('ready')}(wants[{i}])"]
    for i, channel in enumerate(ordered(cell)):
        ports.append(f"{channel.direction}put [{bits(channel) - 1}:0] c{i} {public}")
        low = 0
        for field in channel.fields:
            pins.append(f".{channel.signal(field.name)}(c{i}[{low + field.bits - 1}:{low}])")
            low += field.bits
    instance = f"  {cell.name} cell_under_test (\n    " + ",\n    ".join(pins) + "\n  );\n"
    return f"module {TOP} (\n  " + ",\n  ".join(ports) + "\n);\n" + instance + "endmodule\n"


def pack(cell: Cell, channel: Channel, fields: dict[str, npt.NDArray[np.int64]]) -> bytes:
    """Return the beats of a channel, each ⌈bits/8⌉ bytes, lowest first.

    Raises:
        ValueError: fields missing, of wrong shape, or with values that do not fit; the cell's models are wrong.
    """
    where = f"{cell.name}: channel {channel.name}"
    if set(fields) != {f.name for f in channel.fields}:
        raise ValueError(f"{where}: fields {sorted(fields)} instead of {[f.name for f in channel.fields]}")
    count = len(fields[channel.fields[0].name])
    for f in channel.fields:
        values = fields[f.name]
        if values.shape != (count, f.lanes):
            raise ValueError(f"{where}: field {f.name} has shape {values.shape} instead of {(count, f.lanes)}")
        low, high = (-(1 << (f.width - 1)), (1 << (f.width - 1)) - 1) if f.signed else (0, (1 << f.width) - 1)
        if count and not (low <= values.min() and values.max() <= high):
            span = f"{values.min()} to {values.max()}"
            raise ValueError(f"{where}: field {f.name} has values from {span} outside {low} … {high}")
    rows = max(1, _ROWS // bits(channel))
    return b"".join(_pack_rows(channel, fields, i, i + rows) for i in range(0, count, rows))


def _pack_rows(channel: Channel, fields: dict[str, npt.NDArray[np.int64]], start: int, stop: int) -> bytes:
    columns = []
    for f in channel.fields:
        values = fields[f.name][start:stop, :, None]
        columns.append(((values >> np.arange(f.width)) & 1).astype(np.uint8).reshape(len(values), -1))
    return np.packbits(np.concatenate(columns, axis=1), axis=1, bitorder="little").tobytes()
