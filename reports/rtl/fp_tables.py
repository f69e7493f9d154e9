"""Lookup with FP16 tables against FP16 multipliers at equal throughput, mapped to Nangate 45 nm.

Writes fp_tables.json and fp_tables.md next to itself. Activations are FP16, sums FP32, four products at a time:

    lookup      bit-serial, FP16 tables of four activations: W additions for four products of W-bit weights
    multiply    a fused dot product of four FP16 x FP16 products and the sum so far (rtl/cells/fp_mac_array.py)
    narrow      the same with weights in the narrowest float format that holds W-bit weights of +-1 planes

Cells are mapped alone; arrays of 2 x 64 x 4 follow from them and the registers of the common frame, so that all have
one convention. Arrays of 1 x 2 x 4 in that frame, without builders, are mapped whole; their gates are simulated on
operands of a language model, compared with the golden models, and give the energies. INT8 rows for comparison are those
of lut-vs-mac.json. Needs pyosys, Icarus Verilog, the library (lutscape rtl liberty get nangate45) and the weights
(lutscape models get smollm2-135m).

    python reports/rtl/fp_tables.py [--only TEXT]
"""

from __future__ import annotations

import argparse
import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.formats.binary import FORMATS
from lutscape.hw.formats.encode import encode
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.models.quantise.scalar import quantise
from lutscape.rtl import measure, streams, synth
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.cells import fp_array, fp_lookup_pe, fp_mac_array, fp_table_builder, operands
from lutscape.version import __version__

HERE = Path(__file__).resolve().parent
OUT = HERE / "fp_tables.json"
LIBRARY, PERIOD_PS = "nangate45", 6000.0
K = 4
SMALL = (1, 2)
"""Rows and columns of the arrays that are mapped whole."""
ROWS, WIDE = 2, 64
"""Rows and columns of the derived arrays: the paper's (arXiv 2408.06003, sec. 3.2.2: M2 N64 K4)."""
NARROW = {1: "e2m1", 2: "e2m1", 3: "e2m3", 4: "e4m3"}
"""Weight bits: narrowest format of the units that holds 2 q - (2^W - 1)."""
INTEGER = HERE / "lut-vs-mac.json"


def lookup_array(bits: int, rows: int = 1, columns: int = 1) -> Array:
    """Return a bit-serial array of FP16 tables for W-bit weights."""
    return Array(
        datapath="lut", m=rows, n=columns, k=K, count=1, activation_format="fp16", activation_bits=16, table_bits=16,
        accumulator_bits=32, serial_weight_bits=bits,
    )  # fmt: skip


@cache
def layer(bits: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Return FP16 activations (T, K) as numbers, weight codes (N, K), and where they come from."""
    x, w = streams._layer(streams.MODEL, streams.LAYER, streams.TOKENS)
    codes = quantise(w, bits, 64).codes.astype(np.int64)
    source = f"{streams.MODEL}, {streams.LAYER}, {streams.TOKENS} tokens, FP16 x int{bits}-g64"
    return x.astype(np.float16).astype(np.float64), codes, source


def windows(bits: int) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """Return one tile per stream: FP16 codes (m, K), weight codes (n, K)."""
    x, codes, source = layer(bits)
    halves = encode(x, FORMATS["fp16"]).astype(np.int64)
    return streams.windows(
        streams.Operands(halves, codes, bits, source), *SMALL, measure.DEPTH, measure.STREAMS
    ), source


def lookup(bits: int) -> tuple[Cell, list[Beats], str]:
    """Return the lookup array and its operands."""
    array = lookup_array(bits, *SMALL)
    tiles, source = windows(bits)
    beats: list[Beats] = [
        {
            "a": {
                "entries": fp_table_builder.evaluate(array, fp_array.grouped(array, a)).reshape(measure.DEPTH // K, -1)
            },
            "w": operands.weight_beats(array, q, bits),
        }
        for a, q in tiles
    ]
    return fp_array.fp_array(array), beats, source


def multiply(bits: int, weight: str) -> tuple[Cell, list[Beats], str]:
    """Return a multiplier array and its operands; every weight of the array is exact in its format."""
    frame = fp_mac_array.frame(*SMALL, K, "fp16", weight)
    tiles, source = windows(bits)
    floats = [
        (a, encode((2 * q - ((1 << bits) - 1)).astype(np.float64), FORMATS[weight]).astype(np.int64)) for a, q in tiles
    ]
    return fp_mac_array.fp_mac_array(*SMALL, K, weight), [fp_mac_array.beats_of(frame, [t]) for t in floats], source


def cell_row(name: str, cell: Cell) -> dict[str, Any]:
    """Return the area of one combinational cell."""
    done = synth.synthesise(cell.verilog(), cell.name, LIBRARY, period_ps=PERIOD_PS)
    return {
        "row": name, "cell": cell.name, "area_um2": done.area_um2, "gates": done.gates,
        "min_period_ps": done.min_period_ps, "recipe": done.recipe, "key": done.key,
    }  # fmt: skip


def unit_row(name: str, bits: int, cell: Cell, beats: list[Beats], source: str) -> dict[str, Any]:
    """Return area and power of one array at work; its gates must compute what the golden model does."""
    macs = float(SMALL[0] * SMALL[1] * measure.DEPTH)
    done = measure.measure(cell, beats, macs, source, library=LIBRARY, period_ps=PERIOD_PS)
    if done.wrong:
        raise SystemExit(f"{cell.name}: {done.wrong} of {done.values} values of the mapped netlist are wrong")
    return {"row": f"{name} W{bits}", "design": name, "weight_bits": bits, **done.as_dict()}


def jobs() -> list[tuple[str, Any]]:
    """Return what is mapped, small things first: name and a function that returns the row."""
    found: list[tuple[str, Any]] = [
        ("builder", lambda: cell_row("builder", fp_table_builder.fp_table_builder(lookup_array(1)))),
    ]
    for bits in NARROW:
        pe = fp_lookup_pe.fp_lookup_pe(lookup_array(bits))
        found.append((f"lookup element W{bits}", lambda b=bits, c=pe: cell_row(f"lookup element W{b}", c)))
    for weight in ("fp16", *dict.fromkeys(NARROW.values())):
        pe = fp_mac_array.fp_mac_array(1, 1, K, weight).parts[0]
        found.append((f"multiplier {weight}", lambda w=weight, c=pe: cell_row(f"multiplier {w}", c)))
    found += [(f"lookup W{b}", lambda b=b: unit_row("lookup", b, *lookup(b))) for b in (1, 2, 4, 3)]
    found += [(f"narrow W{b}", lambda b=b: unit_row("narrow", b, *multiply(b, NARROW[b]))) for b in (1, 2, 4, 3)]
    found += [(f"multiply W{b}", lambda b=b: unit_row("multiply", b, *multiply(b, "fp16"))) for b in (1, 2, 4, 3)]
    return found


def integer_ratios() -> dict[int, float]:
    """Return area of multipliers over area of exact-table lookup at INT8, per weight bits, of lut-vs-mac.json."""
    rows = json.loads(INTEGER.read_text())["rows"]
    area = {
        (r["design"], r["weight_bits"]): r["area_um2"] / r["macs_per_cycle"]
        for r in rows
        if r["library"] == "Nangate45"
    }
    return {w: area["mac", w] / area["lut-exact", w] for w in NARROW}


def derived(rows: dict[str, dict[str, Any]], bits: int) -> dict[str, float]:
    """Return areas per multiply-accumulate and edge of arrays of WIDE columns from cells alone, registers included.

    lookup: one builder per ⌈m/W⌉ rows, m table registers, per column its codes and m elements with sums, W edges per
    product of four; multiply: activation registers, per column four weights and m elements with sums.
    """
    flop = rows["register"]["area_um2"]
    build = -(-ROWS // bits)
    table = fp_table_builder.fp_table_builder(lookup_array(1)).channel("y").fields[0].bits
    fixed = build * (rows["builder"]["area_um2"] + K * 16 * flop) + ROWS * table * flop
    staged = (ROWS - build) * table * flop if bits > 1 else 0.0
    column = K * flop + ROWS * (rows[f"lookup element W{bits}"]["area_um2"] + 32 * flop)
    found = {"lookup": (fixed + staged + WIDE * column) * bits / (ROWS * WIDE * K)}
    for name, weight in (("multiply", "fp16"), ("narrow", NARROW[bits])):
        width = FORMATS[weight].bits
        each = K * width * flop + ROWS * (rows[f"multiplier {weight}"]["area_um2"] + 32 * flop)
        found[name] = (ROWS * K * 16 * flop + WIDE * each) / (ROWS * WIDE * K)
    return found


def register_row() -> dict[str, Any]:
    """Return the area of one register bit."""
    text = (
        "module bit_register (input wire clk, input wire d, output reg q);\nalways @(posedge clk) q <= d;\nendmodule\n"
    )
    done = synth.synthesise(text, "bit_register", LIBRARY, period_ps=PERIOD_PS)
    return {"row": "register", "cell": "bit_register", "area_um2": done.register_area_um2, "key": done.key}


def page(data: dict[str, Any]) -> str:
    """Return the numbers as Markdown."""
    rows = {r["row"]: r for r in data["rows"]}
    lines = [
        "# FP16 tables against FP16 multipliers",
        "",
        f"`{data['command']}`. Nangate 45 nm, target {PERIOD_PS / 1000:g} ns, area without wires and clock tree, grade "
        "synthesised. FP16 activations, FP32 sums; numbers of one clocked stage per step, no pipelining.",
        "",
        "## Cells alone",
        "",
        "| cell | area um2 | reached ns |",
        "|---|---|---|",
    ]
    for name, r in rows.items():
        if "min_period_ps" in r and "design" not in r:
            lines.append(f"| {name} (`{r['cell']}`) | {r['area_um2']:,.0f} | {r['min_period_ps'] / 1000:.2f} |")
    lines += [
        "",
        f"## Arrays of {SMALL[0]} x {SMALL[1]} x {K}, mapped whole, without builders",
        "",
        "Area per multiply-accumulate and edge (registers of one row are shared by two columns only), and energy per "
        f"multiply-accumulate of the gates on operands of {streams.MODEL}, leakage included, glitches not. "
        "Ratio: multiplier over lookup.",
        "",
        "| W | design | area um2 | gates wrong | reached ns | energy pJ | ratio of area | ratio of energy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for bits in NARROW:
        base = rows.get(f"lookup W{bits}")
        for design in ("lookup", "multiply", "narrow"):
            r = rows.get(f"{design} W{bits}")
            if r is None or base is None:
                continue
            area, energy = r["area_um2"] / r["macs_per_cycle"], r["energy_per_mac_fj"]
            first = base["area_um2"] / base["macs_per_cycle"], base["energy_per_mac_fj"]
            what = f"{design} ({NARROW[bits]})" if design == "narrow" else design
            lines.append(
                f"| {bits} | {what} | {area:,.0f} | {r['gate_level_mismatches']} of {r['gate_level_values']} "
                f"| {r['min_period_ps'] / 1000:.2f} | {energy / 1000:.2f} | {area / first[0]:.2f} "
                f"| {energy / first[1]:.2f} |"
            )
    needed = {f"lookup element W{b}" for b in NARROW} | {f"multiplier {w}" for w in ("fp16", *NARROW.values())}
    if needed | {"register", "builder"} <= set(rows):
        integer = data["integer_ratio"]
        lines += [
            "",
            f"## Arrays of {ROWS} x {WIDE} x {K}, derived from cells and registers alone",
            "",
            "Builders, table registers, activation, weight and sum registers included. Ratio: multiplier over lookup, "
            "above 1 tables pay. The last column: INT8 x W, exact tables, 2 x 24 / W columns, mapped whole "
            "(lut-vs-mac.json).",
            "",
            "| W | lookup um2 per MAC | FP16 x FP16 | ratio | FP16 x narrow | ratio | INT8: multiplier / lookup |",
            "|---|---|---|---|---|---|---|",
        ]
        for bits in NARROW:
            d = derived(rows, bits)
            lines.append(
                f"| {bits} | {d['lookup']:,.0f} | {d['multiply']:,.0f} | {d['multiply'] / d['lookup']:.2f} "
                f"| {d['narrow']:,.0f} | {d['narrow'] / d['lookup']:.2f} | {integer[str(bits)]:.2f} |"
            )
    return "\n".join([*lines, ""])


def main() -> None:
    """Map what is missing; write after every row."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="rows whose names contain this")
    options = parser.parse_args()
    data: dict[str, Any] = {"rows": []}
    if OUT.exists():
        data = json.loads(OUT.read_text())
    data |= {"schema_version": 1, "command": "python reports/rtl/fp_tables.py", "lutscape": __version__}
    data["integer_ratio"] = {str(w): round(r, 4) for w, r in integer_ratios().items()}
    order = ["register", *(name for name, _ in jobs())]
    for name, make in [("register", register_row), *jobs()]:
        if options.only not in name:
            continue
        started = time.monotonic()
        row = make()
        kept = [r for r in data["rows"] if r["row"] != name]
        data["rows"] = sorted([*kept, row], key=lambda r: order.index(r["row"]))
        for path, text in ((OUT, json.dumps(data, indent=1) + "\n"), (OUT.with_suffix(".md"), page(data))):
            temporary = path.with_name(f".{path.name}.tmp")
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        print(f"{name}: {row['area_um2']:,.0f} um2, {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
