"""Synthesise the ladder of LUT Tensor Core's Table 2 and store area and power of every step.

    python reports/lut_tensor_core/ladder.py                                   # Nangate45
    python reports/lut_tensor_core/ladder.py --liberty A.lib.gz,B.lib.gz --node "7 nm" --period 1000 \
        --driving-cell BUFx2_ASAP7_75t_R --load 3.898

One M2N64K4 unit takes minutes at first; later runs come from the cache. Numbers of a library replace those stored
for it in ``ladder.json``.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from lutscape.explore.papers import lut_ladder
from lutscape.explore.rtl_compare import Library

HERE = Path(__file__).parent


def main() -> None:
    """Measure the steps that are asked for and write the JSON after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--liberty", default="nangate45")
    parser.add_argument("--name", default="Nangate45")
    parser.add_argument("--node", default="45 nm")
    parser.add_argument("--period", type=float, default=2000.0, help="ps")
    parser.add_argument("--driving-cell")
    parser.add_argument("--load", type=float, help="fF")
    parser.add_argument("--steps", default=",".join(lut_ladder.STEPS))
    options = parser.parse_args()
    library = Library(
        options.name, options.node, tuple(options.liberty.split(",")), options.period, options.driving_cell,
        options.load,
    )  # fmt: skip
    path = HERE / "ladder.json"
    for step in options.steps.split(","):
        row = lut_ladder.measured(step, library)
        print(f"{options.name} {step}: {row['area_um2']:.1f} um2, {row['total_w'] * 1e3:.3f} mW", flush=True)
        stored = json.loads(path.read_text()) if path.exists() else {"schema_version": 1, "rows": []}
        others = [r for r in stored["rows"] if (r["library_name"], r["step"]) != (options.name, step)]
        order = list(lut_ladder.STEPS)
        rows = sorted([*others, row], key=lambda r: (r["library_name"] != "Nangate45", order.index(r["step"])))
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"schema_version": 1, "rows": rows}, indent=1) + "\n")
        os.replace(temporary, path)


if __name__ == "__main__":
    main()
