"""The synthesis recipes: what yosys and abc are told, the same for every cell.

One ladder of recipes serves lookup, adder and multiplier designs, so that areas compare designs and not scripts:
the smallest first, and a faster one only where the period asks for it (:func:`lutscape.rtl.synth.synthesise`). All
begin with yosys ``synth`` and rewriting with structural choices (``drw; dch -f``); they differ in mapping:

    area      amap -m                  for area alone
    balanced  map -B 0.2               for delay, then area
    fast      map -B 0.5               the same, with more weight on delay

and end with ``buffer`` (at most 10 sinks on a net, table registers included), ``upsize`` and ``dnsize`` to the period.

What else was tried, on 2 x 8 arrays of k = 4, 24-bit sums, Nangate45 at 2 ns (µm²: lookup INT8, multiplier 8 x 2,
multiplier 8 x 8), and why it was left:

    area, as chosen                               6,990    10,765    32,247
    yosys' default script (&nf)                  +8.9 %    +8.2 %   +17 %     larger, no faster
    amap after dc2 instead of drw                +1.2 %    -0.2 %    +0.2 %
    syn2 before dch                             +10 %      +4.1 %             larger
    mfs3 after mapping                           -0.3 %    -0.2 %             ten times the run time
    emap (with the library's full adders)       +11 %      +7.1 %             larger, ten times the run time
    without the first, generic abc               +1.8 %    +2.5 %    -0.1 %
    Kogge-Stone, Sklansky, Han-Carlson carries   +1 … 4 % at equal delay: abc restructures carries anyway
    synth -booth, synth -arith_tree               0 %      +1.2 %    -1.2 %   (-booth: +4 % on products)
    carry-save trees of library full adders      +0.1 %    +4.5 %    +3.9 %   (ASAP7: +2.5 % and -7 % for multipliers)

Registers become the library's smallest plain flip-flop: left alone, yosys prefers one whose output is not inverted,
DFFHQx4 in ASAP7, and a lookup array grows by 11 %.

abc takes the period less :data:`a register's overhead <lutscape.rtl.synth.register_overhead_ps>`; it sees neither
clock-to-output nor setup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lutscape.rtl.synth_process import SOURCE, library_names


@dataclass(frozen=True)
class Recipe:
    """How a design is synthesised.

    Attributes:
        name: for tables.
        abc: commands of abc's script; ``{D}`` stands for the target delay.
        synth: further options of yosys ``synth``.
    """

    name: str
    abc: tuple[str, ...]
    synth: str = ""


_CHOICES = ("strash", "&get -n", "&fraig -x", "&put", "scorr", "drw", "dch -f")
_SIZING = ("topo", "buffer -c", "upsize {D}", "dnsize {D}", "stime -p")
RECIPES = (
    Recipe("area", (*_CHOICES, "amap -m", *_SIZING)),
    Recipe("balanced", (*_CHOICES, "map -B 0.2 {D}", *_SIZING)),
    Recipe("fast", (*_CHOICES, "map -B 0.5 {D}", *_SIZING)),
)
"""The smallest first."""


def commands(
    top: str,
    libraries: int,
    delay_ps: str,
    flatten: bool,
    dont_use: Sequence[str],
    flip_flops: Sequence[str],
    recipe: Recipe,
) -> list[str]:
    """Return the yosys commands: files of :mod:`lutscape.rtl.synth_process` in, ``netlist.v`` and ``stat.json`` out.

    Args:
        top: module.
        libraries: number of Liberty files.
        delay_ps: that logic between registers may take.
        flatten: dissolve the hierarchy before optimising.
        dont_use: cell names or globs that mapping may not use.
        flip_flops: that registers may not become.
        recipe: options and abc script.
    """
    liberty = " ".join(f"-liberty {name}" for name in library_names(libraries))
    avoid = "".join(f" -dont_use {name}" for name in dont_use)
    large = "".join(f" -dont_use {name}" for name in flip_flops)
    options = " ".join(o for o in ("-flatten" if flatten else "", recipe.synth) if o)
    abc = "+" + ";".join(c.replace("{D}", f"-D {delay_ps}").replace(" ", ",") for c in recipe.abc)
    return [
        f"read_verilog -sv {SOURCE}",
        f"hierarchy -check -top {top}",
        f"synth -top {top} {options}".rstrip(),
        f"dfflibmap {liberty}{avoid}{large}",
        "opt",
        f"abc {liberty} -constr constraints -D {delay_ps} -script {abc}{avoid}",
        "setundef -zero",
        "opt_clean -purge",
        f"tee -q -o stat.json stat -json {liberty}",
        "write_verilog -noattr netlist.v",
    ]


def constraints(driving_cell: str, load_ff: float) -> str:
    """Return abc's constraint file: without it abc neither buffers nor sizes."""
    return f"set_driving_cell {driving_cell}\nset_load {load_ff:g}\n"
