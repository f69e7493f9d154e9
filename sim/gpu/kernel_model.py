"""Time of the measured kernels from what they do: tiles, waves, bytes, launch; constants fitted on half of the shapes.

Every kernel family has a formula whose structure is that of its code (which block takes what, how many blocks run at
once, what K is split into), with a few constants per format. µs throughout; S multiprocessors, B bytes, and
a ⊕ b = (a^p + b^p)^(1/p), a maximum with the imperfect overlap p::

    stream   t = t0 + many + x·M·K + o·M·tiles/S + (i·c ⊕ B/w)   i = ⌈⌈tiles/S/2⌉·pairs/12⌉ turns of the busiest warp;
                                                     one token: strips of 32 or 16 rows times a scheduler's ⌈pairs/4⌉/3
    gemm     t = t0 + (h(r·(j·c_tok + e_tok)) ⊕ B/w) + split·(t1 + P/w2)   j chunks of a block, P bytes of partial sums
                                                     r rounds: blocks per multiprocessor, two at once for small tiles
    lookup   t = t0 + (M·slabs·N·bits/S·c ⊕ B/w)
    vendor   t = t0 + (h(min over tiles and splits of r·(K/s·t_m·t_n·c·(1 + g(1/t_m + 1/t_n)) + e) + s-term) ⊕ B/w)
                                                     r between whole rounds and blocks/S (persistent blocks)
    attention t = t0 + (u·c ⊕ B/w) + s·d             u units of keys of the busiest warp, s splits
    other    t = t0 + (rounds·K·c ⊕ B/w)             rounds: rows per multiprocessor

h(t) = t (1 + u (1 - exp(-t/v))): operators of milliseconds reach the power limit, and clocks fall.

Which shapes fit and which score: the (N, K) of products, (sequences, heads, context) of attention and (M, K) of others
are numbered in order; even ones fit, odd ones score.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lutscape.hw.errors import UserError
from lutscape.sim.gpu import packing

SCHEMA = 1
ERRORS = {
    "matrix products": "gemm+stream+vendor",
    "low-bit products on tensor cores": "gemm",
    "low-bit streaming": "stream",
    "vendor": "vendor",
    "lookup": "lookup",
    "attention": "attention",
    "element-wise": "other",
}
"""Rows of the error table and the families that each pools."""
Floats = npt.NDArray[np.float64]
Constants = dict[str, float]
SMS = 132
STREAM_WARPS, STREAM_WARPS_I8, STREAM_SHARED = 12, 12, 220 * 1024
BOUNDS = {"p": (1.0, 12.0), "q": (0.01, 1.0), "w": (500, 3350), "w2": (500, 2e4), "two": (1.0, 2.0), "u": (0.001, 0.6)}
"""What a constant may become; w no more than the memory's peak, GB/s."""
SMALLEST_STEP = 1e-3
"""Of the search, relative."""


def _norm(a: Floats, b: Floats, p: float) -> Floats:
    high, low = np.maximum(a, b), np.minimum(a, b)
    return high * (1 + (low / np.maximum(high, 1e-30)) ** p) ** (1 / p)


def _bytes(frame: pd.DataFrame) -> Floats:
    return (frame["read_bytes"] + frame["written_bytes"]).to_numpy(np.float64)


def _column(frame: pd.DataFrame, name: str) -> Floats:
    return frame[name].to_numpy(np.float64)


def streams(frame: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the streaming kernel takes each weight-only or integer product (lut_stream_fits)."""
    columns = (frame[name].tolist() for name in ("kernel", "form", "m", "n", "k"))
    return np.array([_fits(*row) for row in zip(*columns, strict=True)], np.bool_)


def _fits(kernel: str, form: str, m: int, n: int, k: int) -> bool:
    if m > 8:
        return False
    if m == 1 and kernel == "gemm":
        return _fits_one(form.replace("t2", "w2"), n, k)
    tokens, tiles = 1 if m == 1 else 8, -(-n // 64) * 4
    per_block = -(-tiles // min(tiles, SMS))
    slots = (per_block + 1) // 2 * 2 * 64
    if kernel == "gemm_i8":
        used = (packing.chunks_of("i2", k) * 128 + STREAM_WARPS_I8 * slots) * tokens + STREAM_WARPS_I8 * 2 * 1024
        return used <= STREAM_SHARED
    form = "w2" if form == "t2" else form
    steps, pairs = packing.CHUNK[form] // 16, packing.chunks_of(form, k) // 2
    ring = STREAM_WARPS * 2 * (4 * 32 * packing.WORDS[form] + 32) * 4
    return (pairs * (steps * 72 + 8) + STREAM_WARPS * slots) * tokens + ring <= STREAM_SHARED


def _fits_one(form: str, n: int, k: int) -> bool:
    """As gemv_fits."""
    tiles = 1 if _narrow(np.array(n)) else 2
    strips = -(-n // 64) * 4 // tiles
    slot = tiles * (64 * packing.WORDS[form] + 16) * 4
    pair = packing.CHUNK[form] * 4 + 8
    each = 2 * slot + -(-strips // SMS) * tiles * 64
    return packing.chunks_of(form, k) // 2 * pair + 8 + STREAM_WARPS * each <= STREAM_SHARED


def _narrow(n: Any) -> Any:
    """Whether the kernel of one token takes strips of 16 rows: 32 would leave multiprocessors idle."""
    blocks = np.ceil(n / 64)
    return np.ceil(4 * blocks / SMS) * 5 < np.ceil(2 * blocks / SMS) * 8


def _stream(f: pd.DataFrame, c: Constants) -> Floats:
    form = "i2" if f["kernel"].iloc[0] == "gemm_i8" else str(f["form"].iloc[0]).replace("t2", "w2")
    n, k, m = _column(f, "n"), _column(f, "k"), _column(f, "m")
    units = np.ceil(k / packing.CHUNK[form]) if form == "i2" else np.ceil(k / (2 * packing.CHUNK[form]))
    tiles = np.ceil(n / 64) * 4
    twos = np.ceil(np.ceil(tiles / np.minimum(tiles, SMS)) / 2)
    turns = np.ceil(twos * units / STREAM_WARPS)
    if form != "i2":
        narrow = _narrow(n)
        strips = np.ceil(np.where(narrow, 4, 2) * np.ceil(n / 64) / SMS)
        turns = np.where(m == 1, strips * np.where(narrow, 0.5, 1) * np.ceil(units / 4) / 3, turns)
    several = np.where(m > 1, 1.0, 0.0)
    fixed = c["t0"] + several * c["many"] + c["x"] * m * k * 1e-3 + c["o"] * m * np.ceil(tiles / SMS)
    return fixed + _norm(turns * c["c"] * (1 + several * c["slower"]), _bytes(f) / c["w"] * 1e-3, c["p"])


def _throttled(t: Floats, c: Constants) -> Floats:
    return t * (1 + c["u"] * (1 - np.exp(-t / c["v"])))


def _gemm(f: pd.DataFrame, c: Constants) -> Floats:
    integer = f["kernel"].iloc[0] == "gemm_i8"
    form = "i2" if integer else str(f["form"].iloc[0]).replace("t2", "w2")
    n, k, m = _column(f, "n"), _column(f, "k"), _column(f, "m")
    chunks = np.ceil(k / 128) if integer else 2 * np.ceil(k / (2 * packing.CHUNK[form]))
    tokens = np.where(m <= 32, 32, np.where(m <= 64, 64, np.where(m <= 128, 128, 256)))
    chosen, chosen_splits = _chosen(n, m, chunks)
    free = (m > 128) & (not integer)
    tokens = np.where(free, chosen, tokens)
    at_once = np.where(tokens <= 64, 2, 1)
    blocks = np.ceil(n / 128) * np.ceil(m / tokens)
    slots = SMS * at_once
    wanted = np.minimum(np.minimum(slots // blocks, 16), np.maximum(chunks // 8, 1))
    grouped = f["form"].isin(["w4", "w2", "w1"]).to_numpy()
    units = np.where(grouped, np.ceil(chunks / 2), chunks)
    splits = np.where(4 * blocks > 3 * slots, 1, np.maximum(wanted, 1))
    splits = np.where(free, chosen_splits, splits)
    splits = np.ceil(units / np.ceil(units / np.minimum(splits, units)))
    per_block = np.ceil(chunks / splits)
    load = np.ceil(blocks * splits / SMS)
    pairs, single = load // at_once, load % at_once
    rounds = np.where(at_once == 2, pairs * c["two"] + single, load)
    chunk, extra = (np.interp(tokens, (32, 64, 128, 256), _at_tokens(c, name)) for name in "ce")
    partial = np.where(splits > 1, 8 * splits * m * n, 0.0)
    work = _throttled(rounds * (per_block * chunk + extra), c)
    return (
        c["t0"]
        + _norm(work, _bytes(f) / c["w"] * 1e-3, c["p"])
        + np.where(splits > 1, c["t1"], 0)
        + partial / c["w2"] * 1e-3
    )


def _at_tokens(c: Constants, name: str) -> list[float]:
    """A constant of tiles of 32, 64, 128 and 256 tokens; between them it is taken to be linear."""
    low, middle, high = (c[f"{name}{tokens}"] for tokens in (32, 128, 256))
    return [low, (low + middle) / 2, middle, high]


def _chosen(n: Floats, m: Floats, chunks: Floats) -> tuple[Floats, Floats]:
    """Tokens per tile and splits of K, as the kernel chooses them for M > 128 (gemm.cu: choose)."""
    best = [np.full(len(n), np.inf), np.zeros(len(n)), np.zeros(len(n))]
    for tokens, chunk, start in ((256, 0.73, 4.6), (176, 0.59, 3.8), (128, 0.50, 3.2), (64, 0.62, 2.6)):
        tiles = np.ceil(n / 128) * np.ceil(m / tokens)
        for s in range(1, 9):
            waves = np.ceil(tiles * s / (2 * SMS if tokens == 64 else SMS))
            each = np.where((tokens == 64) & (2 * tiles * s <= SMS), 0.45, chunk)
            time = waves * (start + each * np.ceil(chunks / s)) + (1.5 + 1.8e-6 * s * m * n if s > 1 else 0.0)
            better = (time < best[0]) & ((s == 1) | (s * 3 <= chunks))
            found = (time, np.full(len(n), float(tokens)), np.full(len(n), float(s)))
            best = [np.where(better, x, old) for x, old in zip(found, best, strict=True)]
    return best[1], best[2]


def _lookup(f: pd.DataFrame, c: Constants) -> Floats:
    bits = packing.BITS[str(f["form"].iloc[0])]
    slabs = np.ceil(_column(f, "k") / packing.SLAB)
    parts = np.clip(np.ceil(SMS * 16 / (slabs * _column(f, "m"))), 1, np.ceil(_column(f, "n") / 256))
    rows = np.ceil(np.ceil(_column(f, "n") / parts) / 256) * 256
    blocks = slabs * _column(f, "m") * np.ceil(_column(f, "n") / rows)
    work = np.ceil(blocks / (SMS * 8)) * 8 * (c["build"] + rows * bits * c["c"])
    work = np.minimum(work, np.ceil(blocks / SMS) * (c["build"] + rows * bits * c["c"]))
    return c["t0"] + _norm(work, _bytes(f) / c["w"] * 1e-3, c["p"])


_WAYS = np.array(
    [(a, b, s) for a in (16, 32, 64, 128, 192, 256) for b in (64, 128, 256) if a * b <= 256 * 128
     for s in (1, 2, 3, 4, 6, 8, 12, 16)], np.float64,
)  # fmt: skip
"""Tiles and splits of K that a library may choose from: (ways, 3)."""


def _vendor(f: pd.DataFrame, c: Constants) -> Floats:
    n, k, m = (_column(f, name)[:, None] for name in "nkm")
    t_m, t_n, split = (_WAYS[None, :, i] for i in range(3))
    blocks = np.ceil(m / t_m) * np.ceil(n / t_n) * split
    rounds = c["q"] * np.maximum(1, blocks / SMS) + (1 - c["q"]) * np.ceil(blocks / SMS)
    mac = np.maximum(t_m, 64) * t_n * c["c"] * 1e-6 * (1 + c["g"] * 64 * (1 / t_m + 1 / t_n))
    tile = np.ceil(k / split) * (mac + c["k"] * 1e-3)
    reduce = np.where(split > 1, c["t1"] + 8 * split * m * n / c["w2"] * 1e-3, 0.0)
    time = np.where((k >= split * 128) | (split == 1), rounds * (tile + c["e"]) + reduce, np.inf)
    return c["t0"] + _norm(_throttled(time.min(axis=1), c), _bytes(f) / c["w"] * 1e-3, c["p"])


def _attention(f: pd.DataFrame, c: Constants) -> Floats:
    bits = int(str(f["form"].iloc[0])[2:])
    unit, at_once = {16: (16, 3), 4: (64, 2), 2: (128, 2)}[bits]
    keys = np.where(_column(f, "listed") > 0, 64 * _column(f, "listed"), _column(f, "n"))
    heads = _column(f, "m") * _column(f, "kv_heads")
    units = np.ceil(keys / unit)
    splits = np.maximum(1, np.minimum(SMS * at_once // heads, np.ceil(units / 4)))
    splits = np.ceil(units / np.ceil(units / np.minimum(splits, units)))
    rounds = np.ceil(heads * splits / (SMS * at_once))
    turns = np.ceil(np.ceil(units / splits) / 4)
    sharing = np.minimum(np.ceil(heads * splits / SMS), at_once)
    work = rounds * (turns * c["c"] * (1 + c["share"] * (sharing - 1)) + c["e"])
    partial = heads * splits * 8 * 130 * 4
    return c["t0"] + _norm(work, _bytes(f) / c["w"] * 1e-3, c["p"]) + splits * c["d"] + partial / c["w2"] * 1e-3


def _other(f: pd.DataFrame, c: Constants) -> Floats:
    m, k = _column(f, "m"), _column(f, "k")
    if f["kernel"].iloc[0] in ("precompute", "silu_mul", "rope"):
        per_thread = {"rope": 16}.get(str(f["kernel"].iloc[0]), 8)
        rounds = np.ceil(m * k / (per_thread * 256 * 8 * SMS))
        work = rounds * c["c"]
    else:
        load = np.ceil(m / SMS)
        work = np.ceil(k / 2048) * c["c"] * np.maximum(1, load / c["hide"])
    return c["t0"] + _norm(work, _bytes(f) / c["w"] * 1e-3, c["p"])


@dataclass(frozen=True)
class Family:
    """A formula and where its constants start.

    Attributes:
        formula: (points of one kernel and format, constants) -> µs.
        start: constants before fitting; w and w2 in GB/s, the others in µs or dimensionless.
        prior: how strongly they are held there (see fit); chosen by cross-validation within the fitting half, by shape
            in three parts.
    """

    formula: Callable[[pd.DataFrame, Constants], Floats]
    start: Constants
    prior: float = 0.0


FAMILIES = {
    "stream": Family(_stream, {
        "t0": 2.0, "many": 1.0, "x": 0.05, "o": 0.02, "c": 0.4, "slower": 0.2, "w": 2900, "p": 3,
    }),
    "gemm": Family(_gemm, {
        "t0": 2.0, "c32": 0.3, "c128": 0.45, "c256": 0.7, "e32": 1.5, "e128": 2, "e256": 3, "two": 1.5, "w": 2900,
        "p": 3, "t1": 1.0, "w2": 3000, "u": 0.1, "v": 2000,
    }, 0.002),
    "lookup": Family(_lookup, {"t0": 3.0, "build": 0.5, "c": 0.0003, "w": 2800, "p": 3}),
    "vendor": Family(_vendor, {
        "t0": 2.0, "c": 0.25, "g": 0.3, "k": 0.05, "e": 0.5, "t1": 2.5, "w2": 10000, "w": 2850, "p": 3, "q": 0.7,
        "u": 0.2, "v": 1000,
    }, 0.002),
    "attention": Family(_attention, {
        "t0": 3.0, "c": 0.5, "share": 0.3, "e": 1.0, "w": 3000, "p": 3, "d": 0.02, "w2": 3000,
    }),
    "other": Family(_other, {"t0": 1.0, "c": 0.5, "hide": 4, "w": 2900, "p": 3}),
}  # fmt: skip


UNMODELLED = ("gemv_list", "gemv_chain", "gemm_bf16")
"""Kernels measured on too few shapes to fit on half of them."""


def groups(points: pd.DataFrame) -> dict[tuple[str, str, str], pd.DataFrame]:
    """Return the points by (family, kernel, format), without those of kernels that are not modelled."""
    points = points[~points["kernel"].isin(UNMODELLED)]
    product = points["kernel"].isin(["gemm", "gemm_i8"])
    names = points["kernel"].where(points["kernel"].isin(["lookup", "vendor", "attention"]), "other").to_numpy(object)
    names[product.to_numpy()] = np.where(streams(points[product]), "stream", "gemm")
    grouped = points.groupby([pd.Series(names, points.index, name="family"), "kernel", "form"], sort=True)
    return {(str(a), str(b), str(c)): part for (a, b, c), part in grouped}


def fitting(points: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether each point is one that fits (else it scores): see the module."""
    kernel = points["kernel"]
    product = kernel.isin(["gemm", "gemm_i8", "lookup", "vendor", *UNMODELLED])
    shape = [
        (r.n, r.k) if is_product else (r.m, r.heads, r.kv_heads, r.n) if r.kernel == "attention" else (r.m, r.k)
        for r, is_product in zip(points.itertuples(), product, strict=True)
    ]
    kind = np.where(product, 0, np.where(kernel == "attention", 1, 2))
    even = np.zeros(len(points), bool)
    for which in range(3):
        order = {s: i for i, s in enumerate(sorted({s for s, q in zip(shape, kind, strict=True) if q == which}))}
        for i in np.flatnonzero(kind == which):
            even[i] = order[shape[i]] % 2 == 0
    return even


def fit(
    family: Family, points: pd.DataFrame, rounds: int = 80, restarts: int = 2, prior: float | None = None
) -> Constants:
    """Return constants with little mean |log(time / measured)|, by Hooke and Jeeves' search on their logarithms.

    The absolute value is rounded off below 1 %, so that the search does not stop at a kink. ``prior`` times the squared
    log distance from the start is added for every constant: what the points do not tell stays where it started.
    """
    measured = np.log(points["median_us"].to_numpy(np.float64))
    pull = family.prior if prior is None else prior
    begin = {name: np.log(value) for name, value in family.start.items()}

    def error(constants: Constants) -> float:
        off = np.log(family.formula(points, constants)) - measured
        far = sum((np.log(value) - begin[name]) ** 2 for name, value in constants.items())
        return float(np.sqrt(off**2 + 1e-4).mean() + pull * far)

    def moved(constants: Constants, by: dict[str, float]) -> Constants:
        out = {}
        for name, value in constants.items():
            low, high = BOUNDS.get(name, (1e-6, 1e6))
            out[name] = float(np.clip(value * np.exp(by.get(name, 0.0)), low, high))
        return out

    best = dict(family.start)
    least = error(best)
    for restart in range(restarts + 1):
        step = dict.fromkeys(best, 0.7 / (1 + restart))
        for _ in range(rounds):
            before = best
            for name in best:
                for sign in (1, -1):
                    trial = moved(best, {name: sign * step[name]})
                    if (found := error(trial)) < least:
                        best, least = trial, found
                        step[name] = min(step[name] * 1.5, 1.0)
                        break
                else:
                    step[name] *= 0.6
            trial = moved(best, {name: float(np.log(best[name] / before[name])) for name in best})
            if (found := error(trial)) < least:
                best, least = trial, found
            if max(step.values()) < SMALLEST_STEP:
                break
    return {k: float(v) for k, v in best.items()}


@dataclass(frozen=True)
class Fitted:
    """The model of one GPU.

    Attributes:
        constants: by (family, kernel, format).
        points: the measurement with ``model_us`` and ``fits`` (else scored).
    """

    constants: dict[tuple[str, str, str], Constants]
    points: pd.DataFrame

    def error(self, family: str | None = None, fits: bool = False, kernel: str | None = None) -> float:
        """Return the mean absolute percentage error of scored (or fitting) points, %."""
        p = self.points
        chosen = p["fits"] == fits
        if family:
            chosen &= p["family"].isin(family.split("+"))
        if kernel:
            chosen &= p["kernel"] == kernel
        p = p[chosen]
        return float(100 * np.abs(p["model_us"] / p["median_us"] - 1).mean()) if len(p) else float("nan")


def predict(points: pd.DataFrame, constants: dict[tuple[str, str, str], Constants]) -> Fitted:
    """Predict all points with given constants; points of kernels without constants are left out."""
    half = pd.Series(fitting(points), points.index)
    parts = []
    for key, part in groups(points).items():
        if key in constants:
            model = FAMILIES[key[0]].formula(part, constants[key])
            parts.append(part.assign(family=key[0], fits=half[part.index], model_us=model))
    return Fitted(constants, pd.concat(parts).sort_index())


def fit_all(points: pd.DataFrame, tick: Callable[[int, int], None] | None = None) -> Fitted:
    """Fit every family, kernel and format on half of the shapes, and predict all points."""
    half = pd.Series(fitting(points), points.index)
    constants, parts = {}, groups(points)
    for i, (key, part) in enumerate(parts.items()):
        if tick:
            tick(i, len(parts))
        constants[key] = fit(FAMILIES[key[0]], part[half[part.index]])
    return predict(points, constants)


def save(folder: Path, fitted: Fitted) -> Path:
    """Write ``model.json`` into a measurement's folder: constants, and the errors of both halves."""
    path = folder / "model.json"
    part = path.with_name(path.name + ".part")
    errors = {
        name: {"scored": round(fitted.error(families, False), 3), "fitted": round(fitted.error(families, True), 3)}
        for name, families in ERRORS.items()
    }
    constants = {"/".join(k): {n: float(f"{v:.5g}") for n, v in c.items()} for k, c in fitted.constants.items()}
    part.write_text(
        json.dumps({"schema_version": SCHEMA, "mape_percent": errors, "constants": constants}, indent=1) + "\n"
    )
    os.replace(part, path)
    return path


def load(folder: Path) -> dict[tuple[str, str, str], Constants]:
    """Read the constants of ``model.json``.

    Raises:
        UserError: not there, not JSON, or of another schema.
    """
    path = folder / "model.json"
    try:
        data = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; write it with: lutscape gpu fit {folder.name}") from None
    except ValueError as error:
        raise UserError(f"{path}: no JSON: {error}") from None
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA:
        raise UserError(f"{path}: not a model of schema {SCHEMA}")
    found: dict[tuple[str, str, str], Constants] = {}
    for key, constants in data["constants"].items():
        family, kernel, form = key.split("/")
        found[family, kernel, form] = constants
    return found
