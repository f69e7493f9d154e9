"""Replaying captures and fitting designs to them, on files written here from known designs; the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lutscape.cli import cli
from lutscape.hw.errors import UserError
from lutscape.hw.formats.integer import pack
from lutscape.sim.mma.api import compute
from lutscape.sim.mma.check import replay
from lutscape.sim.mma.corpus import FAMILIES, cases
from lutscape.sim.mma.names import find
from lutscape.sim.mma.probe import infer

SYNC = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
GROUP = "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3"
SPARSE = "mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32"
BITS = "mma.sync.aligned.m16n8k128.row.col.s32.b1.b1.s32.and.popc"


def capture(
    arch: str, names: list[str], families: tuple[str, ...] = ("normal", "specials"), tiles: int = 3
) -> dict[str, np.ndarray]:
    arrays = {}
    for name in names:
        spec = find(arch, name.partition("#")[0])
        options = {"use_c": False} if "scale_d=0" in name else {"negate_a": True} if "scale_a=-1" in name else {}
        for family in families:
            x = cases(spec, family, tiles, 11)
            extra = {"metadata": x["metadata"]} if "metadata" in x else {}
            key = f"{name}/{family}"
            arrays[f"{key}/D"] = compute(spec, x["A"], x["B"], x["C"], **extra, **options)
            arrays[f"{key}/C"] = x["C"]
            a, b = x["A"], np.ascontiguousarray(x["B"].transpose(0, 2, 1))
            arrays[f"{key}/A"], arrays[f"{key}/B"] = (pack(a, 1), pack(b, 1)) if spec.a == "b1" else (a, b)
            if "metadata" in x:
                arrays[f"{key}/E"] = x["metadata"]
    return arrays


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["mma", *arguments])
    if isinstance(result.exception, UserError):
        return 2, str(result.exception)
    return result.exit_code, result.output


def test_a_faithful_capture_has_no_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    names = [SYNC, GROUP, SPARSE, BITS, f"{GROUP}#scale_d=0", f"{GROUP}#a=shared", f"{GROUP}#scale_a=-1"]
    np.savez(path, **capture("sm_90", names))
    code, text = run("check", str(path), "--arch", "sm_90")
    lines = text.splitlines()
    outputs = 2 * 3 * (16 * 8 * 3 + 64 * 8 * 4)
    assert lines[-1] == f"TOTAL 0 mismatches of {outputs} outputs"
    assert f"0/{2 * 3 * 128}  {SYNC}" in lines
    assert code == 0


def test_one_flipped_bit_is_found(tmp_path: Path) -> None:
    arrays = capture("sm_90", [SYNC])
    arrays[f"{SYNC}/normal/D"][1, 2, 3] ^= 1
    path = tmp_path / "v.npz"
    np.savez(path, **arrays)
    code, text = run("check", str(path), "--arch", "sm_90", "--cases")
    assert code == 1
    assert text.splitlines()[0].startswith(f"1/384  {SYNC}/normal  (first at [1, 2, 3]: model 0x")
    assert text.splitlines()[-1] == "TOTAL 1 mismatches of 768 outputs"
    code, text = run("check", str(path), "--json")
    assert (code, json.loads(text)["mismatches"]) == (1, 1)


def test_another_architecture_mismatches_and_an_unknown_instruction_counts_whole(tmp_path: Path) -> None:
    arrays = capture("sm_90", [SYNC], FAMILIES)
    renamed = {k.replace("m16n8k16", "m16n8k99"): v for k, v in arrays.items()}
    path = tmp_path / "v.npz"
    np.savez(path, **arrays, **renamed)
    by_name: dict[str, list[int]] = {}
    for case in replay(path, "sm_80"):
        entry = by_name.setdefault(case.instruction, [0, 0])
        entry[0] += case.mismatches
        entry[1] += case.outputs
    assert 0 < by_name[SYNC][0] < by_name[SYNC][1]
    unknown = by_name[SYNC.replace("k16", "k99")]
    assert unknown[0] == unknown[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", "v.npz: .*normal lacks D .*has A, B, C"),
        ("key", "v.npz: key 'stray' is not <instruction>/<case>/A"),
        ("shape", r"normal: B must be unsigned \(3, 8, 16\), got uint16 \(3, 16, 8\)"),
        ("signed", "normal: C must be unsigned .* got int32"),
        ("empty", "holds no vectors"),
    ],
)
def test_bad_files(tmp_path: Path, change: str, message: str) -> None:
    arrays = capture("sm_90", [SYNC], ("normal",))
    key = f"{SYNC}/normal"
    if change == "missing":
        del arrays[f"{key}/D"]
    elif change == "key":
        arrays["stray"] = np.zeros(3)
    elif change == "shape":
        arrays[f"{key}/B"] = np.ascontiguousarray(arrays[f"{key}/B"].transpose(0, 2, 1))
    elif change == "signed":
        arrays[f"{key}/C"] = arrays[f"{key}/C"].view(np.int32)
    else:
        arrays = {}
    path = tmp_path / "v.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=message):
        list(replay(path, "sm_90"))
    text = tmp_path / "no.npz"
    text.write_text("nothing")
    with pytest.raises(UserError, match=r"no\.npz: not an npz"):
        list(replay(text, "sm_90"))
    with pytest.raises(UserError, match="No such file"):
        list(replay(tmp_path / "absent.npz", "sm_90"))


@pytest.mark.parametrize(
    ("arch", "name", "expected"),
    [
        ("sm_80", SYNC, ("8", "24", "RZ-FP32")),
        ("sm_90", GROUP, ("32", "13", "RZ-E8M13")),
        ("sm_90", "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", ("8", "25", "RZ-FP32")),
        ("sm_90", "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", ("16", "25", "RNE-FP16")),
        ("sm_70", "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32", ("4", "23", "RZ-FP32")),
    ],
)
def test_probe_finds_the_design(tmp_path: Path, arch: str, name: str, expected: tuple[str, str, str]) -> None:
    path = tmp_path / "v.npz"
    np.savez(path, **capture(arch, [name], FAMILIES, tiles=12))
    (fit,) = infer(path)
    assert (fit.L, fit.F, fit.rounding, fit.mismatches) == (*expected, 0)
    assert fit.design == "T-FDPA"
    if "tf32" in name:
        assert fit.e_zero == "-133"


def test_probe_finds_the_two_step_design(tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    name = "mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32"
    np.savez(path, **capture("sm_90", [name], FAMILIES, tiles=4))
    (fit,) = infer(path)
    assert (fit.design, fit.L, fit.F, fit.mismatches) == ("T-FDPA x2 + add", "16", "25", 0)


def test_command_line(tmp_path: Path) -> None:
    code, text = run("list", "--arch", "gfx942", "--match", "fp8", "--json")
    assert code == 0
    assert {row["model"] for row in json.loads(text)} == {"GTR-FDPA"}
    code, text = run("explain", "m16n8k16.f32.f16.f16.f32", "--arch", "sm_80")
    assert "T-FDPA(L=8, F=24" in text
    path, out = tmp_path / "x.npz", tmp_path / "d.npy"
    np.savez(path, A=np.ones((16, 16)), B=np.full((16, 8), 2.0), C=np.ones((16, 8)))
    assert run("run", "m16n8k16.f32.f16.f16.f32", str(path), "-o", str(out))[0] == 0
    assert np.load(out).tolist() == np.full((16, 8), 33.0).tolist()
    assert "= 33" in run("run", "m16n8k16.f32.f16.f16.f32", str(path), "--trace", "0,0")[1]
    np.savez(path, A=np.ones((16, 16)), X=np.ones(3))
    assert run("run", "m16n8k16.f32.f16.f16.f32", str(path)) == (
        2,
        f"{path}: needs A and B, may have C, alpha, beta, metadata; has A, X",
    )
    assert "did you mean 'check'" in run("chek")[1]


@pytest.mark.parametrize("keep", [0, 100, 2000])
def test_a_damaged_file_is_one_line(tmp_path: Path, keep: int) -> None:
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, **{f"m16n8k16.f32.f16.f16.f32/x/{p}": np.arange(4096, dtype=np.uint16) for p in "ABCD"})
    cut = tmp_path / "cut.npz"
    cut.write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"cut\.npz: not an npz, or cut short"):
        list(replay(cut, "sm_90"))
    flipped = bytearray(whole.read_bytes())
    flipped[200] ^= 0xFF
    cut.write_bytes(bytes(flipped))
    with pytest.raises(UserError, match=r"cut\.npz: damaged npz|cut\.npz: not an npz of raw arrays"):
        list(replay(cut, "sm_90"))
