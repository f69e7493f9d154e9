"""Synthesised ROM forms of a few words: gates read the words, areas are there; offline and without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lutscape.hw.machines.roma import LUnit
from lutscape.rtl import liberty
from lutscape.rtl.brom_measure import Library, cell_row, rom_row, tile, unit_row
from lutscape.rtl.cells.l_unit import reference_words
from lutscape.rtl.cells.rom_cell import FORMS
from lutscape.rtl.cells.secded_decoder import secded_decoder

ROOT = Path(__file__).resolve().parents[2]
NANGATE = Library("Nangate45", 45, ("nangate45",))


def test_tiles_keep_words_and_columns() -> None:
    words = np.packbits(np.eye(12, dtype=np.uint8), axis=1, bitorder="little")
    cut = np.unpackbits(tile(words, 12, 8, [0, 7, 11]), axis=1, count=3, bitorder="little")
    assert cut.tolist() == np.eye(12, dtype=int)[:8, [0, 7, 11]].tolist()


def test_gates_of_every_form_read_the_words(nangate45: liberty.Library) -> None:
    words = np.random.default_rng(0).integers(0, 256, (32, 1)).astype(np.uint8)
    rows = [rom_row(words, 8, form, NANGATE) for form in FORMS]
    areas = [row["area_um2"] for row in rows]
    assert max(areas) < 1.3 * min(areas)  # the same functions, whatever is written down
    assert all(row["energy_pj_per_read"] > 0 for row in rows)
    assert rows[0]["ones"] == round(float(np.unpackbits(words).mean()), 4)


def test_an_l_unit_apart_and_flattened(nangate45: liberty.Library) -> None:
    unit = LUnit(group=8, activation_bits=6, accumulator_bits=16)
    row = unit_row(unit, reference_words(unit, 8, 2), 4, "block", NANGATE, streams=4)
    assert row["rom_area_um2"] > 0
    assert row["area_um2"] < 1.05 * (row["rom_area_um2"] + row["compute_area_um2"])
    assert row["values_checked"] == 4 * 8 * 2
    assert row["energy_pj_per_row"] > 0


def test_a_decoder_has_an_area(nangate45: liberty.Library) -> None:
    assert cell_row(secded_decoder(8), NANGATE)["area_um2"] > 20


OFFLINE = """
import socket, sys
def refuse(*a, **k): raise OSError("no network")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from lutscape.cli import cli
for arguments in (["roma", "rom", "--model", sys.argv[1], "-o", sys.argv[2]], ["roma", "verify", sys.argv[2]]):
    assert not cli.main(arguments, standalone_mode=False), arguments
assert "torch" not in sys.modules
"""


def test_roms_need_neither_network_nor_pytorch(tiny_gguf: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", OFFLINE, str(tiny_gguf), str(tmp_path / "t.v")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("passed\n")


@pytest.mark.model
@pytest.mark.long
def test_a_layer_of_smollm2_is_written_and_read_back(smollm2_path: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lutscape", "roma", "rom", "--model", "smollm2-135m", "--layer", "29", "--check"]
    done = subprocess.run([*command, "-o", str(tmp_path / "t.v")], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "59904 words" in done.stdout
