"""Which tensors stay changeable: ROM or SRAM for every weight matrix, under a budget of area.

A tensor in SRAM can be loaded anew after the chip is made; it takes more area and may be stored with more bits. Each
has a value, and the sum of the values of those in SRAM is maximised:

    choose x_i ∈ {0, 1}:  Σ x_i value_i → max,   Σ x_i (SRAM area_i - ROM area_i) ≤ budget

The solution is exact. Tensors of the same extra area differ in value alone, so of n of them the best j are taken; a
frontier of (area, value) over the groups, with dominated entries dropped, holds an optimum of every budget (dynamic
programming over groups). Language models have few different shapes, so the frontier stays short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lutscape.hw import rom
from lutscape.hw.errors import UserError, nearest
from lutscape.hw.machines.roma import RomaSpec
from lutscape.hw.result import Floats
from lutscape.models.shape import ModelShape
from lutscape.sim.roma import capacity

LONGEST = 5_000_000
"""Entries of a frontier; beyond it the problem is refused rather than solved in part."""


@dataclass(frozen=True)
class Tensor:
    """One weight matrix.

    Attributes:
        name: ``layers.3.gate``.
        rows, columns: N and K.
        rom_mm2, sram_mm2: area in either memory, arithmetic apart (it is the same).
        value: of being changeable.
    """

    name: str
    rows: int
    columns: int
    rom_mm2: float
    sram_mm2: float
    value: float

    @property
    def extra_mm2(self) -> float:
        """What SRAM costs more."""
        return self.sram_mm2 - self.rom_mm2


@dataclass(frozen=True)
class Split:
    """A solution.

    Attributes:
        sram: names of the tensors in SRAM.
        extra_mm2: what they cost more than in ROM.
        value: sum of their values.
        total: sum of all values.
    """

    sram: frozenset[str]
    extra_mm2: float
    value: float
    total: float


def tensors(
    spec: RomaSpec, shape: ModelShape, weight_bits: int, sram_bits: int, values: Mapping[str, float]
) -> list[Tensor]:
    """Return the tensors of a model's blocks with their areas on a machine.

    Args:
        spec: its ROM form and depth, its node.
        shape: the model; experts count as one tensor per role and block.
        weight_bits: in ROM, plus scale and zero point of a word.
        sram_bits: in SRAM.
        values: by tensor name; every tensor needs one.

    Raises:
        UserError: a tensor without a value, or a value without a tensor.
    """
    unit = spec.l_unit
    form = "b-rom" if unit.form == "fused" else unit.form
    if form == "custom":
        assert unit.density_mbit_per_mm2 is not None
        density = unit.density_mbit_per_mm2
    else:
        density = rom.macro_density(form, unit.rom_words, unit.word_bits, spec.node).value
    found = []
    for role, (n, k, count) in capacity.layers(shape).items():
        if role in (capacity.HEAD, capacity.ROUTER):
            continue
        each = count // shape.layers
        groups = n * -(-k // unit.group)
        rom_bits = each * groups * spec.planes(weight_bits) * unit.word_bits
        sram = each * n * k * sram_bits * spec.node.sram_area_um2_per_bit * 1e-6
        for layer in range(shape.layers):
            name = f"layers.{layer}.{role}"
            if name not in values:
                raise UserError(f"no value for tensor {name!r}{nearest(name, values)}")
            found.append(Tensor(name, n, k, rom_bits / density * 1e-6, sram, float(values[name])))
    names = {t.name for t in found}
    for name in values:
        if name not in names:
            raise UserError(f"value for {name!r}, which {shape.name} does not have{nearest(name, names)}")
    return found


def solve(items: Sequence[Tensor], budget_mm2: float) -> Split:
    """Return a most valuable set of tensors whose extra area fits the budget.

    Raises:
        UserError: a negative budget or value, or a frontier beyond :data:`LONGEST`.
    """
    if not budget_mm2 >= 0:
        raise UserError(f"budget of {budget_mm2:g} mm2: must not be negative")
    for item in items:
        if not item.value >= 0:
            raise UserError(f"{item.name}: value {item.value:g}: must not be negative")
    free = [t for t in items if t.extra_mm2 <= 0]
    groups: dict[float, list[Tensor]] = {}
    for item in items:
        if item.extra_mm2 > 0:
            groups.setdefault(item.extra_mm2, []).append(item)
    costs, worths = np.zeros(1), np.zeros(1)
    counts = np.zeros((1, 0), np.int64)  # (entries, groups): tensors taken of each group
    ordered = [sorted(group, key=lambda t: -t.value) for group in groups.values()]
    slack = budget_mm2 * (1 + 1e-12)
    for group in ordered:
        most = min(len(group), int(slack / group[0].extra_mm2))
        taken = np.arange(most + 1)
        add_cost = taken * group[0].extra_mm2
        add_worth = np.concatenate([[0.0], np.cumsum([t.value for t in group])])[: most + 1]
        if len(costs) * (most + 1) > LONGEST:
            raise UserError(f"{len(groups)} different areas give more than {LONGEST} combinations; round the values")
        cost = (costs[:, None] + add_cost).ravel()
        worth = (worths[:, None] + add_worth).ravel()
        count = np.concatenate([np.repeat(counts, most + 1, axis=0), np.tile(taken, len(costs))[:, None]], axis=1)
        keep = _frontier(cost, worth, slack)
        costs, worths, counts = cost[keep], worth[keep], count[keep]
    best = counts[-1] if len(ordered) else []
    chosen = free + [t for group, n in zip(ordered, best, strict=True) for t in group[:n]]
    return Split(
        frozenset(t.name for t in chosen),
        float(sum(t.extra_mm2 for t in chosen)),
        float(sum(t.value for t in chosen)),
        float(sum(t.value for t in items)),
    )


def _frontier(cost: Floats, worth: Floats, budget: float) -> np.ndarray:
    """Return the indices of the entries within the budget that no cheaper one equals in worth, by rising cost."""
    order = np.lexsort((-worth, cost))
    order = order[cost[order] <= budget]
    best = np.maximum.accumulate(worth[order])
    keep = np.concatenate([[True], worth[order][1:] > best[:-1]])
    kept: np.ndarray = order[keep]
    return kept


def rounding_errors(model: str, form: str, group: int) -> dict[str, float]:
    """Return the squared rounding error of every weight matrix of a model in a ROM format: Σ (W - Q(W))².

    Raises:
        UserError: no weights, or a tensor that the format does not hold.
    """
    from lutscape.models.quantise.rom import quantise
    from lutscape.models.registry import open_checkpoint

    checkpoint = open_checkpoint(model)
    found = {}
    for layer in range(checkpoint.shape.layers):
        for role in checkpoint.shape.linear_shapes:
            name = f"layers.{layer}.{role}"
            weight = checkpoint.tensor(name)
            error = weight - quantise(name, weight, form, group).dequantise()
            found[name] = float(np.square(error, dtype=np.float64).sum())
    return found
