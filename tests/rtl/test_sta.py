"""Static timing: hand-computed paths on the small library, OpenSTA's numbers on Nangate45, a recursive twin."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_netlists import netlist_text
from tiny_liberty import write

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty, liberty_get
from lutscape.rtl.liberty import Library, Table
from lutscape.rtl.netlist import Netlist, parse
from lutscape.rtl.sta import FALL, RISE, Step, look_up, timing

COUNTER = """
module t(clk, y);
  input clk; output y;
  DFF r (.CK(clk), .D(n), .Q(q));
  INV u (.A(q), .Y(n));
  INV v (.A(q), .Y(y));
endmodule
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return liberty.load(write(tmp_path_factory.mktemp("liberty")))


def test_register_to_register_by_hand(tiny: Library) -> None:
    r = timing(parse(COUNTER), tiny, 200.0, load_ff=5.0)
    # q: load of two INV pins, 4 fF for its rise, 2 fF for its fall.
    #   rise 50 + 4 = 54, transition 14; fall 60 + 2 = 62, transition 12.
    # n: load D = 3 fF. fall 54 + 8 + 14/2 + 3 = 72, transition 4 + 6 = 10; setup 25 + 1 = 26: 98.
    #   rise 62 + 10 + 12/2 + 6 = 84, transition 5 + 9 = 14; setup 20 + 1.4 = 21.4: 105.4, the worst into D.
    # y: load 5 fF. rise 62 + 10 + 6 + 10 = 88; fall 54 + 8 + 7 + 5 = 74.
    q, n, y = (r.linked.netlist.nets.index(name) for name in ("q", "n", "y"))
    assert r.load_ff[q] == pytest.approx([4.0, 2.0])
    assert r.arrival_ps[q] == pytest.approx([54.0, 62.0])
    assert r.transition_ps[q] == pytest.approx([14.0, 12.0])
    assert r.arrival_ps[n] == pytest.approx([84.0, 72.0])
    assert r.arrival_ps[y] == pytest.approx([88.0, 74.0])
    assert r.worst_slack_ps == pytest.approx(200 - 105.4)
    assert r.min_period_ps == pytest.approx(105.4)
    first, second = r.endpoints
    assert (first.instance, first.pin, first.edge) == ("r", "D", "rise")
    assert (first.arrival_ps, first.setup_ps) == pytest.approx((84.0, 21.4))
    assert (second.instance, second.pin, second.edge, second.slack_ps) == ("y", "", "rise", pytest.approx(112.0))
    found = [dataclasses.astuple(s) for s in r.critical_path]
    assert found == [
        ("r", "DFF", "Q", "fall", pytest.approx(62.0), pytest.approx(12.0), pytest.approx(62.0)),
        ("u", "INV", "Y", "rise", pytest.approx(22.0), pytest.approx(14.0), pytest.approx(84.0)),
        ("r", "DFF", "D", "rise", 0.0, pytest.approx(14.0), pytest.approx(84.0)),
    ]


def test_combinational_design_with_driving_cell_by_hand(tiny: Library) -> None:
    n = parse("module t(a, b, y); input a, b; output y; NAND2 u (.A(a), .B(b), .Y(y)); endmodule")
    ideal = timing(n, tiny, 100.0, load_ff=10.0, clock=None)
    # Worst by B: 15 + 10 = 25.
    assert ideal.worst_slack_ps == pytest.approx(75.0)
    assert dataclasses.replace(ideal.critical_path[0], edge="") == Step("b", "input port", "", "", 0.0, 0.0, 0.0)
    driven = timing(n, tiny, 100.0, driving_cell="INV", load_ff=10.0, input_delay_ps=7.0)
    # INV into 2 fF: rise 2·2 = 4 more than at no load, transition 5 + 6 = 11; fall 2 more, transition 8.
    b = n.nets.index("b")
    assert driven.arrival_ps[b] == pytest.approx([11.0, 9.0])
    assert driven.transition_ps[b] == pytest.approx([11.0, 8.0])
    assert driven.worst_slack_ps == pytest.approx(100 - 11 - 25)
    late = timing(n, tiny, 100.0, load_ff=10.0, output_delay_ps=5.0)
    assert late.worst_slack_ps == pytest.approx(70.0)


def test_non_unate_arcs_take_both_edges(tiny: Library) -> None:
    n = parse("module t(a, b, y); input a, b; output y; INV u (.A(a), .Y(c)); XOR2 v (.A(c), .B(b), .Y(y)); endmodule")
    r = timing(n, tiny, 200.0)
    # c: load 4. rise 10 + 8 = 18, fall 8 + 4 = 12. y: 18 + 30 whichever its edge.
    assert r.arrival_ps[n.nets.index("y")] == pytest.approx([48.0, 48.0])
    row = r.arc_delay_ps[r.arc_start[1]]
    assert row == pytest.approx(np.full((2, 2), 30.0))
    inv = r.arc_delay_ps[r.arc_start[0]]
    assert inv[RISE, FALL] == pytest.approx(18.0)
    assert math.isnan(inv[RISE, RISE])


def test_clock_through_an_inverter_and_clear(tiny: Library) -> None:
    n = parse(
        "module t(clk, rn, d, q); input clk, rn, d; output q; INV c (.A(clk), .Y(k)); "
        "DFFR r (.CK(k), .D(d), .RN(rn), .Q(q)); endmodule"
    )
    r = timing(n, tiny, 100.0)
    assert r.linked.edge == "falling"
    # The clock is ideal, its inverter too; the clear arc (500 ps) is left out.
    assert r.arrival_ps[n.nets.index("q")] == pytest.approx([50.0, 60.0])
    ends = {(e.instance, e.pin): (e.edge, e.setup_ps, e.slack_ps) for e in r.endpoints}
    assert set(ends) == {("r", "D"), ("r", "RN"), ("q", "")}
    assert ends["r", "RN"] == ("rise", pytest.approx(40.0), pytest.approx(60.0))  # recovery


tables = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))


@given(tables, st.floats(-50, 150), st.floats(-50, 150))
def test_interpolation_matches_its_twin(shape: tuple[int, int, int], x: float, y: float) -> None:
    n1, n2, seed = shape
    rng = np.random.default_rng(seed)
    i1, i2 = np.cumsum(rng.uniform(1, 40, n1)), np.cumsum(rng.uniform(1, 40, n2))
    table = Table(i1, i2, rng.uniform(-5, 100, (n1, n2)))

    def line(index: np.ndarray, values: list[float], at: float) -> float:
        if len(index) == 1:
            return values[0]
        inside = [k for k in range(len(index) - 1) if index[k] < at]
        k = max(inside, default=0)
        return values[k] + (values[k + 1] - values[k]) * (at - index[k]) / (index[k + 1] - index[k])

    expected = line(i1, [line(i2, list(row), y) for row in table.values], x)
    assert look_up(table, x, y) == pytest.approx(expected, abs=1e-6)


def twin(netlist: Netlist, library: Library, load_ff: float) -> dict[tuple[str, int], tuple[float, float]]:
    """Arrival and transition of each net edge by recursion; inputs at 0, clock ideal."""
    drivers: dict[int, tuple[int, str]] = {}
    loads: dict[tuple[int, int], float] = {}
    for i, name in enumerate(netlist.cells):
        for pin, net in netlist.pins[i].items():
            p = library[name].pins[pin]
            if p.direction == "output":
                drivers[net] = (i, pin)
            else:
                for e in (RISE, FALL):
                    loads[net, e] = loads.get((net, e), 0.0) + p.capacitance_ff[e]
    for net in {int(n) for bits in netlist.outputs.values() for n in bits}:
        for e in (RISE, FALL):
            loads[net, e] = loads.get((net, e), 0.0) + load_ff
    known: dict[tuple[int, int], tuple[float, float]] = {}

    def edge(net: int, e: int) -> tuple[float, float]:
        if (net, e) in known:
            return known[net, e]
        if net not in drivers:
            fixed = (-math.inf, 0.0) if net < 2 else (0.0, 0.0)
            known[net, e] = fixed
            return fixed
        i, pin = drivers[net]
        times, slopes = [-math.inf], [0.0]
        for arc in library[netlist.cells[i]].arcs:
            if arc.pin != pin or arc.kind not in ("combinational", "rising_edge"):
                continue
            delay, slope = arc.delay[e], arc.transition[e]
            assert delay is not None
            assert slope is not None
            sources = {"positive_unate": [e], "negative_unate": [1 - e]}.get(arc.sense, [RISE, FALL])
            for f in [RISE] if arc.kind == "rising_edge" else sources:
                time, slew = edge(netlist.pins[i][arc.related_pin], f)
                if time == -math.inf:
                    continue
                load = loads.get((net, e), 0.0)
                times.append(time + look_up(delay, slew, load))
                slopes.append(look_up(slope, slew, load))
        known[net, e] = max(times), max(slopes)
        return known[net, e]

    return {(netlist.nets[n], e): edge(n, e) for n in range(len(netlist.nets)) for e in (RISE, FALL)}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 6))
def test_arrivals_match_the_recursive_twin(tiny: Library, seed: int, gates: int, registers: int) -> None:
    n = parse(netlist_text(seed, gates, registers))
    r = timing(n, tiny, 1000.0, load_ff=3.0)
    expected = twin(n, tiny, 3.0)
    for k, name in enumerate(n.nets):
        for e in (RISE, FALL):
            assert (r.arrival_ps[k, e], r.transition_ps[k, e]) == pytest.approx(expected[name, e]), (name, e)
    assert r.worst_slack_ps == min(e.slack_ps for e in r.endpoints)
    path = r.critical_path
    assert path[-1].arrival_ps == pytest.approx(sum(s.delay_ps for s in path))


def bad(text: str, tiny: Library, **options: object) -> str:
    with pytest.raises(UserError) as error:
        timing(parse(text), tiny, **{"period_ps": 100.0, **options})  # type: ignore[arg-type]
    return str(error.value)


def test_refusals(tiny: Library) -> None:
    inv = "module t(a, y); input a; output y; INV u (.A(a), .Y(y)); endmodule"
    assert bad(inv, tiny, period_ps=0.0) == "period 0 ps; allowed: more than 0"
    assert bad(inv, tiny, load_ff=-1.0) == "load -1 fF; allowed: 0 or more"
    assert bad(inv, tiny, driving_cell="BUFF") == (
        "driving cell: no cell 'BUFF' in tiny.lib (7 cells) (did you mean 'BUF'?)"
    )
    assert bad(inv, tiny, driving_cell="DFF") == "driving cell 'DFF' is not combinational; take a buffer or inverter"
    assert bad(inv.replace("INV", "INVX"), tiny) == (
        "t: instance 'u': no cell 'INVX' in tiny.lib (7 cells) (did you mean 'INV'?)"
    )
    assert bad(inv.replace(".A", ".B"), tiny) == "t: input 'A' of instance 'u' (INV) is open"
    assert bad(inv.replace(".Y(y)", ".Y(y), .Z(y)"), tiny) == "t: instance 'u': INV has no signal pin 'Z'; has: A, Y"
    assert bad(inv.replace("endmodule", "INV v (.A(a), .Y(y)); endmodule"), tiny) == (
        "t: net 'y' has two drivers: instance 'v' and instance 'u'"
    )
    assert bad(inv.replace(".Y(y)", ".Y(a)"), tiny) == (
        "t: net 'a' has two drivers: instance 'u' and a port or constant"
    )
    loop = "module t(a, y); input a; output y; NAND2 u (.A(a), .B(c), .Y(b)); INV v (.A(b), .Y(c)); endmodule"
    assert bad(loop, tiny) in (
        "t: combinational loop through 2 instances: u <- v",
        "t: combinational loop through 2 instances: v <- u",
    )
    latch = "module t(g, d, q); input g, d; output q; LATCH u (.G(g), .D(d), .Q(q)); endmodule"
    assert bad(latch, tiny) == ("t: instance 'u' of 'LATCH' is a latch; allowed: flip-flops and combinational cells")
    dff = "module t(clk, d, q); input clk, d; output q; DFF r (.CK(clk), .D(d), .Q(q)); endmodule"
    assert bad(dff, tiny, clock="ck") == "clock 'ck': t has no such input (did you mean 'clk'?); has: clk, d"
    assert bad(dff, tiny, clock=None) == "t: register 'r' (DFF) needs a clock; give the clock port, one of: clk, d"
    assert bad(dff, tiny, clock="d") == (
        "t: register 'r' (DFF) is not clocked by 'd'; allowed: one clock, through buffers and inverters"
    )
    gated = dff.replace(".CK(clk)", ".CK(k)").replace("endmodule", "NAND2 u (.A(clk), .B(d), .Y(k)); endmodule")
    assert bad(gated, tiny) == (
        "t: the clock enters instance 'u' (NAND2); allowed on a clock: flip-flops, buffers and inverters"
    )
    both = dff.replace("endmodule", "INV u (.A(clk), .Y(k)); DFF s (.CK(k), .D(d), .Q(e)); endmodule")
    assert bad(both, tiny) == "t: registers on both edges of 'clk' ('r', 's'); allowed: one edge"
    assert bad("module t(a); input a; endmodule", tiny) == (
        "t: no path ends at a register or output; there is nothing to time"
    )


# Lines of OpenSTA 3.1 path reports (report_checks -fields {cap slew}, ideal clock, no wires) on the Nangate45 library,
# ps and fF: cell, input pin and edge, output pin and edge, input transition, load -> delay, output transition.
# Printed with 0.1 ps; the input transition is as rounded as the rest. A report gives the slowest transition of a net;
# these are lines where it is that of the arc on the path.
OPENSTA = [
    ("DFF_X1", "CK", "rise", "Q", "fall", 0.0, 10.2480, 91.7, 14.4),
    ("INV_X1", "A", "fall", "ZN", "rise", 14.4, 2.4567, 17.3, 9.6),
    ("CLKBUF_X1", "A", "rise", "Z", "rise", 9.6, 12.3761, 56.1, 31.1),
    ("AOI221_X4", "B2", "fall", "ZN", "rise", 21.6, 5.8914, 128.8, 8.8),
    ("AND2_X1", "A2", "fall", "ZN", "fall", 17.1, 4.7796, 40.6, 9.2),
    ("OAI211_X1", "C1", "rise", "ZN", "fall", 68.9, 3.9391, 40.7, 27.8),
    ("AND3_X1", "A2", "fall", "ZN", "fall", 27.8, 1.5504, 42.1, 6.7),
]


@pytest.mark.skipif(not liberty_get.cached("nangate45").is_file(), reason="lutscape rtl liberty get nangate45")
@pytest.mark.parametrize("line", OPENSTA, ids=lambda line: line[0])
def test_arcs_of_nangate45_match_opensta(line: tuple[str, str, str, str, str, float, float, float, float]) -> None:
    cell, start, start_edge, end, end_edge, slew, load, delay, transition = line
    from lutscape.rtl.sta import EDGES, causes, timing_arcs

    e, f = EDGES.index(end_edge), EDGES.index(start_edge)
    found = []
    for arc in timing_arcs(liberty.load("nangate45")[cell]):
        if (arc.pin, arc.related_pin) == (end, start) and causes(arc)[e] >> f & 1:
            d, t = arc.delay[e], arc.transition[e]
            assert d is not None
            assert t is not None
            found.append((look_up(d, slew, load), look_up(t, slew, load)))
    assert any(abs(d - delay) <= 0.1 and abs(t - transition) <= 0.1 for d, t in found), found
