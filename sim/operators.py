"""Columns of the distinct operators as arrays, in the units that timing models want."""

from __future__ import annotations

import weakref
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from lutscape.hw.formats.storage import parse_element_format, parse_weight_format
from lutscape.hw.result import Bools, Floats
from lutscape.models.trace import Trace

RESULT_COLUMNS = [
    "phase",
    "name",
    "operator",
    "kind",
    "M",
    "N",
    "K",
    "batch",
    "macs",
    "weight_format",
    "activation_format",
    "count",
]


@dataclass(frozen=True)
class Operators:
    """Distinct operators of a trace as arrays of length R.

    Attributes:
        frame: the rows with ``RESULT_COLUMNS``, for the Result.
        linear, attention, other: masks; ``other`` is norm, elementwise and gather.
        m, n, k: dimensions as float64.
        weight_bits: bit planes of the weight (0: floating point or no weight).
        stored_weight_bits: stored bits of one weight, scales excluded.
        groups: scale groups along K (1 for one scale per row or tensor; block formats: K / 32).
        activation_bits: bits of one activation.
        integer_activations: the activation format is an integer.
    """

    frame: pd.DataFrame
    linear: Bools
    attention: Bools
    other: Bools
    m: Floats
    n: Floats
    k: Floats
    macs: Floats
    heads: Floats
    kv_heads: Floats
    batch: Floats
    readers: Floats
    weight_bits: npt.NDArray[np.int64]
    stored_weight_bits: Floats
    groups: Floats
    activation_bits: Floats
    integer_activations: Bools
    weight_bytes: Floats
    activation_bytes: Floats
    output_bytes: Floats
    kv_read_bytes: Floats
    kv_write_bytes: Floats


QUANTISE_OPERATIONS = 3
"""Vector operations per integer activation: largest magnitude, scale and round, sum for the zero points."""


def scaling_operations(ops: Operators, on_unit: Bools) -> Floats:
    """(R,) vector operations around an integer matrix product, on any machine.

    One multiply-add per output and scale group applies scale and zero point; integer activations are
    quantised once per tensor (:data:`QUANTISE_OPERATIONS` each, in equal parts by the tensor's readers).
    """
    quantise = np.where(ops.integer_activations, QUANTISE_OPERATIONS * ops.m * ops.k / ops.readers, 0.0)
    return np.where(on_unit, ops.m * ops.n * ops.groups + quantise, 0.0)


BLOCK = {"q2_k": 16, "q3_k": 16, "q6_k": 16}
"""Weights per scale of GGUF block formats; 32 for the others (ggml-common.h)."""


_prepared: weakref.WeakKeyDictionary[Trace, Operators] = weakref.WeakKeyDictionary()


def prepare(trace: Trace) -> Operators:
    """Return the distinct operators of a trace as arrays; computed once per trace object."""
    if trace not in _prepared:
        _prepared[trace] = _prepare(trace)
    return _prepared[trace]


def _prepare(trace: Trace) -> Operators:
    rows = trace.distinct()
    kind = rows["kind"]
    linear, attention = (kind == "linear").to_numpy(), (kind == "attention").to_numpy()

    def column(name: str) -> Floats:
        return rows[name].to_numpy(np.float64)

    k = column("K")
    weight_bits = np.zeros(len(rows), np.int64)
    stored = np.zeros(len(rows))
    groups = np.ones(len(rows))
    activation_bits = np.full(len(rows), 16.0)
    for row, (w, a) in enumerate(zip(rows["weight_format"], rows["activation_format"], strict=True)):
        if a:
            activation_bits[row] = parse_element_format(a).bits
        if not (w and linear[row]):
            continue
        weight = parse_weight_format(w)
        weight_bits[row] = weight.element.weight_bits
        if weight.element.kind == "block":
            groups[row] = np.ceil(k[row] / BLOCK.get(weight.element.name, 32))
            stored[row] = weight.element.weight_bits
        else:
            stored[row] = weight.element.bits
            if weight.group and weight.group > 0:
                groups[row] = np.ceil(k[row] / weight.group)
    return Operators(
        frame=rows[RESULT_COLUMNS],
        linear=linear,
        attention=attention,
        other=~(linear | attention),
        m=column("M"),
        n=column("N"),
        k=k,
        macs=column("macs"),
        heads=column("heads"),
        kv_heads=column("kv_heads"),
        batch=column("batch"),
        readers=np.maximum(column("readers"), 1),
        weight_bits=weight_bits,
        stored_weight_bits=stored,
        groups=groups,
        activation_bits=activation_bits,
        integer_activations=rows["activation_format"].str.startswith("int").to_numpy(bool),
        weight_bytes=column("weight_bytes"),
        activation_bytes=column("activation_bytes"),
        output_bytes=column("output_bytes"),
        kv_read_bytes=column("kv_read_bytes"),
        kv_write_bytes=column("kv_write_bytes"),
    )
