"""Loops of static timing, compiled on first use."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def interpolate(rows, data, number, x, y):  # type: ignore[no-untyped-def]
    """Return table ``number`` at (x, y), bilinear, continued linearly outside.

    rows (tables, 3): offset, n1, n2. data: index_1, index_2, values of each table.
    """
    offset, n1, n2 = rows[number, 0], rows[number, 1], rows[number, 2]
    base = offset + n1 + n2
    i, j = 0, 0
    while i < n1 - 2 and x > data[offset + i + 1]:
        i += 1
    while j < n2 - 2 and y > data[offset + n1 + j + 1]:
        j += 1
    s, t = 0.0, 0.0
    if n1 > 1:
        s = (x - data[offset + i]) / (data[offset + i + 1] - data[offset + i])
    if n2 > 1:
        t = (y - data[offset + n1 + j]) / (data[offset + n1 + j + 1] - data[offset + n1 + j])
    down, right = (n2 if n1 > 1 else 0), (1 if n2 > 1 else 0)
    k = base + i * n2 + j
    low = data[k] * (1.0 - t) + data[k + right] * t
    high = data[k + down] * (1.0 - t) + data[k + down + right] * t
    return low * (1.0 - s) + high * s


@njit(nogil=True, cache=True)
def propagate(  # type: ignore[no-untyped-def]
    order,
    cell_of,
    pins,
    template_start,
    template,
    table_rows,
    table_data,
    arc_start,
    load,
    arrival,
    transition,
    source,
    arc_pins,
    arc_delay,
):
    """Carry arrivals (nets, 2) and transitions (nets, 2) through all instances, in order.

    template (arcs, 8): input pin, output pin, causes of rise and fall (bits), delay tables, transition tables.
    source (nets, 2, 2): gets arc row and input edge of the latest arrival. arc_delay (rows, 2, 2): by output edge
    and input edge.
    """
    for n in range(len(order)):
        i = order[n]
        first = template_start[cell_of[i]]
        for a in range(first, template_start[cell_of[i] + 1]):
            start, end = pins[i, template[a, 0]], pins[i, template[a, 1]]
            row = arc_start[i] + a - first
            arc_pins[row, 0], arc_pins[row, 1] = start, end
            for e in range(2):
                delay_table, slope_table = template[a, 4 + e], template[a, 6 + e]
                if delay_table < 0:
                    continue
                for f in range(2):
                    if not template[a, 2 + e] >> f & 1 or arrival[start, f] == -np.inf:
                        continue
                    x, y = transition[start, f], load[end, e]
                    delay = interpolate(table_rows, table_data, delay_table, x, y)
                    arc_delay[row, e, f] = delay
                    if slope_table >= 0:
                        slope = interpolate(table_rows, table_data, slope_table, x, y)
                        transition[end, e] = max(transition[end, e], slope)
                    time = arrival[start, f] + delay
                    if time > arrival[end, e]:
                        arrival[end, e] = time
                        source[end, e, 0], source[end, e, 1] = row, f


@njit(nogil=True, cache=True)
def interpolate_rows(rows, data, number, x, y):  # type: ignore[no-untyped-def]
    """Return table ``number`` at each (x, y), shape (n,)."""
    out = np.empty(len(x))
    for k in range(len(x)):
        out[k] = interpolate(rows, data, number, x[k], y[k])
    return out
