"""Which kernel runs a design, and the way there: tables, row sums, products."""

from __future__ import annotations

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.sim.lut_tensor_core import bounds, kernels_loops, tables
from lutscape.sim.lut_tensor_core.bounds import Bound
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights, Single


def able(design: Mpgemm, bound: Bound) -> list[str]:
    """Return the kernels that run a design on this processor, fastest first; ``plain`` runs all."""
    from lutscape.sim.lut_tensor_core import kernels_permute, kernels_shuffle

    found = []
    if design.exact_entries:
        found.append("blas")
    if design.scaled_entries:
        if kernels_shuffle.fits(design) and kernels_shuffle.widths() and bound.bits <= 32:
            found.append("shuffle")
        if bound.bits <= 64:
            found.append("scalar")
    if design.float_entries and kernels_loops.fp32_chain(design):
        if kernels_permute.fits(design) and kernels_permute.widths():
            found.append("permute")
        found.append("scalar")
    return [*found, "plain"]


def choose_kernel(design: Mpgemm, bound: Bound, wanted: str) -> str:
    """Return the kernel that runs.

    Raises:
        UserError: the one wanted cannot.
    """
    found = able(design, bound)
    if wanted == "auto":
        return found[0]
    if wanted not in found:
        raise UserError(
            f"kernel {wanted!r} does not run {design.entries} entries of {design.weights} weights, k = {design.k}, "
            f"accumulator {design.accumulator}, on this processor; allowed: {', '.join(found)}"
        )
    return wanted


def run(activations: np.ndarray, weights: LookupWeights, kernel: str, width: int = 0) -> Single:
    """Return products (M, N) float32 of rounded entries.

    Args:
        activations: (M, K), checked.
        weights: (N, K).
        kernel: ``shuffle``, ``permute`` or ``scalar``.
        width: bytes of a register; 0: the widest.
    """
    from lutscape.sim.lut_tensor_core import kernels_bytes, kernels_permute, kernels_shuffle

    design = weights.design
    sums = kernels_loops.row_sums(design, activations, weights)
    if kernel == "shuffle":
        if kernels_loops.tree_tables(design):
            entries, scales, span = kernels_loops.byte_tables(design, activations)
        else:
            built = _built(design, activations)
            assert built.scales is not None
            entries, scales, span = kernels_bytes.byte_tables(design, built), built.scales, built.span
        return kernels_bytes.products(weights, entries, scales, span, sums, width or kernels_shuffle.widths()[0])
    if design.float_entries and kernels_loops.tree_tables(design):
        entries = kernels_loops.float_tables(design, activations)
        if kernel == "permute":
            return kernels_permute.products(weights, entries, sums, width or kernels_permute.widths()[0])
        return kernels_loops.float_products(weights, entries, sums)
    built = _built(design, activations)
    if design.scaled_entries:
        unit = -(-bounds.unit_values(design, weights.columns, weights.group) // design.k)
        return kernels_loops.scaled_products(weights, built, unit, sums)
    if kernel == "permute":
        return kernels_permute.products(weights, built.entries, sums, width or kernels_permute.widths()[0])
    return kernels_loops.float_products(weights, built.entries, sums)


def _built(design: Mpgemm, activations: np.ndarray) -> tables.Tables:
    return tables.build(design, activations.astype(np.int64 if design.integer_activations else np.float64))
