"""Record a grid of CACTI runs into ``hw/memories/cacti_grid.csv``, which answers where CACTI is not built.

Run: ``lutscape rtl memory build-cacti; python reports/memory/record.py`` (three minutes on one core).
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

from lutscape.hw.errors import UserError
from lutscape.hw.memories import cacti, cacti_build
from lutscape.hw.memories.request import Ports

TARGET = Path(__file__).resolve().parents[2] / "hw" / "memories" / "cacti_grid.csv"
NODES_NM = (90, 65, 45, 32, 28, 22)
WORDS = tuple(2**i for i in range(6, 22))
WORD_BITS = (8, 16, 32, 64, 128, 256)
PORT_WORDS = (64, 1024, 8192, 65536)
"""Multi-ported runs: 64-bit words at 45 nm."""
PORTS = (Ports(1, 0, 0), Ports(0, 1, 1), Ports(2, 0, 0), Ports(0, 2, 1), Ports(0, 3, 1), Ports(0, 4, 1), Ports(0, 4, 2))
COLUMNS = ("node_nm", "words", "word_bits", "ports", "area_um2", "read_pj", "write_pj", "leakage_w", "access_ns")


def questions() -> Iterator[cacti.Question]:
    for node in NODES_NM:
        for words in WORDS:
            for bits in WORD_BITS:
                if words * bits <= cacti.CAPACITY_BITS[1]:
                    yield cacti.Question(node, words, bits)
    for words in PORT_WORDS:
        for ports in PORTS[1:]:
            yield cacti.Question(45, words, 64, ports)


def main() -> None:
    install = cacti_build.find()
    if install is None:
        raise UserError("CACTI is not built; run: lutscape rtl memory build-cacti")
    out = io.StringIO()
    settings = cacti.configuration(cacti.Question(45, 64, 64)).count("\n")
    out.write(
        f"# Runs of CACTI 7.0 ({cacti_build.PACKAGE} {cacti_build.VERSION}, wheel sha256 {cacti_build.WHEEL_SHA256}),\n"
        f"# {cacti.DEVICE_CLASS}, {cacti.TEMPERATURE_K} K, one bank, {settings} settings as in hw/memories/cacti.py; "
        "energies of one access.\n# Written by reports/memory/record.py.\n"
    )
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    failed = 0
    for q in questions():
        try:
            a = cacti.ask(q, install)
        except cacti.CactiFailure as failure:
            failed += 1
            print(f"{q.node_nm:g} nm {q.words} x {q.word_bits} {q.ports}: {failure}")
            continue
        numbers = (a.area_um2, a.read_pj, a.write_pj, a.leakage_w, a.access_ns)
        writer.writerow([f"{q.node_nm:g}", q.words, q.word_bits, q.ports, *(f"{v:.5g}" for v in numbers)])
    temporary = TARGET.with_name(f".{TARGET.name}.tmp")
    temporary.write_text(out.getvalue())
    os.replace(temporary, TARGET)
    print(f"{TARGET.name}: {out.getvalue().count(chr(10)) - 4} runs, {failed} without an answer")


if __name__ == "__main__":
    main()
