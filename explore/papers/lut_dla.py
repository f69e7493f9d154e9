"""The page of LUT-DLA (HPCA 2025, arXiv 2501.10658): what can be said of it without its text, beside our model of it.

Three kinds of numbers that are not ours: read (in the abstract, or in the source of another machine), recalled (the
paper's table of comparisons as it is remembered; never a golden value) and derived from them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.explore.papers.frame import Page, Tile
from lutscape.explore.text import significant
from lutscape.hw.errors import UserError
from lutscape.hw.provenance import Grade

COMMAND = "lutscape papers lut-dla -o reports/papers/lut-dla.html"


def measure(root: Path) -> dict[str, Any]:
    """Compute every number of the page; synthesised units and accuracies are read from ``reports/lut_dla``."""
    from lutscape.explore.papers import dla_numbers as numbers
    from lutscape.explore.store import versions

    folder, found = root / "reports" / "lut_dla", versions()
    units = _stored(folder / "units.json")
    if units is None:
        raise UserError(f"{folder / 'units.json'}: not found; run reports/lut_dla/units.py, or set --root")
    data: dict[str, Any] = {
        "schema_version": 1,
        "versions": {k: found[k] for k in ("lutscape", "python", "numpy", "numba") if k in found},
        "on_chip": numbers.on_chip(),
        "operations": numbers.operations(),
        "orders": numbers.orders(),
        "swap": numbers.swap(),
        "trap": numbers.trap(),
        "stages": numbers.stages(),
        "units": units,
        "interpolated": numbers.units(),
        "fits": numbers.fits(),
        "checks": numbers.checks(units["libraries"]["nangate45"]),
        "halut": numbers.halut(),
        "decoder": _stored(folder / "decoder.json"),
        "designs": numbers.designs(),
        "metrics": numbers.metrics_at_size(),
        "search": numbers.search(),
        "accuracy": _stored(folder / "accuracy.json"),
        "quick": _stored(folder / "quick_accuracy.json"),
        "design_point": _stored(folder / "design_point.json"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(data, default=_plain))
    return plain


def page(data: dict[str, Any]) -> Page:
    """Lay the numbers out."""
    from lutscape.explore.papers import dla_machine_sections as machines
    from lutscape.explore.papers import dla_sections as sections

    best = {r["size"]: r for r in data["designs"] if r["best"]}
    large = best["Design3"]
    halut = data["halut"]
    ratio = _metric_ratios(data)
    lead = (
        "LUT-DLA replaces matrix products by table lookups: activations become indices of their nearest centroids, and "
        "a table holds every centroid's products. Neither its text beyond the abstract nor any code of its authors was "
        "available, so **no number of its tables is a target here**. This page computes what follows from the "
        "published structure: memory and time of every dataflow, units synthesised from generated Verilog, "
        "machines of the size "
        "of the paper's three, and it prints rates of all machines in multiply-accumulates per second."
    )
    tiles = [
        Tile(f"{ratio[0]:.2f} : {ratio[1]:.2f} : 1", "area of a dPE, L2 : L1 : Chebyshev (v 4, INT8, Nangate45)",
             Grade.SYNTHESISED, "reports/lut_dla/units.json"),
        Tile(f"{significant(large['gmac_s_per_mm2'], 3)} GMAC/s/mm²", "largest size at 28 nm, sums of 20 bits",
             Grade.DERIVED, "cost model of the chip, no wires"),
        Tile(f"{halut['ratio']:.2f}×", "our area of a latch-table decoder beside the public placed one", Grade.DERIVED,
             halut["source"]),
        Tile(f"{_point(data):.1f} ms", "processor time of one design point, BERT-base and ResNet-18, median",
             Grade.MEASURED, "reports/lut_dla/design_point.json"),
    ]  # fmt: skip
    body = [
        sections.evidence(), sections.dataflows(data), sections.swapping(data), machines.units(data),
        machines.decoder(data), machines.designs(data), machines.comparison(data), machines.abstract(data),
        machines.search(data), machines.accuracy(data), sections.missing(data),
    ]  # fmt: skip
    return Page(
        title="LUT-DLA",
        citation="LUT-DLA: Lookup Table as Efficient Extreme Low-Bit Deep Learning Accelerator, HPCA 2025, pp. "
        "671–684, "
        "arXiv 2501.10658",
        lead=lead,
        tiles=tiles,
        sections=body,
        command=COMMAND,
        versions=data["versions"],
    )


def _metric_ratios(data: dict[str, Any]) -> tuple[float, float]:
    rows = data["units"]["libraries"]["nangate45"]["rows"]
    at = {r["metric"]: r["area_um2"] for r in rows
          if r["kind"] == "dla_dpe" and (r["v"], r["input_bits"], r.get("stages", 1)) == (4, 8, 1)}  # fmt: skip
    return at["l2"] / at["chebyshev"], at["l1"] / at["chebyshev"]


def _point(data: dict[str, Any]) -> float:
    found = data["design_point"] or {}
    return max((float(found[n]["cpu_ms"]["median"]) for n in ("bert-base", "resnet-18") if n in found), default=np.nan)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is no JSON value")


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    return found
