"""Cycles of each stage of LUT-DLA: the formulas that its generated Verilog is held to.

All functions are plain integers in, integers out; an *edge* is a rising clock edge, numbered from 0 in the clock domain
of the stage. A beat moves on the edge on which its valid and ready are both high.

Chain (CCU), in the clock of the centroid modules; dPE j registers (sub-vector, least distance, index) after centroid j:

    edge e                  sub-vector accepted by dPE 0
    edge e + j              dPE j takes it over (dpe_stages = 1)
    edge e + c + s - 1      its index leaves, s = dpe_stages                      one sub-vector per edge, II = 1

Centroid buffer: c beats of v values into the idle half; the halves change places with the first sub-vector of the next
subspace and the choice of half travels down the chain with it, so that subspaces follow each other without a gap.

FIFO: a word written on write edge w is seen by the reader S = synchroniser_stages read edges after the first read edge
that comes after w, and can leave on that one; a place freed by a read comes back in the same way. Edges of the two
clocks that coincide do not see each other.

Module (IMM), in its own clock; bank of tables of c x Tn entries, F = c Tn / fill_entries beats to fill one:

    edge e                  index accepted
    edge e + 1              table word and partial sum are read
    edge e + 2              the new sum moves: into the scratchpad, or out after the last subspace

    subspace s of R rows    lookups accepted on edges L_s … L_s + R - 1, bank filled on edges f_s … f_s + F - 1
    L_s = max(L_(s-1) + R, f_s + F)        f_s = max(f_(s-1) + F, L_(s-1))        f_0 = 0, f_1 = F

so that a tile of Nc subspaces takes F + (Nc - 1) max(R, F) + R + LOOKUP_STAGES cycles, first fill beat and last sum
counted, when indices and tables never wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from lutscape.hw.machines.lut_dla import Codebook, LutDlaSpec

COUNTED = 400
"""Words through a shallow FIFO from which its rate is taken."""
LOOKUP_STAGES = 2
"""Edges from an accepted index to its sum moving."""


def chain_latency(codebook: Codebook, dpe_stages: int) -> int:
    """Return edges from a sub-vector accepted to its index leaving a chain.

    >>> chain_latency(Codebook(v=4, c=16, metric="l2"), 1)
    16
    """
    return codebook.c + dpe_stages - 1


def chain_cycles(codebook: Codebook, dpe_stages: int, rows: int) -> int:
    """Return cycles from the first sub-vector accepted to the last of ``rows`` indices leaving, both counted."""
    return rows + chain_latency(codebook, dpe_stages)


def centroid_load_cycles(codebook: Codebook) -> int:
    """Return cycles that loading one subspace's centroids takes: one centroid of v values each."""
    return codebook.c


def codebook_cycles(codebook: Codebook) -> int:
    """Return the least cycles between the first sub-vectors of two subspaces.

    The idle half is loaded from the edge after the halves have changed places on.
    """
    return centroid_load_cycles(codebook) + 1


def fill_cycles(codebook: Codebook, lanes: int, fill_entries: int) -> int:
    """Return F, beats that fill one bank of tables.

    >>> fill_cycles(Codebook(v=4, c=16, metric="l2"), 128, 64)
    32
    """
    return codebook.c * lanes // fill_entries


def subspace_edges(rows: int, subspaces: int, fill: int) -> tuple[list[int], list[int]]:
    """Return (fill starts f_s, lookup starts L_s) of a tile whose indices and table beats never wait.

    >>> subspace_edges(4, 3, 2)
    ([0, 2, 6], [2, 6, 10])
    """
    fills, starts = [0], [fill]
    for s in range(1, subspaces):
        # The bank of subspace s - 2 is free once subspace s - 1 has begun.
        fills.append(max(fills[-1] + fill, starts[-1] if s > 1 else 0))
        starts.append(max(starts[-1] + rows, fills[-1] + fill))
    return fills, starts


def tile_cycles(rows: int, subspaces: int, fill: int) -> int:
    """Return cycles of a tile in one module: first fill beat to last sum moving, both counted; nothing waits."""
    return fill + (subspaces - 1) * max(rows, fill) + rows + LOOKUP_STAGES


def fifo_edges(
    offered: Sequence[int],
    write_period_ps: int,
    read_period_ps: int,
    read_phase_ps: int,
    depth: int,
    synchroniser_stages: int,
    taken_from: int = 0,
) -> tuple[list[int], list[int]]:
    """Return (write edges, read edges) of words in an asynchronous FIFO whose reader always takes.

    Args:
        offered: write edge from which each word is offered; word i + 1 follows word i.
        write_period_ps: write edge i is at i times this, ps.
        read_period_ps: read edge i is at ``read_phase_ps`` plus i times this, ps.
        read_phase_ps: time of read edge 0, ps.
        depth: places.
        synchroniser_stages: flip-flops of each synchroniser.
        taken_from: read edge before which the reader takes nothing.
    """
    writes: list[int] = []
    reads: list[int] = []
    for i, first in enumerate(offered):
        edge = max(first, writes[-1] + 1 if writes else 0)
        if i >= depth:
            freed_ps = read_phase_ps + reads[i - depth] * read_period_ps
            edge = max(edge, freed_ps // write_period_ps + 1 + synchroniser_stages)
        writes.append(edge)
        after = (edge * write_period_ps - read_phase_ps) // read_period_ps + 1  # first read edge after the write
        seen = max(after, 0) + synchroniser_stages
        reads.append(max(seen, taken_from, reads[-1] + 1 if reads else 0))
    return writes, reads


def fifo_latency(synchroniser_stages: int) -> int:
    """Return the most read edges between a word written into an empty FIFO and its leaving."""
    return synchroniser_stages + 1


def fifo_words_per_ps(spec: LutDlaSpec) -> float:
    """Return the long-run rate of one FIFO, words per ps, both sides always able.

    The slower side sets it, or the round trip of a place through both synchronisers.
    """
    write_ps, read_ps = (1e6 / mhz for mhz in (spec.ccm.clock_mhz, spec.imm_clock_mhz))
    slowest, trip = max(write_ps, read_ps), (spec.synchroniser_stages + 1) * (write_ps + read_ps)
    if spec.fifo_depth * slowest >= trip:  # deep enough for every phase
        return 1 / slowest
    return _shallow(round(write_ps), round(read_ps), spec.fifo_depth, spec.synchroniser_stages)


@lru_cache(maxsize=1024)
def _shallow(write_ps: int, read_ps: int, depth: int, synchroniser_stages: int) -> float:
    """Return words per ps of a FIFO that its round trip holds up: counted, clocks out of phase by half an edge."""
    _, reads = fifo_edges(range(COUNTED), write_ps, read_ps, min(write_ps, read_ps) // 2, depth, synchroniser_stages)
    half = COUNTED // 2
    return (COUNTED - 1 - half) / ((reads[-1] - reads[half]) * read_ps)


def indices_per_cycle(spec: LutDlaSpec) -> float:
    """Return the indices that all chains bring into the modules' clock domain per cycle of that clock.

    Chains take rows in turn and have a FIFO each; the modules take one index per cycle, all of them the same, or one
    each where they share rows.
    """
    return spec.ccm.count * spec.ccm.ccus * fifo_words_per_ps(spec) * 1e6 / spec.imm_clock_mhz


def first_index_cycles(spec: LutDlaSpec) -> float:
    """Return cycles of the modules' clock from a sub-vector accepted to its index reaching them."""
    chain = chain_latency(spec.codebook, spec.ccm.dpe_stages) * spec.imm_clock_mhz / spec.ccm.clock_mhz
    return chain + fifo_latency(spec.synchroniser_stages)
