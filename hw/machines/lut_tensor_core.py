"""Stand-alone accelerator around lookup-table (or multiply-accumulate) arrays with buffers and DRAM.

The array is that of LUT Tensor Core (Mo et al., ISCA 2025, arXiv 2408.06003, sec. 3.2): m tables of
2^(k-1) entries are broadcast to n lookup units each; weights arrive one bit plane at a time. Around
it this spec puts what a whole model needs and the paper leaves to the GPU: buffers, a table builder,
FP16 multiply-accumulators for attention and float weights, a vector unit, DRAM.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from lutscape.hw.formats.binary import FORMATS, BinaryFormat
from lutscape.hw.machines.gpu import Dram
from lutscape.hw.spec import Part, Spec

Datapath = Literal["lut", "lut-full", "unpu", "add", "mac"]
FLOAT_FIELDS = ("activation_format", "table_format", "accumulator_format", "float_overflow")
"""Fields of an array that have an effect only if its activations are floating-point numbers."""


class Array(Part):
    """The matrix array: the one object that golden model, timing, cost and Verilog of the array read.

    Weights are codes q of W bits. What a code means depends on the datapath; both are affine in q, and scale and
    zero point are applied outside with the sum of the activations:

        lut, add               2 q - (2^W - 1): every bit plane is ±1 (arXiv 2408.06003, eq. 1-3)
        lut-full, unpu, mac    q
    """

    datapath: Datapath
    """``lut``: tables of 2^(k-1) entries, a sign flip, weights remapped offline (arXiv 2408.06003, sec. 3.1);
    ``lut-full``: conventional tables of 2^k entries;
    ``unpu``: ``lut-full`` with its table builder inside, the baseline of the paper's Table 2;
    ``add``: the k signed activations added anew for every weight bit;
    ``mac``: multipliers of ``activation_bits`` x ``multiplier_weight_bits``.
    All but ``mac`` take ``planes_per_cycle`` weight bit planes per cycle."""
    m: int = Field(ge=1, le=256)
    """Rows of activations (tables) in one array."""
    n: int = Field(ge=1, le=1024)
    """Output columns (lookup units per table) in one array."""
    k: int = Field(ge=2, le=8)
    """Activations per table, or per dot product of a MAC array."""
    count: int = Field(ge=1, le=4096)
    """Arrays on the chip."""
    activation_bits: int = Field(default=8, ge=2, le=16)
    """Bits of an integer activation, two's complement."""
    table_bits: int = Field(default=8, ge=4, le=20)
    """Bits of one table entry; narrower than :attr:`exact_entry_bits`, entries are rounded and clamped."""
    accumulator_bits: int = Field(default=32, ge=12, le=48)
    multiplier_weight_bits: int = Field(default=8, ge=1, le=8)
    """Weight width of the multipliers of a MAC array; wider weights take several passes."""
    planes_per_cycle: int = Field(default=1, ge=1, le=8)
    """Weight bit planes an array other than ``mac`` processes per cycle (1 = bit-serial)."""
    serial_weight_bits: int = Field(default=4, ge=1, le=8)
    """Widest weight accumulated before scaling; wider ones run as several runs (W = 8 with 4: two)."""
    activation_format: Literal["int", "fp16", "bf16", "e4m3", "e5m2"] = "int"
    """``int``: two's complement; a float format: every addition of the table builder and of the accumulators is
    rounded to nearest even (:mod:`lutscape.sim.lut_tensor_core.float_array`)."""
    table_format: Literal["same", "fp16", "bf16", "e4m3", "e5m2"] = "same"
    """Float format of table entries; it holds every activation exactly. ``same``: that of the activations."""
    accumulator_format: Literal["fp32", "fp16", "bf16"] = "fp32"
    """Float format of sums; it holds every table entry exactly."""
    float_overflow: Literal["ieee", "saturate"] = "ieee"
    """What float entries and sums beyond the largest number become: infinity (NaN in e4m3), or that number."""

    @model_validator(mode="after")
    def _fits(self) -> Array:
        if self.m * self.n * self.k > 1 << 16:
            raise ValueError(f"m*n*k = {self.m * self.n * self.k} is beyond 65536 in one array; use count")
        if not self.integer:
            self._check_floats()
        return self

    def _check_floats(self) -> None:
        """Refuse a float array whose formats do not nest, or whose widths are not those of its formats."""
        if self.datapath != "lut" or self.planes_per_cycle != 1:
            raise ValueError(
                f"activation_format {self.activation_format!r} with datapath {self.datapath!r} and planes_per_cycle = "
                f"{self.planes_per_cycle} is not built; allowed: datapath lut with planes_per_cycle = 1"
            )
        for inner, outer, key, choices in (
            (self.activation, self.entry, "table_format", ("fp16", "bf16", "e4m3", "e5m2")),
            (self.entry, self.total, "accumulator_format", ("fp32", "fp16", "bf16")),
        ):
            if not outer.holds(inner):
                fits = [name for name in choices if FORMATS[name].holds(inner)]
                raise ValueError(
                    f"{key} {outer.name!r} does not hold every {inner.name} number; allowed: {', '.join(fits)}"
                )
        for key, form in (
            ("activation_bits", self.activation),
            ("table_bits", self.entry),
            ("accumulator_bits", self.total),
        ):
            if getattr(self, key) != form.width:
                raise ValueError(
                    f"{key} = {getattr(self, key)}: {form.name} has {form.width} bits; {key} = {form.width}"
                )

    @property
    def integer(self) -> bool:
        """Activations are integers."""
        return self.activation_format == "int"

    @property
    def activation(self) -> BinaryFormat:
        """Float format of activations."""
        return FORMATS[self.activation_format]

    @property
    def entry(self) -> BinaryFormat:
        """Float format of table entries."""
        return FORMATS[self.activation_format if self.table_format == "same" else self.table_format]

    @property
    def total(self) -> BinaryFormat:
        """Float format of sums."""
        return FORMATS[self.accumulator_format]

    @property
    def looks_up(self) -> bool:
        """The datapath reads tables."""
        return self.datapath in ("lut", "lut-full", "unpu")

    @property
    def symmetric(self) -> bool:
        """Weight bits mean ±1 instead of 0 and 1."""
        return self.datapath in ("lut", "add")

    @property
    def entries(self) -> int:
        """Entries of one table."""
        return 2 ** (self.k - 1 if self.datapath == "lut" else self.k)

    @property
    def exact_entry_bits(self) -> int:
        """Bits that hold every sum of k activations of either sign: largest magnitude k 2^(activation_bits-1)."""
        return (self.k << (self.activation_bits - 1)).bit_length() + 1

    @property
    def largest_shift(self) -> int:
        """Bits by which an integer entry may be shifted right to fit ``table_bits``; 0: tables are exact, or floats."""
        return max(0, self.exact_entry_bits - self.table_bits) if self.integer else 0

    @property
    def digit_bits(self) -> int:
        """Weight bits consumed per cycle."""
        return self.multiplier_weight_bits if self.datapath == "mac" else self.planes_per_cycle

    @property
    def most_passes(self) -> int:
        """Cycles per step of the widest weight of one run."""
        return -(-self.serial_weight_bits // self.digit_bits)


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
            "array.activation_bits",
            "array.multiplier_weight_bits",
            "array.planes_per_cycle",
            "array.serial_weight_bits",
            *(f"array.{name}" for name in FLOAT_FIELDS),
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
        floats = {f"array.{name}" for name in FLOAT_FIELDS[1:]} if self.array.integer else set()
        if self.array.datapath == "mac":
            return frozenset({"tables_per_cycle", "array.table_bits", "array.planes_per_cycle"} | floats)
        without = {"array.multiplier_weight_bits"} | floats
        if not self.array.looks_up:
            without |= {"tables_per_cycle", "array.table_bits"}
        return frozenset(without)

    def digested(self) -> dict[str, Any]:
        """Return what the digest covers; formats of floats count only where activations are floats."""
        data = super().digested()
        if self.array.integer:
            data["array"] = {k: v for k, v in data["array"].items() if k not in FLOAT_FIELDS}
        return data

    def unpriced(self) -> str:
        """Return why the design has no cost model, or nothing."""
        if self.array.integer:
            return ""
        return (
            f"array.activation_format = {self.array.activation_format!r} has no machine cost yet; allowed: int "
            "(bits and cycles of a float unit: lutscape rtl verify; its area: lutscape rtl synth)"
        )

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Achievable DRAM bytes per clock."""
        return self.dram.bandwidth_gb_s * 1e9 * self.dram.efficiency / (self.clock_mhz * 1e6)

    def passes(self, weight_bits: int) -> int:
        """Cycles one (m, n, k) step takes for weights of some bits."""
        return -(-weight_bits // self.array.digit_bits)

    def peak_tera_ops(self, weight_bits: int) -> float:
        """Peak tera-operations per second of the arrays; one MAC is two operations."""
        array = self.array
        macs = array.count * array.m * array.n * array.k / self.passes(weight_bits)
        return 2 * macs * self.clock_mhz * 1e-6
