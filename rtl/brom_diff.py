"""What changes on a chip when the weights change: words, connections, signatures, masks.

Two checkpoints of one shape, in the same format and layout. A plain ROM has one connection per stored 1; a block ROM
one per block of four addresses and bit that chooses a function other than 0. A connection that moves is taken away in
one place and made in another. All connections lie in the programmable layers, so that one changed bit takes as many new
masks as a hundred million; the changed ROMs say how much of them a direct-write or stitched layer would touch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.models.checkpoint import Checkpoint
from lutscape.models.quantise import rom
from lutscape.rtl import brom
from lutscape.rtl.brom_layer import Recipe
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.image import layer_names, quantised_layers, rom_depth

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Changes:
    """Difference of two tensors, or of all.

    Attributes:
        words: of the ROM.
        changed_words: that differ.
        bits: stored.
        set_bits: 0 before, 1 now.
        cleared_bits: 1 before, 0 now.
        blocks: of four addresses and one bit.
        added: blocks without a connection that have one now.
        removed: the other way round.
        moved: blocks whose connection goes to another candidate.
    """

    words: int = 0
    changed_words: int = 0
    bits: int = 0
    set_bits: int = 0
    cleared_bits: int = 0
    blocks: int = 0
    added: int = 0
    removed: int = 0
    moved: int = 0

    def __add__(self, other: Changes) -> Changes:
        return Changes(*(a + b for a, b in zip(vars(self).values(), vars(other).values(), strict=True)))

    @property
    def standard_vias(self) -> int:
        """Connections of a plain ROM that are made or taken away."""
        return self.set_bits + self.cleared_bits

    @property
    def block_vias(self) -> int:
        """Connections of a block ROM that are made or taken away; a moved one is both."""
        return self.added + self.removed + 2 * self.moved


@dataclass(frozen=True)
class RomChange:
    """A ROM of the image before and now.

    Attributes:
        index: of the ROM.
        before: CRC-32.
        now: CRC-32.
        changed_words: that differ.
    """

    index: int
    before: str
    now: str
    changed_words: int


@dataclass(frozen=True)
class Difference:
    """Two checkpoints compared.

    Attributes:
        tensors: changes by tensor.
        roms: of the image, in order.
        masks: of the programmable layers to make anew; 0 if nothing changed.
    """

    tensors: dict[str, Changes]
    roms: tuple[RomChange, ...]
    masks: int

    @property
    def total(self) -> Changes:
        """Changes of all tensors."""
        return sum(self.tensors.values(), Changes())

    @property
    def changed_roms(self) -> int:
        """ROMs with another signature."""
        return sum(r.before != r.now for r in self.roms)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""

        def plain(c: Changes) -> dict[str, int]:
            return {**vars(c), "standard_vias": c.standard_vias, "block_vias": c.block_vias}

        return {
            "total": plain(self.total),
            "tensors": {name: plain(c) for name, c in self.tensors.items()},
            "roms": [vars(r) for r in self.roms],
            "changed_roms": self.changed_roms,
            "masks": self.masks,
        }


def compare(before: npt.NDArray[np.uint8], now: npt.NDArray[np.uint8], word_bits: int) -> Changes:
    """Return the difference of two tensors' words.

    Raises:
        UserError: different numbers of words.
    """
    if before.shape != now.shape:
        raise UserError(f"ROM difference: {before.shape[0]} words before, {now.shape[0]} now")
    old, new = (brom.bits_of(w, word_bits) for w in (before, now))
    was, chosen = (brom.choices(w, word_bits) for w in (before, now))
    return Changes(
        words=len(before),
        changed_words=int((before != now).any(axis=1).sum()),
        bits=old.size,
        set_bits=int((new > old).sum()),
        cleared_bits=int((new < old).sum()),
        blocks=was.size,
        added=int(((was == 0) & (chosen != 0)).sum()),
        removed=int(((was != 0) & (chosen == 0)).sum()),
        moved=int(((was != chosen) & (was != 0) & (chosen != 0)).sum()),
    )


def difference(
    before: Checkpoint, now: Checkpoint, recipe: Recipe, masks: int, progress: Progress | None = None
) -> Difference:
    """Compare two checkpoints, tensor by tensor.

    Args:
        before: checkpoint in the ROM.
        now: the new one.
        recipe: format, unit and blocks of both.
        masks: programmable masks of the process (``programmable_masks`` of the spec).
        progress: called after each tensor.

    Raises:
        UserError: models of different shapes, or weights that do not fit the format.
    """
    names = layer_names(before, recipe.layers)
    if names != layer_names(now, recipe.layers):
        raise UserError(f"{before.shape.name} and {now.shape.name} do not have the same linear layers")
    unit, tensors = recipe.design, dict[str, Changes]()
    streams: tuple[list[npt.NDArray[np.uint8]], ...] = ([], [])
    for done, name in enumerate(names):
        packed = []
        for checkpoint, stream in zip((before, now), streams, strict=True):
            found = quantised_layers(checkpoint, [name], recipe.weights, unit.group, recipe.requantise, recipe.search)
            packed.append(layout.pack(unit, found[name]))
            stream.append(packed[-1])
        if packed[0].shape != packed[1].shape:
            raise UserError(f"{name}: {len(packed[0])} words before, {len(packed[1])} now: not the same shape")
        tensors[name] = compare(packed[0], packed[1], unit.word_bits)
        if progress is not None:
            progress("comparing tensors", done + 1, len(names))
    old, new = (np.concatenate(s) for s in streams)
    roms = []
    depth = rom_depth(unit, len(old), -(-rom.parse(recipe.weights)[1] // unit.plane_bits))
    for index, at in enumerate(range(0, len(old), depth)):
        part = slice(at, at + depth)
        crc = [f"{layout.signature(w[part]):08x}" for w in (old, new)]
        roms.append(RomChange(index, crc[0], crc[1], int((old[part] != new[part]).any(axis=1).sum())))
    changed = any(c.changed_words for c in tensors.values())
    return Difference(tensors, tuple(roms), masks if changed else 0)
