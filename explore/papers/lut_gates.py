"""Unit costs of LUT Tensor Core's figures 11 to 14: gate counts, calibrated on synthesised units of 45 nm.

A lookup element selects one of 2^(K-1) table entries, flips its sign and adds it to a sum. Integer elements of K = 2
to 6 are synthesised; two factors, for selection and for addition, fit gate counts (:mod:`lutscape.hw.gates`) to them.
Floating point has no generated lookup arrays: an FP adder is the synthesised fused dot-product unit of one product
without its product block, an FP multiply-accumulate the whole unit (rtl/cells/fused_dot, FP16 sums). Grade: derived.

Area of an array of m x n elements of K weights, at W-bit weights in ``W`` passes (per product and cycle: times W):

    lookup     m n (select(K, t) + add + sum register) + m 2^(K-1) t flip-flops (tables) + n K flip-flops (weights)
    ADD        m n (K adds + sum register) + m K a + n K flip-flops
    MAC        m n (K-term dot product of a x a bits + sum register) + (m + n) K a flip-flops, one pass

Power counts switched area: flip-flops of a table change once per W passes, everything else every cycle (assumed).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lutscape.hw import gates

GE = gates.NAND2_UM2
FF = gates.FLIP_FLOP * GE
ACTIVATIONS = {"FP16": 16, "INT16": 16, "FP8": 8, "INT8": 8}
"""Format: bits of an activation, and of a table entry."""
SUM_BITS = {"FP16": 16, "INT16": 32, "FP8": 16, "INT8": 16}
WEIGHTS = (1, 2, 4)
PRODUCTS = 512


class Costs:
    """Calibrated areas in µm² at 45 nm.

    Attributes:
        select, add: factors on the gate counts of selection and of integer addition.
        fp_add: of one floating-point addition into a sum, by format.
        fp_dot: of one dot product of 1 and of 4 products, by format.
        integer_dot: µm² of one more INT8 x INT8 product in a dot product, median over the synthesised elements.
        element: µm² of a synthesised INT8 lookup element of K = 4 with its sum register.
        error: largest relative error of the fit.
    """

    def __init__(self, units: list[dict[str, Any]]) -> None:
        """Fit to the rows of ``units.json``."""
        rows = [u for u in units if u["unit"] == "element" and u["datapath"] == "lut"]
        a = np.array([[_select(u["k"], u["table_bits"]), 16 * gates.FULL_ADDER * GE] for u in rows])
        y = np.array([u["area_um2"] for u in rows])
        (self.select, self.add), *_ = np.linalg.lstsq(a, y, rcond=None)
        self.error = float(np.abs(a @ [self.select, self.add] / y - 1).max())
        four = next(u for u in rows if u["k"] == 4 and u["table_bits"] == 8)
        self.element = four["area_um2"] + SUM_BITS["INT8"] * FF
        floats = {(u["format"], u["products"]): u for u in units if u["unit"] == "float"}
        name = {"FP16": "fp16", "FP8": "e4m3"}
        self.fp_add = {
            f: floats[n, 1]["area_um2"] * (1 - floats[n, 1]["product_share"]) for f, n in name.items()
        }  # fmt: skip
        self.fp_dot = {f: {p: floats[n, p]["area_um2"] for p in (1, 4) if (n, p) in floats} for f, n in name.items()}
        mac = {u["k"]: u["area_um2"] for u in units if u["unit"] == "element" and u["datapath"] == "mac"}
        self.integer_dot = float(np.median(np.diff([mac[k] for k in sorted(mac)])))
        adds = {u["k"]: u["area_um2"] for u in units if u["unit"] == "element" and u["datapath"] == "add"}
        self.integer_add = (adds[max(adds)] - adds[min(adds)]) / (max(adds) - min(adds))

    def summed(self, format_: str) -> float:
        """Area of adding one term to a sum."""
        if format_ in self.fp_add:
            return self.fp_add[format_]
        return SUM_BITS[format_] * gates.FULL_ADDER * GE * float(self.add)

    def lookup(self, format_: str, k: int) -> float:
        """Area of a lookup element with its sum register; floats flip one sign bit."""
        return self.select_one(format_, k) + self.summed(format_) + SUM_BITS[format_] * FF

    def select_one(self, format_: str, k: int) -> float:
        """Area of selecting one entry and flipping its sign."""
        bits = ACTIVATIONS[format_]
        flipped = 1 if format_.startswith("FP") else bits
        count = bits * (2 ** (k - 1) - 1) * gates.MUX2 + flipped * gates.XOR2
        return count * GE * float(self.select)

    def adds(self, format_: str, k: int) -> float:
        """Area of an element that adds k signed activations."""
        each = self.fp_add[format_] if format_ in self.fp_add else self.integer_add * ACTIVATIONS[format_] / 8
        return k * each + SUM_BITS[format_] * FF

    def mac(self, format_: str, k: int) -> float:
        """Area of an element that multiplies k activations by weights of the same format."""
        if format_ in self.fp_dot:
            dot = self.fp_dot[format_]
            one, four = dot[1], dot.get(4, 4 * dot[1])
            area = one + (four - one) / 3 * (k - 1)
        else:
            area = self.integer_dot * k * (ACTIVATIONS[format_] / 8) ** 2 + self.summed(format_)
        return area + SUM_BITS[format_] * FF


def _select(k: int, bits: int) -> float:
    return bits * ((2 ** (k - 1) - 1) * gates.MUX2 + gates.XOR2) * GE


def k_optimum(costs: Costs) -> dict[str, list[dict[str, float]]]:
    """Return products per µm² of one element at W1 by K (figure 11; tables outside), relative to the best."""
    found: dict[str, list[dict[str, float]]] = {}
    for format_ in ACTIVATIONS:
        density = {k: k / costs.lookup(format_, k) for k in range(2, 8)}
        best = max(density.values())
        found[format_] = [{"k": k, "density": d / best, "area_um2": k / d} for k, d in density.items()]
    return found


def shapes(products: int = PRODUCTS) -> list[tuple[int, int, int]]:
    """Return every m, n, k with m n k = products, powers of two, K from 2 to 8."""
    return [
        (m, products // (m * k), k)
        for k in (2, 4, 8)
        for m in (1, 2, 4, 8, 16, 32, 64, 128)
        if products // (m * k) >= 1
    ]


def array(costs: Costs, kind: str, format_: str, weight_bits: int, shape: tuple[int, int, int]) -> dict[str, float]:
    """Return µm² and switched µm² of an array, each per 512 products and cycle (times the passes it takes)."""
    m, n, k = shape
    a = ACTIVATIONS[format_]
    if kind == "lut":
        elements, tables, weights = m * n * costs.lookup(format_, k), m * 2 ** (k - 1) * a * FF, n * k * FF
        area, power = elements + tables + weights, elements + tables / weight_bits + weights
    elif kind == "lut-full":
        select = costs.select_one(format_, k + 1) + costs.summed(format_) + SUM_BITS[format_] * FF
        elements, tables, weights = m * n * select, m * 2**k * a * FF, n * k * FF
        area, power = elements + tables + weights, elements + tables / weight_bits + weights
    elif kind == "add":
        area = m * n * costs.adds(format_, k) + (m * k * a + n * k) * FF
        power = area
    else:
        area = m * n * costs.mac(format_, k) + (m + n) * k * a * FF
        return {"area": area, "power": area}
    return {"area": area * weight_bits, "power": power * weight_bits}


def panels(costs: Costs) -> list[dict[str, Any]]:
    """Return the twelve panels of figure 14: the best shape of each kind by area x power, lookup ranked."""
    rows = []
    for format_ in ACTIVATIONS:
        for bits in WEIGHTS:
            row: dict[str, Any] = {"activation": format_, "weight_bits": bits}
            for kind in ("lut", "lut-full", "add", "mac"):
                found = {s: array(costs, kind, format_, bits, s) for s in shapes()}
                order = sorted(found, key=lambda s: found[s]["area"] * found[s]["power"])
                best = found[order[0]]
                row[kind] = {"shape": order[0], **best}
                if kind == "lut":
                    product = best["area"] * best["power"]
                    row["ranking"] = [
                        {"shape": s, "excess": found[s]["area"] * found[s]["power"] / product} for s in order[:6]
                    ]
                    paper = found[2, 64, 4]
                    row["m2n64k4_excess"] = paper["area"] * paper["power"] / product
            row["area_gain"] = row["mac"]["area"] / row["lut"]["area"]
            row["power_gain"] = row["mac"]["power"] / row["lut"]["power"]
            rows.append(row)
    return rows


def dot_products(costs: Costs) -> list[dict[str, Any]]:
    """Return DP4 units of figure 13: area per product and cycle by weight bits, FP16 activations, N = 4 columns."""
    rows = []
    shape = (1, 4, 4)
    for bits in range(1, 9):
        found = {kind: array(costs, kind, "FP16", bits, shape)["area"] for kind in ("lut", "lut-full", "add", "mac")}
        rows.append({"weight_bits": bits, **{k: v / found["mac"] for k, v in found.items()}})
    return rows


def dp4(costs: Costs) -> dict[str, float]:
    """Return µm² at 45 nm of one DP4 (figure 12): FP16 multipliers, W1 lookup with FP16 and with INT8 tables.

    Sums of 16 bits, and of 24 beside the INT8 tables; tables outside, as the published 130 µm² must have them.
    """
    wider = 8 * (gates.FULL_ADDER * float(costs.add) + gates.FLIP_FLOP) * GE
    return {
        "mac": costs.mac("FP16", 4), "lut": costs.lookup("FP16", 4), "lut_int8": costs.element,
        "lut_int8_24": costs.element + wider, "fp16_add": costs.fp_add["FP16"],
    }  # fmt: skip


def check(costs: Costs, units: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return every synthesised array beside the calibrated count: how far the counts carry."""
    rows = []
    for u in units:
        if u["unit"] != "array" or u["datapath"] not in ("lut", "add", "mac"):
            continue
        shape = (u["m"], u["n"], u["k"])
        counted = array(costs, u["datapath"], "INT8", 1, shape)["area"]
        rows.append({"datapath": u["datapath"], "shape": shape, "synthesised": u["area_um2"], "counted": counted})
    return rows
