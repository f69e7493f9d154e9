"""The page of ROMA (arXiv 2503.12988) and its peers: weights in read-only memory, published beside ours.

Three kinds of numbers are kept apart: constants that were fitted to a published number and meet it by construction;
published numbers that the model was not fitted to; and what only we compute.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from lutscape.explore.papers import roma_published as published
from lutscape.explore.papers.frame import Page, Tile
from lutscape.hw.errors import UserError
from lutscape.hw.provenance import Grade

COMMAND = "lutscape papers roma -o reports/papers/roma.html"
CONTEXTS = (0, 128, 256, 512, 1024, 1536, 2048, 3072, 4096)


def measure(root: Path) -> dict[str, Any]:
    """Compute every number of the page; what was measured in long runs is read from ``reports/roma``."""
    from lutscape.explore.papers import roma_numbers as numbers
    from lutscape.explore.store import versions

    folder, found = root / "reports" / "roma", versions()
    if not (root / "reports").is_dir():
        raise UserError(f"{root}: no checkout of lutscape (no folder reports); set --root")
    data: dict[str, Any] = {
        "schema_version": 1,
        "versions": {k: found[k] for k in ("lutscape", "python", "numpy") if k in found},
        "closing": numbers.closing(),
        "l_unit": numbers.l_units(),
        "area": numbers.area(),
        "density": numbers.density(),
        "sram": numbers.sram(),
        "fits": numbers.fits(),
        "readings": numbers.readings(),
        "curve": numbers.curve(CONTEXTS),
        "power": numbers.power(),
        "peers": numbers.peers(),
        "gpu": numbers.against_gpu(),
        "yield": numbers.yields(),
        "masks": numbers.masks(),
        "accuracy": _stored(folder / "accuracy.json"),
        "faults": _stored(folder / "faults.json"),
        "brom": _stored(folder / "brom.json"),
        "golden": _stored(folder / "golden.json"),
    }
    plain: dict[str, Any] = json.loads(json.dumps(data))
    return plain


def _stored(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    return found


def page(data: dict[str, Any]) -> Page:
    """Lay the numbers out."""
    from lutscape.explore.papers import roma_measured as measured
    from lutscape.explore.papers import roma_sections as sections
    from lutscape.explore.papers import roma_tools as tools

    total = math.fsum(data["area"]["components"].values())
    outside = [r for r in data["fits"]["rows"] if not r["fitted"]]
    worst = max(outside, key=lambda r: abs(r["published_s"] / r["model_s"] - 1))
    best = next(r for r in data["readings"] if "read anew" in r["what"] and "8B" in r["what"])
    chip = next(r for r in data["power"]["rows"] if r["context"] == 0)
    gpu = next(r for r in data["gpu"]["rows"] if r["context"] == 1024)
    lead = (
        f"A set of parameters that the digests imply (16,384 L-Units of 3,328 words x 274 bits) closes: "
        f"{data['closing']['rom_gb']:.4f} GB of ROM, {total:.1f} mm² of die against {published.DIE_MM2}, and the SRAM "
        f"table to the token. Four constants of time are fitted to four published times and meet them by construction. "
        f"The other four, a table of decode rates, are missed: the model is "
        f"{worst['published_s'] / worst['model_s']:.1f} times as fast at {worst['tokens']} tokens of context. As "
        f"one workload they contradict the fitted pair, and no constants meet both; read as another model whose query "
        f"heads share no keys they come within {best['mean_error']:.0%} on average. Power from activity comes to "
        f"{chip['watts']:.1f} W at full rate against {published.DIE_W} W."
    )
    tiles = [
        Tile(f"{total:.1f} mm²", f"die; paper {published.DIE_MM2}", Grade.DERIVED, "closes: the split enters"),
        Tile("736 · 3808 · 0", "tokens at 64/r16, 256/r16, 64/r64 MB; the paper's", Grade.DERIVED, "exact"),
        Tile(f"{chip['watts']:.1f} W", f"from activity; paper {published.DIE_W} W", Grade.ASSUMED, "not fitted to it"),
        Tile(f"{1e3 * gpu['joules']:.2f} mJ", f"a token of 3B at 1K; H100 {gpu['gpu_joules']:.2f} J", Grade.ASSUMED,
             data["gpu"]["source"]),
    ]  # fmt: skip
    found = [
        sections.numbers(data), sections.conflicts(), sections.closing(data), sections.area(data), sections.sram(data),
        sections.times(data), sections.power(data), sections.density(data), tools.peers(data), tools.gpu(data),
        tools.masks_and_yield(data), measured.block_rom(data), measured.bits(data), measured.accuracy(data),
        tools.questions(),
    ]  # fmt: skip
    return Page(
        title="ROMA and weights in ROM",
        citation=f"“ROMA: a Read-Only-Memory-based Accelerator for QLoRA-based On-Device LLM”, ASP-DAC 2026, "
        f"{published.PAPER}; read through digests, not the paper's own text.",
        lead=lead,
        tiles=tiles,
        sections=found,
        command=COMMAND,
        versions=data["versions"],
    )
