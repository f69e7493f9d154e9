"""One die of a ROM-resident model: its faults, what its L-Units read, and an adapter that mends it.

A die has its own faults, drawn from a seed: the same for every way of living with them but ``secded``, whose words are
longer. ``patch`` fits the adapter to rounding and faults together: it takes the SRAM of the adapter that the model has
anyway, and no second tape-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lutscape.hw.errors import choose
from lutscape.models.executor import Model
from lutscape.models.quantise import lora as adapters
from lutscape.models.quantise.lora import Lora
from lutscape.models.quantise.rom import RomWeight
from lutscape.sim.roma import faults
from lutscape.sim.roma.faults import Damage
from lutscape.sim.roma.golden import Floats, RomOperand
from lutscape.sim.roma.linear import Cache, Operand, RomRecipe, quantised, rom_variant

WAYS = ("none", "secded", "adapter", "patch")
"""As read; words with check bits; an adapter that does not know the faults; one that does."""


@dataclass
class Die:
    """A model in a ROM with faults.

    Attributes:
        model: with its stored weights.
        recipe: formats; its rank is that of adapters.
        rate: chance of a connection to be open.
        structure: of the ROM, ``block`` or ``standard``.
        seed: of the faults.
        cache: quantised weights are looked up and left here.
        damage: by layer, as last read.
    """

    model: Model
    recipe: RomRecipe
    rate: float
    structure: faults.Structure = "block"
    seed: int = 1
    cache: Cache = field(default_factory=dict)
    damage: dict[str, Damage] = field(default_factory=dict)

    def reader(self, ecc: bool = False) -> Operand:
        """Return from a layer's name and weights to what its L-Units read; damage is noted."""
        unit, names = self.recipe.design(), sorted(self.model.linears)

        def read(name: str, weight: RomWeight) -> RomOperand:
            rng = np.random.default_rng([self.seed, names.index(name)])
            found, self.damage[name] = faults.damaged(unit, weight, self.rate, rng, self.structure, ecc)
            return found

        return read

    def total(self) -> Damage:
        """Return the damage of all layers as last read."""
        return sum(self.damage.values(), Damage())

    def adapters(self, know_faults: bool) -> dict[str, Lora]:
        """Return adapters fitted to the residual of rounding, and of faults if they are known."""
        read, found = self.reader(), {}
        for name in self.model.linears:
            role = name.rpartition(".")[2]
            if name in self.recipe.exclude or role in self.recipe.exclude or role not in self.recipe.projections:
                continue
            weight = self.model.matrices[name]
            stored = quantised(self.recipe, name, weight, self.cache)
            held: Floats = faults.matrix(read(name, stored), weight.shape[1]) if know_faults else stored.dequantise()
            rms = None if self.recipe.input_rms is None else self.recipe.input_rms.get(name)
            found[name] = adapters.from_residual(weight - held, self.recipe.rank, rms)
        return found

    def variant(self, way: str, loras: Mapping[str, Lora] | None = None) -> Model:
        """Return the model as this die computes it.

        Args:
            way: one of :data:`WAYS`.
            loras: adapters, if they are there already; fitted otherwise.

        Raises:
            UserError: unknown way.
        """
        choose(way, WAYS, "way to live with faults")
        if way in ("adapter", "patch") and loras is None:
            loras = self.adapters(way == "patch")
        self.damage = {}
        chosen = loras if way in ("adapter", "patch") else {}
        operand = self.reader(way == "secded")
        return rom_variant(self.model, self.recipe, cache=self.cache, operand=operand, loras=chosen)
