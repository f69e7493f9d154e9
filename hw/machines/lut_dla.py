"""LUT-DLA: a vector-quantised lookup accelerator (HPCA 2025, arXiv 2501.10658) with buffers and DRAM.

Activations A[M, K] are cut into Nc = ⌈K/v⌉ subspaces of v values. Centroid computation modules (CCM) replace every
sub-vector by the index of its nearest centroid out of c; in-memory matching modules (IMM) look that index up in a
table of c x Tn products and add the Tn entries to the partial sums in a scratchpad:

    idx[m, k] = argmin_j d(A[m, k v : (k+1) v], C[k, j])        ties go to the lower index
    T[k, j, n] = sum_t C[k, j, t] W[n, k v + t]                 INT8, made offline
    Y[m, n] = sum_k T[k, idx[m, k], n]

The two kinds of modules run in clock domains of their own; indices cross in an asynchronous FIFO. The paper's text was
not available to this project beyond its abstract and captions: structure and names follow published descriptions of it,
and no number here is a golden value of the paper.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lutscape.hw.machines.gpu import Dram
from lutscape.hw.provenance import Grade
from lutscape.hw.spec import Part, Spec, sourced

Metric = Literal["l2", "l1", "chebyshev"]
Dataflow = Literal["ls-n", "ls-k", "mnk", "mkn", "nmk", "nkm", "kmn", "knm"]
METRICS: tuple[Metric, ...] = ("l2", "l1", "chebyshev")
DATAFLOWS: tuple[Dataflow, ...] = ("ls-n", "ls-k", "mnk", "mkn", "nmk", "nkm", "kmn", "knm")
CLASSIC: tuple[Dataflow, ...] = ("mnk", "mkn", "nmk", "nkm", "kmn", "knm")
"""The six orders of the three loops, outermost first, without column tiles."""


class Codebook(Part):
    """How activations become indices: one codebook per subspace of K, shared by all rows and columns."""

    v: int = Field(ge=1, le=32)
    """Values of one sub-vector."""
    c: int = Field(ge=2, le=1024)
    """Centroids of one codebook; a power of two."""
    metric: Metric
    """Distance: sum of squares (``l2``), sum of magnitudes (``l1``) or greatest magnitude (``chebyshev``)."""
    input_bits: int = Field(default=8, ge=2, le=16)
    """Bits of an activation and of a centroid's value, two's complement."""

    @model_validator(mode="after")
    def _power(self) -> Codebook:
        if self.c & (self.c - 1):
            below = 1 << (self.c.bit_length() - 1)
            raise ValueError(f"c = {self.c}: must be a power of two; nearest: {below} or {2 * below}")
        return self

    @property
    def index_bits(self) -> int:
        """log2 c."""
        return self.c.bit_length() - 1

    @property
    def difference_bits(self) -> int:
        """Bits of |a - c|, at most 2^input_bits - 1."""
        return self.input_bits

    @property
    def distance_bits(self) -> int:
        """Bits that hold every distance exactly, unsigned."""
        most = (1 << self.input_bits) - 1
        return {"l2": self.v * most * most, "l1": self.v * most, "chebyshev": most}[self.metric].bit_length()

    @property
    def bits_per_activation(self) -> float:
        """log2(c) / v, what an activation is worth once it is an index."""
        return self.index_bits / self.v


class Ccm(Part):
    """Centroid computation modules."""

    count: int = Field(ge=1, le=64)
    """nC: modules, each with a centroid buffer and an input buffer; they take rows in turn."""
    ccus: int = Field(ge=1, le=16)
    """Chains of c distance elements (dPE) in one module; they share its buffers, take rows in turn
    and have a FIFO each."""
    clock_mhz: float = Field(ge=1, le=5_000)
    """Clock of the modules."""
    dpe_stages: int = Field(default=1, ge=1, le=2)
    """Registers from a dPE's operands to its comparison: 1, distance and comparison in one cycle; 2, in two. The
    distances of a chain do not wait for each other, so a chain's latency is c + dpe_stages - 1."""
    input_rows: int = Field(ge=2, le=1 << 16)
    """Sub-vectors that the input buffer of one module holds, both halves together."""


class Imm(Part):
    """In-memory matching modules."""

    count: int = Field(ge=1, le=64)
    """nI: modules side by side."""
    share: Literal["columns", "rows"] = "columns"
    """What modules divide among them: ``columns``, all look up the same indices, each in the table of its own columns;
    ``rows``, all hold the same table and take rows in turn, which needs as many indices per cycle as modules."""
    lanes: int = Field(ge=1, le=4096)
    """Tn: columns of one table, adders of one module."""
    table_bits: int = Field(default=8, ge=2, le=16)
    """Bits of a table entry, two's complement."""
    accumulator_bits: int = Field(default=32, ge=8, le=48)
    """Bits of a partial sum."""
    rows: int = Field(ge=1, le=1 << 16)
    """Rows of Tn partial sums in the scratchpad of one module; longer matrices are cut into blocks of rows."""
    fill_entries: int = Field(ge=1, le=4096)
    """Table entries written into a module's shadow bank per cycle; divides the lanes."""
    table_style: Literal["latch", "flip-flop", "sram"] = "latch"
    """What the two table banks are made of: latches with a clock gate per word; flip-flops with an enable, as the banks
    of the generated module; an SRAM macro (64 words or more)."""

    @model_validator(mode="after")
    def _divides(self) -> Imm:
        if self.lanes % self.fill_entries:
            raise ValueError(f"fill_entries = {self.fill_entries}: must divide lanes = {self.lanes}")
        return self


class Buffers(Part):
    """Memories shared by all modules."""

    activation_kib: int = Field(ge=0, le=1 << 20)
    """Activations between operators; a tensor of at most half of it does not go to DRAM."""
    index_kib: int = Field(ge=0, le=1 << 20)
    """Indices that are kept for the next tile of columns; 0: none."""


class MeasuredAccuracy(Part):
    """Where the accuracy of this machine's codebook was measured (:mod:`lutscape.hw.measured_accuracy`)."""

    table: str
    """JSON file, as given or relative to the checkout."""
    network: str
    """Network of the table that was converted; its loss stands for the workload's."""
    stage: str = "int8"
    """Stage of the conversion; ``int8``: all of it, computed as the machine does."""


class LutDlaSpec(Spec):
    """Vector-quantised lookup accelerator."""

    chosen: ClassVar[frozenset[str]] = frozenset(
        {
            "clock_mhz",
            "attention_macs_per_cycle",
            "vector_lanes",
            "fifo_depth",
            "dataflow",
            "indices",
            "kept_operators",
            "codebook.v",
            "codebook.c",
            "codebook.metric",
            "codebook.input_bits",
            "ccm.count",
            "ccm.ccus",
            "ccm.clock_mhz",
            "ccm.dpe_stages",
            "ccm.input_rows",
            "imm.count",
            "imm.share",
            "imm.lanes",
            "imm.table_bits",
            "imm.accumulator_bits",
            "imm.rows",
            "imm.fill_entries",
            "imm.table_style",
            "buffers.activation_kib",
            "buffers.index_kib",
        }
    )
    cost_only: ClassVar[frozenset[str]] = frozenset({"dram.energy_pj_per_bit", "imm.table_style", "accuracy"})
    uncharged: ClassVar[frozenset[str]] = frozenset(
        {"clock_mhz", "ccm.clock_mhz", "dram.bandwidth_gb_s", "dram.efficiency", "dram.latency_ns"}
    )

    kind: Literal["lut-dla"] = "lut-dla"
    codebook: Codebook
    ccm: Ccm
    imm: Imm
    dataflow: Dataflow
    """Order of the loops, outermost first. LUT-stationary, a table of c x Tn stays while the rows pass: ``ls-n`` is
    n, k, m (the sums of a column tile stay until they are done), ``ls-k`` is k, n, m (indices of a subspace and all
    sums stay).
    ``mnk`` … ``knm``: the six orders of single rows, columns and subspaces, for their memory alone."""
    indices: Literal["store", "recompute"] = "store"
    """``ls-n`` with several tiles of columns: indices kept on chip, or computed again for every tile."""
    fifo_depth: int = Field(default=16, ge=4, le=1024)
    """Places of the index FIFO between the clock domains; a power of two."""
    synchroniser_stages: int = sourced(
        2,
        Grade.PUBLISHED,
        "two flip-flops per Gray pointer: C. Cummings, Simulation and Synthesis Techniques for Asynchronous FIFO "
        "Design, SNUG 2002",
        ge=2,
        le=4,
    )
    """Flip-flops that each pointer of the FIFO passes in the other domain."""
    kept_operators: tuple[str, ...] = ()
    """Linear operators that are not converted to tables and run on the multiply-accumulators: roles (``lm_head``)."""
    attention_macs_per_cycle: int = Field(ge=0, le=1 << 20)
    """FP16 multiply-accumulators for attention and kept operators; 0: none, such operators are refused."""
    vector_lanes: int = Field(ge=1, le=1 << 16)
    """Lanes for dequantisation, norms, softmax and element-wise operators; one operation per lane and cycle."""
    buffers: Buffers
    dram: Dram
    accuracy: MeasuredAccuracy | None = None
    """None: the machine reports no accuracy. Else a codebook that was not measured is refused, never assumed."""

    @model_validator(mode="after")
    def _consistent(self) -> LutDlaSpec:
        if self.fifo_depth & (self.fifo_depth - 1):
            raise ValueError(f"fifo_depth = {self.fifo_depth}: must be a power of two (Gray pointers)")
        return self

    def inert(self) -> frozenset[str]:
        """Return the fields that the dataflow, or a single module, does not use."""
        found = set() if self.dataflow in ("ls-n", "nkm", "nmk", "mnk") else {"indices"}
        return frozenset(found | ({"imm.share"} if self.imm.count == 1 else set()))

    @property
    def imm_clock_mhz(self) -> float:
        """Clock of the in-memory matching modules and of everything but the CCMs: ``clock_mhz``."""
        return self.clock_mhz

    @property
    def columns_per_pass(self) -> int:
        """Columns that all modules together hold tables of: nI Tn, or Tn where they share rows."""
        return self.imm.lanes * (self.imm.count if self.imm.share == "columns" else 1)

    @property
    def rows_per_cycle(self) -> int:
        """Rows that are looked up at a time: nI where modules share rows, else 1."""
        return self.imm.count if self.imm.share == "rows" else 1

    @property
    def table_bank_bits(self) -> int:
        """Bits of one table bank of one module: c Tn table_bits."""
        return self.codebook.c * self.imm.lanes * self.imm.table_bits

    @property
    def dram_bytes_per_cycle(self) -> float:
        """Achievable DRAM bytes per cycle of ``clock_mhz``."""
        return self.dram.bandwidth_gb_s * 1e9 * self.dram.efficiency / (self.clock_mhz * 1e6)

    @property
    def peak_macs_per_second(self) -> float:
        """Multiply-accumulates replaced per second at full rate: v Tn nI clock."""
        return self.codebook.v * self.imm.count * self.imm.lanes * self.clock_mhz * 1e6
