"""GPU with tensor cores or lookup-table tensor cores in its streaming multiprocessors (SMs)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lutscape.hw.provenance import Grade
from lutscape.hw.spec import Part, Spec, sourced


class MmaUnit(Part):
    """Multiply-accumulate tensor cores of one SM."""

    kind: Literal["mma"] = "mma"
    activation_format: Literal["fp16", "bf16", "int8", "fp8_e4m3"]
    """Operand format of both inputs; lower-bit weights are converted up before the MMA."""
    macs_per_cycle_per_sm: int = Field(gt=0)
    """Dense multiply-accumulates per cycle and SM in that format."""
    area_mm2_per_sm: float = Field(gt=0)
    """Area of the SM's matrix units at the spec's technology node, mm²."""
    tera_ops_per_watt: float = Field(gt=0)
    """Efficiency of the matrix units alone at full rate; one MAC is two operations."""


class LutArrays(Part):
    """The lookup arrays of one SM for which area and efficiency were published."""

    m: int = Field(ge=1, le=256)
    n: int = Field(ge=1, le=1024)
    k: int = Field(ge=2, le=8)
    arrays_per_sm: int = Field(ge=1, le=1024)
    table_bits: int = Field(ge=4, le=16)


class LutUnit(Part):
    """Lookup-table tensor cores of one SM: arrays of m x n x k, weights bit-serial in up to 8 planes."""

    kind: Literal["lut"] = "lut"
    activation_format: Literal["int8", "fp8_e4m3", "fp16", "int16"]
    """Format of the activations from which tables are built."""
    table_bits: int = Field(ge=4, le=16)
    """Bits of one table entry."""
    m: int = Field(ge=1, le=256)
    n: int = Field(ge=1, le=1024)
    k: int = Field(ge=2, le=8)
    """Activations per table; a table has 2^(k-1) entries."""
    arrays_per_sm: int = Field(ge=1, le=1024)
    register_scale: float = Field(default=1.0, ge=1, le=16)
    """Accumulator register capacity relative to the base SM (paper, Table 1: doubled)."""
    precompute: Literal["fused", "separate", "on-the-fly"] = "fused"
    """Tables built by the preceding element-wise operator, by a kernel of their own, or inside the units as activations
    arrive: again for every n columns of an array."""
    area_mm2_per_sm: float = Field(gt=0)
    """Area of the SM's lookup units as described by ``published_for``, at the spec's technology node, mm²."""
    tera_ops_per_watt: float = Field(gt=0)
    """Efficiency of those units alone at ``efficiency_weight_bits``; one MAC is two operations."""
    published_for: LutArrays
    """Configuration of the two numbers above; another one is scaled by gate counts (hw/gates.py)."""
    efficiency_weight_bits: int = Field(default=2, ge=1, le=8)

    @property
    def plane_macs_per_cycle_per_sm(self) -> int:
        """One-bit multiply-accumulates per cycle and SM; divide by the weight bits."""
        return self.arrays_per_sm * self.m * self.n * self.k


class Dram(Part):
    """Off-chip memory."""

    bandwidth_gb_s: float = Field(ge=0.01, le=100_000)
    """Peak bandwidth, 10⁹ bytes per second."""
    efficiency: float = Field(gt=0, le=1)
    """Achievable share of the peak in long streams."""
    energy_pj_per_bit: float = Field(gt=0)
    latency_ns: float = Field(ge=0)


class GpuSpec(Spec):
    """A GPU, seen at the level of thread-block tiles."""

    chosen: ClassVar[frozenset[str]] = frozenset(
        {
            "matrix_unit.m",
            "matrix_unit.n",
            "matrix_unit.k",
            "matrix_unit.arrays_per_sm",
            "matrix_unit.register_scale",
            "matrix_unit.precompute",
            "matrix_unit.table_bits",
            *(f"matrix_unit.published_for.{f}" for f in ("m", "n", "k", "arrays_per_sm", "table_bits")),
            "matrix_unit.efficiency_weight_bits",
            "measured_device",
        }
    )
    cost_only: ClassVar[frozenset[str]] = frozenset(
        {
            "matrix_unit.area_mm2_per_sm",
            "matrix_unit.tera_ops_per_watt",
            "attention_tera_ops_per_watt",
            "dram.energy_pj_per_bit",
        }
    )
    uncharged: ClassVar[frozenset[str]] = frozenset(
        {
            "clock_mhz",
            "matrix_unit.macs_per_cycle_per_sm",
            "matrix_unit.register_scale",
            "vector_ops_per_cycle_per_sm",
            "special_ops_per_cycle_per_sm",
            "register_file_kib_per_sm",
            "shared_memory_kib_per_sm",
            "shared_bytes_per_cycle_per_sm",
            "l2_mib",
            "l2_bytes_per_cycle",
            "l2_bytes_per_cycle_per_sm",
            "l2_latency_cycles",
            "dram.bandwidth_gb_s",
            "dram.efficiency",
            "dram.latency_ns",
            "kernel_overhead_us",
            "attention_macs_per_cycle_per_sm",
            "measured_device",
        }
    )

    kind: Literal["gpu"] = "gpu"
    sms: int = Field(gt=0)
    """Streaming multiprocessors in use."""
    matrix_unit: MmaUnit | LutUnit = Field(discriminator="kind")
    vector_ops_per_cycle_per_sm: int = Field(gt=0)
    """FP32 fused multiply-adds per cycle and SM."""
    special_ops_per_cycle_per_sm: int = Field(gt=0)
    """Exponentials and reciprocals per cycle and SM."""
    register_file_kib_per_sm: int = Field(gt=0)
    shared_memory_kib_per_sm: int = Field(gt=0)
    shared_bytes_per_cycle_per_sm: int = Field(gt=0)
    l2_mib: float = Field(gt=0)
    l2_bytes_per_cycle: int = Field(gt=0)
    """L2 to SM read bandwidth of the whole chip, bytes per clock."""
    l2_bytes_per_cycle_per_sm: int = sourced(
        64, Grade.ASSUMED, "in line with published A100 microbenchmarks; replaced by measurement", gt=0
    )
    """Bytes per clock that one SM takes from L2."""
    l2_latency_cycles: int = Field(gt=0)
    dram: Dram
    kernel_overhead_us: float = sourced(
        2.0,
        Grade.ASSUMED,
        "gap between dependent kernels inside a CUDA graph, 1-3 us; replaced by measurement",
        ge=0,
        le=100,
    )
    """Time between dependent kernels, µs."""
    attention_macs_per_cycle_per_sm: int = Field(gt=0)
    """FP16 multiply-accumulates per cycle and SM that attention can use."""
    attention_tera_ops_per_watt: float = Field(gt=0)
    """Efficiency of the FP16 units that attention uses."""
    measured_device: str = ""
    """A shipped measurement (``h100-sxm5-80gb``): its fitted kernels time what they cover. Empty: the tile model."""

    @model_validator(mode="after")
    def _consistent(self) -> GpuSpec:
        if self.register_file_kib_per_sm < 32:
            raise ValueError(f"register_file_kib_per_sm = {self.register_file_kib_per_sm}: must be at least 32")
        return self

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Achievable DRAM bytes per core clock."""
        return self.dram.bandwidth_gb_s * 1e9 * self.dram.efficiency / (self.clock_mhz * 1e6)

    def macs_per_cycle(self, weight_bits: int) -> float:
        """Peak multiply-accumulates per cycle of the chip for weights of some bits."""
        unit = self.matrix_unit
        if isinstance(unit, LutUnit):
            return self.sms * unit.plane_macs_per_cycle_per_sm / weight_bits
        return float(self.sms * unit.macs_per_cycle_per_sm)

    def peak_tera_ops(self, weight_bits: int) -> float:
        """Peak tera-operations per second; one MAC is two operations."""
        return 2 * self.macs_per_cycle(weight_bits) * self.clock_mhz * 1e-6
