"""The event loop of delay simulation, compiled on first use."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def push(times, keys, size, time, key):  # type: ignore[no-untyped-def]
    """Add (time, key) to a binary heap of ``size`` entries, the least time (then key) first."""
    k = size
    while k > 0:
        parent = (k - 1) >> 1
        if times[parent] < time or (times[parent] == time and keys[parent] <= key):
            break
        times[k], keys[k] = times[parent], keys[parent]
        k = parent
    times[k], keys[k] = time, key
    return size + 1


@njit(nogil=True, cache=True)
def pop(times, keys, size):  # type: ignore[no-untyped-def]
    """Remove the first entry; the caller has read it."""
    size -= 1
    time, key = times[size], keys[size]
    k = 0
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            times[right] < times[child] or (times[right] == times[child] and keys[right] < keys[child])
        ):
            child = right
        if time < times[child] or (time == times[child] and key <= keys[child]):
            break
        times[k], keys[k] = times[child], keys[child]
        k = child
    times[k], keys[k] = time, key
    return size


@njit(nogil=True, cache=True)
def run(  # type: ignore[no-untyped-def]
    out,
    table_start,
    table,
    delay,
    input_start,
    fan_start,
    fan,
    next_start,
    next_inputs,
    next_table_start,
    next_table,
    nets,
    in_nets,
    inputs,
    arrival,
    out_nets,
    outputs,
    count_from,
    initial,
    toggles,
    ones,
):
    """Simulate one stream.

    Gates as in :class:`lutscape.rtl.glitch._Gates`. inputs (cycles, bits) uint8, arrival (bits, 2) ps; outputs
    (cycles, bits) filled. toggles, ones (nets,): added to, from cycle ``count_from``.

    Every net has at most one pending change (the inertial delay): ``due`` is its event number, 0 for none. A heap
    entry whose number is no longer due is dead. Cycle 0 settles with the same events, uncounted.
    """
    states = len(next_start) - 1
    value = np.zeros(nets + states, np.uint8)
    value[1] = 1
    value[nets:] = initial
    index = np.zeros(len(out), np.int64)
    due = np.zeros(nets + states, np.int64)
    capacity = 1024
    times, keys = np.empty(capacity), np.empty(capacity, np.int64)
    loaded = np.zeros(states, np.uint8)
    # Event numbers grow; a key is number * (nets + states) + net, so that equal times keep their order.
    base = nets + states
    # Consistent start: settle everything without delay, gates being in topological order.
    for g in range(len(out)):
        index[g] = 0
    for n in range(base):
        if value[n]:
            for k in range(fan_start[n], fan_start[n + 1]):
                index[fan[k, 0]] |= 1 << fan[k, 1]
    for g in range(len(out)):
        v = table[table_start[g] + index[g]]
        n = out[g]
        if v != value[n]:
            value[n] = v
            for k in range(fan_start[n], fan_start[n + 1]):
                index[fan[k, 0]] ^= 1 << fan[k, 1]
    number = 0
    for c in range(inputs.shape[0]):
        size = 0
        number = 0
        if c > 0:
            for r in range(states):
                j = 0
                for k in range(next_start[r], next_start[r + 1]):
                    j |= np.int64(value[next_inputs[k]]) << (k - next_start[r])
                loaded[r] = next_table[next_table_start[r] + j]
            for r in range(states):
                if loaded[r] != value[nets + r]:
                    number += 1
                    due[nets + r] = number
                    size = push(times, keys, size, 0.0, number * base + nets + r)
                    if size + 8 > capacity:
                        capacity *= 2
                        times, keys = grow(times, capacity, 0.0), grow(keys, capacity, np.int64(0))
        for k in range(len(in_nets)):
            n = in_nets[k]
            if inputs[c, k] != value[n]:
                number += 1
                due[n] = number
                size = push(times, keys, size, arrival[k, 0 if inputs[c, k] else 1], number * base + n)
                if size + 8 > capacity:
                    capacity *= 2
                    times, keys = grow(times, capacity, 0.0), grow(keys, capacity, np.int64(0))
        while size > 0:
            time, key = times[0], keys[0]
            size = pop(times, keys, size)
            n = key % base
            if due[n] != key // base:
                continue
            due[n] = 0
            value[n] ^= 1
            if c >= count_from and n < nets:
                toggles[n] += 1
            f = 0 if value[n] else 1
            for k in range(fan_start[n], fan_start[n + 1]):
                g, position = fan[k, 0], fan[k, 1]
                index[g] ^= 1 << position
                o = out[g]
                if table[table_start[g] + index[g]] == value[o]:
                    due[o] = 0  # back before the change came out: the pulse is swallowed
                elif due[o] == 0:
                    number += 1
                    due[o] = number
                    e = 1 if value[o] else 0
                    size = push(times, keys, size, time + delay[input_start[g] + position, e, f], number * base + o)
                    if size + 8 > capacity:
                        capacity *= 2
                        times, keys = grow(times, capacity, 0.0), grow(keys, capacity, np.int64(0))
        for k in range(len(out_nets)):
            outputs[c, k] = value[out_nets[k]]
        if c >= count_from:
            for n in range(nets):
                ones[n] += value[n]


@njit(nogil=True, cache=True)
def grow(old, capacity, zero):  # type: ignore[no-untyped-def]
    """Return a longer copy."""
    new = np.full(capacity, zero)
    new[: len(old)] = old
    return new
