"""Linear layers of a network by the golden model: integer activations, indices, table sums, dequantised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.models.quantise.vector import VectorLayer
from lutscape.sim.lut_dla import golden

ROWS = 1 << 14
"""Rows that are computed at once."""


@dataclass(frozen=True)
class LookupLinear:
    """A layer as the machine computes it, bit for bit.

    Attributes:
        layer: integer centroids and tables.
        accumulator_bits: of the partial sums.
        kernel: of :mod:`.golden`: ``fast`` or ``plain``.
    """

    layer: VectorLayer
    accumulator_bits: int = 32
    kernel: str = "fast"

    def __call__(self, x: np.ndarray) -> npt.NDArray[np.float32]:
        """Return (R, N) float32 of (R, K) float32."""
        own = self.layer
        found = np.empty((len(x), own.tables.shape[2]), np.float32)
        for first in range(0, len(x), ROWS):
            rows = slice(first, first + ROWS)
            sums = golden.multiply(
                own.quantise(x[rows]),
                own.centroids,
                own.tables,
                own.metric,
                own.input_bits,
                self.accumulator_bits,
                self.kernel,
            )
            found[rows] = golden.dequantise(sums, own.table_scale, own.bias)
        return found
