"""ROM image: the words of several tensors of a model one behind the other, cut into ROMs of equal depth.

Tensors keep the order in which a layer runs (q, k, v, o, gate, up, down), each as :mod:`.words` lays it out. ROMs are
as few as the L-Unit's depth allows and as equal as blocks of four addresses allow. This is the image of the layer
alone; where a machine spreads every layer over all L-Units, each of them holds its share of every ROM.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.checkpoint import Checkpoint
from lutscape.models.parameters import linear_names
from lutscape.models.quantise import rom
from lutscape.models.quantise.rom import RomWeight
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.words import Layout, Words

HEADS = ("lm_head", "router")
ALIGNMENT = 4
"""Addresses of a block: a ROM ends with a whole one."""


@dataclass(frozen=True)
class Placed:
    """A tensor in an image.

    Attributes:
        name: of the tensor.
        first: its first word in the image.
        layout: of its words.
        bits: of a weight.
        sha256: of its words.
    """

    name: str
    first: int
    layout: Layout
    bits: int
    sha256: str


@dataclass(frozen=True, eq=False)
class Image:
    """Words of several tensors.

    Attributes:
        unit: L-Unit that reads them.
        words: (words, bytes) uint8.
        tensors: where each is.
    """

    unit: LUnit
    words: Words
    tensors: tuple[Placed, ...]

    @property
    def depth(self) -> int:
        """Words of one ROM, the last one excepted."""
        return rom_depth(self.unit, len(self.words), max((t.layout.planes for t in self.tensors), default=1))

    def roms(self) -> list[Words]:
        """Return the words of each ROM."""
        return [self.words[i : i + self.depth] for i in range(0, len(self.words), self.depth)]

    def owner(self, word: int) -> tuple[Placed, int, int, int]:
        """Return the tensor of a word, and row, group and plane in it."""
        for tensor in self.tensors:
            if tensor.first <= word < tensor.first + tensor.layout.words:
                rest, plane = divmod(word - tensor.first, tensor.layout.planes)
                group, row = divmod(rest, tensor.layout.rows)
                return tensor, row, group, plane
        raise IndexError(word)


def rom_depth(unit: LUnit, words: int, planes: int) -> int:
    """Return words of one ROM of an image, the last one excepted: as few ROMs as fit, as equal as whole blocks allow.

    >>> rom_depth(LUnit(), 59904, 2), rom_depth(LUnit(), 3400, 2), rom_depth(LUnit(), 7, 1)
    (3328, 1704, 8)
    """
    count, step = -(-words // unit.rom_words), ALIGNMENT * planes
    return min(-(-words // count // step) * step, unit.rom_words)


def image(unit: LUnit, tensors: Mapping[str, RomWeight]) -> Image:
    """Return the image of tensors.

    Raises:
        UserError: no tensor, or one that does not fit the unit.
    """
    if not tensors:
        raise UserError("ROM image: no tensors")
    parts, placed, first = [], [], 0
    for name, weight in tensors.items():
        packed = layout.pack(unit, weight)
        place = layout.layout(unit, *weight.shape, weight.bits)
        placed.append(Placed(name, first, place, weight.bits, hashlib.sha256(packed.tobytes()).hexdigest()))
        parts.append(packed)
        first += len(packed)
    return Image(unit, np.concatenate(parts), tuple(placed))


def layer_names(checkpoint: Checkpoint, layers: Iterable[int] | None) -> list[str]:
    """Return the linear layers of some blocks of a model, all if None.

    Raises:
        UserError: a block that the model does not have.
    """
    count = checkpoint.shape.layers
    chosen = range(count) if layers is None else list(layers)
    for layer in chosen:
        if not 0 <= layer < count:
            raise UserError(f"--layer {layer}: {checkpoint.shape.name} has layers 0 … {count - 1}")
    found = []
    for name, _ in linear_names(checkpoint.shape):
        parts = name.split(".")
        if parts[-1] not in HEADS and parts[0] == "layers" and int(parts[1]) in chosen:
            found.append(name)
    return found


def quantised_layers(
    checkpoint: Checkpoint,
    names: Iterable[str],
    form: str,
    group: int,
    requantise: bool = False,
    search: bool = False,
) -> dict[str, RomWeight]:
    """Return tensors of a checkpoint in a ROM format.

    Raises:
        UserError: a tensor that is missing, of another shape than the model's, or does not fit.
    """
    sizes = dict(linear_names(checkpoint.shape))
    found = {}
    for name in names:
        weight = checkpoint.tensor(name)
        if weight.shape != sizes[name]:
            has, wants = ("x".join(map(str, s)) for s in (weight.shape, sizes[name]))
            raise UserError(f"{name}: shape {has}; {checkpoint.shape.name} needs {wants}")
        found[name] = rom.quantise(name, weight, form, group, requantise, search)
    return found
