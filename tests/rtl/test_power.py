"""Power on the small library, computed by hand; probabilities against enumeration."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_liberty import text, write

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty
from lutscape.rtl.activity import Activity, uniform
from lutscape.rtl.expression import parse as expression
from lutscape.rtl.gatesim import simulate
from lutscape.rtl.liberty import Library
from lutscape.rtl.linked import link
from lutscape.rtl.netlist import parse
from lutscape.rtl.power import PowerReport, power
from lutscape.rtl.power_cells import likelihood
from lutscape.rtl.sta import timing

GATES = """module t(a, b, y); input a, b; output y;
NAND2 \\top.u (.A(a), .B(b), .Y(c)); INV \\top.v (.A(c), .Y(y)); endmodule"""
FLIP = "module t(clk, d, q); input clk, d; output q; {} r (.CK(clk), .D(d), {} .Q(q)); endmodule"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return liberty.load(write(tmp_path_factory.mktemp("liberty")))


def watts(report: PowerReport) -> tuple[float, float, float]:
    return report.internal_w, report.switching_w, report.leakage_w


@pytest.mark.parametrize("states", ["independent", "consistent"])
def test_gates_by_hand(tiny: Library, states: str) -> None:
    r = power(parse(GATES), tiny, 0.2, 100.0, load_ff=10.0, clock=None, states=states)
    # 0.2 toggles in 100 ps: 2e9 a second. 2 V.
    #   switching: c has 2 fF, y 10 fF: 0.5 · 12 fF · 4 V² · 2e9 = 48 µW; a and b, 2 fF each, are not the netlist's.
    #   NAND2: its output follows A and B equally often: (1 + 5) / 2 fJ · 2e9 = 6 µW; A's own 0.5 fJ half the time: 0.5.
    #   INV: rise by A's fall, whose transition is 5 + 1 = 6 ps, load 10 fF: 1 + 0.6 + 1 = 2.6 fJ; fall 1 fJ; 3.6 µW.
    #   leakage: NAND2 4 nW; INV 1 and 3 nW, half the time each.
    assert watts(r) == pytest.approx((10.1e-6, 48e-6, 6e-9))
    assert r.total_w == pytest.approx(58.106e-6)
    assert r.input_switching_w == pytest.approx(16e-6)
    assert r.energy_j == pytest.approx(58.106e-6 * 100e-12)
    assert r.instance_w == pytest.approx(np.array([[6.5e-6, 8e-6, 4e-9], [3.6e-6, 40e-6, 2e-9]]))
    assert list(r.by_cell()) == ["INV", "NAND2"]
    assert r.by_cell()["NAND2"] == pytest.approx({"internal": 6.5e-6, "switching": 8e-6, "leakage": 4e-9})
    assert r.by_prefix() == {"top": pytest.approx({"internal": 10.1e-6, "switching": 48e-6, "leakage": 6e-9})}
    assert list(r.by_prefix(depth=2)) == [""]
    assert r.groups["sequential"] == {"internal": 0.0, "switching": 0.0, "leakage": 0.0}


def test_activity_per_net_by_hand(tiny: Library) -> None:
    n = parse(GATES)
    linked = link(n, tiny, None)
    a, b, c, y = (n.nets.index(name) for name in "abcy")
    toggles, duty = np.zeros(linked.nets), np.zeros(linked.nets)
    toggles[[b, c, y]] = 1.0, 1.0, 0.5
    duty[[a, b, c, y]] = 1.0, 0.25, 0.75, 0.25
    r = power(n, tiny, Activity(toggles, duty, "by hand"), 1000.0, load_ff=10.0, clock=None)
    # 1e9 a second. Only B toggles: 5 fJ; A's own energy needs A to toggle. INV: 1.8 fJ at half the rate.
    # Switching: c 0.5 · 2 fF · 4 V² · 1e9 = 4 µW, y 0.5 · 10 · 4 · 0.5e9 = 10 µW. INV leaks 0.25 · 1 + 0.75 · 3 nW.
    assert watts(r) == pytest.approx((5e-6 + 0.9e-6, 14e-6, 4e-9 + 2.5e-9))
    assert r.input_switching_w == pytest.approx(0.5 * 2e-15 * 4 * 1e9)
    assert r.activity == "by hand"


def test_an_output_that_toggles_without_its_inputs_takes_the_mean_arc(tiny: Library) -> None:
    n = parse(GATES)
    linked = link(n, tiny, None)
    toggles = np.zeros(linked.nets)
    toggles[n.nets.index("c")] = 1.0
    r = power(n, tiny, Activity(toggles, np.full(linked.nets, 0.5), "odd"), 1000.0, clock=None)
    assert r.internal_w == pytest.approx(3e-6)


def test_clock_energy_of_flip_flops_by_hand(tiny: Library) -> None:
    # 100 ps: the clock toggles 2e10 a second, 4 fJ each: 80 µW. Q toggles 2e9 a second, 3 fJ: 6 µW; QN, open, 6 more.
    # DFF states its clock energy by Q and QN: taken as independent, half of the states are lost.
    dff = parse(FLIP.format("DFF", ""))
    assert watts(power(dff, tiny, 0.2, 100.0, states="consistent"))[0] == pytest.approx(92e-6)
    assert watts(power(dff, tiny, 0.2, 100.0))[0] == pytest.approx(52e-6)
    dffr = parse(FLIP.format("DFFR", ".RN(1'b1),"))
    for states in ("consistent", "independent"):
        r = power(dffr, tiny, 0.2, 100.0, load_ff=5.0, states=states)
        assert watts(r) == pytest.approx((86e-6, 0.5 * 5e-15 * 4 * 2e9, 3e-9))
        assert r.groups["sequential"]["internal"] == pytest.approx(86e-6)
        # d 3 fF at 2e9, the clock 1 fF at 2e10 (the constant on RN never toggles).
        assert r.input_switching_w == pytest.approx(0.5 * 4 * (3e-15 * 2e9 + 1e-15 * 2e10))


def test_duty_weights_the_states(tiny: Library) -> None:
    n = parse("module t(a, y); input a; output y; INV u (.A(a), .Y(y)); endmodule")
    for duty, leakage in ((0.0, 1e-9), (0.5, 2e-9), (1.0, 3e-9)):
        assert power(n, tiny, 0.0, 100.0, clock=None, duty=duty).leakage_w == pytest.approx(leakage)


def changed(folder: Path, *changes: tuple[str, str]) -> Library:
    path = folder / "changed.lib"
    source = text()
    for old, new in changes:
        assert old in source
        source = source.replace(old, new, 1)
    path.write_text(source)
    return liberty.load(path)


INV = "module t(a, y); input a; output y; INV u (.A(a), .Y(y)); endmodule"


def test_uncovered_states_leak_the_default(tmp_path: Path) -> None:
    library = changed(tmp_path, ('leakage_power () { when : "!A"; value : 0.001; }', ""))
    # A high 3 nW; the rest of the time the cell's 2 nW.
    assert power(parse(INV), library, 0.0, 100.0, clock=None, duty=0.25).leakage_w == pytest.approx(2.25e-9)


def test_supplies_add_up_but_a_ground_leaks_once(tmp_path: Path) -> None:
    pg = "pg_pin (VDD) { pg_type : primary_power; } pg_pin (VSS) { pg_type : primary_ground; }"
    again = (
        'internal_power () { related_pin : "A"; related_pg_pin : VSS; rise_power (scalar) { values ("0.002"); } '
        + ('fall_power (scalar) { values ("0.004"); } } ')
    )
    plain = power(parse(INV), changed(tmp_path), 0.2, 100.0, clock=None)
    library = changed(
        tmp_path,
        ("cell (INV) {", "cell (INV) { " + pg + ' leakage_power () { value : 7; when : "A"; related_pg_pin : VSS; }'),
        (
            'internal_power () { related_pin : "A";',
            again + 'internal_power () { related_pin : "A"; related_pg_pin : VDD;',
        ),
    )
    both = power(parse(INV), library, 0.2, 100.0, clock=None)
    assert both.internal_w == pytest.approx(plain.internal_w + 3e-15 * 2e9)
    assert both.leakage_w == pytest.approx(plain.leakage_w)


def test_power_of_a_simulation(tiny: Library) -> None:
    n = parse(
        "module t(clk, e, y); input clk, e; output y; DFFR r (.CK(clk), .RN(1'b1), .D(n), .Q(y)); "
        "XOR2 u (.A(y), .B(e), .Y(n)); endmodule"
    )
    s = simulate(n, tiny, {"e": np.ones((9, 64), int)})
    r = power(n, tiny, s.activity(), 1000.0)
    # y toggles every cycle: 3 fJ at 1e9; the clock 4 fJ at 2e9; y has 4 fF (XOR2), n 3 fF (D), both toggle.
    assert r.internal_w == pytest.approx(3e-6 + 8e-6)
    assert r.switching_w == pytest.approx(0.5 * 4 * 7e-15 * 1e9)
    assert r.activity == "gate simulation, zero delay, 64 streams of 8 cycles"


@given(
    st.sampled_from(["A & B | !C", "(A ^ B) C'", "!(A & B & C) | D", "A", "1", "(A | B) & (C | D) ^ E"]),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_likelihood_matches_enumeration(source: str, duties: list[float]) -> None:
    e = expression(source)
    duty = dict(zip("ABCDE", duties, strict=True))
    table, total = e.table(), 0.0
    for row in itertools.product((0, 1), repeat=len(e.variables)):
        p = 1.0
        for name, bit in zip(e.variables, row, strict=True):
            p *= duty[name] if bit else 1 - duty[name]
        total += p * bool(table[sum(bit << k for k, bit in enumerate(row))])
    arrays = {name: np.array([d, d]) for name, d in duty.items()}
    assert np.broadcast_to(likelihood(e, arrays), 2) == pytest.approx([total, total])


def test_a_given_timing_report_is_used(tiny: Library) -> None:
    n = parse(GATES)
    report = timing(n, tiny, 100.0, load_ff=10.0, clock=None)
    assert watts(power(n, tiny, 0.2, 100.0, report)) == pytest.approx((10.1e-6, 48e-6, 6e-9))
    with pytest.raises(ValueError, match="another netlist"):
        power(parse(GATES), tiny, 0.2, 100.0, report)


def test_refusals(tiny: Library, tmp_path: Path) -> None:
    n = parse(GATES)
    with pytest.raises(UserError, match=r"^activity -1; allowed: 0 or more toggles per cycle$"):
        power(n, tiny, -1.0, 100.0, clock=None)
    with pytest.raises(UserError, match=r"^duty 1.5; allowed: 0 to 1$"):
        power(n, tiny, 0.2, 100.0, clock=None, duty=1.5)
    with pytest.raises(UserError, match=r"unknown states 'consistant' \(did you mean 'consistent'\?\)"):
        power(n, tiny, 0.2, 100.0, clock=None, states="consistant")
    path = tmp_path / "bare.lib"
    path.write_text(text().replace("internal_power", "other_group"))
    with pytest.raises(UserError) as error:
        power(n, liberty.load(path), 0.2, 100.0, clock=None)
    assert str(error.value) == f"{path}: no internal_power tables; power needs a library with them"


def test_uniform_leaves_clock_and_constants(tiny: Library) -> None:
    linked = link(parse(FLIP.format("DFFR", ".RN(1'b1),")), tiny)
    activity = uniform(linked, 0.3, 0.4)
    clk = linked.netlist.nets.index("clk")
    assert (activity.toggles[clk], activity.duty[clk]) == (2.0, 0.5)
    assert list(activity.toggles[:2]) == [0.0, 0.0]
    assert list(activity.duty[:2]) == [0.0, 1.0]
    rest = [k for k in range(2, linked.nets) if k != clk]
    assert set(activity.toggles[rest]) == {0.3}
    assert set(activity.duty[rest]) == {0.4}
