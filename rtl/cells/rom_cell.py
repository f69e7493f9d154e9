"""Read-only memories of given words: a case statement, a block ROM, and a block ROM with its OR written out.

All read combinationally: address -> word; addresses beyond the last word read 0. The forms differ in what is written
down, not in what is read:

    standard   every word
    block      16 candidates and one choice of four bits per block and output bit (:mod:`lutscape.rtl.brom`)
    or         the same, as word[j] = OR over functions k of candidate[k] & (OR of select of blocks that chose k)
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, choose
from lutscape.rtl import brom
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, index_bits, module, vector
from lutscape.sim.roma import words as roma_words

FORMS = ("standard", "block", "or")
LARGEST = 1 << 16
"""Words of one ROM."""


def rom_cell(words: npt.NDArray[np.uint8], word_bits: int, form: str = "block", name: str | None = None) -> Cell:
    """Return a ROM.

    Args:
        words: (depth, ⌈word_bits / 8⌉) uint8 (:mod:`lutscape.sim.roma.words`).
        word_bits: width.
        form: one of :data:`FORMS`.
        name: of the module; by default it says form, size and CRC-32 of the words.

    Raises:
        UserError: unknown form, no words, too many, or bits beyond the width.
    """
    choose(form, FORMS, "form of a ROM")
    bits, depth = brom.bits_of(words, word_bits), len(words)
    if not 4 <= depth <= LARGEST or word_bits < 2:
        raise UserError(f"ROM: {depth} words of {word_bits} bits; allowed: 4 … {LARGEST} words of 2 bits or more")
    crc = roma_words.signature(words)
    name = name or f"rom_{form}_d{depth}w{word_bits}_{crc:08x}"
    parameters: dict[str, int | str] = {"form": form, "depth": depth, "width": word_bits, "crc32": f"{crc:08x}"}
    channels = (
        Channel("a", "in", (Field("address", index_bits(depth), 1, False, "of a word"),), "address"),
        Channel("q", "out", (Field("word", 1, word_bits, False, "stored bits"),), "word"),
    )
    body = {"standard": _standard, "block": _block, "or": _or}[form](words, word_bits)
    numbers = f"{depth} words of {word_bits} bits, CRC-32 {crc:08x}"
    return Cell(
        name=name,
        kind=f"rom_{form}",
        parameters=parameters,
        source=module(
            name,
            f"ROM of {depth} words, form {form}.",
            parameters,
            channels,
            indented(body),
            numbers=numbers,
            clocked=False,
        ),
        channels=channels,
        golden=lambda beats: {"q": {"word": read(bits, beats["a"]["address"][:, 0])}},
        stimulus=lambda rng, count: stimulus(depth, rng, count),
        coverage=lambda beats: coverage(bits, beats),
        numbers=numbers,
        clocked=False,
        operations=1,
    )


def read(bits: npt.NDArray[np.uint8], addresses: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return (beats, word_bits) of addresses."""
    found = np.zeros((len(addresses), bits.shape[1]), np.int64)
    inside = addresses < len(bits)
    found[inside] = bits[addresses[inside]]
    return found


def _standard(words: npt.NDArray[np.uint8], word_bits: int) -> Iterator[str]:
    place = index_bits(len(words))
    yield f"reg  {vector(word_bits)}word;"
    yield "always @* begin"
    yield "    case (a_address)"
    for address, value in enumerate(roma_words.numbers(words)):
        yield f"        {place}'d{address}: word = {word_bits}'h{value:x};"
    yield f"        default: word = {word_bits}'d0;"
    yield "    endcase"
    yield "end"
    yield "assign q_word = word;"


def candidates() -> list[str]:
    """Return Verilog of the 16 functions of two address bits."""
    names = {0: "1'b0", 3: "!high", 5: "!low", 6: "high != low", 9: "high == low", 10: "low", 12: "high", 15: "1'b1"}
    minterms = ["!high && !low", "!high && low", "high && !low", "high && low"]
    for i, text in enumerate(minterms):
        names[1 << i] = text
        names[15 - (1 << i)] = f"!({text})"
    return [
        "wire low = a_address[0];",
        "wire high = a_address[1];",
        "wire [15:0] candidate;  // candidate k is bit {high, low} of k",
        *[f"assign candidate[{k}] = {names[k]};" for k in range(brom.FUNCTIONS)],
    ]


def _block(words: npt.NDArray[np.uint8], word_bits: int) -> Iterator[str]:
    chosen = brom.choices(words, word_bits)
    yield from _head(len(words))
    yield f"reg  [{4 * word_bits - 1}:0] choice;  // of the block, four bits per output bit"
    yield "always @* begin"
    yield "    case (block)"
    place = index_bits(len(chosen))
    for block, value in enumerate(brom.packed_choices(chosen)):
        yield f"        {place}'d{block}: choice = {4 * word_bits}'h{value:x};"
    yield f"        default: choice = {4 * word_bits}'d0;"
    yield "    endcase"
    yield "end"
    yield "genvar j;"
    yield "generate"
    yield f"    for (j = 0; j < {word_bits}; j = j + 1) begin : column"
    yield "        assign q_word[j] = candidate[choice[4*j +: 4]];"
    yield "    end"
    yield "endgenerate"


def _or(words: npt.NDArray[np.uint8], word_bits: int) -> Iterator[str]:
    chosen = brom.choices(words, word_bits)
    yield from _head(len(words))
    yield "wire candidate_unused = ^candidate;  // no block may have chosen one"
    yield f"wire [{len(chosen) - 1}:0] select = {len(chosen)}'d1 << block;"
    for j in range(word_bits):
        terms = []
        for k in range(1, brom.FUNCTIONS):
            mask = sum(1 << int(b) for b in np.flatnonzero(chosen[:, j] == k))
            if mask:
                terms.append(f"(candidate[{k}] && |(select & {len(chosen)}'h{mask:x}))")
        found = " || ".join(terms) or "1'b0"
        yield f"assign q_word[{j}] = {found};"


def _head(depth: int) -> Iterator[str]:
    yield from candidates()
    place, blocks = index_bits(depth), -(-depth // brom.BLOCK)
    high = f"a_address[{place - 1}:2]" if place > 3 else "a_address[2]" if place == 3 else "1'b0"
    yield f"wire {vector(index_bits(blocks))}block = {high};"


def stimulus(depth: int, rng: np.random.Generator, count: int) -> Beats:
    """Return every address once, in order, then random ones."""
    extra = rng.integers(0, 1 << index_bits(depth), max(0, count - depth))
    return {"a": {"address": np.concatenate([np.arange(depth), extra]).astype(np.int64)[:, None]}}


def coverage(bits: npt.NDArray[np.uint8], beats: Beats) -> dict[str, int]:
    """Return hits of every quarter of a block and of every sixteenth of the ROM, and whether all words were read."""
    addresses = beats["a"]["address"][:, 0]
    depth = len(bits)
    hits = {f"address mod 4 = {i}": int((addresses % 4 == i).sum()) for i in range(min(4, depth))}
    part = -(-depth // 16)
    for i in range(-(-depth // part)):
        hits[f"words from {i * part}"] = int((addresses // part == i).sum())
    hits["every word"] = int(len(np.unique(addresses[addresses < depth])) == depth)
    return hits
