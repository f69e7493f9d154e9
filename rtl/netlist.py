"""Mapped netlists: structural Verilog, as yosys writes it with ``write_verilog -noattr``, as numbered nets.

Taken: scalar and vector ports and wires; escaped names; ``assign`` of names, bits, slices, concatenations and
constants; instances with named pins. Instances of other modules of the file are dissolved; their parts are named
``instance.part``. ``x`` and ``z`` bits of constants (undriven after synthesis) count as 0. Behavioural code and
parameters are refused with file and line.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError, nearest

ZERO, ONE = 0, 1  # nets of the constants


@dataclass(frozen=True, eq=False)
class Netlist:
    """A flat netlist.

    Attributes:
        name: of the module.
        inputs: port -> nets, bit 0 first.
        outputs: port -> nets, bit 0 first.
        nets: name of each net; nets 0 and 1 are the constants ``1'b0`` and ``1'b1``.
        instances: instance names.
        cells: cell name of each instance.
        pins: pin -> net of each instance; connected pins only.
    """

    name: str
    inputs: Mapping[str, NDArray[np.int64]]
    outputs: Mapping[str, NDArray[np.int64]]
    nets: tuple[str, ...]
    instances: tuple[str, ...]
    cells: tuple[str, ...]
    pins: tuple[Mapping[str, int], ...]

    @cached_property
    def by_cell(self) -> Mapping[str, NDArray[np.int64]]:
        """Instances of each cell."""
        found: dict[str, list[int]] = {}
        for i, cell in enumerate(self.cells):
            found.setdefault(cell, []).append(i)
        return {cell: np.array(rows) for cell, rows in found.items()}

    def input_net(self, port: str, what: str) -> int:
        """Return the net of a one-bit input port.

        Raises:
            UserError: no such input, or a vector.
        """
        if port not in self.inputs:
            known = ", ".join(self.inputs)
            raise UserError(f"{what} {port!r}: {self.name} has no such input{nearest(port, self.inputs)}; has: {known}")
        nets = self.inputs[port]
        if len(nets) != 1:
            raise UserError(f"{what} {port!r}: a port of {len(nets)} bits; allowed: a one-bit input")
        return int(nets[0])


def one_clock(netlist: Netlist, clock: str = "clk") -> Netlist:
    """Return a netlist whose further clocks (inputs ``NAME_clk``) are all ``clock``, the same one if it has none.

    Timing then treats paths between the domains like all others: synchronous, and never too short.
    """
    more = {
        port: int(nets[0]) for port, nets in netlist.inputs.items() if port.endswith(f"_{clock}") and len(nets) == 1
    }
    if not more or clock not in netlist.inputs:
        return netlist
    to = dict.fromkeys(more.values(), int(netlist.inputs[clock][0]))
    pins = tuple({pin: to.get(net, net) for pin, net in p.items()} for p in netlist.pins)
    inputs = {port: nets for port, nets in netlist.inputs.items() if port not in more}
    return replace(netlist, inputs=inputs, pins=pins)


def parse(source: str | Path, top: str = "") -> Netlist:
    """Parse a netlist.

    Args:
        source: path of a ``.v`` or ``.v.gz`` file, or the Verilog text itself (recognised by its line breaks or
            by ``endmodule``).
        top: module to take; may be left out if there is only one.

    Raises:
        UserError: with file and line.
    """
    from lutscape.rtl.verilog_reader import Reader

    if isinstance(source, str) and ("\n" in source or "endmodule" in source):
        return Reader(source, "netlist").netlist(top)
    path = Path(source).expanduser()
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        text = data.decode()
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"netlist {str(path)!r} cannot be read: {reason}") from None
    except UnicodeDecodeError:
        raise UserError(f"netlist {str(path)!r} is not text") from None
    return Reader(text, str(path)).netlist(top)
