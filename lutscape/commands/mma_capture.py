"""``lutscape mma capture``: record what the user's own GPU returns."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click

from lutscape.commands.console import print_table, progress_bar
from lutscape.hw.errors import UserError


@click.command()
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write (default: mma-ARCH.npz).")
@click.option("--arch", help="Architecture, e.g. sm_90 (default: that of the first GPU).")
@click.option("--nvcc", help="The CUDA compiler (default: on PATH, in CUDA_HOME or /usr/local/cuda).")
@click.option("--tiles", type=click.IntRange(1, 100_000), help="Tiles per case (default: 2,048 outputs or more).")
@click.option("--instructions", default="*", show_default=True, help="Glob over instruction names.")
@click.option("--compact", is_flag=True, help="Keep only as many tiles as a committed vector set needs.")
@click.option("--emit", type=click.Path(path_type=Path, file_okay=False), help="Only write source and operands to DIR.")
@click.option("--collect", type=click.Path(path_type=Path, file_okay=False), help="Only assemble what ran in DIR.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def capture(
    output: Path | None,
    arch: str | None,
    nvcc: str | None,
    tiles: int | None,
    instructions: str,
    compact: bool,
    emit: Path | None,
    collect: Path | None,
    as_json: bool,
) -> None:
    """Run matrix instructions on this machine's GPU over generated operands and record the bits.

    \b
    On another machine, without Python:
      lutscape mma capture --arch sm_90 --emit DIR     writes source, operands and run.sh
      sh DIR/run.sh                                    there, with nvcc and the GPU
      lutscape mma capture --collect DIR -o FILE.npz   assembles the results
    """
    from lutscape.sim.mma.capture import build, bundle
    from lutscape.sim.mma.capture.compact import compacted
    from lutscape.sim.mma.capture.instructions import select

    if emit and collect:
        raise UserError("--emit and --collect exclude each other")
    if collect:
        arrays, metadata = bundle.collect(collect)
    else:
        capability = build.capability(arch or build.local_architecture())
        rows = select(instructions, capability)
        with progress_bar() as tick:
            if emit:
                bundle.emit(emit, rows, capability, tiles, tick)
                print(f"{emit}: {len(rows)} instructions; run 'sh {emit}/run.sh' on the GPU's machine, then --collect")
                return
            compiler = build.find_nvcc(nvcc)
            with tempfile.TemporaryDirectory(prefix="lutscape-mma-") as name:
                folder = Path(name)
                bundle.emit(folder, rows, capability, tiles, tick)
                tick("compiling", 0, 1)
                build.compile_harness(folder, compiler, capability)
                tick("running", 0, 1)
                build.run_harness(folder)
                build.disassemble(folder, compiler)
                arrays, metadata = bundle.collect(folder)
    if compact:
        arrays, metadata = compacted(arrays, metadata)
    path = output or Path(f"mma-{metadata['arch']}.npz")
    bundle.write(path, arrays, metadata)
    counts, device = bundle.counts(arrays), metadata["device"]
    if as_json:
        print(json.dumps({"file": str(path), "device": device, "outputs": {n: o for n, (_, o) in counts.items()}}))
        return
    print_table(["instruction", "cases", "outputs"], [[n, c, o] for n, (c, o) in counts.items()], ["instruction"])
    outputs = sum(o for _, o in counts.values())
    print(f"{path}: {outputs} outputs of {len(counts)} instructions on {device['name']}, driver {device['driver']}")
