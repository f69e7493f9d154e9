"""Ask CACTI: its configuration, its run, what it prints; results are kept by the hash of the question.

Settings, the same for every question: scratch RAM without tags and ECC, device class itrs-lop for cells and
periphery, 300 K, best energy x delay², conservative wires. The device class matters more than anything else here:
at 45 nm and 64 KiB, itrs-hp takes 2.2 times the energy and 22 times the leakage of itrs-lop, itrs-lstp twice the
energy and 1/840 of the leakage (``reports/memory/compare.py`` prints the spread).

Where it is valid: 22 to 90 nm (it interpolates between ITRS device tables), 64 words per bank and more (with fewer
it finds no organisation or ends on a division by zero), words of whole bytes up to 256 bits (beyond, the area of a
bank grows with the square of the width: 32 words of 2,048 bits come to 6 µm² per bit), banks in powers of two.
A configuration with lines missing makes it divide by zero, so every line is always written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from lutscape.hw.cache import cache_dir
from lutscape.hw.memories.cacti_build import Install
from lutscape.hw.memories.request import ONE, Ports

DEVICE_CLASS = "itrs-lop"
DEVICE_CLASSES = ("itrs-hp", "itrs-lop", "itrs-lstp")
TEMPERATURE_K = 300
NODE_NM = (22.0, 90.0)
WORDS = (64, 2**21)
WORD_BITS = (8, 256)
CAPACITY_BITS = (512, 2**27)
"""Of one bank: 64 bytes to 16 MiB."""
RUN_SECONDS = 60.0


class CactiFailure(Exception):
    """CACTI gave no answer; ``str`` says why in one line."""


@dataclass(frozen=True)
class Question:
    """One run.

    Attributes:
        node_nm: 22 to 90.
        words: of one bank.
        word_bits: a multiple of 8.
        ports: of each bank.
        banks: a power of two.
        device_class: of cells and periphery.
    """

    node_nm: float
    words: int
    word_bits: int
    ports: Ports = ONE
    banks: int = 1
    device_class: str = DEVICE_CLASS


@dataclass(frozen=True)
class Answer:
    """What CACTI prints, in this project's units; all banks together, one access."""

    area_um2: float
    read_pj: float
    write_pj: float
    leakage_w: float
    access_ns: float
    cycle_ns: float


def configuration(question: Question) -> str:
    """Return the text of CACTI's input file."""
    q = question
    quoted = f'"{q.device_class}"'
    lines = {
        "-size (bytes)": q.words * q.banks * q.word_bits // 8,
        "-Array Power Gating -": '"false"',
        "-WL Power Gating -": '"false"',
        "-CL Power Gating -": '"false"',
        "-Bitline floating -": '"false"',
        "-Interconnect Power Gating -": '"false"',
        "-Power Gating Performance Loss": 0.01,
        "-block size (bytes)": q.word_bits // 8,
        "-associativity": 1,
        "-read-write port": q.ports.read_write,
        "-exclusive read port": q.ports.read,
        "-exclusive write port": q.ports.write,
        "-single ended read ports": 0,
        "-UCA bank count": q.banks,
        "-technology (u)": f"{q.node_nm / 1000:.6g}",
        "-page size (bits)": 8192,
        "-burst length": 8,
        "-internal prefetch width": 8,
        "-Data array cell type -": quoted,
        "-Data array peripheral type -": quoted,
        "-Tag array cell type -": quoted,
        "-Tag array peripheral type -": quoted,
        "-output/input bus width": q.word_bits,
        "-operating temperature (K)": TEMPERATURE_K,
        "-cache type": '"ram"',
        "-tag size (b)": '"default"',
        "-access mode (normal, sequential, fast) -": '"normal"',
        "-design objective (weight delay, dynamic power, leakage power, cycle time, area)": "0:0:0:100:0",
        "-deviate (delay, dynamic power, leakage power, cycle time, area)": "20:100000:100000:100000:100000",
        "-NUCAdesign objective (weight delay, dynamic power, leakage power, cycle time, area)": "100:100:0:0:100",
        "-NUCAdeviate (delay, dynamic power, leakage power, cycle time, area)": "10:10000:10000:10000:10000",
        "-Optimize ED or ED^2 (ED, ED^2, NONE):": '"ED^2"',
        "-Cache model (NUCA, UCA)  -": '"UCA"',
        "-NUCA bank count": 0,
        "-Wire signaling (fullswing, lowswing, default) -": '"Global_30"',
        "-Wire inside mat -": '"semi-global"',
        "-Wire outside mat -": '"semi-global"',
        "-Interconnect projection -": '"conservative"',
        "-Core count": 8,
        "-Cache level (L2/L3) -": '"L3"',
        "-Add ECC -": '"false"',
        "-Print level (DETAILED, CONCISE) -": '"DETAILED"',
        "-Print input parameters -": '"true"',
        "-Force cache config -": '"false"',
        "-Ndwl": 1,
        "-Ndbl": 1,
        "-Nspd": 0,
        "-Ndcm": 1,
        "-Ndsam1": 0,
        "-Ndsam2": 0,
        # Of the DRAM interface model, which runs whether asked or not.
        "-dram_type": '"DDR3"',
        "-io state": '"WRITE"',
        "-addr_timing": 1.0,
        "-mem_density": "4 Gb",
        "-bus_freq": "800 MHz",
        "-duty_cycle": 1.0,
        "-activity_dq": 1.0,
        "-activity_ca": 0.5,
        "-num_dq": 72,
        "-num_dqs": 18,
        "-num_ca": 25,
        "-num_clk": 2,
        "-num_mem_dq": 2,
        "-mem_data_width": 8,
        "-rtt_value": 10000,
        "-ron_value": 34,
        "-tflight_value": "",
        "-num_bobs": 1,
        "-capacity": 80,
        "-num_channels_per_bob": 1,
        "-first metric": '"Cost"',
        "-second metric": '"Bandwidth"',
        "-third metric": '"Energy"',
        "-DIMM model": '"ALL"',
        "-mirror_in_bob": '"F"',
    }
    return "".join(f"{key} {value}".rstrip() + "\n" for key, value in lines.items())


_PRINTED = {
    "access": r"Access time \(ns\): *(\S+)",
    "cycle": r"Cycle time \(ns\): *(\S+)",
    "read": r"Total dynamic read energy per access \(nJ\): *(\S+)",
    "write": r"Total dynamic write energy per access \(nJ\): *(\S+)",
    "leakage": r"Total leakage power of a bank \(mW\): *(\S+)",
    "gate": r"Total gate leakage power of a bank \(mW\): *(\S+)",
    "height": r"Cache height x width \(mm\): *(\S+) x \S+",
    "width": r"Cache height x width \(mm\): *\S+ x (\S+)",
    "banks": r"Number of banks: *(\d+)",
}


def parse(text: str) -> Answer:
    """Read what CACTI printed.

    Raises:
        CactiFailure: a line is missing or is no finite number above zero.
    """
    values = {}
    for name, pattern in _PRINTED.items():
        match = re.search(pattern, text)
        if match is None:
            error = re.search(r"ERROR: *(.+)|(Invalid [^\n]+)", text)
            reason = (error[1] or error[2]).strip() if error else "its output ends early"
            raise CactiFailure(f"CACTI found no memory: {reason}")
        try:
            values[name] = float(match[1])
        except ValueError:
            raise CactiFailure(f"CACTI printed {match[0].strip()!r}") from None
        if not 0 <= values[name] < float("inf") or (values[name] == 0 and name not in ("leakage", "gate")):
            raise CactiFailure(f"CACTI printed {match[0].strip()!r}")
    return Answer(
        area_um2=values["height"] * values["width"] * 1e6,
        read_pj=values["read"] * 1e3,
        write_pj=values["write"] * 1e3,
        leakage_w=(values["leakage"] + values["gate"]) * values["banks"] * 1e-3,
        access_ns=values["access"],
        cycle_ns=values["cycle"],
    )


def ask(question: Question, install: Install, seconds: float = RUN_SECONDS) -> Answer:
    """Return CACTI's answer, from the cache if the same executable was asked the same before.

    Raises:
        CactiFailure: no organisation found, crashed, or not done in time.
    """
    text = configuration(question)
    digest = hashlib.sha256(f"{install.executable_sha256}\n{text}".encode()).hexdigest()
    kept = cache_dir() / "cacti" / "answers" / f"{digest}.json"
    try:
        return Answer(**{k: float(v) for k, v in json.loads(kept.read_text()).items()})
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    answer = parse(_run(text, install, seconds))
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}.tmp")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(asdict(answer)))
        os.replace(temporary, kept)
    except OSError:  # an answer that cannot be kept is still an answer
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return answer


def _run(text: str, install: Install, seconds: float) -> str:
    """Return what CACTI prints; it also writes a table beside its input, hence the folder."""
    with tempfile.TemporaryDirectory(prefix="lutscape-cacti-") as folder:
        infile = Path(folder) / "memory.cfg"
        infile.write_text(text)
        command = [str(install.executable.resolve()), "-infile", str(infile)]
        try:
            result = subprocess.run(
                command, cwd=install.folder, capture_output=True, text=True, check=False, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise CactiFailure(f"CACTI was not done within {seconds:g} s") from None
        except OSError as error:
            raise CactiFailure(f"{install.executable}: {error.strerror or error}") from None
    if result.returncode < 0:
        raise CactiFailure(f"CACTI ended with signal {-result.returncode}")
    return result.stdout
