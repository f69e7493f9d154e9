"""Mixed-precision matrix multiplication by table lookup, bit for bit as a :class:`Mpgemm` design computes it.

:func:`mpgemm` runs the fastest kernel that the design and the processor allow; ``kernel="plain"`` runs the arithmetic
as :mod:`.mpgemm_design` words it, step by step and plane by plane. All kernels give the same bits.

Example:
    >>> import numpy as np
    >>> from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights
    >>> design = Mpgemm(weights="int2", activations="int8")                 # exact tables, int32 sums
    >>> weights = LookupWeights(design, np.array([[0, 1, 2, 3]], np.uint8)) # values -3, -1, 1, 3
    >>> sums, info = mpgemm(design, np.array([[1, 2, 3, 4]], np.int8), weights)
    >>> int(sums[0, 0])
    10
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, choose
from lutscape.sim.lut_tensor_core import bounds, elut, exact, tables
from lutscape.sim.lut_tensor_core.bounds import Bound
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights
from lutscape.sim.lut_tensor_core.rounding import round_exact, round_float

KERNELS = ("auto", "plain", "scalar", "shuffle", "permute", "blas")
"""``plain``: numpy, step by step; ``scalar``: compiled loops; ``shuffle``: in-register lookups of bytes; ``permute``:
of FP32 numbers; ``blas``: exact products in float64, where no rounding happens inside a unit."""

Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Info:
    """What a run did.

    Attributes:
        kernel: that ran.
        bound: proof that no accumulator overflowed.
        tables: built: rows times steps.
        lookups: rows times columns times steps times planes.
    """

    kernel: str
    bound: Bound
    tables: int
    lookups: int


def mpgemm(
    design: Mpgemm,
    activations: np.ndarray,
    weights: LookupWeights,
    activation_scales: Single | None = None,
    kernel: str = "auto",
) -> tuple[np.ndarray, Info]:
    """Multiply activations by the transposed weights.

    Args:
        design: the design; it must be the one that the weights were laid out for.
        activations: (M, K): integers, or float values that the activation format holds exactly.
        weights: (N, K).
        activation_scales: (M, 1) float32 scales of integer activations.
        kernel: one of :data:`KERNELS`.

    Returns:
        (M, N) and what was done. Exact sums of integer activations without any scale are int64, all else is float32.

    Raises:
        UserError: operands that the design cannot take, sums that could overflow, or a kernel that does not run it.
    """
    choose(kernel, KERNELS, "kernel")
    if weights.design != design:
        raise UserError(f"the weights are laid out for another design: {weights.design}; lay them out for {design}")
    _check_activations(design, activations, weights, activation_scales)
    bound = check_bound(design, weights)
    from lutscape.sim.lut_tensor_core import kernels

    chosen = kernels.choose_kernel(design, bound, kernel)
    if len(activations) == 0:
        result: np.ndarray = np.zeros((0, weights.rows), np.float32)
    elif chosen == "plain":
        result = plain(design, activations, weights)
    elif chosen == "blas":
        result = exact.products(design, activations, weights)
    else:
        result = kernels.run(activations, weights, chosen)
    if activation_scales is not None:
        result = result.astype(np.float32, copy=False) * activation_scales
    elif not (design.exact_entries and design.integer_activations and weights.scales is None):
        result = result.astype(np.float32, copy=False)
    rows = len(activations) * weights.steps
    return result, Info(chosen, bound, rows, rows * weights.rows * design.plane_count)


def plain(design: Mpgemm, activations: np.ndarray, weights: LookupWeights) -> np.ndarray:
    """Return the products as the design words them; clear, not fast."""
    if design.exact_entries:
        return _plain_exact(design, activations, weights)
    found = tables.build(design, _operands(design, activations))
    if design.float_entries:
        return _plain_float(design, activations, found.entries, weights)
    assert found.scales is not None
    units = bounds.unit_values(design, weights.columns, weights.group)
    total = np.zeros((len(activations), weights.rows), np.float32)
    for first in range(0, weights.columns, units):
        last = min(first + units, weights.columns)
        sums = _lookups(design, found.entries, weights, first, last)
        group = first // weights.group
        scale = found.scales[:, first // design.k // found.span, None] * weights.factors[:, group]
        total += sums.astype(np.float32) * scale
        if weights.corrections is not None and (last % weights.group == 0 or last == weights.columns):
            total += row_sums(design, activations, weights)[:, group, None] * weights.corrections[:, group]
    return total


def _plain_exact(design: Mpgemm, activations: np.ndarray, weights: LookupWeights) -> np.ndarray:
    sums, exponent = exact_sums(design, activations, weights)
    if design.integer_activations and weights.scales is None:
        return sums[..., 0]
    total = np.zeros(sums.shape[:2], np.float32)
    for group in range(weights.groups):
        total += round_exact(sums[..., group], exponent) * weights.factors[:, group]
    return total


def _plain_float(
    design: Mpgemm, activations: np.ndarray, entries: npt.NDArray[np.float64], weights: LookupWeights
) -> Single:
    name, saturate = design.accumulator, design.overflow == "saturate"
    total = np.zeros((len(activations), weights.rows), np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for group in range(weights.groups):
            sums = np.zeros(total.shape)
            first = group * weights.group // design.k
            last = -(-min((group + 1) * weights.group, weights.columns) // design.k)
            for s in range(first, last):
                found = [c * _lookup(design, entries, weights, p, s) for p, c in enumerate(design.plane_weights)]
                if design.planes == "parallel":
                    step = round_float(found[0], name, saturate)
                    for term in found[1:]:
                        step = round_float(step + term, name, saturate)
                    found = [step]
                for term in found:
                    sums = round_float(sums + term, name, saturate)
            total += sums.astype(np.float32) * weights.factors[:, group]
            if weights.corrections is not None:
                total += row_sums(design, activations, weights)[:, group, None] * weights.corrections[:, group]
    return total


def exact_sums(design: Mpgemm, activations: np.ndarray, weights: LookupWeights) -> tuple[np.ndarray, int]:
    """Return Σ a (value - z') of every weight group by lookup, (M, N, G) integers, and the exponent of their unit.

    int64 where that holds the bound, else Python integers. The entries of the design do not matter: they are exact.
    """
    whole, exponent = exact.integers(design, activations)
    offset = None if weights.offsets is None else float(np.abs(weights.offsets).max())
    largest = max((abs(int(v)) for v in (whole.min(), whole.max())), default=0)
    size = largest * weights.group * (design.largest_value + (offset or 0))
    whole = whole.astype(object) if size >= 1 << 62 else whole.astype(np.int64)
    groups = _exact_tables(design, whole)
    found = np.zeros((len(whole), weights.rows, weights.groups), whole.dtype)
    for group in range(weights.groups):
        first, last = group * weights.group, min((group + 1) * weights.group, weights.columns)
        found[..., group] = _lookups(design, groups, weights, first, last)
        if weights.offsets is not None:
            offsets = weights.offsets[:, group].astype(np.int64).astype(whole.dtype)
            found[..., group] -= whole[:, first:last].sum(axis=1)[:, None] * offsets
    return found, exponent


def _exact_tables(design: Mpgemm, whole: np.ndarray) -> np.ndarray:
    from dataclasses import replace

    exactly = replace(design, entries="exact", accumulator="exact", overflow="prove")
    return tables.build(exactly, whole).entries


def row_sums(design: Mpgemm, activations: np.ndarray, weights: LookupWeights) -> Single:
    """Return Σ a of every weight group, (M, G) float32: rounded once (integers), or a chain of FP32 adds (floats)."""
    found = np.zeros((len(activations), weights.groups), np.float32)
    for group in range(weights.groups):
        part = activations[:, group * weights.group : (group + 1) * weights.group]
        if design.integer_activations:
            found[:, group] = part.sum(axis=1, dtype=np.int64)
        else:
            for column in part.T.astype(np.float32):
                found[:, group] += column
    return found


def _lookups(design: Mpgemm, entries: np.ndarray, weights: LookupWeights, first: int, last: int) -> np.ndarray:
    """Return Σ 2^p · lookup over the steps of activations first … last - 1, (M, N) integers."""
    total = np.zeros((len(entries), weights.rows), entries.dtype)
    for s in range(first // design.k, -(-last // design.k)):
        for plane, count in enumerate(design.plane_weights):
            total = total + count * _lookup(design, entries, weights, plane, s)
    return total


def _lookup(design: Mpgemm, entries: np.ndarray, weights: LookupWeights, plane: int, s: int) -> np.ndarray:
    """Return what step s of one plane selects, (M, N), from entries (M, S, H)."""
    shape = (len(entries), weights.rows)
    table = np.broadcast_to(entries[:, None, s], (*shape, entries.shape[-1]))
    select = np.broadcast_to(weights.selects[plane, :, s].astype(np.int64), shape)
    return elut.lookup(table, select, design.base, design.k)


def _operands(design: Mpgemm, activations: np.ndarray) -> np.ndarray:
    return activations.astype(np.int64 if design.integer_activations else np.float64)


def check_bound(design: Mpgemm, weights: LookupWeights) -> Bound:
    """Return the proven bound of a design with these weights.

    Raises:
        UserError: a sum can overflow, or zero points that exact sums cannot take.
    """
    found = weights.cache.get("bound")
    if not isinstance(found, Bound):
        offsets = weights.offsets
        if design.exact_entries and offsets is not None and (offsets != np.rint(offsets)).any():
            n, g = np.argwhere(offsets != np.rint(offsets))[0]
            assert weights.zeros is not None
            raise UserError(
                f"zero point {weights.zeros[n, g]:g} of row {n}, group {g} is no multiple of 1/{design.alpha}: exact "
                f"sums need whole z' = {design.alpha} z - {design.beta}; nearest: {np.rint(weights.zeros[n, g]):g}"
            )
        offset = 0.0 if offsets is None else float(np.abs(offsets).max())
        scale = float(np.abs(weights.factors).max())
        found = bounds.prove(design, weights.columns, weights.group, offset, scale)
        weights.cache["bound"] = found
    return found


def _check_activations(design: Mpgemm, activations: np.ndarray, weights: LookupWeights, scales: Single | None) -> None:
    if activations.ndim != 2 or activations.shape[1] != weights.columns:
        raise UserError(f"activations must be (M, {weights.columns}) for these weights; got {activations.shape}")
    kind = activations.dtype.kind
    if kind not in ("iu" if design.integer_activations else "f"):
        wanted = "integers" if design.integer_activations else "float values"
        raise UserError(f"{design.activations} activations are {wanted}; got {activations.dtype}")
    if scales is not None:
        if not design.integer_activations:
            raise UserError(f"activation scales belong to integer activations, not to {design.activations}")
        if scales.shape != (len(activations), 1) or scales.dtype != np.float32:
            raise UserError(
                f"activation scales must be float32 ({len(activations)}, 1); got {scales.dtype} {scales.shape}"
            )
    if activations.size == 0:
        return
    low, high = activations.min(), activations.max()
    top = design.activation_bound
    most = top - (design.integer_activations and design.largest_activation is None)
    if not (-top <= low and high <= most):  # also where NaN
        bad = np.argwhere(~((activations >= -top) & (activations <= most)))[0]
        where = f"activation {activations[tuple(bad)]} at row {bad[0]}, column {bad[1]}"
        bound = "the bound of" if design.largest_activation is not None else "the range of"
        raise UserError(f"{where} is outside {bound} {design.activations}: {-top:g} … {most:g}")
    if not design.integer_activations:
        x = activations.astype(np.float64)
        rounded = round_float(x, design.activations)
        if not np.array_equal(rounded, x):
            m, k = np.argwhere(rounded != x)[0]
            raise UserError(
                f"activation {activations[m, k]} at row {m}, column {k} is no {design.activations} number; "
                f"round it first: {rounded[m, k]:g}"
            )
