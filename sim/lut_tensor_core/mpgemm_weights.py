"""Weights as a lookup design reads them: remapped offline, with the scales and offsets of their groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.models.quantise.scalar import QuantisedWeight
from lutscape.sim.lut_tensor_core import elut, golden
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm

Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LookupWeights:
    """A weight matrix for one design.

    Attributes:
        design: whose weights, k and padding they are for.
        codes: (N, K) uint8 codes q.
        scales: (N, G) float32 scales s of r = s (q - z), or None: the values themselves are multiplied.
        zeros: (N, G) float32 zero points z, or None: those at which values are symmetric (z' = 0).
        group: weights per scale along K; K without scales.
    """

    design: Mpgemm
    codes: npt.NDArray[np.uint8]
    scales: Single | None = None
    zeros: Single | None = None
    group: int = 0
    cache: dict[str, object] = field(default_factory=dict, repr=False, compare=False)
    """Layouts that kernels made of these weights."""

    def __post_init__(self) -> None:
        """Refuse codes, shapes and groups that the design cannot take."""
        design, codes = self.design, self.codes
        if codes.ndim != 2 or codes.dtype != np.uint8 or 0 in codes.shape:
            raise UserError(f"weight codes must be a uint8 matrix (N, K); got {codes.dtype} of shape {codes.shape}")
        columns = codes.shape[1]
        if self.group < 0:
            raise UserError(f"group of {self.group} weights; allowed: 0 (the whole row) or more")
        object.__setattr__(self, "group", min(self.group or columns, columns))
        top = int(codes.max())
        if top >= design.levels:
            n, k = np.argwhere(codes >= design.levels)[0]
            raise UserError(
                f"weight code {codes[n, k]} at row {n}, column {k} is outside 0 … {design.levels - 1} "
                f"of {design.weights}"
            )
        if columns % design.k and not design.padding:
            close = max(1, round(columns / design.k)) * design.k
            raise UserError(
                f"K = {columns} is no multiple of k = {design.k}, and the design does not pad; nearest: {close}"
            )
        if self.group < columns and self.group % design.k:
            close = max(1, round(self.group / design.k)) * design.k
            raise UserError(
                f"weight groups of {self.group} are no multiple of k = {design.k}: a table would straddle two scales; "
                f"nearest: {close}"
            )
        shape = (codes.shape[0], -(-columns // self.group))
        for what, values in (("scales", self.scales), ("zeros", self.zeros)):
            if values is not None and (values.shape != shape or values.dtype != np.float32):
                raise UserError(
                    f"weight {what} must be float32 {shape}, one per group of {self.group}; "
                    f"got {values.dtype} {values.shape}"
                )
            if values is not None and not np.isfinite(values).all():
                raise UserError(f"weight {what} are not all finite")
        if self.scales is None and (self.zeros is not None or self.group < columns):
            raise UserError("groups and zero points belong to weights with scales; give scales, or neither")
        self._check_groups()

    def _check_groups(self) -> None:
        """Table scales and weight scales must nest."""
        table, group, columns = self.design.table_group, self.group, self.codes.shape[1]
        if not self.design.scaled_entries or table in (0, self.design.k) or group >= columns or table >= columns:
            return
        if table % group and group % table:
            small, large = sorted((table, group))
            close = max(1, round(large / small)) * small
            fix = f"table_group {close}" if table == large else f"table_group {_divisor(group, table, self.design.k)}"
            raise UserError(
                f"table scales of {table} activations and weight scales of {group} weights do not nest: "
                f"one must divide the other; nearest: {fix}"
            )

    @classmethod
    def of(cls, design: Mpgemm, weight: QuantisedWeight) -> LookupWeights:
        """Return quantised weights of the models' room.

        Raises:
            UserError: codes of another width than the design's.
        """
        return cls(design, weight.codes, weight.scales, weight.zeros, weight.group)

    @property
    def rows(self) -> int:
        """N."""
        return self.codes.shape[0]

    @property
    def columns(self) -> int:
        """K."""
        return self.codes.shape[1]

    @property
    def groups(self) -> int:
        """G."""
        return -(-self.columns // self.group)

    @property
    def steps(self) -> int:
        """Tables per row of activations, S = ⌈K / k⌉."""
        return -(-self.columns // self.design.k)

    @property
    def values(self) -> npt.NDArray[np.int64]:
        """Values α q - β, (N, K)."""
        return self.design.alpha * self.codes.astype(np.int64) - self.design.beta

    @cached_property
    def factors(self) -> Single:
        """Factors s' = s / α, (N, G); division by 2 is exact (no scale is subnormal in FP32)."""
        if self.scales is None:
            return np.ones((self.rows, 1), np.float32)
        return self.scales / np.float32(self.design.alpha)

    @cached_property
    def offsets(self) -> Single | None:
        """Offsets z' = α z - β, (N, G); None where all are zero."""
        if self.zeros is None:
            return None
        found = np.float32(self.design.alpha) * self.zeros - np.float32(self.design.beta)
        return found if found.any() else None

    @cached_property
    def corrections(self) -> Single | None:
        """What row sums are multiplied by, fp32(-(s' z')), (N, G)."""
        return None if self.offsets is None else -(self.factors * self.offsets)

    @cached_property
    def selects(self) -> npt.NDArray[np.uint16]:
        """Remapped planes (W, N, S): sign and index of each step (:func:`.elut.remap`)."""
        design = self.design
        digits = golden.grouped(self.codes.astype(np.int64), design.k)  # (N, S, k); padding selects anything: a = 0
        planes = golden.bit_planes(digits, design.plane_count) if design.base == 2 else digits[None]
        return elut.remap(elut.patterns(planes, design.base), design.base, design.k).astype(np.uint16)

    def image(self) -> npt.NDArray[np.uint8]:
        """Return what a weight memory holds: the selects of each row and plane packed tight, (W, N, bytes)."""
        return elut.pack(self.selects, elut.select_bits(self.design.base, self.design.k))


def _divisor(group: int, wanted: int, k: int) -> int:
    """Return the divisor of ``group`` nearest to ``wanted`` that k divides."""
    return min((d for d in range(k, group + 1, k) if group % d == 0), key=lambda d: abs(d - wanted))
