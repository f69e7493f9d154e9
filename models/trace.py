"""The trace: one row per operator execution. The contract between models and hardware.

A trace is a pandas frame with the columns of :data:`COLUMNS` and a :class:`Header`; on disk it is
one Parquet file with the header as JSON in the schema metadata (key ``lutscape``).

Conventions
    - ``linear``: Y[M, N] = X[M, K] · W[N, K]ᵀ; M = batch x tokens of the step.
    - ``attention``: M queries per sequence, N keys per sequence after the new ones were appended,
      K = head_dim; softmax included; causal. ``macs`` counts only visible (query, key) pairs, scores
      and weighted sum. ``kv_read_bytes`` is the whole cache once, ``kv_write_bytes`` the new tokens.
    - ``norm`` and ``elementwise``: M rows of N values, K = 1, no MACs; ``activation_bytes`` is the
      sum over all inputs.
    - ``gather``: the embedding look-up; M rows of N values.
    - bytes are those of the operator alone, every operand counted once, as stored in the formats of
      the row: nothing is assumed about caches or fusion.
    - ``input`` names the operator that produced the activation operand, so that a machine can share
      work between readers of one tensor (q, k and v; gate and up).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from lutscape.hw.errors import UserError
from lutscape.models.shape import ModelShape
from lutscape.version import __version__

SCHEMA_VERSION = 1

COLUMNS: dict[str, str] = {
    "phase": "str",  # prefill or decode
    "step": "int32",  # 0 in prefill; 0 … D-1 in decode
    "layer": "int32",  # block index; -1 outside the blocks
    "name": "str",  # unique in its step: layers.3.gate, lm_head
    "operator": "str",  # role: q, k, v, o, gate, up, down, lm_head, attention, attn_norm, …
    "kind": "str",  # linear, attention, norm, elementwise, gather
    "input": "str",  # name of the producer of the activation operand
    "M": "int64",
    "N": "int64",
    "K": "int64",
    "batch": "int64",  # sequences
    "heads": "int64",  # attention only, else 0
    "kv_heads": "int64",  # attention only, else 0
    "weight_format": "str",  # as parse_weight_format reads it; "" without weights
    "activation_format": "str",
    "accumulator_format": "str",
    "output_format": "str",
    "kv_format": "str",  # attention only, else ""
    "macs": "int64",
    "weight_bytes": "int64",  # scales and zero points included
    "activation_bytes": "int64",
    "output_bytes": "int64",
    "kv_read_bytes": "int64",
    "kv_write_bytes": "int64",
}
KINDS = ("linear", "attention", "norm", "elementwise", "gather")
TOTALS = ("macs", "weight_bytes", "activation_bytes", "output_bytes", "kv_read_bytes", "kv_write_bytes")


class Header(BaseModel):
    """What the rows were made from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: int = SCHEMA_VERSION
    lutscape_version: str = __version__
    model: str
    """Name of the model."""
    source: str
    """``gguf:<sha256>`` for weights, ``shape:<citation>`` without."""
    shape: ModelShape
    executed: bool
    """True: the model computed real tokens; False: shapes only."""
    requantised: bool
    """True: the weights and activations were really requantised to the formats that are counted."""
    prompt_tokens: int
    decode_tokens: int
    batch: int
    prompt_sha256: str = ""
    """SHA-256 of the prompt's token ids as little-endian int32; empty without a prompt."""
    weights: str
    """Weight format that is counted: one, or ``as stored`` (see the rows)."""
    head_weights: str = "as stored"
    """Format of embedding and output projection: one, or ``as stored`` (FP16 without weights)."""
    activations: str
    accumulator: str
    kv: str


class Trace:
    """Header plus rows.

    Attributes:
        header: provenance and recipe.
        rows: frame with :data:`COLUMNS`, in execution order.
    """

    def __init__(self, header: Header, rows: pd.DataFrame) -> None:
        missing = [c for c in COLUMNS if c not in rows.columns]
        if missing:
            raise UserError(f"trace: columns missing: {', '.join(missing)}")
        self.header = header
        self.rows = rows[list(COLUMNS)].astype({c: t for c, t in COLUMNS.items() if t != "str"})

    @classmethod
    def from_records(cls, header: Header, records: list[dict[str, Any]]) -> Trace:
        """Build a trace from dictionaries; absent columns become 0 or the empty string."""
        columns = {c: [r.get(c, "" if t == "str" else 0) for r in records] for c, t in COLUMNS.items()}
        return cls(header, pd.DataFrame(columns))

    def totals(self, phase: Literal["prefill", "decode"] | None = None) -> dict[str, int]:
        """Return the sums of MACs and bytes, of one phase or of the whole trace."""
        rows = self.rows if phase is None else self.rows[self.rows["phase"] == phase]
        return {c: int(rows[c].sum()) for c in TOTALS}

    def distinct(self) -> pd.DataFrame:
        """Return each different operator once, with how often it runs.

        Identical rows (same phase, operator, shape and formats; layers and steps apart) take the
        same time on any machine without state, so timing models evaluate them once. Adds ``count``,
        and ``readers``: how many linear operators read the same activation tensor (3 for q, k, v).
        ``name`` and ``layer`` are those of the first occurrence. Order of first execution is kept.
        """
        rows = self.rows.copy()
        linear = rows["kind"] == "linear"
        readers = rows[linear].groupby(["phase", "step", "input"], sort=False)["name"].transform("size")
        rows["readers"] = readers.reindex(rows.index, fill_value=0).astype("int64")
        keys = [c for c in [*COLUMNS, "readers"] if c not in ("step", "layer", "name", "input")]
        grouped = rows.groupby(keys, sort=False, dropna=False)
        first = grouped[["step", "layer", "name", "input"]].first()
        first["count"] = grouped.size()
        frame = first.reset_index()
        return frame[[*COLUMNS, "readers", "count"]]

    def save(self, path: Path) -> None:
        """Write Parquet, whole or not at all.

        Raises:
            UserError: the directory does not exist or cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.Table.from_pandas(self.rows, preserve_index=False)
        table = table.replace_schema_metadata({"lutscape": self.header.model_dump_json()})
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            pq.write_table(table, temporary, compression="zstd", write_page_checksum=True)
            os.replace(temporary, path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Read a trace.

        Raises:
            UserError: missing file, not a trace, cut short, or another schema version.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not path.is_file():
            raise UserError(f"trace {str(path)!r} not found; write one with: lutscape trace MODEL -o {path.name}")
        try:
            table = pq.read_table(path, page_checksum_verification=True)
            header = (table.schema.metadata or {}).get(b"lutscape")
            fields = None if header is None else json.loads(header)
            frame = table.to_pandas()
        except (pa.ArrowException, OSError, ValueError) as error:
            raise UserError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
        if not isinstance(fields, dict):
            raise UserError(f"{path}: a Parquet file, but not a lutscape trace (no 'lutscape' metadata)")
        version = fields.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{path}: trace schema version {version}, this lutscape reads version {SCHEMA_VERSION}; "
                "write the trace again with: lutscape trace"
            )
        try:
            parsed = Header.model_validate(fields)
        except ValidationError as error:
            fault = error.errors()[0]
            key = ".".join(map(str, fault["loc"]))
            raise UserError(f"{path}: trace header: {key}: {fault['msg']}") from None
        try:
            trace = cls(parsed, frame)
        except (UserError, ValueError, TypeError) as error:
            raise UserError(f"{path}: {error}") from None
        trace._check(path)
        return trace

    def _check(self, path: Path) -> None:
        """Refuse rows that no operator can have; traces may come from other tools."""
        rows = self.rows
        numbers = [c for c, t in COLUMNS.items() if t == "int64"]
        faults = {
            f"kind is not one of {', '.join(KINDS)}": ~rows["kind"].isin(KINDS),
            "phase is neither prefill nor decode": ~rows["phase"].isin(["prefill", "decode"]),
            "M, N, K and batch must be at least 1": (rows[["M", "N", "K", "batch"]] < 1).any(axis=1),
            "counts must not be negative": (rows[numbers] < 0).any(axis=1),
        }
        for message, bad in faults.items():
            if bad.any():
                row = rows[bad].iloc[0]
                raise UserError(f"{path}: row {bad.idxmax()} ({row['name']}): {message}")
