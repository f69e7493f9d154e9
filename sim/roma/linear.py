"""Linear layers of a language model in ROM: L-Units, and the adapter of the H-Unit beside them.

:func:`rom_factory` makes the callables that :class:`lutscape.models.executor.Model` takes from outside. A layer's
weights are quantised for the ROM, its products are those of :mod:`.golden`, bit for bit. The adapter's are

    t_i = Σ_k a_ik x_k               x in FP16, a in E4M3: exact products, FP32 sums in lanes (:mod:`.kernels`)
    y'_n = Σ_i b_ni (t_i 2^(e_i))    FP32 products and sums, in lanes
    y ← fp32(y + y')

Example:
    >>> from lutscape.hw.machines.roma import LUnit
    >>> from lutscape.models.executor import load_model                                            # doctest: +SKIP
    >>> model = load_model("smollm2-135m")                                                         # doctest: +SKIP
    >>> rom = rom_variant(model, RomRecipe(LUnit(), "uint4", rank=16))                             # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, nearest
from lutscape.hw.machines.roma import PROJECTIONS, LUnit
from lutscape.models.executor import Linear, LinearFactory, Model, Progress, dense
from lutscape.models.quantise import kv as kv_formats
from lutscape.models.quantise import lora as adapters
from lutscape.models.quantise import rom
from lutscape.models.quantise.lora import Lora
from lutscape.models.quantise.rom import RomWeight
from lutscape.models.quantise.rounding import round_to
from lutscape.sim.roma import golden, kernels
from lutscape.sim.roma.golden import Floats, RomOperand

DENSE = ("lm_head", "router")
"""Last parts of the names of layers that are not in ROM: ROMA's 1.86 GB hold neither head nor embedding."""
Cache = dict[tuple[str, str, int], RomWeight]
"""Quantised weights by layer, format and group."""
Operand = Callable[[str, RomWeight], RomOperand]
"""From a layer's name and weights to what its L-Units read; faults enter here."""


@dataclass(frozen=True)
class RomLinear:
    """A linear layer in ROM.

    Attributes:
        unit: its L-Units.
        weights: what they read.
        columns: K.
        lora: of the layer, or None.
        bias: (N,) float32 or None, added in FP32.
    """

    unit: LUnit
    weights: RomOperand
    columns: int
    lora: Lora | None = None
    bias: Floats | None = None

    def __call__(self, x: Floats) -> Floats:
        """Return (rows, N) float32 of (rows, K) float32."""
        y = golden.matmul(self.unit, self.weights, x)
        if self.lora is not None:
            y = y + adapt(self.lora, x)
        return y if self.bias is None else y + self.bias

    def operands(self, x: Floats) -> dict[str, npt.NDArray[np.float32]]:
        """Return the aligned rows."""
        return {"x": golden.align(self.unit, x).values()[:, : self.columns]}


def adapt(lora: Lora, x: Floats) -> Floats:
    """Return what an adapter adds, (rows, N) float32."""
    t = kernels.lane_products(round_to(np.ascontiguousarray(x), "fp16"), lora.a)
    found: Floats = kernels.lane_products(np.ldexp(t, lora.exponents), lora.b)
    return found


@dataclass(frozen=True)
class RomRecipe:
    """How a model goes into ROM.

    Attributes:
        unit: L-Unit; its encoding is replaced by that of the weights.
        weights: format (:data:`lutscape.models.quantise.rom.FORMATS`).
        rank: of the adapters; 0: none.
        targets: projections with an adapter, ``all`` or some of q, k, v, o, gate, up, down.
        kv: format of keys and values; None: float32.
        requantise: round tensors to ternary that are not.
        search: choose the range of each group, by ``input_rms`` where it is known.
        input_rms: (K,) root mean square of the inputs by layer, to weigh errors and residuals; None: unweighted.
        exclude: names of layers, or their last part, that stay float32.
    """

    unit: LUnit
    weights: str = "uint4"
    rank: int = 0
    targets: Collection[str] | str = "all"
    kv: str | None = "fp8_e4m3"
    requantise: bool = False
    search: bool = False
    input_rms: Mapping[str, Floats] | None = None
    exclude: Collection[str] = field(default=DENSE)

    @property
    def projections(self) -> frozenset[str]:
        """Layers with an adapter.

        Raises:
            UserError: an unknown one.
        """
        names = [self.targets] if isinstance(self.targets, str) else list(self.targets)
        if names == ["all"]:
            return frozenset(PROJECTIONS)
        for name in names:
            if name not in PROJECTIONS:
                allowed = ("all", *PROJECTIONS)
                raise UserError(
                    f"adapter: unknown layer {name!r}{nearest(name, allowed)}; allowed: {', '.join(allowed)}"
                )
        return frozenset(names)

    def design(self) -> LUnit:
        """Return the L-Unit that reads the weights."""
        return design_for(self.unit, self.weights)


def design_for(unit: LUnit, form: str) -> LUnit:
    """Return an L-Unit whose encoding is that of a weight format: words of 4-bit codes for FP4, no zero point but uint.

    Raises:
        UserError: unknown format.
    """
    encoding, bits = rom.parse(form)
    if encoding == unit.encoding:
        return unit
    changes: dict[str, object] = {"encoding": encoding, "zero_bits": 0, "plane_bits": bits}
    if encoding == "uint":
        changes = {"encoding": "uint", "zero_bits": 2, "plane_bits": 2}
    return unit.model_copy(update=changes)


def quantised(recipe: RomRecipe, name: str, weight: Floats, cache: Cache | None = None) -> RomWeight:
    """Return a layer's weights in the recipe's format, from the cache if they are there.

    Raises:
        UserError: the tensor does not fit the format.
    """
    key = (name, f"{recipe.weights}{' searched' if recipe.search else ''}", recipe.unit.group)
    if cache is not None and key in cache:
        return cache[key]
    rms = recipe.input_rms.get(name) if recipe.search and recipe.input_rms is not None else None
    found = rom.quantise(name, weight, recipe.weights, recipe.unit.group, recipe.requantise, recipe.search, rms)
    if cache is not None:
        cache[key] = found
    return found


def input_rms(model: Model, windows: npt.NDArray[np.int64]) -> dict[str, Floats]:
    """Return the root mean square of each input of each layer, (K,), over windows of tokens.

    Args:
        model: as stored.
        windows: (windows, context) ids of a text; not the one that a model is judged by.
    """
    squares: dict[str, npt.NDArray[np.float64]] = {}

    def make(name: str, weight: Floats, bias: Floats | None) -> Linear:
        layer = dense(name, weight, bias)

        def observed(x: Floats) -> Floats:
            squares[name] = squares.get(name, np.zeros(x.shape[1])) + np.square(x, dtype=np.float64).sum(axis=0)
            return layer(x)

        return observed

    watched = model.variant(make)
    for window in windows:
        watched.forward(window)
    return {name: np.sqrt(total / windows.size).astype(np.float32) for name, total in squares.items()}


def rom_factory(
    recipe: RomRecipe,
    *,
    cache: Cache | None = None,
    operand: Operand | None = None,
    loras: Mapping[str, Lora] | None = None,
) -> LinearFactory:
    """Return a factory of linear layers in ROM.

    Args:
        recipe: formats and adapters.
        cache: quantised weights are looked up and left here.
        operand: what the L-Units read of a layer's weights; by default the weights themselves.
        loras: adapters by layer, instead of those of the recipe's rank.

    Raises:
        UserError: a tensor that does not fit, or accumulators that can overflow (when a layer is made).
    """
    unit, targets = recipe.design(), recipe.projections

    def make(name: str, weight: Floats, bias: Floats | None) -> Linear:
        role = name.rpartition(".")[2]
        if name in recipe.exclude or role in recipe.exclude:
            return dense(name, weight, bias)
        stored = quantised(recipe, name, weight, cache)
        read = RomOperand.of(unit, stored) if operand is None else operand(name, stored)
        lora = None if loras is None else loras.get(name)
        if loras is None and recipe.rank and role in targets:
            rms = None if recipe.input_rms is None else recipe.input_rms.get(name)
            lora = adapters.from_residual(weight - stored.dequantise(), recipe.rank, rms)
        return RomLinear(unit, read, weight.shape[1], lora, bias)

    return make


def rom_variant(
    model: Model,
    recipe: RomRecipe,
    *,
    cache: Cache | None = None,
    operand: Operand | None = None,
    loras: Mapping[str, Lora] | None = None,
    progress: Progress | None = None,
) -> Model:
    """Return a model whose linear layers are in ROM; embedding, head and routers as stored.

    Args:
        model: with its stored weights.
        recipe: formats and adapters.
        cache: quantised weights are looked up and left here.
        operand: what the L-Units read of a layer's weights.
        loras: adapters by layer, instead of those of the recipe's rank.
        progress: called as layers are made.

    Raises:
        UserError: a tensor that does not fit, or accumulators that can overflow.
    """
    quantiser = None if recipe.kv in (None, "fp32") else partial(kv_formats.fake_quantise, name=str(recipe.kv))
    factory = rom_factory(recipe, cache=cache, operand=operand, loras=loras)
    return model.variant(factory, None, quantiser, progress)
