"""The trace: one row per operator execution. The contract between models and hardware.

A trace is a pandas frame with the columns of :data:`COLUMNS` and a :class:`Header`; on disk it is
one Parquet file with the header as JSON in the schema metadata (key ``lutscape``).

Conventions
    - ``linear``: Y[M, N] = X[M, K] · W[N, K]ᵀ; M = batch x tokens of the step.
    - ``attention``: M queries per sequence, N keys per sequence after the new ones were appended,
      K = head_dim; softmax included; causal, encoders apart. ``macs`` counts only visible (query, key)
      pairs, scores and weighted sum. ``kv_read_bytes`` is the whole cache once, ``kv_write_bytes`` the new tokens.
    - ``norm`` and ``elementwise``: M rows of N values, K = 1, no MACs; ``activation_bytes`` is the
      sum over all inputs.
    - ``gather``: the embedding look-up; M rows of N values.
    - bytes are those of the operator alone, every operand counted once, as stored in the formats of
      the row: nothing is assumed about caches or fusion.
    - ``input`` names the operator that produced the activation operand, so that a machine can share
      work between readers of one tensor (q, k and v; gate and up). In a mixture of experts, expert e
      of block i reads ``layers.i.experts.e.in``: its tokens, gathered from those that the router
      read. The gathering has no row of its own. Empty = unknown.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from lutscape.hw.errors import UserError
from lutscape.hw.formats.storage import KV_FORMATS, parse_element_format, parse_weight_format
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
FORMAT_COLUMNS: dict[str, Callable[[str], object]] = {
    "weight_format": parse_weight_format,
    "activation_format": partial(parse_element_format, what="activation format"),
    "accumulator_format": partial(parse_element_format, what="accumulator format"),
    "output_format": partial(parse_element_format, what="output format"),
    "kv_format": partial(parse_element_format, allowed=KV_FORMATS, what="KV format"),
}
"""What reads the formats of a row, and raises for unknown ones."""
NEEDED_FORMATS: dict[str, tuple[str, ...]] = {
    "weight_format": ("linear",),
    "activation_format": ("linear", "attention"),
    "accumulator_format": (),
    "output_format": (),
    "kv_format": ("attention",),
}
"""The kinds of operators for which a format may not be empty."""
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
    shape: ModelShape | None
    """None: no decoder-only transformer (:mod:`lutscape.models.network`)."""
    executed: bool
    """True: the model computed real tokens; False: shapes only."""
    requantised: bool
    """True: the model computed with values rounded to the formats that are counted, namely the matrices of
    the linear layers and of the embedding (where a format was asked for; else as stored), the input of
    each linear layer, and keys and values in the cache.

    Counted in shorter formats but computed in FP32 even then: the tensors between operators
    (``output_format``, and ``activation_format`` of norms, element-wise operators and attention's
    queries), the sums (``accumulator_format``), norm weights, biases and learned position embeddings.
    """
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

    @property
    def routing(self) -> str:
        """One line on which experts the rows hold; empty without a mixture of experts."""
        experts, each = (self.shape.experts, self.shape.experts_per_token) if self.shape else (0, 0)
        if not experts:
            return ""
        if self.executed:
            return f"those of {experts} that the router chose for these tokens, {each} per token"
        steps = {"prefill": self.batch * self.prompt_tokens, "a decode step": self.batch}
        if not self.decode_tokens:
            del steps["a decode step"]
        used = ", ".join(f"{min(experts, tokens * each)} in {step}" for step, tokens in steps.items())
        rule = f"min({experts}, tokens x {each}), tokens spread evenly; real routing may use fewer"
        return f"{used}, assumed: {rule}"


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
        and ``readers``: how many linear operators of the step read the same activation tensor (3 for
        q, k, v; 2 for gate and up of one expert; 1 where ``input`` is unknown; 0 for other kinds).
        ``name`` and ``layer`` are those of the first occurrence. Order of first execution is kept.
        """
        rows = self.rows.copy()
        linear = rows["kind"] == "linear"
        known = linear & (rows["input"] != "")
        readers = rows[known].groupby(["phase", "step", "input"], sort=False)["name"].transform("size")
        rows["readers"] = readers.reindex(rows.index).fillna(linear.astype("int64")).astype("int64")
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
            UserError: missing file, not a trace, cut short, another schema version, no operators, or a
                row that no operator can have.
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
        if rows.empty:
            raise UserError(f"{path}: the trace has no operators")
        kind = rows["kind"]
        linear, attention = kind == "linear", kind == "attention"
        texts = [c for c, t in COLUMNS.items() if t == "str"]
        numbers = [c for c, t in COLUMNS.items() if t == "int64"]
        size = rows[["M", "N", "K"]].astype("float64").prod(axis=1)
        macs = (rows["M"] * rows["N"] * rows["K"] == rows["macs"]) & (size < 2.0**63)
        faults = {
            "names and formats must be text, at least empty, not null": rows[texts].isna().any(axis=1),
            f"kind is not one of {', '.join(KINDS)}": ~kind.isin(KINDS),
            "phase is neither prefill nor decode": ~rows["phase"].isin(["prefill", "decode"]),
            "M, N, K and batch must be at least 1": (rows[["M", "N", "K", "batch"]] < 1).any(axis=1),
            "counts must not be negative": (rows[numbers] < 0).any(axis=1),
            "macs of a linear operator must be M·N·K": linear & ~macs,
            "weight_bytes of a linear operator must be at least 1": linear & (rows["weight_bytes"] < 1),
            "heads and kv_heads of attention must be at least 1": attention
            & (rows[["heads", "kv_heads"]] < 1).any(axis=1),
        }
        for message, bad in faults.items():
            if bad.any():
                raise UserError(self._at(path, bad) + message)
        for column, read in FORMAT_COLUMNS.items():
            for name, of_kind in rows[[column, "kind"]].drop_duplicates().itertuples(index=False):
                if name == "" and of_kind not in NEEDED_FORMATS[column]:
                    continue
                try:
                    read(str(name))
                except UserError as error:
                    bad = (rows[column] == name) & (kind == of_kind)
                    raise UserError(f"{self._at(path, bad)}{column}: {error}") from None

    def _at(self, path: Path, bad: pd.Series[bool]) -> str:
        """Return where the first bad row stands."""
        row = int(np.argmax(bad.to_numpy()))
        return f"{path}: row {row} ({self.rows['name'].iloc[row]}): "
