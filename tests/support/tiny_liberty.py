"""A small Liberty library with linear tables, so that delays and energies can be computed by hand.

Written in ns, pF and µW to exercise the units. In the units of the room (ps, fF, fJ, nW):

    cell   pin caps (rise, fall)   delay of the output's rise, fall          transition
    INV    A 2, 1                  10 + slew/2 + 2·load, 8 + slew/2 + load   5 + 3·load, 4 + 2·load
    BUF    A 3, 3                  20 + load, 20 + load                      6 + load, 6 + load
    NAND2  A 2, 2   B 2, 2         12 + load (A), 15 + load (B), both edges  5 + load
    XOR2   A 4, 4   B 4, 4         30 + load, both edges, non-unate          8 + load
    DFF    D 3, 3   CK 1, 1        50 + load, 60 + load from CK              10 + load (Q), likewise QN
           setup: 20 + slew/10 (rise), 25 + slew/10 (fall)
    DFFR   as DFF, with RN 1, 1 (low clears; recovery 40 when it rises) and no QN

Energies per toggle (fJ) and leakage (nW) stand beside their groups below.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

SLEWS = (0.0, 50.0, 100.0)  # ps
LOADS = (1.0, 10.0, 100.0)  # fF

HEAD = """
/* a small library, made for tests */
library (tiny) {
  delay_model : table_lookup;
  time_unit : "1ns"; voltage_unit : "1V"; leakage_power_unit : "1uW"; capacitive_load_unit (1, pf);
  nom_voltage : 2.0; nom_temperature : 25.0;
  default_cell_leakage_power : 0.0;
  wire_load ("none") { capacitance : 1.0; resistance : 1.0; slope : 1.0; fanout_length (1, 1.0); }
  lu_table_template (delay) { variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("0, 0.05, 0.1"); index_2 ("0.001, 0.01, 0.1"); }
  lu_table_template (turned) { variable_1 : total_output_net_capacitance; variable_2 : input_net_transition;
    index_1 ("0.001, 0.01, 0.1"); index_2 ("0, 0.05, 0.1"); }
  lu_table_template (setup) { variable_1 : related_pin_transition; variable_2 : constrained_pin_transition;
    index_1 ("0, 0.1"); index_2 ("0, 0.05, 0.1"); }
  power_lut_template (energy) { variable_1 : input_transition_time; variable_2 : total_output_net_capacitance;
    index_1 ("0, 0.05, 0.1"); index_2 ("0.001, 0.01, 0.1"); }
  power_lut_template (hidden) { variable_1 : input_transition_time; index_1 ("0, 0.05, 0.1"); }
"""


def _rows(rows: list[list[float]], scale: float) -> str:
    return "values (" + ", ".join('"' + ", ".join(f"{v * scale:.9g}" for v in row) + '"' for row in rows) + ");"


def delay(name: str, f: Callable[[float, float], float], turned: bool = False) -> str:
    """Return a table of f(slew ps, load fF) in ps; ``turned`` has the load as its first axis."""
    if turned:
        return f"{name} (turned) {{ {_rows([[f(s, c) for s in SLEWS] for c in LOADS], 1e-3)} }}"
    return f"{name} (delay) {{ {_rows([[f(s, c) for c in LOADS] for s in SLEWS], 1e-3)} }}"


def setup(name: str, f: Callable[[float], float]) -> str:
    """Return a constraint of f(data slew ps) in ps, flat over the clock's slew, which is its first axis."""
    return f"{name} (setup) {{ {_rows([[f(s) for s in SLEWS]] * 2, 1e-3)} }}"


def energy(name: str, f: Callable[[float, float], float]) -> str:
    """Return an energy table of f(slew ps, load fF) in fJ (the unit is 1 pF·V² = 1 pJ)."""
    return f"{name} (energy) {{ {_rows([[f(s, c) for c in LOADS] for s in SLEWS], 1e-3)} }}"


def hidden(name: str, f: Callable[[float], float]) -> str:
    """Return an energy table of f(slew ps) in fJ."""
    return f"{name} (hidden) {{ {_rows([[f(s) for s in SLEWS]], 1e-3)} }}"


def arc(related: str, sense: str, rise: str, fall: str, rise_slew: str, fall_slew: str, kind: str = "") -> str:
    timing_type = f"timing_type : {kind}; " if kind else ""
    tables = f"{rise} {fall} {rise_slew} {fall_slew}"
    return f'timing () {{ related_pin : "{related}"; timing_sense : {sense}; {timing_type}{tables} }}'


def both(f: Callable[[float, float], float], slew: Callable[[float, float], float]) -> tuple[str, str, str, str]:
    return (
        delay("cell_rise", f),
        delay("cell_fall", f),
        delay("rise_transition", slew),
        delay("fall_transition", slew),
    )


def pin(name: str, rise: float, fall: float, more: str = "") -> str:
    return (
        f"pin ({name}) {{ direction : input; capacitance : {max(rise, fall) * 1e-3}; "
        f"rise_capacitance : {rise * 1e-3}; fall_capacitance : {fall * 1e-3}; {more} }}"
    )


def register(cell: str, clear: bool, qn: bool) -> str:
    asynchronous = 'clear : "!RN";' if clear else ""
    rise, fall = setup("rise_constraint", lambda s: 20 + s / 10), setup("fall_constraint", lambda s: 25 + s / 10)
    setups = f'timing () {{ related_pin : "CK"; timing_type : setup_rising; {rise} {fall} }}'
    # Hidden energy of the clock: 4 fJ (mean of 6 and 2), stated by Q and QN where both exist.
    states = ["!D & !Q & QN", "!D & Q & !QN", "D & !Q & QN", "D & Q & !QN"] if qn else [""]
    clock = "".join(
        "internal_power () { "
        + (f'when : "{s}"; ' if s else "")
        + hidden("rise_power", lambda s: 6.0)
        + hidden("fall_power", lambda s: 2.0)
        + "}"
        for s in states
    )
    launch = arc(
        "CK",
        "non_unate",
        delay("cell_rise", lambda s, c: 50 + c),
        delay("cell_fall", lambda s, c: 60 + c),
        delay("rise_transition", lambda s, c: 10 + c),
        delay("fall_transition", lambda s, c: 10 + c),
        "rising_edge",
    )
    # Energy of an output toggle: 3 fJ (mean of 2 and 4).
    toggle = (
        f'internal_power () {{ related_pin : "CK"; {energy("rise_power", lambda s, c: 2.0)} '
        f"{energy('fall_power', lambda s, c: 4.0)} }}"
    )
    reset = (
        arc(
            "RN",
            "positive_unate",
            "",
            delay("cell_fall", lambda s, c: 500),
            "",
            delay("fall_transition", lambda s, c: 9),
            "clear",
        )
        if clear
        else ""
    )
    rise = setup("rise_constraint", lambda s: 40.0)
    recovery = f'timing () {{ related_pin : "CK"; timing_type : recovery_rising; {rise} }}'
    outputs = f'pin (Q) {{ direction : output; function : "IQ"; {launch} {reset} {toggle} }}'
    if qn:
        outputs += f'pin (QN) {{ direction : output; function : "IQN"; {launch} {toggle} }}'
    return f"""
  cell ({cell}) {{ area : 5.0; cell_leakage_power : 0.003;
    ff ("IQ", "IQN") {{ clocked_on : "CK"; next_state : "D"; {asynchronous} }}
    {pin("D", 3, 3, setups)} {pin("CK", 1, 1, "clock : true; " + clock)} {pin("RN", 1, 1, recovery) if clear else ""}
    {outputs} }}"""


def text() -> str:
    """Return the library."""
    inv = arc(
        "A",
        "negative_unate",
        delay("cell_rise", lambda s, c: 10 + s / 2 + 2 * c, turned=True),
        delay("cell_fall", lambda s, c: 8 + s / 2 + c),
        delay("rise_transition", lambda s, c: 5 + 3 * c),
        delay("fall_transition", lambda s, c: 4 + 2 * c, turned=True),
    )
    # INV: a toggle of Y takes 1 + slew/10 + load/10 fJ rising, 1 fJ falling; leaks 1 nW with A low, 3 nW with A high.
    inv_power = (
        f'internal_power () {{ related_pin : "A"; {energy("rise_power", lambda s, c: 1 + s / 10 + c / 10)} '
        f"{energy('fall_power', lambda s, c: 1.0)} }}"
    )
    nand = arc("A", "negative_unate", *both(lambda s, c: 12 + c, lambda s, c: 5 + c))
    nand += arc("B", "negative_unate", *both(lambda s, c: 15 + c, lambda s, c: 5 + c))
    # NAND2: a toggle of Y by A takes 1 fJ, by B 5 fJ; A alone (B low) takes 0.5 fJ of its own.
    nand_power = "".join(
        f'internal_power () {{ related_pin : "{p}"; {energy("rise_power", lambda s, c, e=e: e)} '
        f"{energy('fall_power', lambda s, c, e=e: e)} }}"
        for p, e in (("A", 1.0), ("B", 5.0))
    )
    tables = hidden("rise_power", lambda s: 1.0) + hidden("fall_power", lambda s: 0.0)
    own = f'internal_power () {{ when : "!B"; {tables} }}'
    buf = arc("A", "positive_unate", *both(lambda s, c: 20 + c, lambda s, c: 6 + c))
    xor = "".join(arc(p, "non_unate", *both(lambda s, c: 30 + c, lambda s, c: 8 + c)) for p in "AB")
    return (
        HEAD
        + f"""
  cell (INV) {{ area : 1.0; cell_leakage_power : 0.002;
    leakage_power () {{ when : "!A"; value : 0.001; }} leakage_power () {{ when : "A"; value : 0.003; }}
    {pin("A", 2, 1)}
    pin (Y) {{ direction : output; max_capacitance : 0.05; function : "!A"; {inv} {inv_power} }} }}
  cell (BUF) {{ area : 1.5; cell_leakage_power : 0.002; {pin("A", 3, 3)}
    pin (Y) {{ direction : output; function : "A"; {buf} }} }}
  cell (NAND2) {{ area : 2.0; cell_leakage_power : 0.004; {pin("A", 2, 2, own)} {pin("B", 2, 2)}
    pin (Y) {{ direction : output; function : "(A * B)'"; {nand} {nand_power} }} }}
  cell (XOR2) {{ area : 3.0; cell_leakage_power : 0.004; {pin("A", 4, 4)} {pin("B", 4, 4)}
    pin (Y) {{ direction : output; function : "A^B"; {xor} }} }}
  cell (LATCH) {{ area : 4.0; latch ("IQ", "IQN") {{ enable : "G"; data_in : "D"; }} {pin("G", 1, 1)} {pin("D", 1, 1)}
    pin (Q) {{ direction : output; function : "IQ"; }} }}"""
        + register("DFF", clear=False, qn=True)
        + register("DFFR", clear=True, qn=False)
        + "\n}\n"
    )


def write(folder: Path) -> Path:
    """Write the library and return its path."""
    path = folder / "tiny.lib"
    path.write_text(text())
    return path
