"""Hold timing and power to what OpenSTA 3.1 reports on four mapped netlists. Writes opensta.json beside itself.

Development only: FOLDER holds, for each case below, NAME.v.gz (a mapped netlist) and NAME.txt, OpenSTA's output of

    set_power_activity -global -activity 0.2 -duty 0.5
    report_units; report_worst_slack -max; report_checks -fields {cap slew}; report_power

with an ideal clock, no wires, zero input delay, and the period, driving cell and load of the case. Neither the
netlists nor the ASAP7 library come with this project.

    python reports/rtl/compare_opensta.py FOLDER --asap7 asap7/*.lib.gz
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

from lutscape.rtl import liberty, netlist, power, sta
from lutscape.version import __version__

HERE = Path(__file__).resolve().parent
# Name: library, period ps, driving cell, load fF.
CASES = {
    "nangate45_lut1": ("nangate45", 1200.0, "BUF_X2", 10.0),
    "nangate45_mac1": ("nangate45", 1200.0, "BUF_X2", 10.0),
    "nangate45_lut16": ("nangate45", 1200.0, "BUF_X2", 10.0),
    "asap7_lut16": ("asap7", 1000.0, "BUFx2_ASAP7_75t_R", 3.898),
}
PARTS = ("internal", "switching", "leakage", "total")
TIMES_PS = {"1ns": 1000.0, "1ps": 1.0}


def reference(text: str) -> dict[str, Any]:
    """Return slack (ps), the arrivals of the worst path (ps) and power (W) of OpenSTA's output."""
    unit = re.search(r"^ time (\S+)", text, re.MULTILINE)
    slack = re.search(r"^worst slack max (\S+)", text, re.MULTILINE)
    assert unit is not None
    assert slack is not None
    scale = TIMES_PS[unit.group(1)]
    powers = {}
    for name, values in re.findall(r"^(Sequential|Combinational|Total)\s+(.*)%$", text, re.MULTILINE):
        powers[name.lower()] = dict(zip(PARTS, map(float, values.split()[:4]), strict=True))
    arrivals = re.findall(r"^(?:\s+[\d.-]+){2,3}\s+([\d.]+) [v^] ([^\s/]+)(?:/\S+)? \(", text, re.MULTILINE)
    return {
        "worst_slack_ps": float(slack.group(1)) * scale,
        "path": [(name, float(time) * scale) for time, name in arrivals],
        "power_w": powers,
    }


def ours(folder: Path, name: str, libraries: dict[str, list[str]]) -> dict[str, Any]:
    """Return the same from this project, with both conventions for states, and the seconds it took."""
    library_name, period, driving_cell, load = CASES[name]
    begin = time.perf_counter()
    library = liberty.load(libraries[library_name])
    parsed = netlist.parse(folder / f"{name}.v.gz")
    timing = sta.timing(parsed, library, period, driving_cell, load)
    found: dict[str, Any] = {"worst_slack_ps": timing.worst_slack_ps, "cells": len(parsed.cells), "power_w": {}}
    for states in power.STATES:
        r = power.power(parsed, library, 0.2, period, timing, states=states)
        groups = {**r.groups, "total": {"internal": r.internal_w, "switching": r.switching_w, "leakage": r.leakage_w}}
        found["power_w"][states] = {g: {**p, "total": sum(p.values())} for g, p in groups.items()}
    found["seconds"] = round(time.perf_counter() - begin, 2)
    found["path"] = [(s.instance, s.arrival_ps) for s in timing.critical_path]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--asap7", nargs="+", required=True, metavar="LIB")
    arguments = parser.parse_args()
    libraries = {"nangate45": ["nangate45"], "asap7": arguments.asap7}
    document: dict[str, Any] = {
        "what": "timing and power against OpenSTA 3.1: ideal clock, no wires, activity 0.2 and duty 0.5 on every net",
        "lutscape": __version__,
        "cases": {},
    }
    print(f"{'case':16} {'states':12} {'slack':>8} {'of period':>9}", *(f"{p:>10}" for p in PARTS))
    for name, (library_name, period, driving_cell, load) in CASES.items():
        theirs = reference((arguments.folder / f"{name}.txt").read_text())
        mine = ours(arguments.folder, name, libraries)
        slack = mine["worst_slack_ps"] - theirs["worst_slack_ps"]
        # OpenSTA's path names the launching clock pin first, at zero.
        path = [p for p in theirs["path"] if p[1] > 0]
        path_ps = max(abs(a[1] - b[1]) for a, b in zip(mine["path"], path, strict=True))
        same = [a[0] for a in mine["path"]] == [b[0] for b in path]
        case: dict[str, Any] = {
            "library": library_name,
            "period_ps": period,
            "driving_cell": driving_cell,
            "load_ff": load,
            "cells": mine["cells"],
            "seconds": mine["seconds"],
            "worst_slack_ps": {"ours": round(mine["worst_slack_ps"], 3), "opensta": theirs["worst_slack_ps"]},
            "slack_difference_percent_of_period": round(100 * slack / period, 4),
            "same_critical_path": same,
            "largest_arrival_difference_on_it_ps": round(path_ps, 3),
            "power_w": {"opensta": theirs["power_w"]},
            "power_difference_percent": {},
        }
        for states in power.STATES:
            both = {
                group: {p: 100 * (mine["power_w"][states][group][p] / parts[p] - 1) for p in PARTS}
                for group, parts in theirs["power_w"].items()
            }
            case["power_w"][states] = mine["power_w"][states]
            case["power_difference_percent"][states] = {
                g: {p: round(v, 3) for p, v in d.items()} for g, d in both.items()
            }
            share = f"{100 * slack / period:+8.4f}%"
            print(f"{name:16} {states:12} {slack:+8.3f} {share}", *(f"{both['total'][p]:+9.3f}%" for p in PARTS))
        document["cases"][name] = case
    (HERE / "opensta.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
