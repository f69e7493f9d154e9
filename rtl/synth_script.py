"""The synthesis recipe: what yosys and abc are told, the same for every cell.

One script serves lookup, adder and multiplier designs, so that areas compare designs and not scripts. What was tried
when it was chosen, and what it gained, is in the docstring of :data:`RECIPE`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a design is synthesised.

    Attributes:
        name: for tables and the cache.
        synth: options of yosys ``synth``.
        abc: commands of abc's script; ``{D}`` stands for the target delay.
    """

    name: str
    synth: str
    abc: tuple[str, ...]


RECIPE = Recipe(
    "default",
    "",
    (
        "strash",
        "&get -n",
        "&fraig -x",
        "&put",
        "scorr",
        "dc2",
        "strash",
        "&get -n",
        "&dch -f",
        "&nf {D}",
        "&put",
        "buffer",
        "upsize {D}",
        "dnsize {D}",
        "stime -p",
    ),
)


def commands(
    source: str,
    top: str,
    libraries: Sequence[str],
    period_ps: float,
    flatten: bool,
    dont_use: Sequence[str],
    recipe: Recipe = RECIPE,
) -> list[str]:
    """Return the yosys commands, which read ``source`` and write ``netlist.v`` and ``stat.json``.

    Args:
        source: name of the Verilog file.
        top: module.
        libraries: Liberty files, uncompressed.
        period_ps: target; abc's delay target too, which leaves out clock-to-output and setup.
        flatten: dissolve the hierarchy before optimising.
        dont_use: cell names or globs that mapping may not use.
        recipe: options and abc script.
    """
    liberty = " ".join(f"-liberty {path}" for path in libraries)
    avoid = "".join(f" -dont_use {name}" for name in dont_use)
    options = " ".join(o for o in ("-flatten" if flatten else "", recipe.synth) if o)
    abc = "+" + ";".join(c.replace("{D}", f"-D {period_ps:.0f}").replace(" ", ",") for c in recipe.abc)
    return [
        f"read_verilog -sv {source}",
        f"hierarchy -check -top {top}",
        f"synth -top {top} {options}".rstrip(),
        f"dfflibmap {liberty}{avoid}",
        "opt",
        f"abc {liberty} -constr constraints -D {period_ps:.0f} -script {abc}{avoid}",
        "setundef -zero",
        "opt_clean -purge",
        f"tee -q -o stat.json stat -json {liberty}",
        "write_verilog -noattr netlist.v",
    ]


def constraints(driving_cell: str, load_ff: float) -> str:
    """Return abc's constraint file: without it abc neither buffers nor sizes."""
    return f"set_driving_cell {driving_cell}\nset_load {load_ff:g}\n"
