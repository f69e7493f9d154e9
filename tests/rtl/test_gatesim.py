"""Gate simulation against a scalar twin: outputs, toggles, duty; stimulus forms; refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_netlists import netlist_text
from tiny_liberty import text, write

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty, liberty_get
from lutscape.rtl.gatesim import simulate
from lutscape.rtl.liberty import Library
from lutscape.rtl.netlist import Netlist, parse


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return liberty.load(write(tmp_path_factory.mktemp("liberty")))


def twin(netlist: Netlist, stimulus: dict[str, np.ndarray], stream: int, cycles: int) -> list[dict[str, int]]:
    """Simulate one stream bit by bit; return the settled value of every net (by name) of every cycle.

    The cells are written out here, by hand. Inputs: bits (cycles, streams, width).
    """
    state = {i: 0 for i, c in enumerate(netlist.cells) if c.startswith("DFF")}
    history = []
    for t in range(cycles):
        values = {0: 0, 1: 1}
        for port, nets in netlist.inputs.items():
            for k, net in enumerate(nets):
                values[int(net)] = int(stimulus[port][t, stream, k]) if port in stimulus else 0
        pending = list(range(len(netlist.cells)))
        while pending:
            later = []
            for i in pending:
                pins, cell = netlist.pins[i], netlist.cells[i]
                if cell.startswith("DFF"):
                    if cell == "DFFR" and pins["RN"] not in values:
                        later.append(i)
                        continue
                    value = state[i] if cell == "DFF" else state[i] & values[pins["RN"]]
                    values[pins["Q"]] = value
                    if "QN" in pins:
                        values[pins["QN"]] = 1 - value
                    continue
                operands = [values.get(pins[p]) for p in ("A", "B") if p in pins]
                if None in operands:
                    later.append(i)
                    continue
                a, b = operands[0], operands[-1]
                values[pins["Y"]] = {"INV": 1 - a, "BUF": a, "NAND2": 1 - (a & b), "XOR2": a ^ b}[cell]
            assert len(later) < len(pending)
            pending = later
        history.append({netlist.nets[n]: v for n, v in values.items()})
        for i in state:
            pins = netlist.pins[i]
            clear = netlist.cells[i] == "DFFR" and not values[pins["RN"]]
            state[i] = 0 if clear else values[pins["D"]]
    return history


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 6), st.sampled_from([1, 3, 64, 65, 600]), st.data()
)
def test_matches_the_scalar_twin(
    tiny: Library, seed: int, gates: int, registers: int, streams: int, data: st.DataObject
) -> None:
    n = parse(netlist_text(seed, gates, registers))
    cycles = data.draw(st.integers(2, 6))
    count_from = data.draw(st.integers(1, cycles - 1))
    rng = np.random.default_rng(seed)
    stimulus = {
        p: rng.integers(0, 2, (cycles, streams, len(b)), dtype=np.uint8) for p, b in n.inputs.items() if p != "clk"
    }
    s = simulate(n, tiny, stimulus, count_from=count_from)
    assert (s.cycles, s.streams, s.counted) == (cycles, streams, cycles - count_from)
    chosen = range(streams) if streams < 64 else [0, 1, streams - 1]
    toggles, ones = np.zeros(len(n.nets), int), np.zeros(len(n.nets), int)
    for stream in chosen:
        history = twin(n, stimulus, stream, cycles)
        for t, values in enumerate(history):
            expected = [values.get(n.nets[net], 0) for net in n.outputs["y"]]
            assert list(s.bits("y")[t, stream]) == expected
            if t >= count_from:
                for k, name in enumerate(n.nets):
                    ones[k] += values.get(name, 0)
                    toggles[k] += values.get(name, 0) != history[t - 1].get(name, 0)
    if len(chosen) == streams:
        assert list(s.toggles[2 : len(n.nets)]) == list(toggles[2:])
        assert list(s.ones[2 : len(n.nets)]) == list(ones[2:])


def test_toggles_and_duty_by_hand(tiny: Library) -> None:
    # A divider by two: y toggles every cycle; so does QN, left open; the clock twice.
    n = parse(
        "module t(clk, e, y); input clk, e; output y; DFF r (.CK(clk), .D(n), .Q(y)); XOR2 u (.A(y), .B(e), .Y(n)); "
        "endmodule"
    )
    e = np.ones((9, 70), np.int64)
    s = simulate(n, tiny, {"e": e})
    assert [int(v) for v in s.integers("y")[:, 69]] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    activity = s.activity()
    y, clk = n.nets.index("y"), n.nets.index("clk")
    assert activity.toggles[y] == 1.0
    assert activity.duty[y] == 0.5
    assert activity.toggles[len(n.nets)] == 1.0  # QN, which the netlist leaves open
    assert s.linked.net_name(len(n.nets)) == "r/QN"
    assert (activity.toggles[clk], activity.duty[clk]) == (2.0, 0.5)
    assert list(activity.toggles[:2]) == [0.0, 0.0]
    assert activity.source == "gate simulation, zero delay, 70 streams of 8 cycles"
    high = simulate(n, tiny, {"e": e}, initial=1)
    assert [int(v) for v in high.integers("y")[:3, 0]] == [1, 0, 1]


def adder(width: int) -> str:
    """A ripple adder of XOR2 and NAND2."""
    lines = [f"module t(a, b, s); input [{width - 1}:0] a, b; output [{width}:0] s;", f"wire [{width}:0] c;"]
    lines.append("assign c[0] = 1'b0;")
    for k in range(width):
        lines.append(f"XOR2 x{k} (.A(a[{k}]), .B(b[{k}]), .Y(p{k})); XOR2 y{k} (.A(p{k}), .B(c[{k}]), .Y(s[{k}]));")
        lines.append(f"NAND2 u{k} (.A(a[{k}]), .B(b[{k}]), .Y(g{k})); NAND2 v{k} (.A(p{k}), .B(c[{k}]), .Y(h{k}));")
        lines.append(f"NAND2 w{k} (.A(g{k}), .B(h{k}), .Y(c[{k + 1}]));")
    lines.append(f"assign s[{width}] = c[{width}]; endmodule")
    return "\n".join(lines)


def test_integers_signed_and_broadcast(tiny: Library) -> None:
    n = parse(adder(16))
    rng = np.random.default_rng(0)
    a, b = rng.integers(-(2**15), 2**15, (5, 100)), rng.integers(-(2**15), 2**15, (5, 1))
    s = simulate(n, tiny, {"a": a, "b": b})
    low = s.bits("s")[:, :, :16].astype(np.int64) @ (1 << np.arange(16))
    assert np.array_equal(low, (a + b) % 2**16)
    assert np.array_equal(s.integers("s") % 2**16, ((a + b) % 2**16).astype(np.uint64))
    sign = s.integers("s", signed=True)
    assert sign.min() < 0
    assert np.array_equal(sign % 2**17, s.integers("s").astype(np.int64))


def test_ports_wider_than_a_word(tiny: Library) -> None:
    n = parse(adder(100))
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 2, (3, 130, 100), dtype=np.uint8), rng.integers(0, 2, (3, 130, 100)).astype(bool)
    s = simulate(n, tiny, {"a": a, "b": b})

    def number(bits: Any) -> int:
        return sum(int(v) << k for k, v in enumerate(bits))

    for t, k in ((0, 0), (1, 64), (2, 129)):
        assert number(s.bits("s")[t, k]) == number(a[t, k]) + number(b[t, k])
    with pytest.raises(UserError, match=r"output 's' has 101 bits; integers have at most 64, take bits\(\)"):
        s.integers("s")


def test_a_word_of_64_bits(tiny: Library) -> None:
    n = parse("module t(a, y); input [63:0] a; output [63:0] y; assign y = a; endmodule")
    a = np.array([[0, 2**64 - 1, 2**63]], np.uint64)
    assert np.array_equal(simulate(n, tiny, {"a": a}).integers("y"), a)
    b = np.array([[0, -1, -(2**63)]])
    assert np.array_equal(simulate(n, tiny, {"a": b}).integers("y", signed=True), b)


def refuse(n: Netlist, library: Library, stimulus: dict[str, Any], **options: Any) -> str:
    with pytest.raises(UserError) as error:
        simulate(n, library, stimulus, **options)
    return str(error.value)


def test_refusals(tiny: Library) -> None:
    n = parse(
        "module t(clk, en, a, y); input clk, en; input [3:0] a; output y; XOR2 u (.A(a[0]), .B(en), .Y(d)); "
        "DFF r (.CK(clk), .D(d), .Q(y)); endmodule"
    )
    en, a = np.zeros((4, 2), int), np.zeros((4, 2), int)
    assert refuse(n, tiny, {"en": en}) == "no stimulus for input 'a' of t"
    assert refuse(n, tiny, {"en": en, "a": a, "b": a}) == "stimulus 'b' is no input of t; allowed: en, a"
    assert refuse(n, tiny, {"en": en, "a": a, "enn": a}) == (
        "stimulus 'enn' is no input of t (did you mean 'en'?); allowed: en, a"
    )
    assert refuse(n, tiny, {"en": en, "a": a, "clk": a}) == "stimulus 'clk' is the clock; allowed: en, a"
    assert refuse(n, tiny, {"en": en, "a": a + 16}) == "stimulus 'a': value 16 does not fit 4 bits"
    assert refuse(n, tiny, {"en": en, "a": a - 9}) == "stimulus 'a': value -9 does not fit 4 bits"
    assert refuse(n, tiny, {"en": en, "a": np.zeros((4, 2, 3), np.uint8)}) == (
        "stimulus 'a': uint8 of shape (4, 2, 3); allowed: integers (cycles, streams) or bits (cycles, streams, 4)"
    )
    assert refuse(n, tiny, {"en": en, "a": a * 1.0}).startswith("stimulus 'a': float64 of shape (4, 2); allowed")
    assert refuse(n, tiny, {"en": en, "a": np.full((4, 2, 4), 2)}) == "stimulus 'a': bits must be 0 or 1, found 2"
    assert refuse(n, tiny, {"en": en, "a": np.zeros((3, 2), int)}) == (
        "stimulus: (cycles, streams) do not fit together: en (4, 2), a (3, 2)"
    )
    assert refuse(n, tiny, {"en": en, "a": a}, count_from=0) == (
        "count_from 0; allowed: 1 to 3 (the stimulus has 4 cycles)"
    )
    assert refuse(n, tiny, {"en": en, "a": a}, initial=2) == "initial 2; allowed: 0, 1"
    wide = parse("module t(a, y); input [64:0] a; output y; assign y = a[3]; endmodule")
    assert refuse(wide, tiny, {"a": a}) == "stimulus 'a': a port of 65 bits needs bits (cycles, streams, 65)"


def test_cells_that_cannot_be_simulated(tmp_path: Any) -> None:
    path = tmp_path / "odd.lib"
    path.write_text(
        text().replace('function : "!A";', "", 1).replace('function : "A";', 'function : "A"; three_state : "A";', 1)
    )
    library = liberty.load(path)
    form = "module t(a, y); input a; output y; {} u (.A(a), .Y(y)); endmodule"
    a = {"a": np.zeros((2, 1), int)}
    assert refuse(parse(form.format("INV")), library, a) == (
        "cell 'INV': output 'Y' has no function, so it cannot be simulated"
    )
    assert (
        refuse(parse(form.format("BUF")), library, a)
        == "cell 'BUF': output 'Y' is three-state, so it cannot be simulated"
    )


@pytest.mark.skipif(not liberty_get.cached("nangate45").is_file(), reason="lutscape rtl liberty get nangate45")
def test_every_cell_of_nangate45(tmp_path: Any) -> None:
    """One instance of each combinational cell, all input values, against the cell's expression read by Python's bits.

    Functions of the 45 nm library by its documentation: a number of inputs per group, as the name spells it.
    """
    library = liberty.load("nangate45")

    def expected(name: str, bits: dict[str, int]) -> int:
        base, v = name.rsplit("_", 1)[0], bits
        groups = [int(c) for c in base.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")]
        if base.startswith(("AOI", "OAI")):
            values = []
            for letter, size in zip("CBA" if len(groups) == 3 else "BA", groups, strict=True):
                members = [v[f"{letter}{k + 1}"] if size > 1 else v[letter] for k in range(size)]
                values.append(min(members) if base.startswith("AOI") else max(members))
            return 1 - (max(values) if base.startswith("AOI") else min(values))
        members = list(v.values())
        plain = {"AND": min(members), "OR": max(members), "XOR": sum(members) % 2}
        for inverse, kind in (("NAND", "AND"), ("NOR", "OR"), ("XNOR", "XOR")):
            if base.startswith(inverse):
                return 1 - plain[kind]
        return plain[base.rstrip("234")]

    checked = 0
    for name in library:
        if not name.startswith(("AND", "OR", "NAND", "NOR", "XOR", "XNOR", "AOI", "OAI")):
            continue
        cell = library[name]
        k = len(cell.inputs)
        pins = ", ".join(f".{p}(a[{i}])" for i, p in enumerate(cell.inputs))
        n = parse(f"module t(a, y); input [{k - 1}:0] a; output y; {name} u ({pins}, .{cell.outputs[0]}(y)); endmodule")
        s = simulate(n, library, {"a": np.arange(1 << k)[None, :].repeat(2, 0)})
        values = [expected(name, {p: row >> i & 1 for i, p in enumerate(cell.inputs)}) for row in range(1 << k)]
        assert list(s.integers("y")[1]) == values, name
        checked += 1
    assert checked > 60
