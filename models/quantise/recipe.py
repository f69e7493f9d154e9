"""Number formats to the hooks of the executor: what is really requantised, and how.

Each value takes the float32 value that its format can hold, and the arithmetic stays float32: this
measures the error of the formats, not that of a datapath.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.storage import WeightFormat, parse_weight_format
from lutscape.models.executor import Linear, dense
from lutscape.models.numeric import KvQuantiser
from lutscape.models.quantise import activation, kv, scalar, ternary
from lutscape.models.quantise.rounding import FLOAT_FORMATS, round_to
from lutscape.models.quantise.scalar import QuantisedWeight
from lutscape.models.recorder import Formats

BLOCK_FORMATS = ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0")
"""GGUF blocks that the ``gguf`` package can write."""


def quantise_weight(weight: np.ndarray, form: WeightFormat | str) -> QuantisedWeight:
    """Quantise (N, K) float32 weights to an integer or ternary format.

    Raises:
        UserError: a format without integer codes.
    """
    form = parse_weight_format(form) if isinstance(form, str) else form
    group = -1 if form.group is None else form.group
    if form.element.kind == "ternary":
        return ternary.quantise(weight, group)
    if form.element.kind == "int" and form.element.weight_bits:
        return scalar.quantise(weight, form.element.weight_bits, group, symmetric=not form.zero_point)
    raise UserError(f"weight format {form.name} has no integer codes; use int1..int8 or ternary")


def fake_quantise_weight(weight: np.ndarray, form: WeightFormat | str) -> np.ndarray:
    """Return the float32 values that (N, K) weights take in a format.

    Raises:
        UserError: a format that no quantiser writes.
    """
    form = parse_weight_format(form) if isinstance(form, str) else form
    element = form.element
    if element.name == "fp32":
        return weight
    if element.name in FLOAT_FORMATS:
        return round_to(weight, element.name)
    if element.name in BLOCK_FORMATS and weight.shape[-1] % 32 == 0:
        return _through_gguf_block(weight, element.name)
    if element.kind == "ternary" or (element.weight_bits and element.kind == "int"):
        return quantise_weight(weight, form).dequantise()
    why = f": rows of {weight.shape[-1]} are no multiple of 32" if element.name in BLOCK_FORMATS else ""
    raise UserError(
        f"weights cannot be requantised to {form.name}{why}; "
        f"possible: int1..int8, ternary, {', '.join(('fp32', *FLOAT_FORMATS, *BLOCK_FORMATS))}"
    )


def _through_gguf_block(weight: np.ndarray, name: str) -> np.ndarray:
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    kind = GGMLQuantizationType[name.upper()]
    values: np.ndarray = dequantize(quantize(weight, kind), kind)
    return values


@dataclass(frozen=True)
class RoundedLinear:
    """A linear layer behind the rounding of its input.

    Attributes:
        layer: what multiplies.
        form: activation format.
    """

    layer: Linear
    form: str

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the layer's result on the rounded rows, (rows, K) to (rows, N)."""
        return self.layer(activation.fake_quantise(x, self.form))

    def operands(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rounded rows, with codes and scales where the format has any."""
        return activation.operands(x, self.form)


@dataclass(frozen=True)
class Recipe:
    """Formats that a model is really requantised to; None leaves the values as they are.

    Attributes:
        weights: of the linear layers inside the blocks; routers become FP16 beside it, as is counted.
        head_weights: of embedding and output projection.
        activations: of the inputs of linear layers (:meth:`lutscape.models.recorder.Formats.input_of`).
        kv: of keys and values.
    """

    weights: str | None = None
    head_weights: str | None = None
    activations: str | None = None
    kv: str | None = None

    @classmethod
    def of(cls, formats: Formats) -> Recipe:
        """Return the recipe that makes true what a trace counts."""
        return cls(formats.weights, formats.head_weights, formats.activations, formats.kv)

    def weight_transform(self, name: str, weight: np.ndarray) -> np.ndarray:
        """Return the values of a matrix in its format (hook of the executor)."""
        form = self._format_of(name)
        return weight if form is None else fake_quantise_weight(weight, form)

    def weight_codes(self, name: str, weight: np.ndarray) -> QuantisedWeight | None:
        """Return the codes behind :meth:`weight_transform`; None where the format has none of ours."""
        form = self._format_of(name)
        if form is None or parse_weight_format(form).element.kind not in ("int", "ternary"):
            return None
        return quantise_weight(weight, form)

    def _format_of(self, name: str) -> str | None:
        role = name.rpartition(".")[2]
        if role in ("embed", "lm_head"):
            return self.head_weights
        if role == "router":
            return None if self.weights is None else "fp16"
        return None if role == "positions" else self.weights

    def linear_factory(self, name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
        """Return a linear layer that rounds its input first (hook of the executor)."""
        layer = dense(name, weight, bias)
        if self.activations is None or self.activations == "fp32":
            return layer
        form = Formats(self.weights, self.head_weights, self.activations).input_of(name.rpartition(".")[2])
        return RoundedLinear(layer, form)

    @property
    def kv_quantiser(self) -> KvQuantiser | None:
        """Rounding of keys and values (hook of the executor); None where nothing is to be done."""
        return None if self.kv in (None, "fp32") else partial(kv.fake_quantise, name=self.kv)
