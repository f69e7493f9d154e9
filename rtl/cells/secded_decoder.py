"""Decoder of SECDED words: corrects one wrong bit, tells of two (:mod:`lutscape.sim.roma.secded`).

The syndrome is one parity tree per check bit; a data bit is turned over where the overall parity is odd and the
syndrome is its column. Combinational, between ROM and L-Unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, module
from lutscape.sim.roma import secded


@cache
def secded_decoder(bits: int) -> Cell:
    """Return the decoder of words of some data bits.

    Raises:
        UserError: too few or too many.
    """
    if not 2 <= bits <= 4096:
        raise UserError(f"secded_decoder: bits = {bits}; allowed: 2 … 4096")
    check = secded.check_bits(bits)
    channels = (
        Channel(
            "x",
            "in",
            (Field("data", 1, bits, False, "as read"), Field("check", 1, check, False, "check bits, parity last")),
            "word as read",
        ),
        Channel(
            "y",
            "out",
            (
                Field("data", 1, bits, False, "corrected"),
                Field("corrected", 1, 1, False, "one bit was wrong"),
                Field("detected", 1, 1, False, "more were: data as read"),
            ),
            "word and what is known of it",
        ),
    )
    name, numbers = f"secded_decoder_w{bits}", f"{bits} data bits, {check} check bits"
    parameters: dict[str, int | str] = {"bits": bits, "check_bits": check}
    return Cell(
        name=name,
        kind="secded_decoder",
        parameters=parameters,
        source=module(
            name,
            "Decoder of single-error-correcting, double-error-detecting words.",
            parameters,
            channels,
            indented(_body(bits, check - 1)),
            numbers=numbers,
            clocked=False,
        ),
        channels=channels,
        golden=lambda beats: evaluate(beats),
        stimulus=lambda rng, count: stimulus(bits, rng, count),
        coverage=lambda beats: coverage(bits, beats),
        numbers=numbers,
        clocked=False,
        operations=1,
    )


def _body(bits: int, r: int) -> Iterator[str]:
    """Return the Verilog inside a decoder."""
    columns = secded.columns(bits)
    yield f"wire [{r - 1}:0] syndrome;"
    for i in range(r):
        mask = sum(1 << int(j) for j in np.flatnonzero(columns >> i & 1))
        tree = f"^(x_data & {bits}'h{mask:x}) ^ " if mask else ""
        yield f"assign syndrome[{i}] = {tree}x_check[{i}];"
    yield "wire odd = ^x_data ^ ^x_check;"
    yield f"wire [{bits - 1}:0] hit;"
    for j in range(bits):
        yield f"assign hit[{j}] = odd && syndrome == {r}'d{int(columns[j])};"
    yield "assign y_data = x_data ^ hit;"
    yield f"wire own = (syndrome & (syndrome - {r}'d1)) == {r}'d0;  // a check bit, or the parity, is wrong"
    yield "wire data_hit = |hit;"
    yield "assign y_corrected = data_hit || (odd && own);"
    yield f"assign y_detected = odd ? !own && !data_hit : syndrome != {r}'d0;"


def evaluate(beats: Beats) -> Beats:
    """Return decoded words."""
    found = secded.decode(*(beats["x"][f].astype(np.uint8) for f in ("data", "check")))
    flags = {name: getattr(found, name).astype(np.int64)[:, None] for name in ("corrected", "detected")}
    return {"y": {"data": found.data.astype(np.int64), **flags}}


def stimulus(bits: int, rng: np.random.Generator, count: int) -> Beats:
    """Return right words, each bit wrong alone, and words with two to four wrong bits."""
    total = bits + secded.check_bits(bits)
    count = max(count, 2 * total + 40)
    data = rng.integers(0, 2, (count, bits)).astype(np.uint8)
    word = np.concatenate([data, secded.encode(data)], axis=1)
    word[:total] ^= np.eye(total, dtype=np.uint8)
    for i in range(total + 4, count):
        word[i, rng.choice(total, min(total, 2 + i % 3), replace=False)] ^= 1
    return {"x": {"data": word[:, :bits].astype(np.int64), "check": word[:, bits:].astype(np.int64)}}


def coverage(bits: int, beats: Beats) -> dict[str, int]:
    """Return hits of every corrected bit and of every verdict."""
    out = evaluate(beats)["y"]
    turned = (out["data"] != beats["x"]["data"]).sum(axis=0)
    corrected, detected = out["corrected"][:, 0] == 1, out["detected"][:, 0] == 1
    hits = {f"bit {j} corrected": int(turned[j]) for j in range(bits)}
    return hits | {
        "right": int((~corrected & ~detected).sum()),
        "check bit corrected": int((corrected & (out["data"] == beats["x"]["data"]).all(axis=1)).sum()),
        "detected": int(detected.sum()),
    }
