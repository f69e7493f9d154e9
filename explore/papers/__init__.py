"""Paper pages: what was published beside what lutscape computes, written again by a command.

A page module has two functions: ``measure(root)`` computes every number into plain data that JSON can
hold, and ``page(data)`` lays them out as a :class:`lutscape.explore.papers.frame.Page`. ``root`` is a
checkout of lutscape, for what hardware and long runs left there.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

from lutscape.hw.errors import UserError, nearest

PAPERS = {
    "lut-dla": ("lutscape.explore.papers.lut_dla", "LUT-DLA (HPCA 2025, arXiv 2501.10658)."),
    "lut-tensor-core": ("lutscape.explore.papers.lut_tensor_core", "LUT Tensor Core (ISCA 2025, arXiv 2408.06003v3)."),
    "mma-sim": ("lutscape.explore.papers.mma_sim", "Bit-accurate models of GPU matrix units (arXiv 2511.10909v2)."),
    "roma": ("lutscape.explore.papers.roma", "ROMA (ASP-DAC 2026, arXiv 2503.12988) and peers: weights in ROM."),
}
"""Name: module and one line."""


def write(name: str, output: Path, root: Path) -> Path:
    """Compute a paper's numbers and write its page, and the numbers beside it as JSON.

    Args:
        name: one of :data:`PAPERS`.
        output: of the page; the JSON takes its name with ``.json``.
        root: checkout of lutscape.

    Raises:
        UserError: unknown paper, not a checkout, or a file that cannot be written.
    """
    module = _module(name)
    data = module.measure(root)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        output.write_text(render(name, data), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{output}: cannot write: {error.strerror}") from None
    return output


def render(name: str, data: dict[str, Any]) -> str:
    """Return the page of numbers that :func:`write` stored."""
    from lutscape.explore.papers import frame

    return frame.render(_module(name).page(data))


def _module(name: str) -> Any:
    if name not in PAPERS:
        raise UserError(f"unknown paper {name!r}{nearest(name, PAPERS)}; one of: {', '.join(PAPERS)}")
    return importlib.import_module(PAPERS[name][0])
