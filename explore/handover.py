"""The directory of a chosen design: why it was chosen, its spec, its proven Verilog, its PPA report.

====================  ==================================================================
README.md             what this is, why this design, what its neighbours cost, how to make it again
spec.yaml             the resolved hardware, fit for ``--hardware`` and for ``lutscape rtl``
choice.json           the numbers of README.md
rtl/                  Verilog, mapped netlist, index.html with verification, area, timing, power, and its numbers
====================  ==================================================================
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from lutscape.explore import choose, report, rtl_report, store, text
from lutscape.explore.choose import Choice
from lutscape.explore.rtl_measured import Options
from lutscape.hw import spec as hardware
from lutscape.hw.errors import UserError
from lutscape.hw.ppa import METRICS
from lutscape.hw.spec import Spec
from lutscape.rtl import catalogue


def buildable(choice: Choice) -> Spec:
    """Return the spec, loaded from what will be written; refuse one that no generator builds.

    Raises:
        UserError: naming the parameter and the nearest value that can be built.
    """
    loaded = hardware.parse(yaml.safe_load(spec_text(choice)), f"trial {choice.number}")
    try:
        catalogue.cells(loaded)
    except UserError as error:
        raise UserError(
            f"trial {choice.number} has no Verilog: {error}; choose another with --trial or --constraint, or leave the "
            "Verilog out with --no-rtl"
        ) from None
    return loaded


def spec_text(choice: Choice) -> str:
    """Return the design as a hardware file."""
    return report.hardware_file(choice.spec, choice.plan, choice.number)


def write(
    choice: Choice,
    directory: Path,
    options: Options,
    say: Callable[[str], None],
    arguments: list[str],
    rtl: bool = True,
) -> Path:
    """Write the directory; README.md comes last and says that all is there.

    Args:
        choice: the design.
        directory: must be empty or absent.
        options: of the PPA report.
        say: told what is being done.
        arguments: of ``lutscape choose`` but -o, to make it again.
        rtl: also Verilog and PPA report.

    Raises:
        UserError: the directory is not empty, the design cannot be built, or as verification and synthesis.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"-o {directory}: exists and is not an empty directory; give another -o")
    store.check_writable(directory)
    built = buildable(choice) if rtl else None
    store.write(directory / "spec.yaml", spec_text(choice))
    data = as_dict(choice)
    if built is not None:
        rtl_report.write(built, directory / "rtl", options, say)
        measured = json.loads((directory / "rtl" / "report.json").read_text(encoding="utf-8"))
        data["rtl"] = unit_numbers(measured)
        if not data["rtl"]["verified"]:
            say("WARNING: the Verilog differs from its golden model; see rtl/index.html")
    store.write(directory / "choice.json", json.dumps(data, indent=1) + "\n")
    path = directory / "README.md"
    store.write(path, readme(choice, data, arguments))
    return path


def as_dict(choice: Choice) -> dict[str, Any]:
    """Return everything that was found as plain data."""
    return {
        "schema_version": 1,
        "sweep": choice.plan.file.name,
        "trial": choice.number,
        "parameters": choice.design,
        "digest": choice.spec.digest(),
        "constraints": [str(c) for c in choice.constraints],
        "reasons": choose.reasons(choice),
        "bound_by": dict(choose.bound_by(choice.result)),
        "front": [int(n) for n in choice.front["number"]],
        "neighbours": [
            {"parameter": n.key, "from": n.before, "to": n.after, "ratios": n.ratios, "reason": n.reason}
            for n in choice.neighbours
        ],
        **choice.ppa.as_dict(),
    }


def unit_numbers(data: dict[str, Any]) -> dict[str, Any]:
    """Return the headline of a PPA report."""
    keys = ("library", "area_um2", "min_period_ps", "total_w", "energy_per_mac_fj", "macs_per_cycle")
    proofs = data["verification"]
    found = {
        "verified": all(v["passed"] for v in proofs),
        "cells": len(data["cells"]),
        "beats": sum(sum(v["beats"].values()) for v in proofs),
    }
    if "unit" in data:
        return found | {k: data["unit"][k] for k in keys if k in data["unit"]}
    return found | {"mapped": {r["cell"]: {k: r[k] for k in keys if k in r} for r in data["synthesis"]}}


def readme(choice: Choice, data: dict[str, Any], arguments: list[str]) -> str:
    """Return README.md."""
    plan, metrics = choice.plan, choice.ppa.metrics
    lines = [
        f"# Trial {choice.number} of {plan.file.name}",
        "",
        f"A design for {choice.result.prefill_tokens} prompt and {choice.result.decode_steps} generated tokens of the "
        f"trace that the sweep ran on, as `lutscape choose` picked it.",
        "",
        "## Why this design",
        "",
        *(f"- {line}" for line in data["reasons"]),
        "",
        "## What it is",
        "",
        "| parameter | value |",
        "|---|---|",
        *(f"| `{k}` | {text.plain(v)} {text.field_unit(k)} |".replace("  |", " |") for k, v in choice.design.items()),
        "",
        "| metric | value | grade |",
        "|---|---|---|",
        *(f"| {text.metric_label(n)} | {text.quantity(q.value, q.unit)} | {q.grade} |" for n, q in metrics.items()),
        "",
        f"Area counts {choice.ppa.area_convention}.",
        "",
        *_neighbours(choice),
        *_rtl(data.get("rtl")),
        "## Make it again",
        "",
        "```sh",
        shlex.join(["lutscape", "choose", *arguments, "-o", "DIR"]),
        "```",
        "",
        "`spec.yaml` is the whole design: `lutscape simulate TRACE --hardware spec.yaml` costs it on another trace"
        + (", `lutscape rtl verify spec.yaml` proves its Verilog again." if "rtl" in data else "."),
        "",
    ]
    return "\n".join(lines)


def _neighbours(choice: Choice) -> list[str]:
    shown = [*choice.plan.file.objectives]
    head = [f"{text.metric_label(n)}" for n in shown]
    lines = [
        "## What the neighbours cost",
        "",
        "One parameter moved one step, the rest as chosen; simulated on the same trace, as multiples of the chosen "
        "design.",
        "",
        f"| change | {' | '.join(head)} | |",
        f"|---|{'---|' * len(shown)}---|",
    ]
    for n in choice.neighbours:
        cells = [f"{n.ratios[name]:.3g}x" if name in n.ratios else "–" for name in shown]
        verdict = n.reason or _verdict(n.ratios, shown)
        change = f"`{n.key}` {text.plain(n.before)} → {text.plain(n.after)}"
        lines.append(f"| {change} | {' | '.join(cells)} | {verdict} |")
    return [*lines, ""]


def _verdict(ratios: dict[str, float], objectives: list[str]) -> str:
    better = [n for n in objectives if (ratios[n] < 1) == (METRICS[n][1] == "minimize") and ratios[n] != 1]
    worse = [n for n in objectives if (ratios[n] > 1) == (METRICS[n][1] == "minimize") and ratios[n] != 1]
    if better and worse:
        return "a trade"
    if better:
        return "better in every objective: the search did not try it"
    return "worse" if worse else "no difference"


def _rtl(unit: dict[str, Any] | None) -> list[str]:
    if unit is None:
        return []
    proof = (
        "equal their golden models in every bit and cycle" if unit["verified"] else "DIFFER from their golden models"
    )
    start = f"`rtl/` holds one unit: {unit['cells']} cells, which {proof} over {unit['beats']} beats."
    if "mapped" in unit:
        parts = [
            f"{name}: {text.significant(m['area_um2'])} µm², {text.quantity(m['min_period_ps'] * 1e-12, 's')}"
            for name, m in unit["mapped"].items()
        ]
        mapped = f"Mapped, cell by cell: {'; '.join(parts)}."
    else:
        mapped = (
            f"Mapped to {unit['library']} it takes {text.significant(unit['area_um2'])} µm², reaches "
            f"{text.quantity(unit['min_period_ps'] * 1e-12, 's')} and spends "
            f"{text.quantity(unit['energy_per_mac_fj'] * 1e-15, 'J')} a multiply-accumulate on a language model's "
            "operands."
        )
    return ["## Its Verilog", "", f"{start} {mapped} [PPA report](rtl/index.html).", ""]
