"""Memory estimates without CACTI: known answers, properties, twins, error texts, the command line."""

from __future__ import annotations

import csv
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.commands.rtl_memory import memory as command
from lutscape.hw import memory, technology
from lutscape.hw.cache import CACHE_VARIABLE
from lutscape.hw.errors import UserError
from lutscape.hw.memories import asap7, cacti, cells, grid, published, scaling, standard
from lutscape.hw.memories.request import DEFAULT_PORTS, KINDS, STYLES, Ports, parse_ports
from lutscape.hw.provenance import Grade

NODES = ("45nm", "28nm", "16nm", "7nm")
KIB = 8192


@pytest.fixture(autouse=True)
def no_cacti(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table answers, whatever this machine's cache holds."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))


def sram(kib: float, node: str = "45nm", word_bits: int = 64, **more: Any) -> memory.MemoryEstimate:
    return memory.estimate("sram", capacity_bits=int(kib * KIB), word_bits=word_bits, node=node, **more)


# Known answers


def test_cost_models_keep_their_numbers() -> None:
    """CACTI at 45 nm, log-log in capacity, times the energy factor of the node (pJ per byte, mm²)."""
    for node, kib, energy, area in (
        ("45nm", 1, 0.09875, 0.0032768),
        ("45nm", 8, 0.395, 0.0262144),
        ("45nm", 256, 3.275, 0.8388608),
        ("28nm", 64, 1.21175, 0.095944704),
        ("7nm", 0.5, 0.0210521, 0.00015933),
    ):
        at = technology.load(node)
        assert memory.sram_energy_pj_per_byte(kib, at) == pytest.approx(energy, rel=1e-4)
        assert memory.sram_area_mm2(kib, at) == pytest.approx(area, rel=1e-4)


@pytest.mark.parametrize(("kib", "picojoules", "um2_per_bit"), [(1, 0.79, 0.44), (8, 3.16, 0.401), (64, 13.1, 0.399)])
def test_table_at_the_points_of_the_cost_models(kib: int, picojoules: float, um2_per_bit: float) -> None:
    """The three CACTI points at 45 nm, recorded again from a fresh build: within their printed digits."""
    answer = sram(kib)
    assert answer.answered_by == "table"
    assert answer.read_energy_pj.value == pytest.approx(picojoules, rel=0.004)
    assert answer.area_um2.value / (kib * KIB) == pytest.approx(um2_per_bit, rel=0.004)


def test_area_of_large_macros_is_the_nodes_density() -> None:
    """hw.technology states it for 32 KiB and more, 7 nm rounded to 0.0389; 8K x 64 is the reference."""
    for node in NODES:
        expected = memory.sram_area_mm2(64, technology.load(node)) * 1e6
        assert sram(64, node).area_um2.value == pytest.approx(expected, rel=5e-4)


def test_asap7_macros_known_sizes() -> None:
    """1024x32, 256x128, 4096x16 and 64x32: areas of the LEF files divided by 16."""
    sizes = {(m.ports, m.words, m.word_bits): m.area_um2 / m.bits for m in asap7.macros()}
    assert len(sizes) == 57
    for key, density in {
        (1, 1024, 32): 0.0505,
        (1, 256, 128): 0.0575,
        (1, 4096, 16): 0.0500,
        (1, 64, 32): 0.0568,
    }.items():
        assert sizes[key] == pytest.approx(density, abs=5e-5)


def test_asap7_fit_is_the_least_squares_of_relative_errors() -> None:
    """Twin: normal equations by hand. The docstring's errors are the fit's."""
    chosen = [m for m in asap7.macros() if m.ports == 1]
    a = b = c = d = e = 0.0
    for m in chosen:
        x, y = m.bits / m.area_um2, m.bits**0.5 / m.area_um2
        a, b, c, d, e = a + x * x, b + x * y, c + y * y, d + x, e + y
    det = a * c - b * b
    fit = asap7.fit(1)
    assert (fit.linear, fit.root) == pytest.approx(((d * c - b * e) / det, (a * e - b * d) / det))
    worst = max(abs(fit.area_um2(m.bits) / m.area_um2 - 1) for m in chosen)
    assert fit.worst == pytest.approx(worst)
    assert fit.rms < 0.025
    assert fit.worst < 0.12


def test_asap7_times_are_a_line_in_the_address_bits() -> None:
    """Why they are not used: no width, no ports, 5.0 ps an address bit."""
    for m in asap7.macros():
        assert m.fast_ps == pytest.approx(69.59 + 4.971 * (math.log2(m.words) - 4), abs=0.02)


def test_7nm_density_meets_both_sources_and_falls() -> None:
    sizes = [2**i for i in range(9, 24)]
    densities = [asap7.sram_um2_per_bit(bits) for bits in sizes]
    assert densities == sorted(densities, reverse=True)
    assert asap7.sram_um2_per_bit(8192 * 64) == pytest.approx(1 / 25.7)
    assert asap7.sram_um2_per_bit(65536) == pytest.approx(asap7.fit().area_um2(65536) / 65536)
    for words, rom in ((1024, 21.6), (8192, 57.8), (1 << 20, 57.8)):
        assert asap7.rom_um2_per_bit(words) == pytest.approx(1 / rom)


def test_tables_agree_with_the_cited_one() -> None:
    rows = published.load().rows
    for kind, points in (("sram", asap7.TSMC_SRAM_MBIT_PER_MM2), ("rom", asap7.TSMC_ROM_MBIT_PER_MM2)):
        cited = [(r.words, r.value) for r in rows if r.kind == kind and r.what == "density_mbit_per_mm2" and r.words]
        assert cited == list(points)
    cell = {(r.node_nm, r.process): r.value for r in rows if r.what == "bit_cell_um2"}
    for node, key in (("28nm", (28, "TSMC")), ("16nm", (16, "TSMC"))):  # bit cell / 0.694, as configs/technology says
        assert technology.load(node).sram_area_um2_per_bit == pytest.approx(cell[key] / 0.694, rel=0.005)


def test_published_energy_beside_the_estimate() -> None:
    others = [q for name, q in sram(32).others if name == "read_energy_pj"]
    assert [(q.value, q.grade) for q in others] == [(20, Grade.PUBLISHED)]
    halfway = [q for name, q in sram(16).others if name == "read_energy_pj"]
    assert [(pytest.approx(200**0.5), Grade.DERIVED)] == [(q.value, q.grade) for q in halfway]
    assert [q.grade for name, q in sram(8, "7nm").others if name == "read_energy_pj"] == [Grade.ASSUMED]
    assert not [q for name, q in sram(2048).others if name == "read_energy_pj"]


def test_register_file_coefficients_are_the_librarys_cells() -> None:
    """Nangate45: DFF_X1 4.522 µm², DLH_X1 2.660, MUX2_X1 1.862; ASAP7: DHLx1 0.219."""
    state, multiplexer, _, _ = cells.area_coefficients("nangate45", "flip-flop")
    assert state == pytest.approx(4.522, rel=0.02)
    assert multiplexer == pytest.approx(1.862, rel=0.02)
    assert cells.area_coefficients("nangate45", "latch")[0] == pytest.approx(2.660, rel=0.03)
    assert cells.area_coefficients("nangate45", "enable-flip-flop")[0] == pytest.approx(4.522 + 1.862, rel=0.05)
    assert cells.area_coefficients("asap7", "latch")[0] == pytest.approx(0.2187, rel=0.03)


@pytest.mark.parametrize("library", ["nangate45", "asap7"])
@pytest.mark.parametrize("style", cells.STYLES)
def test_register_files_within_two_per_cent_of_synthesis(library: str, style: str) -> None:
    rows = cells.rows(library, "register_file", style)
    assert len(rows) >= 8
    for row in rows:
        area = cells.register_file_area(
            library, style, int(row["words"]), int(row["word_bits"]), int(row["readers"]), 1
        )
        assert area == pytest.approx(float(row["area_um2"]), rel=0.02)


@pytest.mark.parametrize(("node", "library", "within"), [("45nm", "nangate45", 0.03), ("7nm", "asap7", 0.09)])
def test_fifos_against_synthesis(node: str, library: str, within: float) -> None:
    for row in cells.rows(library, "fifo", "flip-flop"):
        words, bits = int(row["words"]), int(row["word_bits"])
        answer = memory.estimate("fifo", capacity_bits=words * bits, word_bits=bits, node=node, style="flip-flop")
        assert answer.area_um2.value == pytest.approx(float(row["area_um2"]), rel=within)


def test_synthesised_roms_agree_with_an_independent_synthesis() -> None:
    """Uniform random 8-bit words, Nangate45, other scripts and contents: 0.275 to 0.145 µm² per bit."""
    for words, density in ((64, 0.275), (256, 0.237), (1024, 0.192), (4096, 0.145)):
        answer = memory.estimate("rom", capacity_bits=words * 8, word_bits=8, node="45nm", style="logic")
        assert answer.area_um2.value / (words * 8) == pytest.approx(density, rel=0.05)


def test_rom_is_bounded_by_the_published_power_ratio() -> None:
    """11.4 / 19.2 of the SRAM of the same shape, and about half its area (ROMA: 1.84 at 3,328 words)."""
    rom = memory.estimate("rom", capacity_bits=3328 * 64, word_bits=64, node="7nm")
    ram = memory.estimate("sram", capacity_bits=3328 * 64, word_bits=64, node="7nm")
    assert rom.request.style == "via"
    assert rom.read_energy_pj.value == pytest.approx(ram.read_energy_pj.value * 11.4 / 19.2)
    assert ram.area_um2.value / rom.area_um2.value == pytest.approx(1.84, rel=0.05)
    assert rom.read_energy_pj.grade is Grade.ASSUMED
    assert rom.write_energy_pj.value == 0


# Twins and properties


def _slow(node: float, words: int, word_bits: float) -> dict[str, float]:
    """Interpolate the recorded runs with loops and math alone."""
    with grid.FILE.open() as file:
        rows = [r for r in csv.DictReader(line for line in file if line[0] != "#") if r["ports"] == "1rw"]
    known = {(float(r["node_nm"]), int(r["words"]), int(r["word_bits"])): r for r in rows}

    def near(values: set[float], x: float) -> tuple[float, float, float]:
        low = max([v for v in values if v <= x], default=min(values))
        high = min([v for v in values if v > low], default=low)
        if high == low:  # at or beyond the end: the end interval
            low = sorted(values)[-2]
        return low, high, math.log(x / low) / math.log(high / low)

    result = {}
    for name in grid.QUANTITIES:
        total = 0.0
        n0, n1, tn = near({k[0] for k in known}, node)
        b0, b1, tb = near({float(k[2]) for k in known}, word_bits)
        for n, wn in ((n0, 1 - tn), (n1, tn)):
            for b, wb in ((b0, 1 - tb), (b1, tb)):
                w0, w1, tw = near({float(k[1]) for k in known if k[0] == n and k[2] == b}, words)
                for w, ww in ((w0, 1 - tw), (w1, tw)):
                    total += wn * wb * ww * math.log(float(known[n, int(w), int(b)][name]))
        result[name] = math.exp(total)
    return result


@settings(max_examples=40, deadline=None)
@given(
    st.floats(22, 90),
    st.integers(64, 2**17),
    st.floats(8, 256),
)
def test_interpolation_equals_its_scalar_twin(node: float, words: int, word_bits: float) -> None:
    fast = dict(zip(grid.QUANTITIES, grid.interpolate(node, words, word_bits, Ports(1, 0, 0)), strict=True))
    assert fast == pytest.approx(_slow(node, words, word_bits), rel=1e-9)


@pytest.mark.parametrize("node_nm", sorted(scaling.DELAY_COEFFICIENTS))
def test_delays_are_positive_at_every_supply_a_technology_may_have(node_nm: float) -> None:
    assert all(scaling._delay(node_nm, volts / 100) > 0 for volts in range(40, 181))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NODES),
    st.integers(64, 2**16),
    st.integers(1, 2**14),
    st.sampled_from([8, 24, 64, 100, 256, 1000]),
)
def test_more_words_take_no_less_area_and_leakage(node: str, words: int, more: int, word_bits: int) -> None:
    def at(count: int) -> memory.MemoryEstimate:
        return memory.estimate("sram", capacity_bits=count * word_bits, word_bits=word_bits, node=node, prefer="table")

    few, many = at(words), at(words + more)
    assert many.area_um2.value >= few.area_um2.value
    assert many.leakage_w.value >= few.leakage_w.value * 0.999


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(NODES),
    st.sampled_from(["flip-flop", "enable-flip-flop", "latch"]),
    st.integers(2, 256),
    st.integers(1, 1024),
    st.integers(1, 3),
    st.integers(1, 2),
)
def test_register_files_are_positive_and_grow(
    node: str, style: str, words: int, word_bits: int, readers: int, writers: int
) -> None:
    def at(count: int, reads: int) -> memory.MemoryEstimate:
        return memory.estimate(
            "register_file",
            capacity_bits=count * word_bits,
            word_bits=word_bits,
            node=node,
            style=style,
            ports=f"{reads}r{writers}w",
        )

    answer = at(words, readers)
    assert all(q.value > 0 for q in answer.quantities().values())
    assert at(words, readers + 1).area_um2.value > answer.area_um2.value
    if words < 256:
        assert at(words + 1, readers).area_um2.value > answer.area_um2.value


def test_latches_are_smaller_and_gated_words_idle_cheaper() -> None:
    def at(style: str) -> memory.MemoryEstimate:
        return memory.estimate("register_file", capacity_bits=32 * 32, word_bits=32, node="45nm", style=style)

    latch, gated, enabled = at("latch"), at("flip-flop"), at("enable-flip-flop")
    assert latch.area_um2.value < gated.area_um2.value < enabled.area_um2.value
    # Idle, 32 clock gates or 38 flip-flops of the latches' data register see the clock, not 1,024 flip-flops.
    assert max(gated.idle_energy_pj.value, latch.idle_energy_pj.value) < enabled.idle_energy_pj.value / 20
    assert enabled.area_um2.grade is Grade.DERIVED  # scaled from 1.1 V to the node's 0.9 V


def test_ports_cost_what_cacti_says_at_45nm() -> None:
    """64 KiB: two ports 2.10 times the area, 1.40 times the read energy of one."""
    one, two = sram(64), sram(64, ports="2rw")
    assert two.area_um2.value / one.area_um2.value == pytest.approx(439892.0 / 209083.5, rel=1e-3)
    assert two.read_energy_pj.value / one.read_energy_pj.value == pytest.approx(18.3477 / 13.069, rel=1e-3)
    areas = [sram(64, ports=p).area_um2.value for p in ("1rw", "1r1w", "2r1w", "3r1w", "4r1w", "4r2w")]
    assert areas == sorted(areas)
    assert sram(64, ports="1rw2r").area_um2.value == pytest.approx(sram(64, ports="2r1w").area_um2.value)


def test_banks_multiply_one_bank() -> None:
    whole, part = sram(256, banks=4), sram(64)
    assert whole.area_um2.value == pytest.approx(4 * part.area_um2.value)
    assert whole.leakage_w.value == pytest.approx(4 * part.leakage_w.value)
    assert whole.read_energy_pj.value == pytest.approx(part.read_energy_pj.value)
    assert "wires between banks are left out" in whole.notes


def test_wide_words_are_macros_side_by_side() -> None:
    wide = memory.estimate("sram", capacity_bits=1024 * 1024, word_bits=1024, node="28nm")
    part = memory.estimate("sram", capacity_bits=1024 * 256, word_bits=256, node="28nm")
    for name in ("area_um2", "read_energy_pj", "write_energy_pj", "leakage_w"):
        assert getattr(wide, name).value == pytest.approx(4 * getattr(part, name).value)
    assert wide.notes == ("4 macros of 256 bits side by side in each bank",)


def test_below_22nm_numbers_are_scaled_and_say_so() -> None:
    small, base = sram(64, "7nm"), sram(64, "28nm")
    seven, at28 = technology.load("7nm"), technology.load("28nm")
    assert small.read_energy_pj.value == pytest.approx(base.read_energy_pj.value * seven.energy_ratio(at28))
    assert small.leakage_w.grade is Grade.ASSUMED
    assert "28nm" in small.read_energy_pj.source
    assert scaling.WARNING in small.notes
    assert scaling.to(at28) is None


def test_delays_fall_with_the_node() -> None:
    delays = [scaling.delay_scale(technology.load(node)) for node in NODES]
    assert delays == sorted(delays, reverse=True)
    # Above 0.95 V the paper's polynomials turn upward: taken at 0.95 V.
    node = technology.load("45nm")
    assert scaling.delay_scale(node.model_copy(update={"supply_v": 1.1})) == pytest.approx(
        scaling.delay_scale(node.model_copy(update={"supply_v": 0.95}))
    )


def test_a_users_node_is_taken_by_path(tmp_path: Path) -> None:
    text = (Path(technology.__file__).parents[1] / "configs" / "technology" / "28nm.yaml").read_text()
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("node_nm: 28", "node_nm: 40").replace("name: 28nm", "name: mine"))
    answer = memory.estimate("sram", capacity_bits=64 * KIB, word_bits=64, node=path)
    assert answer.request.node.name == "mine"
    assert sram(64, "28nm").read_energy_pj.value < answer.read_energy_pj.value < sram(64).read_energy_pj.value


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
def test_ports_are_read_as_they_are_written(read_write: int, read: int, write: int) -> None:
    ports = Ports(read_write, read, write)
    if ports.readers and ports.writers and ports.total <= 6:
        assert parse_ports(str(ports), "sram") == ports
    else:
        with pytest.raises(UserError):
            parse_ports(str(ports), "sram")


def test_every_kind_and_style_answers_with_source_and_grade() -> None:
    for kind in KINDS:
        for style in STYLES[kind]:
            words = 2048 if style == "via" else 64
            answer = memory.estimate(kind, capacity_bits=words * 32, word_bits=32, node="28nm", style=style)
            assert str(answer.request.ports) == DEFAULT_PORTS[kind]
            for q in answer.quantities().values():
                assert q.value >= 0
                assert len(q.source) > 8
            assert answer.area_um2.value > 0
            assert json.loads(json.dumps(answer.as_dict()))["answered_by"] == "table"


def test_defaults_by_size() -> None:
    def style(kind: str, words: int, bits: int) -> str:
        return memory.estimate(kind, capacity_bits=words * bits, word_bits=bits, node="28nm").request.style

    assert [style("fifo", 64, 64), style("fifo", 128, 64)] == ["flip-flop", "sram"]
    assert [style("rom", 512, 8), style("rom", 1024, 8)] == ["logic", "via"]


def test_a_fifo_of_sram_adds_pointers_to_it() -> None:
    fifo = memory.estimate("fifo", capacity_bits=1024 * 32, word_bits=32, node="28nm")
    ram = memory.estimate("sram", capacity_bits=1024 * 32, word_bits=32, node="28nm", ports="1r1w")
    extra = fifo.area_um2.value - ram.area_um2.value
    gate = technology.load("28nm").gate_area_um2
    assert 2 * 11 * 5 * gate < extra < 2 * 11 * 15 * gate  # two pointers of 11 bits, 5 to 15 gates a bit
    assert fifo.idle_energy_pj.value > 0


def test_a_logic_roms_further_ports_are_copies() -> None:
    one = memory.estimate("rom", capacity_bits=256 * 8, word_bits=8, node="45nm")
    two = memory.estimate("rom", capacity_bits=256 * 8, word_bits=8, node="45nm", ports="2r")
    assert two.area_um2.value == pytest.approx(2 * one.area_um2.value)
    assert two.read_energy_pj.value == pytest.approx(one.read_energy_pj.value)


def test_register_file_banks_are_joined_by_multiplexers() -> None:
    one = memory.estimate("register_file", capacity_bits=32 * 32, word_bits=32, node="45nm")
    four = memory.estimate("register_file", capacity_bits=128 * 32, word_bits=32, node="45nm", banks=4)
    assert four.area_um2.value - 4 * one.area_um2.value == pytest.approx(3 * 32 * 1.837, rel=0.01)


def test_recorded_runs_are_a_full_grid() -> None:
    runs = {
        (r["node_nm"], int(r["words"]), int(r["word_bits"])) for r in grid.read_csv(grid.FILE) if r["ports"] == "1rw"
    }
    for node in ("90", "65", "45", "32", "28", "22"):
        for bits in (8, 16, 32, 64, 128, 256):
            words = sorted(w for n, w, b in runs if (n, b) == (node, bits))
            assert words[0] == 64
            assert all(b == 2 * a for a, b in pairwise(words))
            assert words[-1] * bits == min(2**21 * bits, cacti.CAPACITY_BITS[1])


# Bad input

BAD: list[tuple[str, dict[str, Any], str]] = [
    ("srma", {}, "unknown memory kind 'srma' (did you mean 'sram'?); allowed: fifo, register_file, rom, sram"),
    ("sram", {"capacity_bits": 0}, "capacity_bits = 0: must be 1 or more"),
    ("sram", {"word_bits": -4}, "word_bits = -4: must be 1 or more"),
    ("sram", {"banks": 0}, "banks = 0: must be 1 or more"),
    (
        "sram",
        {"word_bits": 60},
        "capacity_bits = 524288: not a whole number of 60-bit words; nearest: 524280 or 524340",
    ),
    ("sram", {"banks": 3}, "banks = 3: 8192 words do not divide into 3 equal banks"),
    ("sram", {"style": "8t"}, "unknown style of kind 'sram' '8t'; allowed: 6t"),
    (
        "register_file",
        {"style": "flipflop"},
        "unknown style of kind 'register_file' 'flipflop' (did you mean 'flip-flop'?); "
        "allowed: enable-flip-flop, flip-flop, latch, sram",
    ),
    ("sram", {"prefer": "tabel"}, "unknown preference 'tabel' (did you mean 'table'?); allowed: auto, cacti, table"),
    (
        "sram",
        {"ports": "rw"},
        "ports = 'rw': expected counts of rw, r and w ports in this order, e.g. 1rw, 1r1w, 2rw1r",
    ),
    ("sram", {"ports": "4r4w"}, "ports = '4r4w': 8 ports; the models reach to 6"),
    ("sram", {"ports": "2r"}, "ports = '2r': no port can write; e.g. 1rw"),
    ("register_file", {"ports": "1w"}, "ports = '1w': no port can read; e.g. 1r1w"),
    ("rom", {"ports": "2rw"}, "ports = '2rw': a ROM has read ports only, e.g. 2r"),
    ("fifo", {"ports": "2r1w"}, "ports = '2r1w': a FIFO has one write and one read port: 1r1w"),
    (
        "sram",
        {"capacity_bits": 63 * 64},
        "words of a bank = 63: the SRAM model is valid from 64 to 2097152; "
        "smaller ones: register files of flip-flops (2 to 256 words)",
    ),
    (
        "sram",
        {"capacity_bits": 2**22 * 64},
        "words of a bank = 4194304: the SRAM model is valid from 64 to 2097152; divide it into more banks",
    ),
    ("sram", {"word_bits": 4}, "word_bits = 4: the SRAM model is valid from 8 to 4096"),
    (
        "sram",
        {"capacity_bits": 2**21 * 256, "word_bits": 256},
        "bits of a bank = 536870912: the SRAM model is valid from 512 to 134217728; divide it into more banks",
    ),
    (
        "register_file",
        {"capacity_bits": 257 * 8, "word_bits": 8},
        "words of a bank = 257: the standard-cell model is valid from 2 to 256; larger ones: kind sram",
    ),
    (
        "fifo",
        {"capacity_bits": 512 * 8, "word_bits": 8, "style": "latch"},
        "words of a bank = 512: the standard-cell model is valid from 2 to 256; larger ones: style sram",
    ),
    (
        "rom",
        {"capacity_bits": 512 * 8, "word_bits": 8, "style": "via"},
        "words of a bank = 512: the via ROM model is valid from 1024 to 2097152; "
        "smaller ones: style logic (16 to 4096 words)",
    ),
    (
        "rom",
        {"capacity_bits": 8192 * 8, "word_bits": 8, "style": "logic"},
        "words of a bank = 8192: the logic ROM model is valid from 16 to 4096; "
        "larger ones: style via (1024 words and more)",
    ),
    (
        "register_file",
        {"capacity_bits": 64 * 8, "word_bits": 8, "prefer": "cacti"},
        "prefer = 'cacti': CACTI models no register_file of style 'flip-flop'; it models sram, and register_file and "
        "fifo of style 'sram'",
    ),
    (
        "sram",
        {"prefer": "cacti"},
        "prefer = 'cacti': CACTI is not built; build it with: lutscape rtl memory build-cacti",
    ),
    ("sram", {"node": "28"}, "technology file '28' not found (did you mean '28nm'?); give a path or one of: "),
]


@pytest.mark.parametrize(
    ("kind", "changes", "text"), BAD, ids=[f"{k}-{next(iter(c), '')}-{i}" for i, (k, c, _) in enumerate(BAD)]
)
def test_bad_arguments_end_in_one_line(kind: str, changes: dict[str, Any], text: str) -> None:
    arguments: dict[str, Any] = {"capacity_bits": 64 * KIB, "word_bits": 64, "node": "28nm", **changes}
    with pytest.raises(UserError) as caught:
        memory.estimate(kind, **arguments)
    assert str(caught.value) == text if not text.endswith(": ") else str(caught.value).startswith(text)


def test_a_broken_cited_table_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "kind: memory-table\nschema_version: 1\nrows:\n"
        '  - {kind: sram, what: bit_cell, node_nm: 5, process: X, value: 1, grade: published, source: "elsewhere"}\n'
    )
    with pytest.raises(
        UserError, match=rf"{path}:4: rows\[0\]\.what = 'bit_cell': must be .*did you mean 'bit_cell_um2'"
    ):
        published.load(path)


# Command line


def run(*arguments: str) -> str:
    result = CliRunner().invoke(command, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_the_command_prints_value_grade_source_and_who() -> None:
    out = run("sram", "--kib", "64", "--word-bits", "64", "--node", "28nm")
    assert "answered by: table" in out
    assert "4.534 pJ" in out
    assert "derived" in out
    assert "8192 words of 64 bits = 64 KiB, 1rw, 28nm" in out


def test_the_commands_json_is_the_estimate() -> None:
    out = json.loads(run("register-file", "--words", "32", "--word-bits", "16", "--node", "7nm", "--json"))
    answer = memory.estimate("register_file", capacity_bits=512, word_bits=16, node="7nm")
    assert out == json.loads(json.dumps(answer.as_dict()))
    assert (
        run("register_file", "--words", "32", "--word-bits", "16", "--node", "7nm", "--json")
        == json.dumps(out, indent=1) + "\n"
    )


def test_the_table_prints_who_published_each_number() -> None:
    out = run("table")
    for row in published.load().rows:
        assert row.source in out
    document = json.loads(run("table", "--json"))
    assert len(document["published"]) == len(published.load().rows)
    assert {s["rows"] for s in document["recorded"]} == {582, 57, 78}


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["srams"], "unknown memory kind or command 'srams' (did you mean 'sram'?); one of: "),
        (["sram", "--word-bits", "8", "--node", "7nm"], "give the capacity once: --kib or --words"),
        (["sram", "--kib", "1", "--words", "9", "--word-bits", "8", "--node", "7nm"], "give the capacity once"),
        (["sram", "--kib", "nan", "--word-bits", "8", "--node", "7nm"], "--kib = nan: must be above zero"),
        (["sram", "--words", "0", "--word-bits", "8", "--node", "7nm"], "--words = 0: must be 1 or more"),
    ],
)
def test_bad_command_lines(arguments: list[str], text: str) -> None:
    with pytest.raises(UserError) as caught:
        CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert str(caught.value).startswith(text)


def test_power_ratio_is_romas() -> None:
    assert standard.power_ratio() == pytest.approx(11.4 / 19.2)
