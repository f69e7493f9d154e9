"""Compile the CUDA kernels into one shared library, kept in the user's cache under a hash of the sources."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from lutscape.hw.errors import UserError
from lutscape.sim.gpu import wgmma_source

KERNELS = Path(__file__).parent / "kernels"
ARCHITECTURE = "90a"
"""wgmma exists for this target only."""
OPTIONAL = ("vendor",)
"""Needs cublasLt.h; the library works without it."""
VARIABLE = "LUTSCAPE_GPU_LIBRARY"


def sources() -> list[Path]:
    """Return the kernel files, in a fixed order."""
    return sorted(KERNELS.glob("*.cu"))


def digest() -> str:
    """Return a hash of everything that the library is made of."""
    found = hashlib.sha256()
    for path in sorted([*KERNELS.glob("*.cu"), *KERNELS.glob("*.cuh")]):
        found.update(path.name.encode() + path.read_bytes())
    found.update(wgmma_source.generate().encode())
    return found.hexdigest()[:16]


def cached() -> Path:
    """Return where the library of these sources is kept."""
    from platformdirs import user_cache_dir

    return Path(user_cache_dir("lutscape")) / "gpu" / digest() / "liblutscape_gpu.so"


def find_nvcc(given: str | None = None) -> Path:
    """Return the compiler: the given path, else PATH, $CUDA_HOME, $CUDA_PATH, /usr/local/cuda, or NVIDIA's wheel."""
    if given:
        found = shutil.which(given)
        if not found:
            raise UserError(f"--nvcc {given}: no such program")
        return Path(found)
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    homes += [str(p) for folder in sys.path if folder for p in sorted(Path(folder).glob("nvidia/cu*"))]
    for place in ["nvcc", *(str(Path(home) / "bin" / "nvcc") for home in homes if home)]:
        if found := shutil.which(place):
            return Path(found)
    raise UserError(
        "no nvcc on PATH, in $CUDA_HOME/bin, /usr/local/cuda/bin or the package nvidia-cuda-nvcc; "
        "give --nvcc PATH. The shipped measurements need no GPU: lutscape gpu show"
    )


def library() -> Path:
    """Return the built library: $LUTSCAPE_GPU_LIBRARY, or the cached one; raise UserError where there is none."""
    given = os.environ.get(VARIABLE)
    path = Path(given) if given else cached()
    if not path.is_file():
        if given:
            raise UserError(f"{VARIABLE}={given}: no such file")
        raise UserError("the kernels are not built: lutscape gpu build")
    return path


def build(nvcc: str | None = None, output: Path | None = None) -> tuple[Path, list[str]]:
    """Compile and link; returns the library and a line per kernel with spills or a part left out.

    Raises:
        UserError: no compiler, or its first error.
    """
    compiler, target = find_nvcc(nvcc), output or cached()
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "wgmma.inc").write_text(wgmma_source.generate())
        flags = ["-std=c++17", "-O3", f"-gencode=arch=compute_{ARCHITECTURE},code=sm_{ARCHITECTURE}", f"-I{folder}"]
        flags += ["-Xcompiler=-fPIC,-fvisibility=hidden", "-Xptxas=-v"]

        def compile_one(source: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
            out = folder / (source.stem + ".o")
            return out, _run([str(compiler), *flags, "-c", str(source), "-o", str(out)])

        with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
            done = dict(zip(sources(), pool.map(compile_one, sources()), strict=True))
        objects, notes = [], []
        for source, (out, ran) in done.items():
            if ran.returncode and source.stem in OPTIONAL and "cublasLt.h" in ran.stderr:
                notes.append(f"{source.name} left out: cublasLt.h not found")
                continue
            if ran.returncode:
                raise UserError(f"{compiler}: {source.name}: {_first_error(ran.stderr + ran.stdout)}")
            objects.append(str(out))
            notes += _spills(source.name, ran.stderr)
        part = folder / "library.so"
        beside = compiler.resolve().parent.parent / "lib"  # NVIDIA's wheel keeps the runtime there, not in lib64
        ran = _run([str(compiler), "-shared", *objects, "-o", str(part), f"-L{beside}", "-ldl"])
        if ran.returncode:
            raise UserError(f"{compiler}: linking: {_first_error(ran.stderr + ran.stdout)}")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".part")
        shutil.copyfile(part, temporary)
        os.replace(temporary, target)
    return target, notes


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=1200)
    except subprocess.TimeoutExpired:
        raise UserError("nvcc ran longer than 20 minutes and was stopped") from None
    except OSError as error:
        raise UserError(f"{command[0]}: cannot run: {error.strerror}") from None


def _first_error(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip() and "ptxas info" not in line]
    return next((line for line in lines if _tells(line)), "no message")


def _tells(line: str) -> bool:
    return "collect2" not in line and any(word in line.lower() for word in ("error", "fatal", "cannot find"))


def _spills(name: str, text: str) -> list[str]:
    """Return a note per kernel whose registers went to memory, as ptxas reports it."""
    notes, function = [], ""
    for line in text.splitlines():
        if "Compiling entry function" in line:
            function = line.split("'")[1]
        elif "spill stores" in line and ", 0 bytes spill stores" not in line:
            notes.append(f"{name}: {function}: {line.strip()}")
        elif "C75" in line:  # wgmma serialised, setmaxnreg ignored
            notes.append(f"{name}: {line.strip()}")
    return notes
