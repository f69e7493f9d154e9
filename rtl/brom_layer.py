"""ROMs of a layer of a language model: Verilog, one module a ROM, and a manifest that says what is where.

The manifest (JSON) names model, format and L-Unit, gives place and SHA-256 of every tensor's words, and CRC-32 and
SHA-256 of every ROM. The CRC-32 (ISO-HDLC, that of zlib) runs over the ROM's words in order, each ⌈word_bits / 8⌉
bytes, lowest first: it is the signature that a tester reads the chip for.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError, choose
from lutscape.hw.machines.roma import LUnit
from lutscape.models.checkpoint import Checkpoint
from lutscape.rtl import brom
from lutscape.rtl.cells.rom_cell import FORMS, rom_cell
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.image import Image, image, layer_names, quantised_layers
from lutscape.sim.roma.linear import design_for
from lutscape.version import __version__

SCHEMA = 1
KIND = "lutscape ROM image"


@dataclass(frozen=True)
class Recipe:
    """What goes into the ROMs.

    Attributes:
        unit: L-Unit; its encoding is replaced by the format's.
        weights: format (:data:`lutscape.models.quantise.rom.FORMATS`).
        layers: blocks of the model; None: all.
        requantise: round tensors to ternary that are not.
        search: choose the range of each group by its squared error.
    """

    unit: LUnit
    weights: str = "uint4"
    layers: tuple[int, ...] | None = None
    requantise: bool = False
    search: bool = False

    @property
    def design(self) -> LUnit:
        """L-Unit that reads the weights."""
        return design_for(self.unit, self.weights)


def build(checkpoint: Checkpoint, recipe: Recipe) -> Image:
    """Return the image of some blocks of a model.

    Raises:
        UserError: blocks or tensors that are not there, or do not fit the format or the unit.
    """
    names = layer_names(checkpoint, recipe.layers)
    tensors = quantised_layers(checkpoint, names, recipe.weights, recipe.unit.group, recipe.requantise, recipe.search)
    return image(recipe.design, tensors)


def verilog(made: Image, form: str, prefix: str) -> str:
    """Return the modules ``PREFIX_0``, ``PREFIX_1``, … of an image.

    Raises:
        UserError: unknown form.
    """
    choose(form, FORMS, "form of a ROM")
    bits = made.unit.word_bits
    return "\n".join(rom_cell(w, bits, form, f"{prefix}_{i}").source for i, w in enumerate(made.roms()))


def vias(words: np.ndarray, word_bits: int) -> dict[str, int]:
    """Return programmed connections: one per stored 1 in a plain ROM, one per block that is not all zero in blocks."""
    chosen = brom.choices(words, word_bits)
    return {"standard": int(brom.bits_of(words, word_bits).sum()), "block": int((chosen != 0).sum())}


def manifest(made: Image, recipe: Recipe, model: str, source: str, form: str, prefix: str, text: str) -> dict[str, Any]:
    """Return the manifest of an image whose Verilog is ``text``."""
    unit = made.unit
    roms = []
    for i, words in enumerate(made.roms()):
        roms.append(
            {
                "module": f"{prefix}_{i}",
                "first_word": i * made.depth,
                "words": len(words),
                "crc32": f"{layout.signature(words):08x}",
                "sha256": hashlib.sha256(words.tobytes()).hexdigest(),
                "vias": vias(words, unit.word_bits),
            }
        )
    return {
        "kind": KIND,
        "schema": SCHEMA,
        "lutscape": __version__,
        "model": model,
        "source": source,
        "weights": recipe.weights,
        "requantise": recipe.requantise,
        "search": recipe.search,
        "layers": None if recipe.layers is None else list(recipe.layers),
        "l_unit": unit.model_dump(mode="json"),
        "form": form,
        "word_bits": unit.word_bits,
        "words": len(made.words),
        "weights_stored": sum(t.layout.rows * t.layout.columns for t in made.tensors),
        "crc": "CRC-32/ISO-HDLC over the words in order, each as ceil(word_bits / 8) bytes, lowest first",
        "verilog_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "roms": roms,
        "tensors": [
            {
                "name": t.name,
                "rows": t.layout.rows,
                "columns": t.layout.columns,
                "groups": t.layout.groups,
                "planes": t.layout.planes,
                "first_word": t.first,
                "words": t.layout.words,
                "sha256": t.sha256,
            }
            for t in made.tensors
        ],
    }


def write(path: Path, text: str) -> None:
    """Write a file whole.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text)
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from None


def manifest_path(path: Path) -> Path:
    """Return where the manifest of a Verilog file is: ``rom.v`` -> ``rom.json``."""
    return path.with_suffix(".json")


def read_manifest(path: Path) -> dict[str, Any]:
    """Read a manifest.

    Raises:
        UserError: missing, no JSON, no manifest, or of another schema.
    """
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; lutscape roma rom writes it beside the Verilog") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict) or found.get("kind") != KIND:
        raise UserError(f"{path}: not a manifest of ROMs (kind is not {KIND!r})")
    if found.get("schema") != SCHEMA:
        raise UserError(f"{path}: schema {found.get('schema')!r}; this version reads {SCHEMA}")
    needed = ("model", "weights", "l_unit", "roms", "tensors", "words", "word_bits", "verilog_sha256")
    missing = [key for key in needed if key not in found]
    if missing:
        raise UserError(f"{path}: manifest without {', '.join(missing)}")
    return found
