"""Bit codecs against ml_dtypes and numpy (all codes), Berkeley SoftFloat, and an exact scalar twin."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.formats import integer
from lutscape.hw.formats.binary import FORMATS, INFINITE, NOT_A_NUMBER, binary_format, decode, value_table, values
from lutscape.hw.formats.encode import encode, encode_exact, nan_code, representable

ML_DTYPES = {
    "bf16": "bfloat16",
    "e4m3": "float8_e4m3fn",
    "e5m2": "float8_e5m2",
    "e4m3fnuz": "float8_e4m3fnuz",
    "e5m2fnuz": "float8_e5m2fnuz",
    "e3m2": "float6_e3m2fn",
    "e2m3": "float6_e2m3fn",
    "e2m1": "float4_e2m1fn",
    "ue8m0": "float8_e8m0fnu",
}


def reference(name: str) -> np.dtype:
    if name == "fp16":
        return np.dtype(np.float16)
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.dtype(getattr(ml_dtypes, ML_DTYPES[name]))


def codes(name: str) -> np.ndarray:
    f = FORMATS[name]
    return np.arange(1 << f.bits, dtype=f.dtype)


def hard_values(seed: int, n: int = 20_000) -> np.ndarray:
    """Random float64 bits, exponents around each format's limits, ties and their neighbours."""
    rng = np.random.default_rng(seed)
    wide = np.ldexp(rng.uniform(1, 2, n), rng.integers(-170, 140, n)) * rng.choice([-1, 1], n)
    near = np.ldexp(rng.integers(1, 1 << 13, n).astype(float), rng.integers(-40, 10, n)) * rng.choice([-1, 1], n)
    beside = np.nextafter(near, rng.choice([-np.inf, np.inf], n))
    edges = np.array(
        [0.0, -0.0, np.inf, -np.inf, np.nan, 65504, 65519.99, 65520, 448, 464, 464.01, 240, 248, 57344, 61440]
    )
    return np.concatenate([wide, near, beside, edges, -edges])


@pytest.mark.parametrize("name", ["fp16", *ML_DTYPES])
def test_every_code_has_the_value_of_the_reference(name: str) -> None:
    raw = codes(name)
    with np.errstate(invalid="ignore"):
        expected = raw.view(reference(name)).astype(np.float64)
    got = values(raw, name)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(got[numbers].view(np.uint64), expected[numbers].view(np.uint64))


@pytest.mark.parametrize("name", ["fp16", "bf16", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "e3m2", "e2m3", "e2m1"])
def test_nearest_even_matches_the_reference(name: str) -> None:
    with np.errstate(over="ignore"):
        x = hard_values(1).astype(np.float32).astype(np.float64)  # ml_dtypes rounds float64 by way of float32
        x = x if FORMATS[name].specials != "none" else x[~np.isnan(x)]
        expected = x.astype(np.float32).astype(reference(name)).view(FORMATS[name].dtype)
    got = encode(x, name)
    nan = np.isnan(values(expected, name))
    np.testing.assert_array_equal(got[~nan], expected[~nan])
    assert np.isnan(values(got[nan], name)).all()


def test_scale_format_rounds_as_ml_dtypes() -> None:
    x = np.array([0.0, 1.5, 3.0, 1e30, 2.0**-128, -1.0, 5.99, 6.0, 6.01, np.nan, np.inf])
    np.testing.assert_array_equal(encode(x, "ue8m0"), x.astype(reference("ue8m0")).view(np.uint8))


@pytest.mark.parametrize("name", [n for n, f in FORMATS.items() if f.width <= 16])
def test_every_code_survives_a_round_trip(name: str) -> None:
    f = FORMATS[name]
    raw = codes(name)
    nan = decode(raw, f).kind == NOT_A_NUMBER
    back = encode(values(raw, f), f)
    expected = raw if f.signed or f.specials == "scale" else raw & 0x7F
    np.testing.assert_array_equal(back[~nan], expected[~nan])
    if nan.any():
        assert set(back[nan].tolist()) == {nan_code(f)}
    for rounding in ("RZ", "RD", "RU"):
        np.testing.assert_array_equal(encode(values(raw, f), f, rounding)[~nan], expected[~nan])


def scalar_encode(x: Fraction, negative: bool, name: str, rounding: str) -> float:
    """Exact twin: the neighbour on the format's grid that the rounding direction asks for."""
    f = FORMATS[name]
    size = abs(x)
    e = f.emin
    while size >= Fraction(2) ** (e + 1):
        e += 1
    step = Fraction(2) ** (e - f.mantissa_bits)
    below = size // step
    rest = size / step - below
    if rounding == "RNE":
        up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1)
    else:
        up = rest > 0 and {"RZ": False, "RD": negative, "RU": not negative}[rounding]
    result = (below + up) * step
    if result > Fraction(f.max_value):
        away = rounding == "RNE" or {"RZ": False, "RD": negative, "RU": not negative}[rounding]
        result_float = (float("inf") if f.has_infinity else float("nan")) if away else f.max_value
        if away and f.specials == "none":
            result_float = f.max_value
    else:
        result_float = float(result)
    return -result_float if negative else result_float


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(["fp32", "tf32", "bf16", "fp16", "e4m3", "e5m2", "e5m2fnuz", "e3m2", "e2m1"]),
    st.sampled_from(["RNE", "RZ", "RD", "RU"]),
    st.booleans(),
    st.integers(0, 2**64 - 1) | st.sampled_from([0, 1, 2**53 - 1, 2**63, 3 << 40]),
    st.integers(-220, 70),
)
def test_encode_exact_agrees_with_fractions(name: str, rounding: str, negative: bool, sig: int, exponent: int) -> None:
    f = FORMATS[name]
    got = values(encode_exact(np.array([negative]), np.array([sig], np.uint64), np.array([exponent]), f, rounding), f)[
        0
    ]
    expected = scalar_encode(Fraction(sig) * Fraction(2) ** exponent, negative, name, rounding)
    assert (np.isnan(got) and np.isnan(expected)) or got == expected
    if expected == 0 and f.specials != "fnuz":
        assert np.signbit(got) == negative


def test_float64_and_tf32_decode() -> None:
    rng = np.random.default_rng(2)
    raw = rng.integers(0, 1 << 64, 5000, dtype=np.uint64)
    x = raw.view(np.float64)
    number = ~np.isnan(x)
    np.testing.assert_array_equal(values(raw, "fp64")[number], x[number])
    np.testing.assert_array_equal(encode(x[number], "fp64"), raw[number])
    word = np.array([0x7F800001, 0x7FC00000, 0x3F801FFF, 0x00001FFF], np.uint32)
    assert values(word, "tf32").tolist()[0] == np.inf  # a NaN whose payload sits in the dropped bits
    assert np.isnan(values(word, "tf32")[1])
    assert values(word, "tf32").tolist()[2:] == [1.0, 0.0]


def test_decode_keeps_subnormals_unnormalised() -> None:
    d = decode(np.array([0x0001, 0x0400, 0xFC00, 0x7C01], np.uint16), "fp16")
    assert d.significand.tolist() == [1, 1024, 0, 0]
    assert d.exponent.tolist() == [-14, -14, -14, -14]
    assert d.kind.tolist()[2:] == [INFINITE, NOT_A_NUMBER]


def test_known_limits() -> None:
    limits = {n: FORMATS[n].max_value for n in ("fp16", "e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "e3m2", "e2m3", "e2m1")}
    assert limits == {
        "fp16": 65504, "e4m3": 448, "e5m2": 57344, "e4m3fnuz": 240, "e5m2fnuz": 57344, "e3m2": 28,
        "e2m3": 7.5, "e2m1": 6,
    }  # fmt: skip
    emin = {n: f.emin for n, f in FORMATS.items()}
    assert emin == {
        "fp64": -1022, "fp32": -126, "tf32": -126, "bf16": -126, "fp16": -14, "e5m2": -14, "e4m3": -6, "e5m2fnuz": -15,
        "e4m3fnuz": -7, "e3m2": -2, "e2m3": 0, "e2m1": 0, "ue8m0": -127, "ue4m3": -6,
    }  # fmt: skip


def test_overflow_rules() -> None:
    big = np.array([1e9, -1e9])
    assert values(encode(big, "fp16"), "fp16").tolist() == [np.inf, -np.inf]
    assert values(encode(big, "fp16", "RZ"), "fp16").tolist() == [65504, -65504]
    assert values(encode(big, "fp16", "RZ", "infinity"), "fp16").tolist() == [np.inf, -np.inf]
    assert values(encode(big, "fp16", "RD"), "fp16").tolist() == [65504, -np.inf]
    assert values(encode(big, "e4m3", overflow="saturate"), "e4m3").tolist() == [448, -448]
    assert np.isnan(values(encode(big, "e4m3"), "e4m3")).all()
    assert values(encode(np.array([np.inf]), "e4m3", "RZ", "saturate"), "e4m3").tolist() == [448]


def test_stochastic_rounding_is_unbiased_and_exact_on_the_grid() -> None:
    rng = np.random.default_rng(3)
    n = 40_000
    word = rng.integers(0, 1 << 32, n, dtype=np.uint64).astype(np.uint32)
    got = values(encode(np.full(n, 1.0 + 0.3 * 2**-10), "fp16", "SR", random=word), "fp16")
    share = np.mean(got > 1)
    assert set(got.tolist()) == {1.0, 1 + 2**-10}
    assert abs(share - 0.3) < 0.012  # 5 sigma
    exact = encode(np.full(n, 1.0), "fp16", "SR", random=word)
    assert set(exact.tolist()) == {0x3C00}


def test_softfloat_agrees_on_narrowing() -> None:
    soft = pytest.importorskip("softfloatpy")
    rng = np.random.default_rng(4)
    raw = rng.integers(0, 1 << 32, 4000, dtype=np.uint64).astype(np.uint32)
    raw[:2000] = (raw[:2000] & 0x80FFFFFF) | (rng.integers(0x30, 0x48, 2000, dtype=np.uint32) << 24)
    x = values(raw, "fp32")
    raw, x = raw[~np.isnan(x)], x[~np.isnan(x)]
    modes = {
        "RNE": soft.RoundingMode.NEAR_EVEN,
        "RZ": soft.RoundingMode.MIN_MAG,
        "RD": soft.RoundingMode.MIN,
        "RU": soft.RoundingMode.MAX,
    }
    for rounding, mode in modes.items():
        soft.set_rounding_mode(mode)
        expected = [
            int.from_bytes(soft.Float32.from_bytes(int(b).to_bytes(4, "big")).to_f16().to_bytes(), "big") for b in raw
        ]
        np.testing.assert_array_equal(encode(x, "fp16", rounding), np.array(expected, np.uint16))
    soft.set_rounding_mode(soft.RoundingMode.NEAR_EVEN)


def test_integers_pack_and_saturate() -> None:
    x = np.array([-200, -128, -1, 0, 127, 300])
    assert integer.integer_values(integer.integer_codes(x, "s8", True), "s8").tolist() == [-128, -128, -1, 0, 127, 127]
    assert integer.integer_values(integer.integer_codes(x, "s8", False), "s8").tolist() == [56, -128, -1, 0, 127, 44]
    nibbles = np.arange(16, dtype=np.uint8).reshape(2, 8)
    assert integer.pack(nibbles, 4)[0].tolist() == [0x10, 0x32, 0x54, 0x76]
    for bits in (1, 2, 4):
        fields = np.random.default_rng(bits).integers(0, 1 << bits, (3, 16)).astype(np.uint8)
        np.testing.assert_array_equal(integer.unpack(integer.pack(fields, bits), bits), fields)
    assert integer.integer_values(np.array([0x0F, 0x08, 0x07], np.uint8), "s4").tolist() == [-1, -8, 7]


def test_errors_name_what_was_expected() -> None:
    with pytest.raises(UserError, match=r"unknown number format 'e4m4' \(did you mean 'e4m3'\?\)"):
        binary_format("e4m4")
    with pytest.raises(UserError, match="fp16 codes need dtype uint16, got float16"):
        decode(np.zeros(2, np.float16), "fp16")
    with pytest.raises(UserError, match="unknown rounding 'RX'"):
        encode(np.zeros(1), "fp16", "RX")
    with pytest.raises(UserError, match="SR needs random"):
        encode(np.zeros(1), "fp16", "SR")
    with pytest.raises(UserError, match="tables exist up to 16 bits"):
        value_table("fp32")


def test_representable() -> None:
    assert representable(np.array([1.0, 1 + 2**-11, np.nan, np.inf, 65536]), "fp16").tolist() == [
        True, False, True, True, False,
    ]  # fmt: skip
