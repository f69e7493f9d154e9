"""Language models in ROM: the H-Unit's sums, layers against the golden model, adapters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models import perplexity
from lutscape.models.executor import load_model
from lutscape.models.quantise import lora, rom
from lutscape.models.quantise.rounding import round_to
from lutscape.sim.roma import golden, kernels
from lutscape.sim.roma.linear import RomLinear, RomRecipe, adapt, design_for, input_rms, rom_factory, rom_variant


def lanes_twin(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    y = np.empty((len(x), len(w)), np.float32)
    for r in range(len(x)):
        for n in range(len(w)):
            sums = [np.float32(0)] * kernels.LANES
            for k in range(x.shape[1]):
                sums[k % kernels.LANES] = np.float32(sums[k % kernels.LANES] + np.float32(w[n, k] * x[r, k]))
            while len(sums) > 1:
                sums = [np.float32(sums[i] + sums[i + 1]) for i in range(0, len(sums), 2)]
            y[r, n] = sums[0]
    return y


@settings(max_examples=40, deadline=None)
@given(rows=st.integers(1, 3), outputs=st.integers(1, 3), columns=st.integers(1, 100), seed=st.integers(0, 10**6))
def test_lanes_are_the_scalar_twin(rows: int, outputs: int, columns: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-6, 6)).astype(np.float32)
    w = rng.standard_normal((outputs, columns)).astype(np.float32)
    assert (kernels.lane_products(x, w) == lanes_twin(x, w)).all()


def test_a_layer_is_l_units_and_an_adapter() -> None:
    rng = np.random.default_rng(0)
    w, x = rng.standard_normal((6, 40)).astype(np.float32), rng.standard_normal((3, 40)).astype(np.float32)
    unit = LUnit(group=16)
    recipe = RomRecipe(unit, "uint4", rank=2)
    layer = rom_factory(recipe)("layers.0.q", w, np.arange(6, dtype=np.float32))
    assert isinstance(layer, RomLinear)
    stored = rom.quantise("q", w, "uint4", 16)
    adapter = lora.from_residual(w - stored.dequantise(), 2)
    half = round_to(x, "fp16")
    t = lanes_twin(half, adapter.a)
    extra = lanes_twin(np.ldexp(t, adapter.exponents), adapter.b)
    expected = golden.matmul(unit, stored, x) + extra + np.arange(6, dtype=np.float32)
    assert (layer(x) == expected).all()
    assert (layer.operands(x)["x"] == golden.align(unit, x).values()[:, :40]).all()


def test_an_adapter_is_its_matrix() -> None:
    rng = np.random.default_rng(1)
    found = lora.from_residual(rng.standard_normal((9, 33)).astype(np.float32), 4)
    x = round_to(rng.standard_normal((5, 33)).astype(np.float32), "fp16")
    np.testing.assert_allclose(adapt(found, x), x @ found.matrix().T, rtol=1e-4, atol=1e-4)


def test_heads_and_unknown_layers() -> None:
    w = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)
    make = rom_factory(RomRecipe(LUnit(group=16), targets=["gate", "up"], rank=1))
    assert not isinstance(make("lm_head", w, None), RomLinear)
    assert make("layers.0.gate", w, None).lora is not None  # type: ignore[attr-defined]
    assert make("layers.0.q", w, None).lora is None  # type: ignore[attr-defined]
    with pytest.raises(UserError) as error:
        rom_factory(RomRecipe(LUnit(), targets=["gat"]))
    assert str(error.value) == (
        "adapter: unknown layer 'gat' (did you mean 'gate'?); allowed: all, q, k, v, o, gate, up, down"
    )


def test_accumulators_that_can_overflow_are_refused() -> None:
    w = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)
    with pytest.raises(UserError, match=r"l_unit.accumulator_bits = 16 can overflow on a group of 128 4-bit weights"):
        rom_factory(RomRecipe(LUnit(accumulator_bits=16)))("layers.0.q", w, None)


def test_units_follow_the_format() -> None:
    assert design_for(LUnit(), "uint2") == LUnit()
    fp4 = design_for(LUnit(), "fp4")
    assert (fp4.encoding, fp4.plane_bits, fp4.zero_bits, fp4.word_bits) == ("fp4", 4, 0, 528)
    assert design_for(fp4, "uint4") == LUnit()


def test_a_tiny_model_runs_in_rom(tiny_gguf: Any) -> None:
    model = load_model(str(tiny_gguf))
    windows = np.arange(32).reshape(2, 16)
    rms = input_rms(model, windows)
    assert rms["layers.0.q"].shape == (64,)
    seen: list[str] = []

    def progress(what: str, done: int, total: int) -> None:
        seen.append(what)

    kl = {}
    for rank in (0, 8):
        recipe = RomRecipe(LUnit(group=32), "uint2", rank, input_rms=rms)
        read = rom_variant(model, recipe, progress=progress)
        kl[rank] = perplexity.evaluate(model, read, windows).kl
    assert kl[8] is not None
    assert kl[0] is not None
    assert kl[8].value < 0.8 * kl[0].value


@pytest.mark.model
def test_an_adapter_of_the_residual_lowers_kl(smollm2: Any) -> None:
    ids = smollm2.tokenizer.encode("The quick brown fox jumps over the lazy dog. " * 8)[:64]
    windows = np.array(ids).reshape(1, 64)
    cache: Any = {}
    kl = [perplexity.evaluate(smollm2, rom_variant(smollm2, RomRecipe(LUnit(), "uint4", rank, targets=targets),
                                                   cache=cache), windows).kl
          for rank, targets in ((0, "all"), (16, ["q", "k", "v", "o"]))]  # fmt: skip
    assert kl[1].value < kl[0].value
