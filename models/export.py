"""Traces for other tools: SCALE-Sim GEMM topologies, CSV, JSON lines.

SCALE-Sim (``scalesim`` 3, GEMM input): one line ``name, M, N, K,`` per matrix product, trailing
comma included. Attention becomes its two products per sequence and head: scores (M queries, N keys,
K head_dim) and weighted sum (M queries, N head_dim, K keys), whole rectangles: SCALE-Sim knows no
causal mask. Operators without a product are left out.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

from lutscape.hw.errors import UserError, choose
from lutscape.models.trace import Trace

TARGETS = ("scalesim", "csv", "jsonl")


def export(trace: Trace, target: str, path: Path) -> int:
    """Write a trace in another format, whole or not at all.

    Returns:
        Number of lines without the header.

    Raises:
        UserError: unknown target, or a file that cannot be written.
    """
    choose(target, TARGETS, "export format")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    lines = list({"scalesim": _scalesim, "csv": _csv, "jsonl": _jsonl}[target](trace))
    try:
        temporary.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None
    return len(lines) - 1


def _scalesim(trace: Trace) -> Iterator[str]:
    yield "Layer,M,N,K,"
    columns = ("phase", "step", "name", "kind", "M", "N", "K", "batch", "heads")
    for phase, step, name, kind, m, n, k, batch, heads in trace.rows[list(columns)].itertuples(index=False):
        full = f"{phase}.{step}.{name}"
        if kind == "linear":
            yield f"{full},{m},{n},{k},"
        elif kind == "attention":
            for sequence in range(batch):
                for head in range(heads):
                    at = f"{full}.{sequence}.{head}"
                    yield f"{at}.scores,{m},{n},{k},"
                    yield f"{at}.sum,{m},{k},{n},"


def _csv(trace: Trace) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="")
    for row in (list(trace.rows.columns), *trace.rows.itertuples(index=False)):
        buffer.seek(0)
        buffer.truncate()
        writer.writerow(row)
        yield buffer.getvalue()


def _jsonl(trace: Trace) -> Iterator[str]:
    yield json.dumps({"header": trace.header.model_dump(mode="json")})
    for record in trace.rows.to_dict(orient="records"):
        yield json.dumps(record)
