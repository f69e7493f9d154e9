"""Rows of the trace from the shapes of the operands; byte counts in the chosen formats.

What is counted, beyond the conventions of :mod:`lutscape.models.trace`:

- Integer activations are quantised at the input of a linear layer: its ``activation_bytes`` are in
  the integer format (dynamic scales not counted), everything else between operators is FP16, the
  inputs of router and (unless its weights are asked to be integers too) output projection included.
- Attention reads Q as an activation; the new K and V are its ``kv_write_bytes``.
- ``rope`` covers q and k together: N = (heads + kv_heads) · head_dim.
- The embedding reads one row per token (``weight_bytes``) and int32 token ids.
- Norm weights are counted as stored, or as FP16 where a weight format is given; biases as FP16.
- The router of a mixture of experts keeps its stored format, or FP16.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from lutscape.hw.errors import UserError
from lutscape.hw.formats.storage import (
    ACTIVATION_FORMATS,
    ELEMENT_FORMATS,
    KV_FORMATS,
    kv_bytes,
    parse_element_format,
    parse_weight_format,
)
from lutscape.models.trace import COLUMNS

ACCUMULATOR_FORMATS = ("fp32", "fp16", "bf16", "int32", "int16")
BIAS_BYTES = 2
TOKEN_BYTES = 4


@dataclass(frozen=True)
class Formats:
    """Number formats that a trace counts.

    Attributes:
        weights: of the linear layers inside the blocks; None = as stored (FP16 without weights).
        head_weights: of embedding and output projection; None = as stored (FP16 without weights).
        activations: inputs of linear layers (see :meth:`input_of`).
        kv: keys and values in the cache.
        accumulator: sums of linear layers; None = int32 for integer times integer, else fp32.

    Raises (in :meth:`checked`):
        UserError: unknown format.
    """

    weights: str | None = None
    head_weights: str | None = None
    activations: str = "fp16"
    kv: str = "fp16"
    accumulator: str | None = None

    def checked(self) -> Formats:
        """Return the same formats in canonical spelling."""
        return Formats(
            weights=None if self.weights is None else parse_weight_format(self.weights).name,
            head_weights=None if self.head_weights is None else parse_weight_format(self.head_weights).name,
            activations=parse_element_format(self.activations, ACTIVATION_FORMATS, "activation format").name,
            kv=parse_element_format(self.kv, KV_FORMATS, "KV format").name,
            accumulator=None
            if self.accumulator is None
            else parse_element_format(self.accumulator, ACCUMULATOR_FORMATS, "accumulator format").name,
        )

    @property
    def between(self) -> str:
        """Format of the tensors between operators."""
        return self.activations if ELEMENT_FORMATS[self.activations].kind == "float" else "fp16"

    def input_of(self, role: str) -> str:
        """Return the format of the activation that a linear layer multiplies.

        Integer activations reach the output projection only if ``head_weights`` asks for weights
        that are no floats, and never the router.
        """
        if role == "router":
            return self.between
        if role == "lm_head":
            integer = self.head_weights and parse_weight_format(self.head_weights).element.kind != "float"
            return self.activations if integer else self.between
        return self.activations


class Recorder:
    """Collects the rows of a trace; identical rows of different steps share one record.

    Args:
        formats: what to count, in canonical spelling.
        stored: format in which a named parameter is stored; None = no weights (all FP16).
    """

    def __init__(self, formats: Formats, stored: Callable[[str], str] | None = None) -> None:
        self.formats = formats
        self._stored = stored
        self._records: list[dict[str, object]] = []
        self._seen: dict[tuple[object, ...], int] = {}
        self._order: list[int] = []
        self._phases: list[str] = []
        self._steps: list[int] = []
        self._phase, self._step, self._batch = "prefill", 0, 1

    def begin(self, phase: str, step: int, batch: int) -> None:
        """Set the phase (prefill or decode), step and number of sequences of the rows to come."""
        self._phase, self._step, self._batch = phase, step, batch

    def frame(self) -> pd.DataFrame:
        """Return the rows so far, with the columns of a trace."""
        columns = {c: [r.get(c, "" if t == "str" else 0) for r in self._records] for c, t in COLUMNS.items()}
        rows = pd.DataFrame(columns).take(self._order).reset_index(drop=True)
        rows["phase"], rows["step"] = self._phases, self._steps
        return rows

    # Operators ----------------------------------------------------------------------------------

    def linear(self, name: str, source: str, m: int, n: int, k: int, bias: bool, values: int | None = None) -> None:
        """Record Y[m, n] = X[m, k] · W[n, k]ᵀ (+ bias); X is formed from ``values`` values, if they are fewer."""
        if self._again(name, m, n, k):
            return
        weight = parse_weight_format(self._weight_format(name))
        activation = ELEMENT_FORMATS[self.formats.input_of(name.rpartition(".")[2])]
        integer = weight.element.kind in ("int", "ternary") and activation.kind == "int"
        self._add(
            name,
            "linear",
            source,
            M=m,
            N=n,
            K=k,
            weight_format=weight.name,
            activation_format=activation.name,
            accumulator_format=self.formats.accumulator or ("int32" if integer else "fp32"),
            output_format=self.formats.between,
            macs=m * n * k,
            weight_bytes=weight.bytes(n, k) + (n * BIAS_BYTES if bias else 0),
            activation_bytes=_bytes(m * k if values is None else values, activation.name),
            output_bytes=_bytes(m * n, self.formats.between),
        )

    def attention(
        self,
        name: str,
        source: str,
        batch: int,
        queries: int,
        keys: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        causal: bool = True,
    ) -> None:
        """Record attention of ``queries`` new tokens per sequence over ``keys`` keys, or over those before them."""
        if self._again(name, batch, queries, keys):
            return
        visible = queries * (keys - queries) + queries * (queries + 1) // 2 if causal else queries * keys
        self._add(
            name,
            "attention",
            source,
            M=queries,
            N=keys,
            K=head_dim,
            heads=heads,
            kv_heads=kv_heads,
            activation_format=self.formats.between,
            accumulator_format="fp32",
            output_format=self.formats.between,
            kv_format=self.formats.kv,
            macs=2 * batch * heads * head_dim * visible,
            activation_bytes=_bytes(batch * queries * heads * head_dim, self.formats.between),
            output_bytes=_bytes(batch * queries * heads * head_dim, self.formats.between),
            kv_read_bytes=kv_bytes(batch * keys, kv_heads, head_dim, self.formats.kv),
            kv_write_bytes=kv_bytes(batch * queries, kv_heads, head_dim, self.formats.kv),
        )

    def norm(self, name: str, source: str, m: int, n: int, weights: int) -> None:
        """Record a norm of m rows of n values with ``weights`` parameters."""
        if self._again(name, m, n):
            return
        stored = self._stored(name) if self._stored and self.formats.weights is None else "fp16"
        self._rowwise(name, "norm", source, m, n, 1, weight_format=stored, weight_bytes=_bytes(weights, stored))

    def elementwise(self, name: str, source: str, m: int, n: int, inputs: int) -> None:
        """Record an element-wise operator on ``inputs`` operands of m rows of n values."""
        if not self._again(name, m, n):
            self._rowwise(name, "elementwise", source, m, n, inputs)

    def gather(self, name: str, m: int, n: int) -> None:
        """Record the look-up of m rows of n values in the embedding."""
        if self._again(name, m, n):
            return
        weight = parse_weight_format(self._weight_format(name))
        self._add(
            name,
            "gather",
            "",
            M=m,
            N=n,
            K=1,
            weight_format=weight.name,
            activation_format="int32",
            output_format=self.formats.between,
            weight_bytes=weight.bytes(m, n),
            activation_bytes=m * TOKEN_BYTES,
            output_bytes=_bytes(m * n, self.formats.between),
        )

    # Records ------------------------------------------------------------------------------------

    def _rowwise(self, name: str, kind: str, source: str, m: int, n: int, inputs: int, **more: object) -> None:
        between = self.formats.between
        self._add(
            name,
            kind,
            source,
            M=m,
            N=n,
            K=1,
            activation_format=between,
            accumulator_format="fp32",
            output_format=between,
            activation_bytes=inputs * _bytes(m * n, between),
            output_bytes=_bytes(m * n, between),
            **more,
        )

    def _weight_format(self, name: str) -> str:
        role = name.rpartition(".")[2]
        if role == "router":
            chosen = None if self.formats.weights is None else "fp16"
        else:
            chosen = self.formats.head_weights if role in ("embed", "lm_head") else self.formats.weights
        if chosen is not None:
            return chosen
        if self._stored is None:
            return "fp16"
        stored = self._stored(name)
        if stored not in ELEMENT_FORMATS:
            option = "--head-weights" if role in ("embed", "lm_head") else "--weights"
            raise UserError(f"{name} is stored as {stored}, which a trace cannot count; give {option} FORMAT")
        return stored

    def _again(self, *key: object) -> bool:
        """Append the record of an identical earlier operator, if there is one."""
        self._key = (self._batch, *key)
        index = self._seen.get(self._key)
        if index is None:
            return False
        self._append(index)
        return True

    def _append(self, index: int) -> None:
        self._order.append(index)
        self._phases.append(self._phase)
        self._steps.append(self._step)

    def _add(self, name: str, kind: str, source: str, **columns: object) -> None:
        layer = int(name.split(".")[1]) if name.startswith("layers.") else -1
        role = name.rpartition(".")[2]
        record = {"layer": layer, "name": name, "operator": role, "kind": kind, "input": source}
        self._seen[self._key] = len(self._records)
        self._append(len(self._records))
        self._records.append({**record, "batch": self._batch, **columns})


def _bytes(count: int, name: str) -> int:
    return -(-int(count * ELEMENT_FORMATS[name].bits) // 8)
