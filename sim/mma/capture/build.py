"""Compile the harness with nvcc for the local GPU and run it; every failure is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from lutscape.hw.errors import UserError, nearest

# Compute capabilities that the harness is compiled for in tests; captures exist for sm_90 only.
ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100", "sm_120")
_ELSEWHERE = "or use --emit DIR and run it on another machine"


def capability(arch: str) -> int:
    """Return 90 for ``sm_90`` (also ``sm_90a``); raise UserError where no harness exists."""
    name = arch.removesuffix("a") if arch.startswith("sm_") else arch
    if name not in ARCHITECTURES:
        have = ", ".join(ARCHITECTURES)
        raise UserError(f"no capture harness for architecture {arch!r}{nearest(arch, ARCHITECTURES)}; have: {have}")
    return int(name.removeprefix("sm_"))


def local_architecture() -> str:
    """Return the architecture of the first GPU, as the driver's nvidia-smi tells it."""
    smi = shutil.which("nvidia-smi") or "/usr/local/nvidia/bin/nvidia-smi"
    try:
        query = [smi, "--query-gpu=compute_cap", "--format=csv,noheader"]
        shown = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout.split()
    except (OSError, subprocess.SubprocessError):
        shown = []
    if not shown or not shown[0].replace(".", "").isdigit():
        raise UserError(f"no NVIDIA GPU or driver here (nvidia-smi shows none); give --arch, {_ELSEWHERE}")
    return "sm_" + shown[0].replace(".", "")


def find_nvcc(given: str | None) -> str:
    """Return the compiler: the given path, else PATH, $CUDA_HOME, $CUDA_PATH, /usr/local/cuda."""
    if given:
        found = shutil.which(given)
        if not found:
            raise UserError(f"--nvcc {given}: no such program")
        return found
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    places = ["nvcc", *(str(Path(home) / "bin" / "nvcc") for home in homes if home)]
    for place in places:
        if found := shutil.which(place):
            return found
    raise UserError(f"no nvcc on PATH, in $CUDA_HOME/bin or /usr/local/cuda/bin; give --nvcc PATH, {_ELSEWHERE}")


def nvcc_flags(capability: int) -> list[str]:
    """Return what nvcc needs: wgmma exists for the target sm_90a only."""
    target = f"{capability}a" if capability == 90 else str(capability)
    return ["-std=c++17", "-O1", f"-gencode=arch=compute_{target},code=sm_{target}"]


def compile_harness(folder: Path, nvcc: str, capability: int) -> None:
    """Build ``folder/harness`` from the emitted sources."""
    command = [nvcc, *nvcc_flags(capability), "harness.cu", "-o", "harness", "-ldl"]
    done = _run(command, folder, "nvcc")
    if done.returncode:
        lines = (done.stderr + done.stdout).splitlines()
        errors = [line for line in lines if "error" in line.lower() or "fatal" in line.lower()]
        raise UserError(f"{nvcc} failed for sm_{capability}: {(errors or lines or ['no message'])[0].strip()}")


def disassemble(folder: Path, nvcc: str) -> None:
    """Write ``folder/sass.txt`` if cuobjdump lies beside the compiler or on PATH."""
    tool = shutil.which("cuobjdump", path=str(Path(nvcc).resolve().parent)) or shutil.which("cuobjdump")
    if tool:
        (folder / "sass.txt").write_text(_run([tool, "--dump-sass", "harness"], folder, "cuobjdump").stdout)


def run_harness(folder: Path) -> None:
    """Run ``folder/harness``: operands.bin to results.bin and device.json."""
    done = _run([str(folder / "harness"), "operands.bin", "results.bin", "device.json"], folder, "harness")
    if done.returncode == 3:
        raise UserError(f"no GPU to capture on: {done.stderr.strip()}; {_ELSEWHERE.removeprefix('or ')}")
    if done.returncode:
        message = done.stderr.strip() or f"exit code {done.returncode}"
        raise UserError(f"the capture failed on the GPU: {message}")


def _run(command: list[str], folder: Path, what: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=1800)
    except subprocess.TimeoutExpired:
        raise UserError(f"{what} ran longer than 30 minutes and was stopped") from None
    except OSError as error:
        raise UserError(f"{command[0]}: cannot run: {error.strerror}") from None
