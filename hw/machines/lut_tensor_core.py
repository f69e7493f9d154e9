"""Stand-alone accelerator around lookup-table (or multiply-accumulate) arrays with buffers and DRAM.

The array is that of LUT Tensor Core (Mo et al., ISCA 2025, arXiv 2408.06003, sec. 3.2): m tables of
2^(k-1) entries are broadcast to n lookup units each; weights arrive one bit plane at a time. Around
it this spec puts what a whole model needs and the paper leaves to the GPU: buffers, a table builder,
FP16 multiply-accumulators for attention and float weights, a vector unit, DRAM.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lutscape.hw.machines.gpu import Dram
from lutscape.hw.spec import Part, Spec


class Array(Part):
    """The matrix array."""

    datapath: Literal["lut", "mac"]
    """``lut``: table lookup, one weight bit plane per cycle; ``mac``: INT8 x ``multiplier_weight_bits``."""
    m: int = Field(ge=1, le=256)
    """Rows of activations (tables) in one array."""
    n: int = Field(ge=1, le=1024)
    """Output columns (lookup units per table) in one array."""
    k: int = Field(ge=2, le=8)
    """Activations per table, or per dot product of a MAC array."""
    count: int = Field(ge=1, le=4096)
    """Arrays on the chip."""
    table_bits: int = Field(default=8, ge=4, le=16)
    """Bits of one table entry."""
    accumulator_bits: int = Field(default=32, ge=12, le=48)
    multiplier_weight_bits: int = Field(default=8, ge=1, le=8)
    """Weight width of the multipliers of a MAC array; wider weights take several passes."""
    planes_per_cycle: int = Field(default=1, ge=1, le=8)
    """Weight bit planes a lookup array processes per cycle (1 = bit-serial)."""

    @model_validator(mode="after")
    def _fits(self) -> Array:
        if self.m * self.n * self.k > 1 << 16:
            raise ValueError(f"m*n*k = {self.m * self.n * self.k} is beyond 65536 in one array; use count")
        return self


class Buffers(Part):
    """On-chip SRAM; every buffer is double-buffered, so half of it holds the working tile.

    Ports are as wide as the array needs: bandwidth is not limited and not charged beyond energy per byte.
    """

    weight_kib: int = Field(ge=1, le=1 << 20)
    activation_kib: int = Field(ge=1, le=1 << 20)
    """Activations, or the tables built from them."""
    output_kib: int = Field(ge=1, le=1 << 20)


class LutTensorCoreSpec(Spec):
    """Stand-alone lookup-table accelerator."""

    chosen: ClassVar[frozenset[str]] = frozenset(
        {
            "clock_mhz",
            "tables_per_cycle",
            "attention_macs_per_cycle",
            "vector_lanes",
            "array.datapath",
            "array.m",
            "array.n",
            "array.k",
            "array.count",
            "array.table_bits",
            "array.accumulator_bits",
            "array.multiplier_weight_bits",
            "array.planes_per_cycle",
            "buffers.weight_kib",
            "buffers.activation_kib",
            "buffers.output_kib",
        }
    )
    cost_only: ClassVar[frozenset[str]] = frozenset({"dram.energy_pj_per_bit"})
    uncharged: ClassVar[frozenset[str]] = frozenset(
        {"clock_mhz", "dram.bandwidth_gb_s", "dram.efficiency", "dram.latency_ns"}
    )

    kind: Literal["lut-tensor-core"] = "lut-tensor-core"
    array: Array
    tables_per_cycle: int = Field(ge=1, le=4096)
    """Tables the builder finishes per cycle (idle in a MAC design, and then without area)."""
    attention_macs_per_cycle: int = Field(ge=1, le=1 << 20)
    """FP16 multiply-accumulators, for attention and for layers kept in floating point."""
    vector_lanes: int = Field(ge=1, le=1 << 16)
    """FP16 lanes for norms, softmax and element-wise operators; one operation per lane and cycle."""
    buffers: Buffers
    dram: Dram

    def inert(self) -> frozenset[str]:
        """Return the fields of the datapath that this design does not have."""
        if self.array.datapath == "mac":
            return frozenset({"tables_per_cycle", "array.table_bits", "array.planes_per_cycle"})
        return frozenset({"array.multiplier_weight_bits"})

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Achievable DRAM bytes per clock."""
        return self.dram.bandwidth_gb_s * 1e9 * self.dram.efficiency / (self.clock_mhz * 1e6)

    def passes(self, weight_bits: int) -> int:
        """Cycles one (m, n, k) step takes for weights of some bits."""
        array = self.array
        per_cycle = array.planes_per_cycle if array.datapath == "lut" else array.multiplier_weight_bits
        return -(-weight_bits // per_cycle)

    def peak_tera_ops(self, weight_bits: int) -> float:
        """Peak tera-operations per second of the arrays; one MAC is two operations."""
        array = self.array
        macs = array.count * array.m * array.n * array.k / self.passes(weight_bits)
        return 2 * macs * self.clock_mhz * 1e-6
