"""SRAM between adapter and context: what fits, and the largest rank or context that still does."""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import RomaSpec
from lutscape.models.shape import ModelShape
from lutscape.sim.roma import capacity


@dataclass(frozen=True)
class Row:
    """One division of the SRAM.

    Attributes:
        sram_mib: of all H-Units.
        rank: of the adapter.
        adapter_mib: what it takes.
        tokens: of context that fit beside it.
    """

    sram_mib: float
    rank: int
    adapter_mib: float
    tokens: int


def with_sram(spec: RomaSpec, sram_mib: float, rank: int) -> RomaSpec:
    """Return the machine with other SRAM and rank.

    Raises:
        UserError: not positive, or no whole bytes in every H-Unit.
    """
    if not sram_mib > 0:
        raise UserError(f"SRAM of {sram_mib:g} MiB: must be above zero")
    if rank < 0:
        raise UserError(f"rank {rank}: must be 0 or more")
    changed = specs.override(spec, {"h_unit.sram_kib": sram_mib * 1024 / spec.h_units, "lora.rank": rank})
    assert isinstance(changed, RomaSpec)
    return changed


def table(spec: RomaSpec, shape: ModelShape, sram_mib: list[float], ranks: list[int], kv: str) -> list[Row]:
    """Return every combination of SRAM and rank."""
    rows = []
    for size in sram_mib:
        for rank in ranks:
            split = capacity.sram(with_sram(spec, size, rank), shape, kv)
            rows.append(Row(size, rank, split.adapter / 2**20, split.tokens))
    return rows


def largest_rank(spec: RomaSpec, shape: ModelShape, context: int, kv: str) -> int:
    """Return the largest rank that leaves room for a context.

    Raises:
        UserError: the context does not fit even without an adapter.
    """
    if context < 1:
        raise UserError(f"context of {context} tokens: must be 1 or more")

    def fits(rank: int) -> bool:
        return capacity.sram(with_sram(spec, spec.sram_bytes / 2**20, rank), shape, kv).tokens >= context

    if not fits(0):
        most = capacity.sram(with_sram(spec, spec.sram_bytes / 2**20, 0), shape, kv).tokens
        raise UserError(f"{spec.name}: context of {context} tokens does not fit; {most} do without an adapter")
    low, high = 0, 4096
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
