"""CACTI behind the estimates: parsing, caching, failures, the build; with stand-ins, and with the real one if built."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from lutscape.commands.rtl_memory import memory as command
from lutscape.hw import memory, technology
from lutscape.hw.cache import CACHE_VARIABLE
from lutscape.hw.errors import UserError
from lutscape.hw.memories import cacti, cacti_build, grid
from lutscape.hw.memories.request import Ports, parse_ports

# What CACTI 7.0 (hwcomponents-cacti 1.0.40) printed for 1,024 words of 64 bits at 45 nm, its first 25 result lines.
PRINTED = (Path(__file__).parents[1] / "vectors" / "memory" / "cacti-45nm-8kib.txt").read_text()
REAL = cacti_build.find()


def script(path: Path, body: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def stand_in(body: str) -> cacti_build.Install:
    """Put a script in the place of CACTI."""
    folder = cacti_build.folder()
    script(folder / "cacti", body)
    (folder / "build.json").write_text(json.dumps({"executable_sha256": body, "compiler": "sh"}))
    install = cacti_build.find()
    assert install is not None
    return install


def printing(text: str = PRINTED) -> cacti_build.Install:
    """A stand-in that prints a text, counts its runs and keeps its last input."""
    place = cacti_build.folder()
    place.mkdir(parents=True, exist_ok=True)
    (place / "text").write_text(text)
    return stand_in('echo run >> runs; cp "$2" last.cfg; cat text')


def runs() -> int:
    try:
        return len((cacti_build.folder() / "runs").read_text().split())
    except FileNotFoundError:
        return 0


def test_parse_known_output() -> None:
    answer = cacti.parse(PRINTED)
    assert answer.area_um2 == pytest.approx(191.603 * 137.167)
    assert answer.read_pj == pytest.approx(3.16221)
    assert answer.write_pj == pytest.approx(3.24418)
    assert answer.leakage_w == pytest.approx((0.0432527 + 0.183786) * 1e-3)
    assert (answer.access_ns, answer.cycle_ns) == (0.651761, 0.569926)


def test_leakage_is_of_all_banks() -> None:
    four = cacti.parse(PRINTED.replace("Number of banks: 1", "Number of banks: 4"))
    assert four.leakage_w == pytest.approx(4 * cacti.parse(PRINTED).leakage_w)
    assert four.area_um2 == cacti.parse(PRINTED).area_um2


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "ERROR: no valid data array organizations found\n",
            "CACTI found no memory: no valid data array organizations found",
        ),
        ("io_type : DDR3\nInvalid technology nodes\n", "CACTI found no memory: Invalid technology nodes"),
        (PRINTED[:300], "CACTI found no memory: its output ends early"),
        (PRINTED.replace("0.00316221", "-nan"), "CACTI printed 'Total dynamic read energy per access (nJ): -nan'"),
        (PRINTED.replace("0.651761", "inf"), "CACTI printed 'Access time (ns): inf'"),
        (PRINTED.replace("0.569926", "0"), "CACTI printed 'Cycle time (ns):  0'"),
        (PRINTED.replace("0.569926", "soon"), "CACTI printed 'Cycle time (ns):  soon'"),
    ],
)
def test_what_cacti_may_print_instead(text: str, reason: str) -> None:
    with pytest.raises(cacti.CactiFailure) as caught:
        cacti.parse(text)
    assert str(caught.value) == reason


def test_the_question_is_written_into_the_configuration() -> None:
    lines = cacti.configuration(cacti.Question(28, 1024, 72, Ports(1, 2, 3), 4)).splitlines()
    for line in (
        "-size (bytes) 36864",
        "-block size (bytes) 9",
        "-output/input bus width 72",
        "-read-write port 1",
        "-exclusive read port 2",
        "-exclusive write port 3",
        "-UCA bank count 4",
        "-technology (u) 0.028",
        '-Data array cell type - "itrs-lop"',
        '-cache type "ram"',
        '-Add ECC - "false"',
        "-operating temperature (K) 300",
    ):
        assert line in lines
    assert len(lines) == len({line.split(" ")[0] + line for line in lines}) > 70


def test_the_estimate_is_cactis_and_says_so() -> None:
    printing()
    answer = memory.estimate("sram", capacity_bits=65536, word_bits=64, node="45nm")
    assert answer.answered_by == "cacti 7.0 (hwcomponents-cacti 1.0.40, sha256 0bec35a55fed)"
    assert answer.area_um2.value == pytest.approx(191.603 * 137.167)
    assert answer.read_energy_pj.value == pytest.approx(3.16221)
    assert answer.leakage_w.value == pytest.approx(0.2270387e-3)
    assert answer.access_time_ns.value == 0.651761
    assert (
        "table" in memory.estimate("sram", capacity_bits=65536, word_bits=64, node="45nm", prefer="table").answered_by
    )
    assert runs() == 1


def test_an_answer_is_kept_by_the_content_of_the_question(cache: Path) -> None:
    install = printing()
    question = cacti.Question(45, 1024, 64)
    first = cacti.ask(question, install)
    assert cacti.ask(question, install) == first
    assert runs() == 1
    cacti.ask(cacti.Question(45, 1024, 64, device_class="itrs-hp"), install)
    assert runs() == 2
    kept = sorted((cache / "cacti" / "answers").glob("*.json"))
    assert len(kept) == 2
    for path in kept:
        path.write_text("{")  # damaged: asked again
    assert cacti.ask(question, install) == first
    assert runs() == 3
    other = cacti_build.Install(install.folder, "another executable", "")
    cacti.ask(question, other)
    assert runs() == 4


def test_an_answer_that_cannot_be_kept_is_an_answer(cache: Path) -> None:
    install = printing()
    (cache / "cacti" / "answers").write_text("a file where the folder should be")
    assert cacti.ask(cacti.Question(45, 1024, 64), install).access_ns == 0.651761


def test_smaller_nodes_are_scaled_from_28nm() -> None:
    printing()
    answer = memory.estimate("sram", capacity_bits=65536, word_bits=64, node="7nm")
    assert "-technology (u) 0.028\n" in (cacti_build.folder() / "last.cfg").read_text()
    seven, base = technology.load("7nm"), technology.load("28nm")
    assert answer.read_energy_pj.value == pytest.approx(3.16221 * seven.energy_ratio(base))
    assert answer.area_um2.value == pytest.approx(191.603 * 137.167 * 0.0389 / 0.183)
    assert "at 28nm, x energy factor of 7nm / 28nm" in answer.read_energy_pj.source
    memory.estimate("sram", capacity_bits=65536, word_bits=64, node="28nm")


def test_wide_and_odd_words() -> None:
    """1,000 bits: four macros of 250, each run with 256 and scaled back."""
    printing()
    answer = memory.estimate("sram", capacity_bits=128 * 1000, word_bits=1000, node="45nm")
    assert "-block size (bytes) 32\n" in (cacti_build.folder() / "last.cfg").read_text()
    assert answer.read_energy_pj.value == pytest.approx(3.16221 * 4 * 250 / 256)
    assert answer.access_time_ns.value == 0.651761
    assert answer.notes == (
        "4 macros of 250 bits side by side in each bank",
        "CACTI ran with 256-bit words; all but the access time is scaled to 250",
    )


def test_multi_ported_register_files_and_fifos_ask_cacti_too() -> None:
    printing()
    files = memory.estimate("register_file", capacity_bits=4096, word_bits=32, node="45nm", style="sram", ports="2r1w")
    assert files.answered_by.startswith("cacti")
    text = (cacti_build.folder() / "last.cfg").read_text()
    assert "-exclusive read port 2\n" in text
    fifo = memory.estimate("fifo", capacity_bits=65536, word_bits=64, node="45nm")
    assert fifo.answered_by.startswith("cacti")
    assert fifo.area_um2.value > 191.603 * 137.167
    assert memory.estimate("rom", capacity_bits=65536, word_bits=64, node="45nm").answered_by == "table"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("kill -FPE $$", "CACTI ended with signal 8"),
        ("echo 'ERROR: no valid data array organizations found'; exit 1", "no valid data array organizations found"),
        ("true", "its output ends early"),
    ],
)
def test_failures_end_in_the_table_or_in_one_line(body: str, reason: str) -> None:
    stand_in(body)
    answer = memory.estimate("sram", capacity_bits=65536, word_bits=64, node="45nm")
    assert answer.answered_by == "table"
    assert any(note.startswith("the table answers because") and reason in note for note in answer.notes)
    with pytest.raises(UserError, match=rf"prefer = 'cacti': .*{reason}; prefer = 'table' answers without it"):
        memory.estimate("sram", capacity_bits=65536, word_bits=64, node="45nm", prefer="cacti")


def test_a_cacti_that_hangs_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    install = stand_in("exec sleep 60")
    begin = time.monotonic()
    with pytest.raises(cacti.CactiFailure, match=r"^CACTI was not done within 0.2 s$"):
        cacti.ask(cacti.Question(45, 1024, 64), install, seconds=0.2)
    assert time.monotonic() - begin < 30


def test_banks_that_are_no_power_of_two_go_to_the_table() -> None:
    printing()
    answer = memory.estimate("sram", capacity_bits=3 * 65536, word_bits=64, node="45nm", banks=3)
    assert answer.answered_by == "table"
    assert "the table answers because banks = 3: CACTI takes powers of two only" in answer.notes
    assert runs() == 0


def test_a_build_that_cannot_be_read_is_none() -> None:
    assert cacti_build.find() is None
    folder = cacti_build.folder()
    script(folder / "cacti", "true")
    for text in ("", "[]", "{}"):
        (folder / "build.json").write_text(text)
        assert cacti_build.find() is None
    stand_in("true")
    assert cacti_build.find() is not None
    (folder / "cacti").chmod(0o600)
    if os.geteuid():  # root may execute nothing without an x bit either, but access() differs between systems
        assert cacti_build.find() is None


# The build, with a made wheel and stand-ins for make and g++


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hwcomponents_cacti-1.0.40-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        inside = "hwcomponents_cacti/cacti/"
        for name in ("main.cc", "const.h", "cacti.mk", "contention.dat", "tech_params/45nm.dat"):
            archive.writestr(inside + name, name)
        archive.writestr(inside + "cacti", "prebuilt")
        archive.writestr(inside + "obj_dbg/main.o", "object")
        archive.writestr(inside + "../../outside.cc", "escaped")
        archive.writestr("hwcomponents_cacti/__init__.py", "raise SystemExit")
    monkeypatch.setattr(cacti_build, "_download", lambda place: path)
    return path


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "tools"
    script(place / "g++", "echo g++ 99")
    script(place / "make", f'echo "$@" > {tmp_path}/make.txt; /bin/cp main.cc cacti; /bin/chmod +x cacti')
    monkeypatch.setenv("PATH", str(place))
    return place


def test_the_build_takes_sources_only_and_is_kept(wheel: Path, tools: Path, tmp_path: Path, cache: Path) -> None:
    said: list[str] = []
    install, fresh = cacti_build.build(said.append)
    assert fresh
    assert said == ["fetching hwcomponents-cacti==1.0.40 with pip ...", "compiling CACTI (10 to 60 s) ..."]
    assert install.executable.read_text() == "main.cc"
    assert install.executable_sha256 == hashlib.sha256(b"main.cc").hexdigest()
    assert install.compiler == "g++ 99"
    assert sorted(p.relative_to(install.folder).as_posix() for p in install.folder.rglob("*")) == [
        "build.json",
        "cacti",
        "contention.dat",
        "tech_params",
        "tech_params/45nm.dat",
    ]
    assert not list(tmp_path.rglob("outside.cc"))
    assert (tmp_path / "make.txt").read_text().strip() == "-j2 -f cacti.mk TAG=opt OPT=-O2 -DNTHREADS=1"
    assert cacti_build.build()[1] is False
    assert [p.name for p in (cache / "cacti").iterdir()] == ["hwcomponents-cacti-1.0.40"]
    out = CliRunner().invoke(command, ["build-cacti"], catch_exceptions=False).stdout
    assert "already in" in out


def test_missing_tools_are_named_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "bin" / "make", "true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UserError) as caught:
        cacti_build.build()
    assert str(caught.value) == (
        "CACTI is built with make and g++; not on PATH: g++ (Debian, Ubuntu: apt-get install g++)"
    )


def test_a_failed_compilation_shows_its_first_error(wheel: Path, tools: Path, cache: Path) -> None:
    script(tools / "make", "echo compiling; echo 'area.cc:7: error: expected ;'; echo more; exit 2")
    with pytest.raises(UserError) as caught:
        cacti_build.build()
    log = cache / "cacti" / "build.log"
    assert str(caught.value) == f"CACTI did not compile: area.cc:7: error: expected ;; all of it in {log}"
    assert "more" in log.read_text()
    assert cacti_build.find() is None
    assert [p.name for p in (cache / "cacti").iterdir()] == ["build.log"]


def test_a_wheel_that_is_not_the_published_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "python", 'while [ "$1" != --dest ]; do shift; done; echo wrong > "$2/hwcomponents_cacti-1.whl"')
    monkeypatch.setattr(cacti_build.sys, "executable", str(tmp_path / "python"))
    found = hashlib.sha256(b"wrong\n").hexdigest()
    with pytest.raises(UserError) as caught:
        cacti_build._download(tmp_path)
    assert str(caught.value) == (
        f"hwcomponents_cacti-1.whl: SHA-256 {found}, expected {cacti_build.WHEEL_SHA256}; not the published wheel"
    )


def test_no_network_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(tmp_path / "python", "echo 'WARNING: retrying' >&2; echo 'ERROR: No matching distribution' >&2; exit 1")
    monkeypatch.setattr(cacti_build.sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UserError) as caught:
        cacti_build._download(tmp_path)
    assert str(caught.value) == (
        "hwcomponents-cacti==1.0.40 could not be fetched from the package index: No matching distribution; "
        "check the network and pip's index settings, then run the command again"
    )


# The real one

live = pytest.mark.skipif(REAL is None, reason="CACTI is not built: lutscape rtl memory build-cacti")


@live
def test_live_reproduces_the_points_of_the_cost_models() -> None:
    """itrs-lop, 64-bit port, 300 K, 45 nm: the anchors of sram_energy_pj_per_byte, and their areas per bit."""
    assert REAL is not None
    for (kib, picojoules), density in zip(memory.CACTI_45NM, (0.44, 0.401, 0.399), strict=True):
        answer = cacti.ask(cacti.Question(45, int(kib * 128), 64), REAL)
        assert answer.read_pj == pytest.approx(picojoules, rel=0.004)
        assert answer.area_um2 / (kib * 8192) == pytest.approx(density, rel=0.004)


@live
def test_live_gives_what_was_recorded() -> None:
    assert REAL is not None
    rows = [r for r in grid.read_csv(grid.FILE) if int(r["words"]) <= 4096][::23]
    assert len(rows) > 10
    for row in rows:
        ports = parse_ports(row["ports"], "sram")
        answer = cacti.ask(cacti.Question(float(row["node_nm"]), int(row["words"]), int(row["word_bits"]), ports), REAL)
        found = (answer.area_um2, answer.read_pj, answer.write_pj, answer.leakage_w, answer.access_ns)
        assert found == pytest.approx([float(row[name]) for name in grid.QUANTITIES], rel=1e-4)


@live
def test_live_output_is_the_recorded_text() -> None:
    assert REAL is not None
    text = cacti._run(cacti.configuration(cacti.Question(45, 1024, 64)), REAL, 60)
    assert PRINTED in text


@live
def test_live_words_and_banks_at_the_edges_answer() -> None:
    assert REAL is not None
    for words, bits, banks in ((64, 8, 1), (64, 256, 1), (100, 24, 2), (2**12, 8, 16)):
        answer = cacti.ask(cacti.Question(22, words, bits, banks=banks), REAL)
        assert answer.area_um2 > 0
