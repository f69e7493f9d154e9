"""Read generated ROMs back in a Verilog simulator, and hold every word to the model's weights.

Three routes to the words must agree: the Verilog as Icarus reads it, the manifest's signatures, and the model's
weights quantised anew. A run passes only if every word of every ROM was read and compared; no words, undefined bits, a
tensor that was altered or is missing, and a file that was edited are failures.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.checkpoint import Checkpoint
from lutscape.rtl import brom_layer, simulators
from lutscape.rtl.brom_layer import Recipe
from lutscape.rtl.cells.text import index_bits
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.image import Image

TIMEOUT_S = 600.0
SHOWN = 5
PROCESSES = 4
"""Simulators at a time at most; each reads the whole file."""


@dataclass(frozen=True)
class Verification:
    """What reading the ROMs back showed.

    Attributes:
        roms: modules read.
        words: compared, of all.
        bits: compared.
        wrong_words: words that differ from the model's weights.
        failures: all of them in words, the first wrong words among them; empty if the ROMs are right.
        signatures: module -> CRC-32 of the words that were read.
        simulator: with version.
        seconds: all in.
    """

    roms: int
    words: int
    bits: int
    wrong_words: int
    failures: tuple[str, ...]
    signatures: dict[str, str]
    simulator: str
    seconds: float

    @property
    def passed(self) -> bool:
        """Every word was compared, and nothing differs."""
        return not self.failures and self.words > 0


def verify(path: Path, checkpoint: Checkpoint, timeout_s: float = TIMEOUT_S) -> Verification:
    """Verify a Verilog file of ROMs; its manifest lies beside it.

    Args:
        path: written by ``lutscape roma rom``.
        checkpoint: the model that the manifest names.
        timeout_s: limit of the simulation, seconds.

    Raises:
        UserError: files that cannot be read, a manifest without content, a simulator that is not installed, or Verilog
            that does not compile.
    """
    started = time.monotonic()
    found = brom_layer.read_manifest(brom_layer.manifest_path(path))
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not found["roms"] or not found["tensors"] or not found["words"]:
        raise UserError(f"{brom_layer.manifest_path(path)}: names no ROMs, tensors or words: nothing to verify")
    made = rebuilt(found, checkpoint)
    failures = differences(found, made)
    if hashlib.sha256(text.encode()).hexdigest() != found["verilog_sha256"]:
        failures.append(f"{path.name}: SHA-256 is not the manifest's: the file was edited")
    modules = [str(r["module"]) for r in found["roms"]]
    simulator = simulators.find("icarus")
    read = simulate(text, modules, [len(w) for w in made.roms()], made.unit.word_bits, simulator, timeout_s)
    wrong = 0
    signatures = {}
    for module, expected, lines, first in zip(
        modules, made.roms(), read, range(0, len(made.words), made.depth), strict=True
    ):
        actual, undefined = packed(lines, made.unit.word_bits)
        signatures[module] = f"{layout.signature(actual):08x}"
        bad = np.flatnonzero((actual != expected).any(axis=1) | undefined)
        wrong += len(bad)
        for address in bad[:SHOWN]:
            tensor, row, group, plane = made.owner(first + int(address))
            bits = np.unpackbits(actual[address] ^ expected[address]).sum()
            what = "is undefined" if undefined[address] else f"differs in {bits} of {made.unit.word_bits} bits"
            failures.append(
                f"{module}: word {address} {what} from {tensor.name} row {row}, group {group}, plane {plane}"
            )
        if len(bad) > SHOWN:
            failures.append(f"{module}: {len(bad) - SHOWN} more words differ")
    count = sum(len(lines) for lines in read)
    seconds = time.monotonic() - started
    bits_read = count * made.unit.word_bits
    return Verification(len(modules), count, bits_read, wrong, tuple(failures), signatures, simulator.version, seconds)


def rebuilt(found: dict[str, Any], checkpoint: Checkpoint) -> Image:
    """Return the image that a manifest describes, from the model's weights.

    Raises:
        UserError: a manifest whose fields are no recipe.
    """
    try:
        unit = LUnit.model_validate(found["l_unit"])
        layers = None if found["layers"] is None else tuple(int(n) for n in found["layers"])
        recipe = Recipe(unit, str(found["weights"]), layers, bool(found["requantise"]), bool(found["search"]))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"manifest: not a recipe of ROMs: {' '.join(str(error).split())}") from None
    return brom_layer.build(checkpoint, recipe)


def differences(found: dict[str, Any], made: Image) -> list[str]:
    """Return in words what a manifest says otherwise than the model."""
    failures = []
    roms = made.roms()
    if len(found["roms"]) != len(roms) or found["words"] != len(made.words):
        raise UserError(
            f"manifest: {found['words']} words in {len(found['roms'])} ROMs; the model's tensors fill "
            f"{len(made.words)} in {len(roms)}"
        )
    named = {t["name"]: t for t in found["tensors"]}
    for tensor in made.tensors:
        if tensor.name not in named:
            failures.append(f"{tensor.name}: not in the manifest")
        elif named[tensor.name]["sha256"] != tensor.sha256:
            failures.append(f"{tensor.name}: SHA-256 of its words is not the manifest's")
    extra = sorted(set(named) - {t.name for t in made.tensors})
    failures += [f"{name}: in the manifest, but not in the model" for name in extra]
    for entry, words in zip(found["roms"], roms, strict=True):
        crc = f"{layout.signature(words):08x}"
        if entry["words"] != len(words) or entry["crc32"] != crc:
            failures.append(
                f"{entry['module']}: manifest has {entry['words']} words of CRC-32 {entry['crc32']}, the model's "
                f"weights {len(words)} of {crc}"
            )
    return failures


def bench(modules: list[str], depths: list[int], word_bits: int) -> str:
    """Return a bench that prints one line per address and ROM: ROM, address, word in hexadecimal."""
    most = max(depths)
    lines = ["module bench;", "integer a, file;"]
    for i, (module, depth) in enumerate(zip(modules, depths, strict=True)):
        lines += [
            f"reg [{index_bits(depth) - 1}:0] address_{i};",
            f"wire [{word_bits - 1}:0] word_{i};",
            f"{module} rom_{i} (.a_address(address_{i}), .q_word(word_{i}));",
        ]
    lines += ["initial begin", '    file = $fopen("words.txt", "w");', f"    for (a = 0; a < {most}; a = a + 1) begin"]
    lines += [f"        address_{i} = a;" for i in range(len(modules))]
    lines += ["        #1;"]
    lines += [f'        if (a < {depth}) $fdisplay(file, "{i} %h", word_{i});' for i, depth in enumerate(depths)]
    return "\n".join([*lines, "    end", "    $fclose(file);", "    $finish;", "end", "endmodule", ""])


def simulate(
    text: str,
    modules: list[str],
    depths: list[int],
    word_bits: int,
    simulator: simulators.Simulator,
    timeout_s: float = TIMEOUT_S,
) -> list[list[str]]:
    """Return the words of each ROM as Icarus prints them, in hexadecimal; as many at a time as there are processors.

    Raises:
        UserError: Verilog that does not compile, a time-out, or words that did not come.
    """
    parts = min(os.cpu_count() or 1, PROCESSES, len(modules))
    with ThreadPoolExecutor(parts) as pool:
        chosen = [range(i, len(modules), parts) for i in range(parts)]
        runs = [
            pool.submit(
                _simulate, text, [modules[i] for i in c], [depths[i] for i in c], word_bits, simulator, timeout_s
            )
            for c in chosen
        ]
        found: list[list[str]] = [[] for _ in modules]
        for indices, run in zip(chosen, runs, strict=True):
            for i, lines in zip(indices, run.result(), strict=True):
                found[i] = lines
    return found


def _simulate(
    text: str, modules: list[str], depths: list[int], word_bits: int, simulator: simulators.Simulator, timeout_s: float
) -> list[list[str]]:
    """Return the words of some ROMs of a file."""
    with tempfile.TemporaryDirectory(prefix="lutscape-rom-") as name:
        folder = Path(name)
        (folder / "rom.v").write_text(text)
        (folder / "bench.v").write_text(bench(modules, depths, word_bits))
        build = [str(simulator.program), "-g2005", "-s", "bench", "-o", "bench.vvp", "rom.v", "bench.v"]
        for command in (build, ["vvp", "-n", "bench.vvp"]):
            try:
                ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise UserError(f"{Path(command[0]).name}: no end after {timeout_s:g} s") from None
            if ran.returncode:
                said = " ".join((ran.stderr or ran.stdout).split())[:200]
                raise UserError(f"{Path(command[0]).name} refuses the ROMs: {said}")
        found: list[list[str]] = [[] for _ in modules]
        printed = folder / "words.txt"
        for line in printed.read_text().splitlines() if printed.is_file() else []:
            index, _, word = line.partition(" ")
            found[int(index)].append(word)
    for module, depth, lines in zip(modules, depths, found, strict=True):
        if len(lines) != depth:
            raise UserError(f"{module}: the simulator printed {len(lines)} of {depth} words")
    return found


def packed(lines: list[str], word_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return words (depth, bytes) of hexadecimal lines, and which held x or z (taken as 0)."""
    size = -(-word_bits // 8)
    undefined = np.zeros(len(lines), bool)
    words = np.zeros((len(lines), size), np.uint8)
    for i, line in enumerate(lines):
        try:
            value = int(line, 16)
        except ValueError:
            undefined[i] = True
            continue
        words[i] = np.frombuffer(value.to_bytes(size, "little"), np.uint8)
    return words, undefined
