"""Adder tree: signed values of one width to their full-width sum."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import signed_sum
from lutscape.rtl.cells.text import indented, module, slice_of


@cache
def adder_tree(n: int, width: int) -> Cell:
    """Return a balanced tree over ``n`` signed values of ``width`` bits; the sum is width + ⌈log2 n⌉ bits wide.

    Raises:
        UserError: parameters out of range.
    """
    for name, value, least, most in (("n", n, 2, 4096), ("width", width, 1, 48)):
        if not least <= value <= most:
            raise UserError(f"adder_tree: {name} = {value}; allowed: {least} … {most}")
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    terms, lines = [], []
    for j in range(n):
        lines.append(f"wire [{width - 1}:0] v{j} = {slice_of('x_values', j, width, n)};")
        terms.append(signed_sum.plain(f"v{j}", low, high))
    total, adders = signed_sum.tree(terms, "s")
    lines += ["", *adders, f"assign y_sum = {total.name};"]
    channels = (
        Channel("x", "in", (Field("values", width, n, True, "summands"),), "summands"),
        Channel("y", "out", (Field("sum", total.bits, 1, True, "sum"),), "sum"),
    )
    parameters: dict[str, int | str] = {"n": n, "width": width}
    name, numbers = f"adder_tree_n{n}w{width}", f"INT{width} summands; INT{total.bits} sum, exact"
    return Cell(
        name=name,
        kind="adder_tree",
        parameters=parameters,
        source=module(
            name, f"Sum of {n} values.", parameters, channels, indented(lines), numbers=numbers, clocked=False
        ),
        channels=channels,
        golden=lambda beats: {"y": {"sum": beats["x"]["values"].sum(axis=1, keepdims=True)}},
        stimulus=lambda rng, count: stimulus(n, width, rng, count),
        coverage=lambda beats: coverage(n, width, beats),
        numbers=numbers,
        clocked=False,
        operations=n - 1,
    )


def stimulus(n: int, width: int, rng: np.random.Generator, count: int) -> Beats:
    """Return both extremes, each summand alone at an extreme, alternating signs, then random ones."""
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    alternating = np.where(np.arange(n) % 2 == 0, low, high)
    corners = [np.full((1, n), low), np.full((1, n), high), alternating[None], alternating[None, ::-1]]
    one = np.eye(n, dtype=np.int64)
    values = rng.integers(low, high + 1, (max(1, count - 4 - 2 * n), n))
    return {"x": {"values": np.concatenate([*corners, one * low, one * high, values]).astype(np.int64)}}


def coverage(n: int, width: int, beats: Beats) -> dict[str, int]:
    """Return hits of the extreme sums, and of each summand at its extremes."""
    low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    values = beats["x"]["values"]
    total = values.sum(axis=1)
    bins = {"least sum": int((total == n * low).sum()), "greatest sum": int((total == n * high).sum())}
    for j in range(n):
        bins[f"summand {j} least"] = int((values[:, j] == low).sum())
        bins[f"summand {j} greatest"] = int((values[:, j] == high).sum())
    return bins
