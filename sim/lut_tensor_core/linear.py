"""Linear layers of a language model by table lookup.

:func:`linear_factory` makes the callables that :class:`lutscape.models.executor.Model` takes from outside. Weights are
quantised as a recipe does (:mod:`lutscape.models.quantise`), activations are rounded to the design's format (integers
with one scale per token), and :func:`.mpgemm.mpgemm` computes the products bit for bit as the hardware would. The
weights of these layers must be as stored: the factory quantises them itself.

Example:
    >>> from lutscape.models.executor import load_model                                       # doctest: +SKIP
    >>> design = Mpgemm(weights="int4", activations="fp16", entries="int8", table_group=64)   # doctest: +SKIP
    >>> model = load_model("smollm2-135m")                                                    # doctest: +SKIP
    >>> lookup = model.variant(linear_factory(design, "int4-g64"))                            # doctest: +SKIP
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import numpy as np

from lutscape.hw.errors import UserError, choose, nearest
from lutscape.hw.formats.storage import parse_weight_format
from lutscape.models.executor import Linear, LinearFactory, Model, Progress, dense
from lutscape.models.quantise import activation
from lutscape.models.quantise.recipe import Recipe, quantise_weight
from lutscape.models.quantise.rounding import FLOAT_FORMATS, round_to
from lutscape.models.quantise.scalar import QuantisedWeight
from lutscape.sim.lut_tensor_core import bounds
from lutscape.sim.lut_tensor_core.mpgemm import mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_design import ACTIVATIONS, BIT_PLANES, ENTRIES, Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights
from lutscape.sim.lut_tensor_core.rounding import FLOATS

Cache = dict[tuple[str, str], QuantisedWeight]
"""Quantised weights by layer and format, for factories over the same weights to share."""

DENSE = ("lm_head", "router")
"""Last parts of the names of layers that are not looked up, unless asked for."""


@dataclass(frozen=True)
class LookupLinear:
    """A linear layer by table lookup.

    Attributes:
        weights: laid out for their design.
        bias: (N,) float32 or None, added in FP32.
        output: format that the result is rounded to, or None: float32.
        kernel: of :func:`.mpgemm.mpgemm`.
    """

    weights: LookupWeights
    bias: np.ndarray | None = None
    output: str | None = None
    kernel: str = "auto"

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return (rows, N) float32 of (rows, K) float32."""
        design = self.weights.design
        if design.integer_activations:
            rows = activation.quantise_rows(x, int(design.activations[3:]))
            y, _ = mpgemm(design, rows.codes, self.weights, rows.scales, self.kernel)
        else:
            y, _ = mpgemm(design, round_to(x, design.activations), self.weights, kernel=self.kernel)
        if self.bias is not None:
            y = y + self.bias
        return y if self.output is None else round_to(y, self.output)

    def operands(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rounded rows, with codes and scales where the format has any."""
        return activation.operands(x, self.weights.design.activations)


def linear_factory(
    design: Mpgemm,
    weights: str | Callable[[str], str],
    *,
    output: str | None = None,
    exclude: Collection[str] = DENSE,
    kernel: str = "auto",
    cache: Cache | None = None,
) -> LinearFactory:
    """Return a factory of linear layers by table lookup.

    Args:
        design: for all layers; its weight format is replaced by the layer's.
        weights: format of all layers (``int4-g64``), or from a layer's name to its format.
        output: format that results are rounded to (RNE, saturating) after scales and bias; float32 by default.
        exclude: names of layers, or their last part, that stay float32.
        kernel: of :func:`.mpgemm.mpgemm`.
        cache: quantised weights are looked up and left here.

    Raises:
        UserError: a format without bit planes, or one whose groups the design cannot take (when a layer is made).
    """
    if output is not None and output not in FLOAT_FORMATS:
        raise UserError(
            f"unknown output format {output!r}{nearest(output, FLOAT_FORMATS)}; allowed: {', '.join(FLOAT_FORMATS)}"
        )

    def make(name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
        if name in exclude or name.rpartition(".")[2] in exclude:
            return dense(name, weight, bias)
        form = weights if isinstance(weights, str) else weights(name)
        own = design_for(design, form)
        quantised = None if cache is None else cache.get((name, form))
        if quantised is None:
            quantised = quantise_weight(weight, form)
            if cache is not None:
                cache[name, form] = quantised
        return LookupLinear(LookupWeights.of(own, quantised), bias, output, kernel)

    return make


def design_for(design: Mpgemm, form: str) -> Mpgemm:
    """Return a design whose weights are those of a weight format (``int4-g64``, ``ternary``).

    ``ternary`` stays element-wise in a design of ``base3``; ``ternary_5in8`` always is.

    Raises:
        UserError: a format that no table of the design reads.
    """
    element = parse_weight_format(form).element
    if element.kind == "ternary":
        packed = element.name == "ternary_5in8" or design.weights == "base3"
        return design.with_weights("base3" if packed else "ternary")
    if element.name not in BIT_PLANES:
        raise UserError(
            f"weight format {form!r} is not looked up; allowed: {', '.join(BIT_PLANES)} or ternary_5in8, "
            f"each with -g<group>, -row or -tensor; nearest: int4"
        )
    return design.with_weights(element.name)


def table_group(text: str, k: int = 4) -> int:
    """Read which activations share a table scale: ``table``, ``row`` or ``group<activations>``.

    Raises:
        UserError: another word, or a group that k does not divide.
    """
    if text in ("table", "row"):
        return k if text == "table" else 0
    match = re.fullmatch(r"group(\d+)", text)
    if not match or int(match[1]) == 0 or int(match[1]) % k:
        close = max(1, round(int(match[1]) / k)) * k if match else 64
        raise UserError(
            f"table scale {text!r}{nearest(text, ('table', 'row'))}; allowed: table, row, group<activations> with a "
            f"multiple of k = {k}; nearest: group{close}"
        )
    return int(match[1])


def lookup_design(activations: str, tables: str, table_scale: str = "group64", columns: int = 1 << 16) -> Mpgemm:
    """Return the design that a few words name: k = 4, serial planes, the accumulator that the entries need.

    Args:
        activations: ``int8``, ``int16``, ``fp8_e4m3``, ``fp8_e5m2``, ``fp16`` or ``bf16``.
        tables: entries: ``exact``, ``int8``, …, ``fp16``, ….
        table_scale: which activations share the scale of integer entries (:func:`table_group`).
        columns: the largest K, for the bound of float activations that proves their sums.
    """
    choose(tables, ENTRIES, "format of table entries")
    choose(activations, ACTIVATIONS, "activation format")
    floats = not activations.startswith("int")
    accumulator = "fp32" if tables in FLOATS else "exact" if floats and tables == "exact" else "int32"
    if activations == "int16" and tables == "exact":
        accumulator = "int64"
    group = table_group(table_scale) if tables.startswith("int") else 64
    design = Mpgemm("int4", activations, entries=tables, table_group=group, accumulator=accumulator)
    return replace(design, largest_activation=bounds.provable_activation(design, columns))


def lookup_variant(
    model: Model,
    design: Mpgemm,
    recipe: Recipe,
    weights: str | Callable[[str], str] | None = None,
    cache: Cache | None = None,
    progress: Progress | None = None,
) -> Model:
    """Return a model whose linear layers run by table lookup; head, embedding and routers as the recipe has them.

    Args:
        model: with its stored weights.
        design: of the layers; it also says how their inputs are rounded.
        recipe: formats of weights, head and KV cache.
        weights: formats by layer instead of the recipe's.
        cache: quantised weights are looked up and left here.
        progress: called as layers are made.

    Raises:
        UserError: no weight format, or one that the design does not look up.
    """
    form = weights or recipe.weights
    if form is None:
        raise UserError(
            "tables need a weight format; allowed: int1 … int4, ternary, each with -g<group>, -row or -tensor"
        )

    def transform(name: str, weight: np.ndarray) -> np.ndarray:
        kept = name.rpartition(".")[2] in ("embed", "positions", *DENSE)
        return recipe.weight_transform(name, weight) if kept else weight

    return model.variant(linear_factory(design, form, cache=cache), transform, recipe.kv_quantiser, progress)
