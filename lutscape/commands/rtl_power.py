"""``lutscape rtl power``: static timing and power of any mapped netlist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table

if TYPE_CHECKING:
    from lutscape.rtl.power import PowerReport
    from lutscape.rtl.sta import TimingReport


class SeveralValues(click.Command):
    """Command whose options of one name take several values after it: ``--liberty a.lib b.lib c.lib``."""

    several = "--liberty"
    other = (".v", ".v.gz", ".sv", ".vg")  # endings of the argument: such a word is no further value

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        repeating = False
        for k, word in enumerate(args):
            if word == "--":
                return super().parse_args(ctx, spread + args[k:])
            if word.startswith("-"):
                repeating = word == self.several
                spread.append(word)
            elif repeating and spread[-1] != self.several and not word.endswith(self.other):
                spread += [self.several, word]
            else:
                spread.append(word)
        return super().parse_args(ctx, spread)


@click.command(cls=SeveralValues)
@click.argument("netlist", type=click.Path(path_type=Path))
@click.option("--top", default="", metavar="MODULE", help="Module to take; needed where the file has several.")
@click.option(
    "--liberty",
    required=True,
    multiple=True,
    metavar="LIB...",
    help="Liberty files (.lib, .lib.gz) or nangate45; several are one library. Options end the list.",
)
@click.option("--clock", default="clk", show_default=True, metavar="PORT", help="Clock port.")
@click.option("--period", required=True, metavar="TIME", help="Clock period: 1.2ns or 1200ps.")
@click.option("--activity", default=0.2, show_default=True, metavar="N", help="Toggles per cycle of every net.")
@click.option("--duty", default=0.5, show_default=True, metavar="P", help="Share of time that every net is high.")
@click.option("--driving-cell", metavar="CELL", help="Cell in front of each input; none: ideal inputs.")
@click.option("--load", default="0fF", show_default=True, metavar="CAP", help="On each output: 10fF or 0.01pF.")
@click.option(
    "--states",
    default="independent",
    show_default=True,
    metavar="HOW",
    help="Pins of a cell: independent (as OpenSTA) or consistent (Q and QN never equal).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def power(
    netlist: Path,
    top: str,
    liberty: tuple[str, ...],
    clock: str,
    period: str,
    activity: float,
    duty: float,
    driving_cell: str | None,
    load: str,
    states: str,
    as_json: bool,
) -> None:
    """Worst slack, critical path and power of a mapped NETLIST (.v, .v.gz: flat, structural).

    NLDM tables, ideal clock, no wires. Power is at one activity for all nets.

    \b
      lutscape rtl power unit.v --top unit --liberty nangate45 --clock clk --period 1.2ns \\
          --activity 0.2 --driving-cell BUF_X2 --load 10fF
    """
    from lutscape.rtl import liberty as libraries
    from lutscape.rtl import netlist as netlists
    from lutscape.rtl import power as room
    from lutscape.rtl import quantity, sta

    period_ps, load_ff = quantity.time_ps(period, "--period"), quantity.load_ff(load, "--load")
    library = libraries.load(list(liberty))
    parsed = netlists.parse(netlist, top)
    timing = sta.timing(parsed, library, period_ps, driving_cell, load_ff, clock=clock)
    report = room.power(parsed, library, activity, period_ps, timing, duty=duty, states=states)
    totals = {
        name: room.power(parsed, library, activity, period_ps, timing, duty=duty, states=name).total_w
        for name in room.STATES
    }
    if as_json:
        click.echo(json.dumps({**_document(timing, report), "states": states, "total_by_states_w": totals}, indent=1))
        return
    _print(timing, report)
    click.echo("total by convention of states: " + ", ".join(f"{name} {w:.4e} W" for name, w in totals.items()))


def _document(timing: TimingReport, report: PowerReport) -> dict[str, Any]:
    linked = timing.linked
    return {
        "netlist": linked.netlist.name,
        "library": linked.library.name,
        "period_ps": timing.period_ps,
        "worst_slack_ps": timing.worst_slack_ps,
        "min_period_ps": timing.min_period_ps,
        "internal_w": report.internal_w,
        "switching_w": report.switching_w,
        "leakage_w": report.leakage_w,
        "total_w": report.total_w,
        "input_switching_w": report.input_switching_w,
        "energy_per_cycle_j": report.energy_j,
        "groups": report.groups,
        "activity": report.activity,
        "cells": len(linked.netlist.cells),
        "registers": len(linked.registers),
        "area_um2": linked.area_um2(),
        "critical_path": [vars(step) for step in timing.critical_path],
    }


def _print(timing: TimingReport, report: PowerReport) -> None:
    linked = timing.linked
    click.echo(
        f"{linked.netlist.name}: {len(linked.netlist.cells)} cells ({len(linked.registers)} registers), "
        f"{linked.area_um2():.6g} µm², {linked.library.name}, {linked.library.voltage:g} V"
    )
    click.echo(
        f"worst slack {timing.worst_slack_ps:.2f} ps at {timing.period_ps:g} ps, shortest period "
        f"{timing.min_period_ps:.2f} ps (ideal clock, no wires)\n"
    )
    print_table(
        ["critical path", "cell", "pin", "edge", "delay ps", "transition ps", "arrival ps"],
        [
            [s.instance, s.cell, s.pin, s.edge, f"{s.delay_ps:.2f}", f"{s.transition_ps:.2f}", f"{s.arrival_ps:.2f}"]
            for s in timing.critical_path
        ],
        left=["critical path", "cell", "pin", "edge"],
    )
    click.echo(f"\npower: {report.activity}")
    rows = [(name, [parts[k] for k in ("internal", "switching", "leakage")]) for name, parts in report.groups.items()]
    rows.append(("total", [report.internal_w, report.switching_w, report.leakage_w]))
    print_table(
        ["group", "internal W", "switching W", "leakage W", "total W"],
        [[name, *(f"{v:.4e}" for v in values), f"{sum(values):.4e}"] for name, values in rows],
        left=["group"],
    )
    click.echo(
        f"energy per cycle {report.energy_j * 1e12:.4g} pJ; nets driven by inputs, not in the total: "
        f"{report.input_switching_w:.4e} W"
    )
