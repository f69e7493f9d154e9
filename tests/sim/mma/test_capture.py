"""The capture harness without a GPU: operands, files, and what goes wrong in one line."""

import json
import os
import shutil
import stat
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lutscape.commands.mma_capture import capture
from lutscape.hw.errors import UserError
from lutscape.sim.mma.capture import build, bundle
from lutscape.sim.mma.capture.bits import FLOATS, encode, specials
from lutscape.sim.mma.capture.instructions import BITS, select, table
from lutscape.sim.mma.capture.operands import case_names, draw, metadata_registers
from lutscape.sim.mma.capture.sass import opcodes

VECTORS = Path(__file__).parents[2] / "vectors" / "mma"
NAMES = [
    "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f16",
    "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    "mma.sync.aligned.m16n8k8.row.col.f64.f64.f64.f64",
    "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e5m2.f32",
    "mma.sync.aligned.m16n8k64.row.col.satfinite.s32.s4.u4.s32",
    "mma.sync.aligned.m16n8k256.row.col.s32.b1.b1.s32.xor.popc",
    "mma.sp.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32",
    "mma.sp.sync.aligned.m16n8k128.row.col.s32.s4.s4.s32",
    "wgmma.mma_async.sync.aligned.m64n16k32.f16.e5m2.e5m2",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16#scale_a=-1",
    "wgmma.mma_async.sp.sync.aligned.m64n8k16.f32.tf32.tf32",
]


@pytest.mark.parametrize("name", NAMES)
def test_operands_are_seeded_and_shaped_as_documented(name: str) -> None:
    row = table()[name]
    cases, again = draw(row, tiles=2), draw(row, tiles=2)
    assert list(cases) == case_names(row)
    assert len(cases) > 8
    per_element = 8 if row.a == "b1" else 1
    for case, x in cases.items():
        tiles = len(x.a)
        assert x.a.shape == (tiles, row.m, row.terms // per_element)
        assert x.b.shape == (tiles, row.n, row.k // per_element)
        assert x.c.shape == (tiles, row.m, row.n)
        for array, fmt in ((x.a, row.a), (x.b, row.b), (x.c, row.c)):
            assert array.dtype == f"u{max(8, BITS[fmt]) // 8}"
            assert BITS[fmt] != 4 or array.max() < 16
        for mine, other in ((x.a, again[case].a), (x.b, again[case].b), (x.c, again[case].c)):
            assert np.array_equal(mine, other)
        if row.sparse:
            assert x.e is not None
            assert x.e.shape == x.a.shape
            assert (x.e // row.group == np.arange(row.terms) // (row.group // 2)).all()
            stored = x.e.reshape(tiles, row.m, row.k // row.group, -1)
            assert (np.diff(np.sort(stored)) > 0).all()
            assert case == "unordered" or (np.diff(stored) > 0).all()


def test_default_tiles_give_two_thousand_outputs_per_case() -> None:
    for name in ("mma.sync.aligned.m8n8k16.row.col.s32.s8.s8.s32", NAMES[1], NAMES[9]):
        cases = draw(table()[name])
        assert all(x.c.size >= 2000 for case, x in cases.items() if case != "mixed")


@pytest.mark.parametrize("fmt", [fmt for fmt in FLOATS if fmt != "f64"])  # f64 is a view
def test_encode_finds_the_nearest_code(fmt: str) -> None:
    f = FLOATS[fmt]
    codes = np.unique(np.random.default_rng(1).integers(0, f.largest, 3000, endpoint=True))
    codes = np.concatenate([[0, 1, (1 << f.mantissa) - 1, 1 << f.mantissa, f.largest], codes])
    exponent, fraction = codes >> f.mantissa, codes & ((1 << f.mantissa) - 1)
    significand = np.where(exponent > 0, fraction + (1 << f.mantissa), fraction).astype(float)
    x = np.ldexp(significand, np.maximum(exponent, 1) - f.bias - f.mantissa)
    assert np.array_equal(encode(fmt, x) >> f.shift, codes)
    assert np.array_equal(encode(fmt, -x) >> f.shift, codes | f.sign)
    assert encode(fmt, np.array([1e300]))[0] >> f.shift == f.largest
    one = f.bias << f.mantissa  # halfway above 1 goes to the even code, more than halfway up
    half = np.array([1 + 2.0 ** (-f.mantissa - 1), 1 + 2.0 ** (-f.mantissa - 1) + 2.0**-40])
    assert (encode(fmt, half) >> f.shift).tolist() == [one, one + 1]


def test_special_codes_hold_each_kind() -> None:
    assert {0, 0x8000, 0x7C00, 0xFC00, 0x7C01, 0x7FFF, 0x7BFF, 1} <= set(specials("f16"))
    assert {0x7F, 0xFF, 0x7E, 0x80} <= set(specials("e4m3"))
    assert 0x7F800001 in specials("tf32")


def test_metadata_lies_in_the_documented_lanes() -> None:
    """One group that keeps elements 2 and 3 (nibble 0xE) among groups that keep 0 and 1 (0x4)."""
    places = {  # instruction, row and group -> lanes and nibble of the register
        ("mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 11, 2): ([12, 13, 14, 15], 6),
        ("mma.sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32", 3, 5): ([13, 15], 1),
        ("mma.sp.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32", 9, 7): ([5, 7], 7),
        ("mma.sp.sync.aligned.m16n8k64.row.col.f32.e4m3.e4m3.f32", 1, 9): ([6], 1),
        ("wgmma.mma_async.sp.sync.aligned.m64n8k32.f32.f16.f16", 63, 4): ([125, 127], 4),
    }
    for (name, at_row, group), (lanes, nibble) in places.items():
        row = table()[name]
        e = np.arange(row.terms) // 2 * 4 + np.arange(row.terms) % 2
        e = np.broadcast_to(e, (1, row.m, row.terms)).astype(np.uint8)
        assert (metadata_registers(row, e) == 0x44444444).all()
        changed = e.copy()
        changed[0, at_row, 2 * group : 2 * group + 2] += 2
        expected = np.full(row.m * 2, 0x44444444, np.uint32)
        expected[lanes] ^= np.uint32((0xE ^ 0x4) << (4 * nibble))
        assert np.array_equal(metadata_registers(row, changed)[0], expected), name
    tf32 = table()["mma.sp.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32"]
    odd = np.broadcast_to(np.arange(4) * 2 + 1, (1, 16, 4)).astype(np.uint8)
    assert (metadata_registers(tf32, odd) == 0xEEEEEEEE).all()


HARNESS = """#!{python}
import json, struct, sys
sizes = {sizes}  # bytes of A, B, C, E and D of a tile
data, at = open(sys.argv[1], "rb").read(), 0
with open(sys.argv[2], "wb") as out:
    while at < len(data):
        name, tiles, _ = struct.unpack_from("<120sII", data, at)
        a, b, c, e, d = sizes[name.rstrip(b"\\0").decode()]
        out.write(data[at:at + 128] + bytes(i * 37 % 251 for i in range(tiles * d)))
        at += 128 + tiles * (a + b + c + e)
    assert at == len(data)
json.dump({{"name": "Test GPU", "driver": "1.2"}}, open(sys.argv[3], "w"))
"""


def program(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def fake_harness(path: Path) -> Path:
    sizes = {}
    for name in NAMES:
        row = table()[name]
        a, b, c, d = (BITS[f] for f in (row.a, row.b, row.c, row.d))
        e = row.m * 8 if row.sparse else 0
        outputs = row.m * row.n
        sizes[name] = (row.m * row.terms * a // 8, row.n * row.k * b // 8, outputs * c // 8, e, outputs * d // 8)
    return program(path, HARNESS.format(python=sys.executable, sizes=sizes))


def emitted(folder: Path, names: list[str] = NAMES) -> Path:
    bundle.emit(folder, [table()[name] for name in names], 90, 2, lambda *_: None)
    return folder


def test_emit_and_collect_return_the_operands_and_what_the_harness_wrote(tmp_path: Path) -> None:
    folder = emitted(tmp_path / "bundle")
    fake_harness(folder / "harness")
    build.run_harness(folder)
    arrays, metadata = bundle.collect(folder)
    assert metadata["device"]["name"] == "Test GPU"
    assert len(metadata["harness_sha256"]) == 64
    for name in NAMES:
        row = table()[name]
        expected = bytes(i * 37 % 251 for i in range(10_000))
        for case, x in draw(row, 2).items():
            assert np.array_equal(arrays[f"{name}/{case}/A"], x.a)
            assert np.array_equal(arrays[f"{name}/{case}/B"], x.b)
            assert np.array_equal(arrays[f"{name}/{case}/C"], x.c)
            assert (f"{name}/{case}/E" in arrays) == row.sparse
            d = arrays[f"{name}/{case}/D"]
            assert d.shape == x.c.shape
            assert d.dtype == f"u{BITS[row.d] // 8}"
        first = arrays[f"{name}/{case_names(row)[0]}/D"].tobytes()[:10_000]
        assert first == expected[: len(first)]

    out = tmp_path / "x.npz"
    bundle.write(out, arrays, metadata)
    with np.load(out) as stored:
        assert set(stored) == set(arrays)
        assert all(np.array_equal(stored[key], arrays[key]) for key in list(arrays)[::40])
    assert json.loads(out.with_suffix(".json").read_text())["layout"]["A"].startswith("(tiles, M, K)")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bundle", "x.json", "x.npz"]


def test_the_command_builds_runs_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = fake_harness(tmp_path / "ready")
    nvcc = program(tmp_path / "nvcc", f"#!/bin/sh\ncp {ready} harness\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--arch", "sm_90", "--nvcc", str(nvcc), "--tiles", "1", "--instructions", NAMES[1], "-o", "y.npz"]
    result = CliRunner().invoke(capture, arguments)
    assert result.exception is None, result.exception
    assert "of 1 instructions on Test GPU, driver 1.2" in result.output
    assert (tmp_path / "y.npz").is_file()


def failure(*arguments: str) -> str:
    result = CliRunner().invoke(capture, list(arguments))
    assert isinstance(result.exception, UserError), result.exception
    message = str(result.exception)
    assert "\n" not in message
    return message


def test_missing_tools_and_unknown_names_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(build.shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    one = ("--arch", "sm_90", "--instructions", NAMES[1], "--tiles", "1")
    assert failure(*one) == (
        "no nvcc on PATH, in $CUDA_HOME/bin or /usr/local/cuda/bin; give --nvcc PATH, "
        "or use --emit DIR and run it on another machine"
    )
    assert failure(*one, "--nvcc", "/no/nvcc") == "--nvcc /no/nvcc: no such program"
    monkeypatch.setattr(build.subprocess, "run", lambda *a, **k: (_ for _ in ()).throw(FileNotFoundError()))
    assert failure().startswith("no NVIDIA GPU or driver here (nvidia-smi shows none); give --arch")
    assert failure("--arch", "gfx942").startswith("no capture harness for architecture 'gfx942'; have: sm_75")
    assert "(did you mean 'sm_90'?)" in failure("--arch", "sm90")
    assert failure("--arch", "sm_90", "--instructions", "x").startswith("no instruction of sm_90 matches 'x'")
    assert failure("--emit", "a", "--collect", "b") == "--emit and --collect exclude each other"


def test_compiler_and_gpu_failures_are_one_line(tmp_path: Path) -> None:
    one = ("--arch", "sm_90", "--instructions", NAMES[1], "--tiles", "1", "--nvcc")
    broken = program(tmp_path / "broken", "#!/bin/sh\necho note\necho 'harness.cu(3): error: no' >&2\nexit 2\n")
    assert failure(*one, str(broken)) == f"{broken} failed for sm_90: harness.cu(3): error: no"

    def compiler(script: str) -> str:
        built = program(tmp_path / "built", f"#!/bin/sh\n{script}\n")
        return str(program(tmp_path / "nvcc", f"#!/bin/sh\ncp {built} harness\n"))

    assert failure(*one, compiler("echo 'no usable GPU: no device' >&2; exit 3")) == (
        "no GPU to capture on: no usable GPU: no device; use --emit DIR and run it on another machine"
    )
    assert failure(*one, compiler("echo 'mma: illegal' >&2; exit 4")) == "the capture failed on the GPU: mma: illegal"
    assert failure(*one, compiler("exit 0")).endswith("device.json: No such file or directory")


def test_collect_names_what_is_wrong_in_the_folder(tmp_path: Path) -> None:
    assert failure("--collect", str(tmp_path)) == f"{tmp_path / 'manifest.json'}: No such file or directory"
    folder = emitted(tmp_path / "b", NAMES[:2])
    (folder / "device.json").write_text("{}")
    results = folder / "results.bin"
    assert failure("--collect", str(folder)) == f"{results}: No such file or directory; run 'sh run.sh' there first"
    fake_harness(folder / "harness")
    build.run_harness(folder)
    whole = results.read_bytes()
    results.write_bytes(whole[:-1])
    assert failure("--collect", str(folder)).startswith(f"{results}: ends within {NAMES[1]} (")
    results.write_bytes(whole + b"x")
    assert failure("--collect", str(folder)).endswith("operands of another --emit?")
    results.write_bytes(struct.pack("<120sII", b"other", 1, 0) + whole[128:])
    assert f"byte 0: expected {2 * len(case_names(table()[NAMES[0]])[:-1]) + 2} tiles" in failure(
        "--collect", str(folder)
    )
    (folder / "device.json").write_text("{")
    assert "device.json: no JSON" in failure("--collect", str(folder))


def test_a_failed_write_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write: No such file or directory"):
        bundle.write(tmp_path / "none" / "x.npz", {"a/b/D": np.zeros(1, np.uint8)}, {})


def test_sass_is_counted_per_kernel() -> None:
    listing = """
\t\tFunction : _Z8mma_tileI2I1Ev6Arrays
        /*0250*/                   F2FP.F16.E4M3.UNPACK_B R4, R4 ;
        /*0260*/              @!P0 HMMA.16816.F32 R4, R8, R12, RZ ;
        /*0270*/                   HMMA.16816.F32 R4, R8, R12, R4 ;
        /*0280*/                   STG.E desc[UR4][R2.64], R4 ;
\t\tFunction : _Z10wgmma_tileI2I0Ev6Arrays
        /*0250*/                   HGMMA.64x8x16.F32 R24, R4, gdesc[UR8], R24, !UPT ;
"""
    assert opcodes(listing, ["w", "m"]) == {
        "w": "1 HGMMA.64x8x16.F32",
        "m": "1 F2FP.F16.E4M3.UNPACK_B, 2 HMMA.16816.F32",
    }


def test_committed_vectors_cover_every_instruction_and_stay_small() -> None:
    files = [VECTORS / "sm_90.npz", VECTORS / "sm_90.json"]
    assert sum(f.stat().st_size for f in files) <= 4_000_000
    metadata = json.loads(files[1].read_text())
    assert set(metadata["instructions"]) == {row.name for row in select("*", 90)}
    assert metadata["device"]["name"] == "NVIDIA H200"
    with np.load(files[0]) as stored:
        keys = set(stored)
        for name, cases in metadata["instructions"].items():
            for case in cases:
                parts = "ABCDE" if table()[name].sparse else "ABCD"
                assert {f"{name}/{case}/{part}" for part in parts} <= keys
                keys -= {f"{name}/{case}/{part}" for part in parts}
            assert len(stored[f"{name}/{case}/D"]) == cases[case]
    assert not keys


@pytest.mark.skipif(not shutil.which("nvcc"), reason="no nvcc")
def test_the_harness_compiles(tmp_path: Path) -> None:
    """With CUDA's compiler, and without a GPU, the whole way ends at the missing device."""
    folder = emitted(tmp_path / "b", [NAMES[0], NAMES[4], NAMES[7], NAMES[9], NAMES[11]])
    build.compile_harness(folder, build.find_nvcc(None), 90)
    assert os.access(folder / "harness", os.X_OK)
