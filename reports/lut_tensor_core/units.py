"""Synthesise the integer units of figures 11 and 14 of LUT Tensor Core; store areas in ``units.json``.

python reports/lut_tensor_core/units.py        # Nangate45, 2 ns; a minute per array at first, then cached
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from lutscape.explore.papers import lut_units
from lutscape.explore.rtl_compare import Library

HERE = Path(__file__).parent


def main() -> None:
    """Synthesise elements, then arrays; write after each."""
    library = Library("Nangate45", "45 nm", ("nangate45",), 2000.0)
    rows = []
    for datapath in ("lut", "lut-full", "add", "mac"):
        for k in lut_units.ELEMENT_K:
            rows.append(lut_units.pe(datapath, k, library))
    for k in lut_units.ELEMENT_K:  # tables that hold every sum
        rows.append(lut_units.pe("lut", k, library, table_bits=8 + (k - 1).bit_length() + 1))
    for format_ in ("fp16", "e4m3"):
        rows += [lut_units.floating(format_, products, library) for products in (1, 4)]
    _write(rows)
    for name, m, n, k in lut_units.TILES:
        rows.append(lut_units.tile(name, m, n, k, library))
        print(f"{name} m{m}n{n}k{k}: {rows[-1]['area_um2']:.0f} um2", flush=True)
        _write(rows)


def _write(rows: list[dict[str, object]]) -> None:
    path = HERE / "units.json"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"schema_version": 1, "rows": rows}, indent=1) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
