"""The loop of gate simulation, compiled on first use."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.core import types
from numba.extending import intrinsic


def _popcount(typingctx: Any, word: Any) -> Any:
    """Return the number of ones in a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), generate


popcount: Any = intrinsic(_popcount)


@njit(nogil=True, cache=True)
def execute(operations, masks, slots, width):  # type: ignore[no-untyped-def]
    """Run two-input operations: slots[d] = m0 ^ a&m1 ^ b&m2 ^ a&b&m3, each on ``width`` words."""
    for k in range(len(operations)):
        d, a, b = operations[k, 0], operations[k, 1], operations[k, 2]
        m0, m1, m2, m3 = masks[k, 0], masks[k, 1], masks[k, 2], masks[k, 3]
        for w in range(width):
            x, y = slots[a, w], slots[b, w]
            slots[d, w] = m0 ^ (x & (m1 ^ (y & m3))) ^ (y & m2)


@njit(nogil=True, cache=True)
def run(  # type: ignore[no-untyped-def]
    settle, settle_masks, load, load_masks, slots, in_nets, inputs, out_nets, outputs, mask, count_from, toggles, ones
):
    """Simulate one block of words.

    slots (slots, words): values, updated. inputs (cycles, input bits, words); outputs (cycles, output bits, words),
    filled. mask (words,): streams that exist. toggles, ones (nets,): added to, from cycle ``count_from``.
    """
    cycles, width = inputs.shape[0], inputs.shape[2]
    nets = len(toggles)
    before = np.zeros((nets, width), np.uint64)
    for c in range(cycles):
        for k in range(len(in_nets)):
            for w in range(width):
                slots[in_nets[k], w] = inputs[c, k, w]
        execute(settle, settle_masks, slots, width)
        for k in range(len(out_nets)):
            for w in range(width):
                outputs[c, k, w] = slots[out_nets[k], w]
        if c >= count_from:
            for n in range(nets):
                changed, high = np.uint64(0), np.uint64(0)
                for w in range(width):
                    now = slots[n, w] & mask[w]
                    changed += popcount(now ^ before[n, w])
                    high += popcount(now)
                    before[n, w] = now
                toggles[n] += np.int64(changed)
                ones[n] += np.int64(high)
        elif c == count_from - 1:
            for n in range(nets):
                for w in range(width):
                    before[n, w] = slots[n, w] & mask[w]
        execute(load, load_masks, slots, width)
