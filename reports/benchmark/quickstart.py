"""Measure what the README promises: set-up, quickstart, executor. Writes quickstart.json, and the README's table anew.

Run by ``make bench``. A fresh clone of HEAD, an empty home and cache; the clone's own virtual environment.
Peak memory is the largest sum of proportional set sizes over the process tree, sampled every 50 ms.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def timed(command: list[str], cwd: Path, environment: dict[str, str]) -> tuple[float, float, str]:
    """Return seconds, peak MiB of the process tree, and stdout of a command that must succeed."""
    begin, peak = time.perf_counter(), 0.0
    process = psutil.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while process.poll() is None:
        peak = max(peak, tree_mib(process))
        time.sleep(0.05)
    seconds = time.perf_counter() - begin
    out = process.stdout.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{out}")
    return seconds, peak, out


def tree_mib(process: psutil.Process) -> float:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.Error:
        return 0.0
    return total / 2**20


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        clone = scratch / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"HOME": str(scratch / "home"), "XDG_CACHE_HOME": str(scratch / "cache")}
        (scratch / "home").mkdir()
        tool = str(clone / ".venv/bin/lutscape")
        setup, _, _ = timed(["make", ".venv/.package"], clone, environment)
        get, _, _ = timed([tool, "models", "get", "smollm2-135m"], clone, environment)
        sweep, peak, _ = timed([tool, "sweep", "quickstart"], clone, environment)
        prompt = ["--prompt", "The capital of France is", "--tokens", "64", "--json"]
        _, _, text = timed([tool, "models", "run", "smollm2-135m", *prompt], clone, environment)
        help_s, _, _ = timed([tool, "--help"], clone, environment)
        import_s = min(timed([tool, "--version"], clone, environment)[0] for _ in range(3))
        generated = json.loads(text)
        trials = len((clone / "lutscape-out/quickstart/trials.csv").read_text().splitlines()) - 1
    result = {
        "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "setup_s": round(setup, 1),
        "model_get_s": round(get, 1),
        "quickstart_s": round(sweep, 1),
        "quickstart_trials": trials,
        "quickstart_peak_mib": round(peak),
        "decode_tokens_per_s": generated["decode_tokens_per_s"],
        "help_s": round(help_s, 2),
        "version_s": round(import_s, 2),
    }
    (HERE / "quickstart.json").write_text(json.dumps(result, indent=1) + "\n")
    subprocess.run([sys.executable, str(HERE / "readme.py")], check=True)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
