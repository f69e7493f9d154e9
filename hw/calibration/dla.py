"""What the parts of LUT-DLA cost: fitted to synthesised distance elements, centroid buffers and lookup lanes.

``nangate45/`` and ``asap7/`` hold what ``reports/lut_dla/calibrate.py`` wrote: ``dla_designs.csv``, every synthesised
design, and ``dla_coefficients.csv``, fitted to them. Symbols: v values of b bits, D bits of a distance, i of an index.
Energy is of one operation: one sub-vector through one distance element whose centroid stays, one entry added by a lane,
one cycle of a FIFO word; glitches are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from lutscape.hw.calibration import price, tables
from lutscape.hw.calibration.tables import Coefficients, Floats, Library
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook
from lutscape.hw.technology import Technology

Price = price.Price

FEATURES: dict[str, dict[str, str]] = {
    # kind of design -> count -> what one unit of it is
    "dpe l2": {
        "difference": "bit of a difference and its magnitude (v b)",
        "square": "bit of a folded square's partial products (v b (b + 1) / 2)",
        "sum": "adder bit of the sum of squares ((v - 1) D)",
        "compare": "bit that is compared and chosen (D + i)",
        "register": "register bit (v b + D + i + 1)",
    },
    "dpe l1": {
        "difference": "bit of a difference and its one's complement (v b)",
        "sum": "adder bit of the sum of magnitudes ((v - 1) D)",
        "compare": "bit that is compared and chosen (D + i)",
        "register": "register bit (v b + D + i + 1)",
    },
    "dpe chebyshev": {
        "difference": "bit of a difference and its magnitude (v b)",
        "greatest": "bit of a maximum of two ((v - 1) b)",
        "compare": "bit that is compared and chosen (D + i)",
        "register": "register bit (v b + D + i + 1)",
    },
    "codebook": {"bit": "register bit of a centroid (c v b)", "centroid": "write enable of a centroid (c)"},
    "lane": {"add": "adder bit that a table entry reaches (entry bits)",
             "count": "adder bit above it (sum bits - entry bits)",
             "register": "register bit (sum bits)"},
}  # fmt: skip
LIMITS = {"v": (1, 16), "input_bits": (4, 16)}
"""Parameters that were synthesised; beyond them costs are extrapolated and graded so."""


def of_dpe(book: Codebook) -> dict[str, float]:
    """Return the counts of one distance element."""
    v, b, far, index = book.v, book.input_bits, book.distance_bits, book.index_bits
    found: dict[str, float] = {
        "difference": v * b,
        "compare": far + index,
        "register": v * b + far + index + 1,
    }
    if book.metric == "l2":
        found["square"] = v * b * (b + 1) / 2
    if book.metric == "chebyshev":
        found["greatest"] = (v - 1) * b
    else:
        found["sum"] = (v - 1) * far
    return found


def of_codebook(book: Codebook) -> dict[str, float]:
    """Return the counts of the registers of one codebook."""
    return {"bit": book.c * book.v * book.input_bits, "centroid": book.c}


def of_lane(entry_bits: int, sum_bits: int) -> dict[str, float]:
    """Return the counts of one lane: the adder of an entry to a sum, and a register of the sum."""
    return {"add": entry_bits, "count": max(0, sum_bits - entry_bits), "register": sum_bits}


def dpe_price(book: Codebook, node: Technology) -> Price:
    """Return the cost of one distance element with its registers; energy of one sub-vector."""
    beyond = [
        f"{name} = {getattr(book, name)} beyond the synthesised {low} … {high}"
        for name, (low, high) in LIMITS.items()
        if not low <= getattr(book, name) <= high
    ]
    return _price(f"dpe {book.metric}", of_dpe(book), node, beyond)


def codebook_price(book: Codebook, node: Technology) -> Price:
    """Return the cost of the registers of one codebook, once; energy of a cycle in which a centroid is written."""
    return _price("codebook", of_codebook(book), node, [])


def lane_price(entry_bits: int, sum_bits: int, node: Technology) -> Price:
    """Return the cost of one lane of a module, memories apart; energy of one entry added."""
    return _price("lane", of_lane(entry_bits, sum_bits), node, [])


def dpe_period_ps(book: Codebook, node: Technology) -> float:
    """Return the shortest clock period of a distance element of one stage, ps, as its smallest netlists reach it.

    A power of the bits and of v, fitted to the synthesised elements (4 to 11 % off, 34 % at worst); between two
    libraries linear in logarithms of feature size, each at its own supply (1.1 V and 0.7 V). Synthesis with timing
    pressure goes below.
    """
    known = price.around(node)
    ends = [_period(library.name, book.metric) @ _powers(book.v, book.input_bits) for library in known]
    if len(known) == 1:
        return float(np.exp(ends[0]))
    low, high = (library.node_nm for library in known)
    share = np.log(node.node_nm / low) / np.log(high / low)
    return float(np.exp((1 - share) * ends[0] + share * ends[1]))


@lru_cache(maxsize=64)
def _period(library: str, metric: str) -> Floats:
    rows = [r for r in tables.read(tables.find(library) / "dla_designs.csv") if r["kind"] == f"dpe {metric}"]
    shapes = [(int(r["v"]), int(r["input_bits"])) for r in rows]
    measured = np.log([float(r["min_period_ps"]) for r in rows])
    found: Floats = np.linalg.lstsq(np.stack([_powers(*shape) for shape in shapes]), measured, rcond=None)[0]
    return found


def _powers(v: int, bits: int) -> Floats:
    return np.array([1.0, np.log2(v), np.log2(bits)])


def _price(kind: str, counts: Mapping[str, float], node: Technology, beyond: list[str]) -> Price:
    known = tuple(_with_parts(library) for library in price.around(node))
    return price.of_counts(kind, counts, node, known, beyond)


@lru_cache(maxsize=16)
def coefficients(library: str) -> dict[str, Coefficients]:
    """Return the coefficients of one calibrated library by kind of design.

    Raises:
        UserError: missing or damaged tables.
    """
    folder = tables.find(library)
    path = folder / "dla_coefficients.csv"
    if not path.is_file():
        raise UserError(
            f"{path}: the library {library} has no synthesised parts of LUT-DLA; write them with: "
            f"python reports/lut_dla/calibrate.py --name {library}"
        )
    rows = tables.read(path)
    found = {}
    try:
        for kind in dict.fromkeys(row["kind"] for row in rows):
            mine = [row for row in rows if row["kind"] == kind]
            values = np.array([[float(row[q]) for q in tables.QUANTITIES] for row in mine])
            error = np.array([[float(mine[0][f"{e}_{q}"]) for q in tables.QUANTITIES] for e in ("rms", "worst")])
            found[kind] = Coefficients(tuple(row["count"] for row in mine), values, error[0], error[1])
    except (KeyError, ValueError, IndexError) as error_:
        raise UserError(f"{path}: damaged calibration table ({type(error_).__name__}: {error_})") from None
    return found


def _with_parts(library: Library) -> Library:
    return replace(library, coefficients=coefficients(library.name))
