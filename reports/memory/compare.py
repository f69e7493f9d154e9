"""Set the sources of memory numbers beside each other and write ``reports/memory/memory.json``.

Run: ``lutscape rtl memory build-cacti; python reports/memory/compare.py`` (half a minute). What it finds:

- The interpolated grid stands for CACTI within 4 to 9 % on average, 30 % at worst (``interpolation``).
- SRAM area: node density x size is 0 to 19 % above CACTI at 28 nm (at 45 nm the node's density is CACTI's own, so
  they agree). At 7 nm and 8 KiB, CACTI scaled from 28 nm gives 2,350 µm², ASAP7's macro 3,270, TSMC's compiler 5,000;
  at 64 KiB they meet within 2 %, because the scaling uses that compiler's density (``sram``, ``asap7``).
- SRAM energy: published caches at 45 nm take 2.1 to 3.2 times CACTI's plain RAM of low-power devices, and what CACTI
  says of high-performance ones. At 7 nm this project's scaling is 7 to 31 times below Google's (recalled) figures. Two
  predictive libraries say the factor is too low: the same register files and ROMs, synthesised and simulated with
  Nangate45 and ASAP7, take 2.6 to 3.9 times the energy at 7 nm that it gives (``energy_45_to_7nm``).
- The cost models' energy (three points, square root, scaled) is 0.9 to 1.8 times CACTI's at 28 nm.
- Leakage: itrs-hp takes 10^4 times the power of itrs-lstp (``device_classes``).
- The three points behind ``sram_energy_pj_per_byte`` are reproduced within 0.4 % (``legacy``).
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw import memory, technology
from lutscape.hw.errors import UserError
from lutscape.hw.memories import asap7, cacti, cacti_build, cells, grid, published, scaling
from lutscape.hw.memories.request import Ports

TARGET = Path(__file__).with_name("memory.json")
KIB = 8192
NODES = ("45nm", "28nm", "16nm", "7nm")
SEED = 1


def errors(found: list[float], right: list[float]) -> dict[str, float]:
    """Return mean absolute and worst relative error."""
    e = np.abs(np.array(found) / np.array(right) - 1)
    return {"mean": round(float(e.mean()), 4), "worst": round(float(e.max()), 4)}


def interpolation(install: cacti_build.Install) -> dict[str, Any]:
    """Grid against runs, off the grid's sizes and nodes."""
    draw = random.Random(SEED)
    got: dict[str, list[float]] = {name: [] for name in grid.QUANTITIES}
    want: dict[str, list[float]] = {name: [] for name in grid.QUANTITIES}
    sizes = []
    while len(sizes) < 60:
        words, bits = int(2 ** draw.uniform(6, 17)), 8 * draw.randint(1, 32)
        if cacti.CAPACITY_BITS[0] <= words * bits <= 2**23:
            sizes.append((words, bits))
    for words, bits in sizes:
        for node in (40.0, 28.0, 25.0):
            answer = cacti.ask(cacti.Question(node, words, bits), install)
            numbers = (answer.area_um2, answer.read_pj, answer.write_pj, answer.leakage_w, answer.access_ns)
            for name, a, b in zip(
                grid.QUANTITIES, grid.interpolate(node, words, bits, Ports(1, 0, 0)), numbers, strict=True
            ):
                got[name].append(float(a))
                want[name].append(b)
    return {
        "sizes": len(sizes),
        "nodes_nm": [40, 28, 25],
        "error": {name: errors(got[name], want[name]) for name in grid.QUANTITIES},
    }


def sram() -> list[dict[str, Any]]:
    """Table and CACTI over sizes and nodes, 64-bit words, one port."""
    rows = []
    for node in NODES:
        for kib in (0.5, 1, 8, 32, 64, 512, 1024, 4096):
            row: dict[str, Any] = {"node": node, "kib": kib}
            for who in ("table", "cacti"):
                e = memory.estimate("sram", capacity_bits=int(kib * KIB), word_bits=64, node=node, prefer=who)
                row |= {f"{who}_{name}": float(f"{q.value:.4g}") for name, q in e.quantities().items()}
                row["published_read_energy_pj"] = [
                    {"value": round(q.value, 2), "grade": str(q.grade), "source": q.source}
                    for name, q in e.others
                    if name == "read_energy_pj"
                ]
            row["cost_model_read_energy_pj"] = round(memory.sram_energy_pj_per_byte(kib, technology.load(node)) * 8, 4)
            rows.append(row)
    return rows


def macros(install: cacti_build.Install) -> dict[str, Any]:
    """ASAP7 macros against their fit and CACTI scaled from 28 nm."""
    factors = scaling.to(technology.load("7nm"))
    assert factors is not None
    rows = []
    for m in asap7.macros():
        if m.ports != 1 or m.words < cacti.WORDS[0]:
            continue
        bits = -(-m.word_bits // 8) * 8
        a = cacti.ask(cacti.Question(factors.base.node_nm, m.words, bits), install)
        rows.append(
            {
                "words": m.words,
                "word_bits": m.word_bits,
                "macro_um2": round(m.area_um2, 2),
                "fit_um2": round(asap7.fit().area_um2(m.bits), 2),
                "cacti_um2": round(a.area_um2 * factors.area * m.word_bits / bits, 2),
                "lib_slow_ns": m.slow_ps / 1e3,
                "lib_fast_ns": m.fast_ps / 1e3,
                "cacti_ns": round(a.access_ns * factors.delay, 3),
            }
        )
    ratio = [row["cacti_um2"] / row["macro_um2"] for row in rows]
    one = 1 / asap7.TSMC_SRAM_MBIT_PER_MM2[0][1] / (asap7.fit().area_um2(65536) / 65536)
    eight = 1 / asap7.TSMC_SRAM_MBIT_PER_MM2[-1][1] / (asap7.fit().area_um2(524288) / 524288)
    return {
        "fits": {
            name: {
                "um2_per_bit": f.linear,
                "um2_per_root_bit": f.root,
                "rms": f.rms,
                "worst": f.worst,
                "macros": f.macros,
            }
            for name, f in (("1rw", asap7.fit(1)), ("2rw", asap7.fit(2)), ("all", asap7.fit(None)))
        },
        "cacti_over_macro": {"least": round(min(ratio), 3), "most": round(max(ratio), 3)},
        "tsmc_compiler_over_asap7": {"1Kx64": round(one, 3), "8Kx64": round(eight, 3)},
        "macros": rows,
    }


def bit_cells(install: cacti_build.Install) -> list[dict[str, Any]]:
    """Published bit cells against the area per bit of CACTI's 64 KiB: the efficiency that would join them."""
    rows = []
    for row in published.load().rows:
        if row.what == "bit_cell_um2" and cacti.NODE_NM[0] <= row.node_nm <= cacti.NODE_NM[1]:
            area = cacti.ask(cacti.Question(row.node_nm, 8192, 64), install).area_um2 / 524288
            rows.append(
                {
                    "node_nm": row.node_nm,
                    "process": row.process,
                    "bit_cell_um2": row.value,
                    "cacti_um2_per_bit": round(area, 4),
                    "bit_cell_over_cacti": round(row.value / area, 3),
                }
            )
    return rows


def device_classes(install: cacti_build.Install) -> list[dict[str, Any]]:
    """64 KiB, 64-bit words, by CACTI's device class."""
    rows = []
    for node in (45, 28, 22):
        for name in cacti.DEVICE_CLASSES:
            a = cacti.ask(cacti.Question(node, 8192, 64, device_class=name), install)
            rows.append(
                {
                    "node_nm": node,
                    "class": name,
                    "read_pj": round(a.read_pj, 3),
                    "leakage_w": float(f"{a.leakage_w:.3g}"),
                    "access_ns": round(a.access_ns, 3),
                }
            )
    return rows


def energy_45_to_7nm() -> dict[str, Any]:
    """Measured energy ratios of the same design in two libraries, against the node factors."""
    old, new = cells.library_for(technology.load("45nm")).node, cells.library_for(technology.load("7nm")).node
    rows = []
    for kind, style in (("register_file", "enable-flip-flop"), ("rom", "logic")):
        pairs = zip(cells.rows("nangate45", kind, style), cells.rows("asap7", kind, style), strict=True)
        for a, b in pairs:
            for name in ("read_pj", "idle_pj"):
                if float(a[name]):
                    ratio = float(b[name]) / float(a[name])
                    rows.append((kind, name, a["words"], a["word_bits"], round(ratio, 4)))
    ratios = [row[-1] for row in rows]
    factor = new.energy_ratio(old)
    return {
        "factor_at_library_supplies": round(factor, 4),
        "measured": {"least": min(ratios), "most": max(ratios)},
        "measured_over_factor": {"least": round(min(ratios) / factor, 2), "most": round(max(ratios) / factor, 2)},
        "rows": [dict(zip(("kind", "quantity", "words", "word_bits", "ratio"), row, strict=True)) for row in rows],
    }


def standard_cells() -> list[dict[str, Any]]:
    """Fits of the standard-cell memories against their own rows."""
    rows = []
    for library in ("nangate45", "asap7"):
        for style in cells.STYLES:
            table = cells.rows(library, "register_file", style)
            found = [
                cells.register_file_area(library, style, int(r["words"]), int(r["word_bits"]), int(r["readers"]), 1)
                for r in table
            ]
            e = errors(found, [float(r["area_um2"]) for r in table])
            rows.append({"library": library, "kind": "register_file", "style": style, "quantity": "area_um2", **e})
        for kind, style in (("register_file", "enable-flip-flop"), ("rom", "logic")):
            table = cells.rows(library, kind, style)
            for name in (*cells.FITTED, "area_um2")[1 if kind == "rom" else 0 :]:
                if kind == "rom" and name == "write_pj":
                    continue
                found = [cells.fitted(library, kind, name, int(r["words"]), int(r["word_bits"])) for r in table]
                e = errors(found, [float(r[name]) for r in table])
                rows.append({"library": library, "kind": kind, "style": style, "quantity": name, **e})
    return rows


def legacy(install: cacti_build.Install) -> list[dict[str, Any]]:
    """The points of ``sram_energy_pj_per_byte``, asked again, and sizes beyond them."""
    rows = []
    known = dict(memory.CACTI_45NM)
    node = technology.load("45nm")
    for kib in (1, 8, 64, 256, 1024, 4096):
        a = cacti.ask(cacti.Question(45, kib * 128, 64), install)
        rows.append(
            {
                "kib": kib,
                "point_pj": known.get(float(kib)),
                "cost_model_pj": round(memory.sram_energy_pj_per_byte(kib, node) * 8, 3),
                "cacti_read_pj": round(a.read_pj, 3),
                "cacti_write_pj": round(a.write_pj, 3),
                "cacti_um2_per_bit": round(a.area_um2 / (kib * KIB), 4),
            }
        )
    return rows


def show(title: str, rows: list[dict[str, Any]], keep: dict[str, str] | None = None) -> None:
    """Print rows as a table; ``keep`` names the columns to print, with shorter titles."""
    from lutscape.commands.console import print_table

    print(f"\n{title}")
    names = keep or {name: name for name, value in rows[0].items() if not isinstance(value, list)}
    cells_of = [[_short(row[name]) for name in names] for row in rows]
    print_table(list(names.values()), cells_of, ["node", "process", "class", "library", "kind", "style", "quantity"])


def _short(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{entry['value']:g} ({entry['grade']})" for entry in value)
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def main() -> None:
    install = cacti_build.find()
    if install is None:
        raise UserError("CACTI is not built; run: lutscape rtl memory build-cacti")
    result: dict[str, Any] = {
        "cacti": install.name,
        "settings": f"{cacti.DEVICE_CLASS}, {cacti.TEMPERATURE_K} K",
        "interpolation": interpolation(install),
        "sram": sram(),
        "asap7": macros(install),
        "bit_cells": bit_cells(install),
        "device_classes": device_classes(install),
        "energy_45_to_7nm": energy_45_to_7nm(),
        "standard_cells": standard_cells(),
        "legacy": legacy(install),
    }
    show("interpolated grid against CACTI", [{"quantity": k, **v} for k, v in result["interpolation"]["error"].items()])
    columns = {"node": "node", "kib": "KiB"}
    for name, title in (("area_um2", "um2"), ("read_energy_pj", "read pJ"), ("leakage_w", "leak W")):
        columns |= {f"table_{name}": f"table {title}", f"cacti_{name}": f"CACTI {title}"}
    columns |= {"cost_model_read_energy_pj": "cost model pJ", "published_read_energy_pj": "published pJ"}
    show("SRAM, 64-bit words", result["sram"], columns)
    show("ASAP7 macros, one port", result["asap7"]["macros"])
    print({k: v for k, v in result["asap7"].items() if k != "macros"})
    show("bit cells against CACTI", result["bit_cells"])
    show("device classes, 64 KiB", result["device_classes"])
    print("\nenergy 45 to 7 nm", {k: v for k, v in result["energy_45_to_7nm"].items() if k != "rows"})
    show("fits of standard-cell memories", result["standard_cells"])
    show("points of the cost models, 45 nm", result["legacy"])
    temporary = TARGET.with_name(f".{TARGET.name}.tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(temporary, TARGET)


if __name__ == "__main__":
    main()
