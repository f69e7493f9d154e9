"""A whole floating-point lookup unit: precompute, weight remapper, and the array with its table registers.

Activations and plain weight codes go in, one step of k at a time; sums of tiles come out. The loader hands out the
first plane of a step one edge after it took the weights, by when the builders have not finished before: cycles are
those of :mod:`.unit`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.cells import fp_array, fp_stimuli, operands
from lutscape.rtl.cells import unit as units
from lutscape.rtl.cells import weight_loader as loading
from lutscape.rtl.cells.text import indented, module
from lutscape.sim.lut_tensor_core import array_timing
from lutscape.sim.lut_tensor_core.golden import Ints


@cache
def fp_tensor_unit(array: Array, tables_per_cycle: int = 1, codes: str = "unsigned") -> Cell:
    """Return the unit of a design with float activations.

    Args:
        array: the design.
        tables_per_cycle: builders of the unit; more than m are not built.
        codes: how weights are written, one of :data:`.weight_remapper.CODES`.

    Raises:
        UserError: no builder.
    """
    inner, loader = fp_array.fp_unit(array, tables_per_cycle), loading.weight_loader(array, codes)
    t, twos = int(inner.parameters["tables_per_cycle"]), codes == "twos"
    build = -(-array.m // t)
    channels = (inner.channel("x"), loader.channel("q"), inner.channel("d"))
    parameters = {**inner.parameters, "codes": codes}
    name = inner.name.replace("fp_lut_unit_", "fp_tensor_unit_") + ("_t" if twos else "")
    inside = [f.name for f in inner.channel("w").fields]
    widths = {f.name: f.bits for f in inner.channel("w").fields}
    what = f"Unit: {array.m} x {array.n} array, table builders, and a remapper of plain weight codes."
    body = [
        *[f"wire {f'[{widths[f] - 1}:0] ' if widths[f] > 1 else ''}w_{f};" for f in inside],
        "wire w_valid;",
        "wire w_ready;",
        f"{loader.name} loader (",
        "    .clk(clk),",
        "    .rst(rst),",
        *[f"    .q_{f}(q_{f})," for f in ("valid", "ready", *[f.name for f in loader.channel("q").fields])],
        *[f"    .w_{f}(w_{f})," for f in inside],
        "    .w_valid(w_valid),",
        "    .w_ready(w_ready)",
        ");",
        f"{inner.name} unit (",
        "    .clk(clk),",
        "    .rst(rst),",
        *[f"    .x_{f}(x_{f})," for f in ("valid", "ready", *[f.name for f in inner.channel("x").fields])],
        *[f"    .w_{f}(w_{f})," for f in ("valid", "ready", *inside)],
        "    .d_valid(d_valid),",
        "    .d_ready(d_ready),",
        "    .d_values(d_values)",
        ");",
    ]
    numbers = f"{inner.numbers}; {loader.numbers}"
    source = module(
        name, what, parameters, channels, indented(body), numbers=numbers, latency=inner.latency, formula=units.FORMULA
    )

    def behind(beats: Beats) -> Beats:
        """Return the beats of the unit without its loader."""
        return {"x": beats["x"], "w": loading.weights(array, twos, beats["q"])}

    def coverage(beats: Beats) -> dict[str, int]:
        hits = inner.coverage(behind(beats))
        if array.most_passes > 1:
            count = loading.planes(beats["q"])
            hits |= {f"steps of {p + 1} planes": int((count == p + 1).sum()) for p in range(array.most_passes)}
        return hits

    return Cell(
        name=name,
        kind="fp_tensor_unit",
        parameters=parameters,
        source=source,
        channels=channels,
        golden=lambda beats: inner.golden(behind(beats)),
        stimulus=lambda rng, count: stimulus(array, t, twos, rng, count),
        coverage=coverage,
        schedule=lambda beats: {"d": sum_edges(beats["q"], build)},
        latency=inner.latency,
        formula=units.FORMULA,
        numbers=numbers,
        parts=(loader, inner),
        operations=inner.operations,
        notes=inner.notes,
    )


def sum_edges(q: dict[str, Ints], build: int) -> Ints:
    """Return the edges on which sums leave, by the formula of :mod:`lutscape.sim.lut_tensor_core.array_timing`."""
    count = loading.planes(q)
    begin = array_timing.step_edges(count, build)
    return np.asarray((begin + count - 1)[q["last"][:, 0] == 1] + array_timing.STAGES)


def stimulus(array: Array, t: int, twos: bool, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of about ``count`` tiles."""
    tiles = fp_stimuli.tiles(array, rng, count)
    steps = [loading.code_beats(array, q, bits, twos) for _, q, bits in tiles]
    return {"x": fp_array.activation_beats(array, t, tiles), "q": operands.joined(steps)}
