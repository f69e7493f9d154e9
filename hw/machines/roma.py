"""Language-model machines with their weights in read-only memory: ROMA (arXiv 2503.12988) and its peers.

A mesh of Matrix Units and one row of Vector Units. A Matrix Unit has one H-Unit (SRAM for adapter and KV cache,
floating-point arithmetic) and many L-Units (a ROM and an integer dot product). One ROM word holds one group of weights
of one output: ``group`` weights of ``plane_bits``, a scale and a zero point; wider weights take several words, their
planes. The same spec drives golden model, cycle model, cost and Verilog.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lutscape.hw.machines.gpu import Dram
from lutscape.hw.provenance import Grade
from lutscape.hw.spec import Part, Spec, sourced

PAPER = "ROMA, arXiv 2503.12988"
DIGEST = f"{PAPER}, through digests"
PROJECTIONS = ("q", "k", "v", "o", "gate", "up", "down")
"""Linear layers of a block that can carry an adapter."""

RomForm = Literal["sram", "standard", "b-rom", "fused", "custom"]
Encoding = Literal["uint", "ternary", "fp4"]


class LUnit(Part):
    """A ROM and the dot product beside it."""

    per_matrix_unit: int = sourced(
        64,
        Grade.DERIVED,
        "73.2 % of 503.7 mm2 / 22.5 k um2 = 16,387; 64 x 256 = 16,384",
        ge=1,
        le=4096,
    )
    rom_words: int = sourced(
        3328, Grade.DERIVED, "6,979,321,856 weights of Llama-3-8B / 128 / 16,384 L-Units, exactly", ge=1, le=1 << 20
    )
    """Words of one ROM; a word feeds one dot product of ``group`` weights."""
    group: int = sourced(128, Grade.PUBLISHED, DIGEST, ge=8, le=1024)
    """Weights per word, which share scale and zero point."""
    plane_bits: int = sourced(2, Grade.PUBLISHED, f"{DIGEST}: UInt2", ge=1, le=8)
    """Bits of a weight in one word; a weight of W bits takes ceil(W / plane_bits) words."""
    scale_bits: int = sourced(16, Grade.PUBLISHED, f"{DIGEST}: FP16 scale", ge=0, le=32)
    zero_bits: int = sourced(2, Grade.PUBLISHED, f"{DIGEST}: UInt2 zero point", ge=0, le=8)
    encoding: Encoding = "uint"
    """What a stored code means: ``uint`` q - zero point, ``ternary`` -1, 0, 1, ``fp4`` E2M1."""
    form: RomForm = "fused"
    """``sram``: RAM in place of the ROM; ``standard``: a transistor per bit; ``b-rom``: four bits share a transistor
    and choose one of 16 functions of two address bits; ``fused``: B-ROM laid over the arithmetic; ``custom``: a
    density of one's own, ``density_mbit_per_mm2``."""
    density_mbit_per_mm2: float | None = Field(default=None, gt=0)
    """ROM bits per area at the spec's node, 10⁶ bits per mm²; only with form ``custom``."""
    density_counts_compute: bool = False
    """That density counts the arithmetic too."""
    compute_area_um2: float | None = Field(default=None, gt=0)
    """Arithmetic of one L-Unit at the spec's node; none: 9,950 µm² at 7 nm (:mod:`lutscape.hw.cost_roma`), scaled by
    ``group`` and ``activation_bits``."""
    word_energy_pj: float | None = Field(default=None, gt=0)
    """One word read and multiplied, at the spec's node; none: the published unit power, per cycle."""
    cycles_per_word: int = sourced(
        1, Grade.ASSUMED, "not published; 4 would need 76 W of L-Units where the chip has 33.1 W", ge=1, le=64
    )
    """Cycles from one word to the next: the dot product takes ``group / cycles_per_word`` weights a cycle."""
    activation_bits: int = sourced(
        12, Grade.ASSUMED, "sign and the 11-bit significand of FP16, aligned to one exponent", ge=4, le=24
    )
    """Bits of an activation after alignment to its group's shared exponent, two's complement."""
    accumulator_bits: int = sourced(
        24, Grade.DERIVED, "128 x 3 x 2^11 and the sign need 21 bits; the next multiple of 8", ge=8, le=64
    )

    @property
    def word_bits(self) -> int:
        """Bits of a ROM word: weights, scale, zero point (128 x 2 + 16 + 2 = 274)."""
        return self.group * self.plane_bits + self.scale_bits + self.zero_bits

    @property
    def rom_bits(self) -> int:
        """Bits of one ROM."""
        return self.rom_words * self.word_bits

    @model_validator(mode="after")
    def _fits(self) -> LUnit:
        if self.group % self.cycles_per_word:
            raise ValueError(f"cycles_per_word = {self.cycles_per_word}: must divide group = {self.group}")
        if (self.form == "custom") != (self.density_mbit_per_mm2 is not None):
            raise ValueError("density_mbit_per_mm2 goes with form: custom, and form: custom with it")
        if self.encoding == "ternary" and (self.plane_bits != 2 or self.zero_bits):
            raise ValueError("encoding ternary needs plane_bits: 2 and zero_bits: 0")
        if self.encoding == "fp4" and (self.plane_bits != 4 or self.zero_bits):
            raise ValueError("encoding fp4 needs plane_bits: 4 and zero_bits: 0")
        return self


class HUnit(Part):
    """SRAM for adapter and KV cache with floating-point multiply-accumulators; one in each Matrix Unit."""

    sram_kib: float = sourced(1152, Grade.DERIVED, f"288 MB / 256 H-Units ({DIGEST})", gt=0, le=1 << 24)
    kv_bytes_per_cycle: float = sourced(
        49.935, Grade.DERIVED, "fitted: decode 31.8k tok/s without KV and 24.6k at 1K (Llama-3.2-3B, FP8 KV)", gt=0
    )
    """Bytes of keys, values or adapter read per cycle in decode."""
    prefill_kv_bytes_per_cycle: float = sourced(
        69.6, Grade.DERIVED, "fitted: time to first token 5.6 ms at 256 and 140.2 ms at 4K", gt=0
    )
    """The same in prefill."""
    kv_reads: Literal["group", "head"] = "group"
    """Keys and values are read once for the query heads that share them (``group``), or anew for every query head."""
    macs_per_cycle: int = sourced(
        512, Grade.ASSUMED, "so that attention is bound by KV bytes, as the published slopes suggest", ge=1, le=1 << 20
    )
    """Multiply-accumulates per cycle for attention and adapter."""


class VectorUnit(Part):
    """Element-wise operations, reductions, permutations."""

    count: int = sourced(16, Grade.PUBLISHED, DIGEST, ge=1, le=4096)
    lanes: int = sourced(
        256, Grade.ASSUMED, "not published; softmax then stays below the published slope over context", ge=1, le=65536
    )
    """Operations per cycle of one Vector Unit."""
    sram_kib: float = sourced(1024, Grade.DERIVED, f"16 MB / 16 Vector Units ({DIGEST})", gt=0)
    """Intermediate values."""


class Lora(Part):
    """Adapter in SRAM: y += B (A x), with A of rank x K and B of N x rank."""

    rank: int = Field(default=16, ge=0, le=4096)
    """0: no adapter."""
    targets: str = sourced(
        "gate,up",
        Grade.DERIVED,
        "the published SRAM table leaves 18.0 MiB at rank 16: gate and up of Llama-3-8B, or other sets",
    )
    """Layers with an adapter: ``all``, or some of q, k, v, o, gate, up, down, separated by commas."""
    bits: int = sourced(8, Grade.PUBLISHED, f"{DIGEST}: FP8", ge=4, le=32)
    """Bits of an adapter weight."""

    @property
    def projections(self) -> frozenset[str]:
        """The layers by name."""
        names = [part.strip() for part in self.targets.split(",")]
        return frozenset(PROJECTIONS if names == ["all"] else names)

    @model_validator(mode="after")
    def _known(self) -> Lora:
        from lutscape.hw.errors import nearest

        for name in sorted(self.projections - set(PROJECTIONS)):
            allowed = ("all", *PROJECTIONS)
            raise ValueError(f"unknown layer {name!r}{nearest(name, allowed)}; allowed: {', '.join(allowed)}")
        return self


class Steps(Part):
    """What a dependent step takes beyond its words: alignment, broadcast and reduction over the mesh, dequantisation.

    A step is a set of layers that read one tensor (q, k and v; o; gate and up; down).
    """

    decode_cycles: float = sourced(0.0, Grade.ASSUMED, "no overhead assumed unless a fit sets it", ge=0, le=1e6)
    """Per step and token in decode."""
    prefill_cycles: float = sourced(0.0, Grade.ASSUMED, "no overhead assumed unless a fit sets it", ge=0, le=1e6)
    """Per step and token in prefill."""


class RomaSpec(Spec):
    """Weights in ROM, adapter and KV cache in SRAM (or DRAM)."""

    chosen: ClassVar[frozenset[str]] = frozenset(
        {
            "clock_mhz",
            "matrix_units",
            "chips",
            "lora.rank",
            "l_unit.form",
            "l_unit.encoding",
            "placement",
            "head",
            "l_unit.density_counts_compute",
            "h_unit.kv_reads",
        }
    )
    cost_only: ClassVar[frozenset[str]] = frozenset(
        {
            "l_unit.form", "l_unit.density_mbit_per_mm2", "l_unit.density_counts_compute", "l_unit.compute_area_um2",
            "l_unit.word_energy_pj", "l_unit.accumulator_bits", "l_unit.activation_bits", "v_unit.sram_kib",
            "other_area_share", "h_unit_area_um2", "v_unit_area_um2", "programmable_masks", "dram.energy_pj_per_bit",
        }
    )  # fmt: skip
    uncharged: ClassVar[frozenset[str]] = frozenset(
        {"clock_mhz", "h_unit.kv_bytes_per_cycle", "h_unit.prefill_kv_bytes_per_cycle", "step.decode_cycles",
         "step.prefill_cycles"}
    )  # fmt: skip

    kind: Literal["roma"] = "roma"
    chips: int = Field(default=1, ge=1, le=1024)
    """Dies of this description, each with an equal part of every layer."""
    matrix_units: int = Field(default=256, ge=1, le=1 << 16)
    """Per die; ROMA has 8 x 16 above the row of Vector Units and 8 x 16 below."""
    l_unit: LUnit = LUnit()
    h_unit: HUnit = HUnit()
    v_unit: VectorUnit = VectorUnit()
    lora: Lora = Lora()
    step: Steps = Steps()
    placement: Literal["spread", "layers"] = "spread"
    """``spread``: every layer over all L-Units, one layer works at a time (ROMA); ``layers``: each block has its own
    L-Units, so blocks can work on different sequences at the same time."""
    head: Literal["host", "rom"] = "host"
    """Where embedding and output projection are: ``host`` takes neither time nor area here (ROMA's 1.86 GB of ROM
    holds neither)."""
    dram: Dram | None = None
    """Holds the KV cache where it exceeds the SRAM; none: the cache must fit."""
    h_unit_area_um2: float | None = Field(default=None, gt=0)
    """Arithmetic of one H-Unit at the spec's node; none: from the published split at 7 nm."""
    v_unit_area_um2: float | None = Field(default=None, gt=0)
    """One Vector Unit without its SRAM."""
    other_area_share: float = sourced(
        0.048, Grade.PUBLISHED, f"{PAPER}, Fig. 11(a): other 4.8 % (read from a digest)", ge=0, lt=1
    )
    """Share of the die that is neither Matrix nor Vector Unit."""
    programmable_masks: int = sourced(
        2, Grade.ASSUMED, "one metal and one via layer, as Taalas states for HC1; ROMA names no number", ge=1, le=100
    )
    """Masks that a change of weights changes."""

    @property
    def l_units(self) -> int:
        """L-Units of all chips."""
        return self.chips * self.matrix_units * self.l_unit.per_matrix_unit

    @property
    def h_units(self) -> int:
        """H-Units of all chips."""
        return self.chips * self.matrix_units

    @property
    def rom_bits(self) -> int:
        """ROM bits of all chips."""
        return self.l_units * self.l_unit.rom_bits

    @property
    def sram_bytes(self) -> int:
        """SRAM for adapter and KV cache, all chips."""
        return int(self.h_units * self.h_unit.sram_kib * 1024)

    def planes(self, weight_bits: int) -> int:
        """Words that a group of weights of some bits takes."""
        return -(-weight_bits // self.l_unit.plane_bits)

    def inert(self) -> frozenset[str]:
        """Return the fields without effect on this design."""
        return frozenset() if self.lora.rank else frozenset({"lora.targets", "lora.bits"})
