"""Tensor-core fused dot-product-add (T-FDPA) as Verilog, bit-exact with :func:`lutscape.sim.mma.Custom`.

Three blocks in a row: operands become terms (:mod:`.fused_dot_multiply`), terms a sum (:mod:`.fused_dot_add`), the
sum a result (:mod:`.fused_dot_round`). Wired up they are a combinational unit; with registers before, behind and
between them a pipeline with valid/ready channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.hw.machines.fused_dot import FusedDotSpec, Unit
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import fused_dot_add, fused_dot_coverage, fused_dot_multiply, fused_dot_round
from lutscape.rtl.cells import fused_dot_stimulus as stimuli
from lutscape.rtl.cells.fused_dot_design import Design, instruction
from lutscape.rtl.cells.fused_dot_multiply import Arrays, front_fields, operand_fields, special_fields
from lutscape.rtl.cells.text import indented, module, vector

CUTS: dict[int, tuple[str, ...]] = {1: (), 2: ("front",), 3: ("front", "sum")}
"""Where a pipeline of so many stages is cut: behind the products, behind the sum."""


def cells(spec: FusedDotSpec) -> list[Cell]:
    """Return the cells of one unit, the unit itself last; ``unit.count`` of them share nothing."""
    return list(unit(spec.unit).all_parts)


def unit(parameters: Unit) -> Cell:
    """Return one unit: a pipeline of ``stages`` stages, or combinational where that is 0."""
    design = Design.of(parameters)
    blocks = _blocks(design)
    stages = parameters.stages
    channels = (
        Channel("x", "in", operand_fields(design), "operands of one sum"),
        Channel("y", "out", (Field("d", design.c.width, meaning=f"result, {design.c.name}"),), "result"),
    )
    name = f"fused_dot_{design.suffix}" + (f"_s{stages}" if stages else "")
    latency = stages + 1 if stages else 0
    formula = f"beat i leaves {latency} + i edges after the first beat was accepted" if stages else ""
    what = f"Fused dot-product-add: {design.products} exact products and an accumulator, cut, summed, rounded once."
    shown: dict[str, int | str] = {**design.parameters, **({"stages": stages} if stages else {})}
    source = module(
        name, what, shown, channels, indented(_pipeline(design, blocks, stages) if stages else _wired(design, blocks)),
        numbers=design.numbers, clocked=stages > 0, latency=latency, formula=formula,
    )  # fmt: skip
    model = instruction(parameters)

    def golden(beats: Beats) -> Beats:
        x = beats["x"]
        a = (x["a"] << design.a.dropped_bits).astype(design.a.dtype)[:, None, :]
        b = (x["b"] << design.b.dropped_bits).astype(design.b.dtype)[:, :, None]
        d = model(a, b, x["c"].astype(design.c.dtype)[:, :, None])
        return {"y": {"d": d.reshape(-1, 1).astype(np.int64)}}

    def coverage(beats: Beats) -> dict[str, int]:
        flags = fused_dot_coverage.bins(design, beats["x"])
        return {key: int(np.count_nonzero(value)) for key, value in flags.items()}

    return Cell(
        name=name,
        kind="fused_dot",
        parameters=shown,
        source=source,
        channels=channels,
        golden=golden,
        stimulus=lambda rng, count: {"x": stimuli.draw(design, rng, count)},
        coverage=coverage,
        schedule=(lambda beats: {"y": np.arange(len(beats["x"]["c"])) + latency}) if stages else None,
        latency=latency,
        formula=formula,
        numbers=design.numbers,
        parts=(blocks.front, blocks.add, blocks.back),
        clocked=stages > 0,
        operations=float(design.products),
    )


@dataclass(frozen=True)
class Blocks:
    """The three blocks of a unit."""

    front: Cell
    add: Cell
    back: Cell


def _blocks(design: Design) -> Blocks:
    """Return the blocks; each gets the unit's operands as stimulus, through the blocks before it."""

    def operands(rng: np.random.Generator, count: int) -> Arrays:
        return stimuli.draw(design, rng, count)

    def terms(rng: np.random.Generator, count: int) -> Arrays:
        return front.golden({"x": operands(rng, count)})["y"]

    def sums(rng: np.random.Generator, count: int) -> Arrays:
        x = terms(rng, count)
        x |= add.golden({"x": x})["y"]
        # Half of the sums are replaced by sums of every length.
        other, largest = stimuli.sums(design, rng, len(x["sum"]))
        keep = rng.random((len(other), 1)) < 0.5
        free = ~keep & (x["nan"] == 0) & (x["infinite"] == 0)
        return x | {"sum": np.where(free, other, x["sum"]), "largest": np.where(free, largest, x["largest"])}

    def signs(x: Arrays) -> Arrays:
        total = add.golden({"x": x})["y"]["sum"]
        return {"positive": total > 0, "negative": total < 0, "zero": total == 0}

    def rounding(x: Arrays) -> Arrays:
        finite = (x["nan"] == 0) & (x["infinite"] == 0)
        special = {"NaN": x["nan"] == 1, "infinity": (x["infinite"] == 1) & (x["nan"] == 0)}
        size = np.abs(x["sum"][finite])
        length = np.frexp(size.astype(np.float64))[1]  # exact below 2^53
        each = {f"sum of {i} bits": length == i for i in range(design.most.bit_length() + 1)}
        return special | each | fused_dot_coverage.rounding(design, x["sum"][finite], x["largest"][finite])

    front = fused_dot_multiply.stage(design, operands, lambda x: fused_dot_coverage.bins(design, x))
    add = fused_dot_add.stage(design, terms, signs)
    return Blocks(front, add, fused_dot_round.stage(design, sums, rounding))


def _declared(fields: tuple[Field, ...], prefix: str, kind: str = "wire") -> list[str]:
    return [f"{kind} {vector(f.bits)}{prefix}{f.name};" for f in fields]


def _instance(cell: Cell, name: str, nets: dict[str, str]) -> list[str]:
    """Return an instance; ``nets`` maps port names to what they are connected to."""
    pins = [f".{c.signal(f.name)}({nets[c.signal(f.name)]})" for c in cell.channels for f in c.fields]
    return [f"{cell.name} {name} (", *(f"    {pin}," for pin in pins[:-1]), f"    {pins[-1]}", ");"]


def _logic(design: Design, blocks: Blocks, cut: dict[str, str], result: str) -> list[str]:
    """Return the instances of all blocks.

    Args:
        design: of the unit.
        blocks: of the unit.
        cut: prefix of the nets that each block reads: ``operands``, ``front`` (as read by the adder), ``sum`` (as read
            by the rounder).
        result: net of the result.
    """
    front, special = front_fields(design), special_fields()
    total = Field("sum", design.sum_bits)
    nets = {f"x_{f.name}": cut["operands"] + f.name for f in operand_fields(design)}
    nets |= {f"y_{f.name}": f"front_{f.name}" for f in (*front, *special)}
    lines = [*_declared((*front, *special), "front_"), *_instance(blocks.front, "multiply", nets), ""]
    nets = {f"x_{f.name}": cut["front"] + f.name for f in front} | {"y_sum": "total_sum"}
    lines += [*_declared((total,), "total_"), *_instance(blocks.add, "add", nets), ""]
    nets = {f"x_{f.name}": cut["special"] + f.name for f in (*special, Field("largest", 1))}
    return lines + _instance(blocks.back, "round", nets | {"x_sum": cut["sum"] + "sum", "y_d": result})


def _wired(design: Design, blocks: Blocks) -> list[str]:
    """Return the blocks one behind the other."""
    cut = {"operands": "x_", "front": "front_", "special": "front_", "sum": "total_"}
    return _logic(design, blocks, cut, "y_d")


def _pipeline(design: Design, blocks: Blocks, stages: int) -> list[str]:
    """Return the blocks with registers before and behind, and where :data:`CUTS` says, between them.

    A rank of registers takes new values when it is empty or its values move on.
    """
    cuts = CUTS[stages]
    front, special = front_fields(design), special_fields()
    late = (*special, Field("largest", design.exponent_bits))
    total = Field("sum", design.sum_bits)
    # (fields, prefix of their source, prefix of the registers)
    ranks: list[list[tuple[tuple[Field, ...], str, str]]] = [[(operand_fields(design), "x_", "operand_")]]
    cut = {"operands": "operand_", "front": "front_", "special": "front_", "sum": "total_"}
    if "front" in cuts:
        ranks.append([((*front, *special), "front_", "term_")])
        cut |= {"front": "term_", "special": "term_"}
    if "sum" in cuts:
        ranks.append([((total,), "total_", "held_"), (late, cut["special"], "held_")])
        cut |= {"special": "held_", "sum": "held_"}
    ranks.append([((Field("d", design.c.width),), "result_", "out_")])
    last = len(ranks) - 1
    lines = [f"reg {', '.join(f'full{i}' for i in range(len(ranks)))};  // a rank of registers holds a beat"]
    for i in reversed(range(len(ranks))):
        lines.append(f"wire take{i} = ~full{i} | {'y_ready' if i == last else f'take{i + 1}'};")
    lines.append("assign x_ready = take0;")
    lines.append("always @(posedge clk) begin")
    for i in range(len(ranks)):
        coming = "x_valid" if i == 0 else f"full{i - 1}"
        lines.append(f"    if (rst) full{i} <= 1'b0; else if (take{i}) full{i} <= {coming};")
    lines += ["end", f"assign y_valid = full{last};", ""]
    for rank in ranks:
        for fields, _, to in rank:
            lines += _declared(fields, to, "reg")
    lines += ["wire " + vector(design.c.width) + "result_d;", ""]
    lines += _logic(design, blocks, cut, "result_d")
    lines += ["", "always @(posedge clk) begin"]
    for i, rank in enumerate(ranks):
        lines.append(f"    if (take{i}) begin")
        for fields, source, to in rank:
            lines += [f"        {to}{f.name} <= {source}{f.name};" for f in fields]
        lines.append("    end")
    return [*lines, "end", "assign y_d = out_d;"]
