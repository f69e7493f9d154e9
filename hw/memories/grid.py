"""The recorded grid of CACTI runs, interpolated: what CACTI would say, where it is not built.

Between recorded sizes every quantity is linear in the logarithms of words and word bits, between recorded nodes in
the logarithm of the node. CACTI itself jumps where another organisation becomes the best one, so off the grid the
interpolation differs from a run: over 60 sizes and 3 nodes (40, 28 and 25 nm) by 5 % (area), 6 % (read energy), 4 %
(write energy), 9 % (leakage) and 4 % (access time) on average, at worst by 29 % (``reports/memory/compare.py``).
More ports multiply each quantity by what they multiply it by at 45 nm and 64-bit words.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.memories.request import Ports

FILE = Path(__file__).with_name("cacti_grid.csv")
QUANTITIES = ("area_um2", "read_pj", "write_pj", "leakage_w", "access_ns")
_BY_TOTAL = {1: "1rw", 2: "1r1w", 3: "2r1w", 4: "3r1w", 5: "4r1w", 6: "4r2w"}
"""The recorded ports that stand for others of the same number."""

Values = NDArray[np.float64]
"""(5,) in the order of :data:`QUANTITIES`."""


def read_csv(path: Path) -> Iterable[dict[str, str]]:
    """Return the rows of a packaged table; lines that begin with # say where it comes from."""
    with path.open(newline="") as file:
        yield from csv.DictReader(line for line in file if not line.startswith("#"))


@cache
def _rows() -> dict[tuple[float, str], dict[tuple[int, int], Values]]:
    """(node, ports) -> (words, word bits) -> logarithms of the quantities."""
    table: dict[tuple[float, str], dict[tuple[int, int], Values]] = {}
    for row in read_csv(FILE):
        values = np.log([float(row[name]) for name in QUANTITIES])
        table.setdefault((float(row["node_nm"]), row["ports"]), {})[int(row["words"]), int(row["word_bits"])] = values
    return table


def nodes() -> list[float]:
    """Return the recorded nodes in nm, ascending."""
    return sorted({node for node, _ in _rows()})


def bracket(axis: Sequence[float], x: float) -> tuple[int, float]:
    """Return index i and share t with x = axis[i] + t (axis[i+1] - axis[i]); beyond the ends, the end interval's."""
    i = min(max(bisect_right(axis, x) - 1, 0), len(axis) - 2)
    return i, (x - axis[i]) / (axis[i + 1] - axis[i])


def _at_node(node: float, words: int, word_bits: float) -> Values:
    rows = _rows()[node, "1rw"]
    bits_axis = sorted({b for _, b in rows})
    j, u = bracket(np.log(bits_axis).tolist(), float(np.log(word_bits)))

    def along_words(bits: int) -> Values:
        axis = sorted(w for w, b in rows if b == bits)
        i, t = bracket(np.log(axis).tolist(), float(np.log(words)))
        return (1 - t) * rows[axis[i], bits] + t * rows[axis[i + 1], bits]

    result: Values = (1 - u) * along_words(bits_axis[j]) + u * along_words(bits_axis[j + 1])
    return result


def port_factors(words: int, ports: Ports) -> Values:
    """Return what more ports than one multiply the quantities by, order of :data:`QUANTITIES`."""
    return np.exp(_log_port_factors(words, ports))


def _log_port_factors(words: int, ports: Ports) -> Values:
    table = _rows()
    label = str(ports) if (45.0, str(ports)) in table else _BY_TOTAL[ports.total]
    if label == "1rw":
        return np.zeros(len(QUANTITIES))
    more, one = table[45.0, label], table[45.0, "1rw"]
    axis = sorted(w for w, _ in more)
    i, t = bracket(np.log(axis).tolist(), float(np.log(min(max(words, axis[0]), axis[-1]))))
    low, high = ((more[w, 64] - one[w, 64]) for w in (axis[i], axis[i + 1]))
    result: Values = (1 - t) * low + t * high
    return result


def interpolate(node_nm: float, words: int, word_bits: float, ports: Ports) -> Values:
    """Return the quantities of one bank, order of :data:`QUANTITIES`.

    Args:
        node_nm: between the recorded nodes (22 to 90).
        words: of the bank.
        word_bits: 8 to 256.
        ports: of the bank.
    """
    axis = nodes()
    i, t = bracket(np.log(axis).tolist(), float(np.log(node_nm)))
    logs = (1 - t) * _at_node(axis[i], words, word_bits)
    if t:
        logs = logs + t * _at_node(axis[i + 1], words, word_bits)
    return np.exp(logs + _log_port_factors(words, ports))
