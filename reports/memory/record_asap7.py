"""Record the sizes of the ASAP7 SRAM macros in a ``hammer-vlsi`` wheel into ``hw/memories/asap7_macros.csv``.

Run: ``pip download --no-deps hammer-vlsi==1.2.0; python reports/memory/record_asap7.py hammer_vlsi-1.2.0-*.whl``

The LEF files are drawn four times as large as the process, so lengths are divided by 4. Times are the clock-to-output
delays of the .lib files at their middle slew and load (40 ps, 5.76 fF), slow (0.63 V, 100 C) and fast (0.77 V, 0 C).
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import zipfile
from pathlib import Path

WHEEL_SHA256 = "7c237557d2a7c5f403474e54f9e5498758c71c24844e524a02656ac16369196d"
TARGET = Path(__file__).resolve().parents[2] / "hw" / "memories" / "asap7_macros.csv"
FOLDER = "hammer/technology/asap7/sram_compiler/memories"
SCALE = 4.0


def middle_delay(text: str) -> float:
    """Return the clock-to-output delay at the middle of its 7 x 7 table, ps."""
    match = re.search(r"cell_rise \(delay_template_7x7\) \{.*?values \((.*?)\)", text, re.DOTALL)
    if match is None:
        sys.exit("no cell_rise table")
    return [float(number) for number in re.findall(r"[\d.]+", match[1])][24]


def main() -> None:
    if len(sys.argv) != 2 or hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest() != WHEEL_SHA256:
        sys.exit(__doc__)
    lines = [
        "# SRAM macros of the ASAP7 predictive 7 nm kit in PyPI hammer-vlsi 1.2.0 (BSD-3-Clause, Copyright 2017-2019",
        f"# The Regents of the University of California; wheel sha256 {WHEEL_SHA256}).",
        "# Sizes from the LEF files divided by 4. Written by reports/memory/record_asap7.py.",
        "ports,words,word_bits,width_um,height_um,slow_ps,fast_ps",
    ]
    rows = []
    with zipfile.ZipFile(sys.argv[1]) as wheel:
        for name in wheel.namelist():
            match = re.fullmatch(FOLDER + r"/lef/SRAM(\d)RW(\d+)x(\d+)_x4\.lef", name)
            if match is None:
                continue
            ports, words, bits = map(int, match.groups())
            size = re.search(r"SIZE ([\d.]+) BY ([\d.]+)", wheel.read(name).decode())
            if size is None:
                sys.exit(f"{name}: no SIZE")
            macro = f"SRAM{ports}RW{words}x{bits}"
            delays = [
                middle_delay(wheel.read(f"{FOLDER}/lib/{macro}_lib/{macro}_PVT_{corner}.lib").decode())
                for corner in ("0P63V_100C", "0P77V_0C")
            ]
            width, height = (float(length) / SCALE for length in size.groups())
            rows.append((ports, words, bits, width, height, *delays))
    lines += [f"{p}rw,{w},{b},{x:.4f},{y:.4f},{slow:.2f},{fast:.2f}" for p, w, b, x, y, slow, fast in sorted(rows)]
    temporary = TARGET.with_name(f".{TARGET.name}.tmp")
    temporary.write_text("\n".join(lines) + "\n")
    os.replace(temporary, TARGET)
    print(f"{TARGET.name}: {len(rows)} macros")


if __name__ == "__main__":
    main()
