"""Output directories, storages and settings that cannot be used: one line, and nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import session, store, workload
from lutscape.hw.errors import UserError

Write = Callable[..., Path]
Lutscape = Callable[..., Any]


def one_line(ran: Any) -> str:
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("lutscape: error: ")
    return str(ran.err).removeprefix("lutscape: error: ").rstrip()


@pytest.fixture
def no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if the workload is made: that can take minutes."""

    def make(*_: Any) -> None:
        raise AssertionError("traced")

    monkeypatch.setattr(workload, "make", make)


@pytest.fixture
def small(write_sweep: Write) -> Path:
    return write_sweep(trials=8, baselines=None, parameters={"array.n": {"log2": [16, 64]}}, constraints=None)


def test_output_that_cannot_be_written(small: Path, lutscape: Lutscape, tmp_path: Path, no_trace: None) -> None:
    (tmp_path / "file").write_text("")
    refused = one_line(lutscape("sweep", small, "-o", tmp_path / "file" / "x"))
    assert refused == f"{tmp_path}/file/x: cannot be written: Not a directory; give another -o"
    refused = one_line(lutscape("sweep", small, "-o", "/proc/foo"))
    assert refused == "/proc/foo: cannot be written: No such file or directory; give another -o"
    assert "cannot be read: File name too long" in one_line(lutscape("sweep", small, "-o", tmp_path / ("x" * 300)))


def test_a_check_of_the_directory_leaves_nothing(tmp_path: Path) -> None:
    store.check_writable(tmp_path / "a" / "b")
    store.check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_report_that_cannot_be_written(small: Path, lutscape: Lutscape, tmp_path: Path) -> None:
    session.sweep(small, tmp_path / "out", workers=1, render=False)
    (tmp_path / "out" / "figures").write_text("in the way")
    with pytest.raises(UserError, match=r"figures/a\.svg: cannot be written"):
        store.write(tmp_path / "out" / "figures" / "a.svg", "")
    (tmp_path / "out" / store.LOCK).unlink()
    (tmp_path / "out" / store.LOCK).mkdir()
    refused = one_line(lutscape("report", tmp_path / "out"))
    assert refused == f"{tmp_path}/out: cannot be written: Is a directory"


def test_a_journal_that_cannot_be_written(small: Path, lutscape: Lutscape, tmp_path: Path) -> None:
    session.sweep(small, tmp_path / "out", workers=1, render=False)
    (tmp_path / "out" / "study.journal").unlink()
    (tmp_path / "out" / "study.journal").mkdir()
    refused = one_line(lutscape("sweep", small, "-o", tmp_path / "out", "--resume"))
    assert refused.endswith("study.journal: cannot be read: Is a directory")


@pytest.mark.parametrize("url", ["bogus://x", "oracle://me:secret@host/db", "/no/such/study.journal"])
def test_bad_storage_leaves_nothing(small: Path, lutscape: Lutscape, tmp_path: Path, no_trace: None, url: str) -> None:
    refused = one_line(lutscape("sweep", small, "-o", tmp_path / "out", "--storage", url))
    assert refused.startswith("--storage ")
    assert "secret" not in refused
    assert not (tmp_path / "out").exists()


def test_a_study_of_another_sweep_leaves_nothing(write_sweep: Write, small: Path, tmp_path: Path) -> None:
    url = str(tmp_path / "study.journal")
    session.sweep(small, tmp_path / "a", storage=url, workers=1, render=False)
    right = small.read_text()
    other = write_sweep(trials=8, constraints=["area_mm2 <= 5"])
    with pytest.raises(UserError, match="is of another sweep"):
        session.sweep(other, tmp_path / "b", storage=url, workers=1, render=False)
    assert [p.name for p in (tmp_path / "b").iterdir()] == [store.LOCK]
    small.write_text(right)
    session.sweep(small, tmp_path / "b", storage=url, workers=1, render=False)  # the corrected command


def test_resume_keeps_to_the_study_it_began_in(small: Path, lutscape: Lutscape, tmp_path: Path) -> None:
    url, other = str(tmp_path / "study.journal"), str(tmp_path / "other.journal")
    session.sweep(small, tmp_path / "shared", storage=url, workers=1, render=False)
    session.sweep(small, tmp_path / "own", workers=1, render=False)
    before = (tmp_path / "shared" / "trials.parquet").read_bytes()
    resume = ("sweep", small, "--resume", "-o")
    refused = one_line(lutscape(*resume, tmp_path / "shared"))
    assert refused == (
        f"{tmp_path}/shared: --resume: its study is shared through --storage {url}, and none is given; "
        "give that one, or another -o"
    )
    assert f"--storage {url}, not {other}; give" in one_line(lutscape(*resume, tmp_path / "shared", "--storage", other))
    assert f"leave out --storage {url}, or" in one_line(lutscape(*resume, tmp_path / "own", "--storage", url))
    assert not Path(other).exists()
    assert not (tmp_path / "shared" / "study.journal").exists()
    session.sweep(small, tmp_path / "shared", storage=url, resume=True, workers=1, render=False)
    assert (tmp_path / "shared" / "trials.parquet").read_bytes() == before


def test_storages_are_kept_without_password_and_with_the_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert store.located("s.journal") == f"{tmp_path}/s.journal"
    assert store.located("sqlite:///s.db") == f"sqlite:///{tmp_path}/s.db"
    assert store.located(f"sqlite:///{tmp_path}/s.db?timeout=3") == f"sqlite:///{tmp_path}/s.db?timeout=3"
    assert store.located("mysql://me:secret@host/db") == "mysql://me:***@host/db"
    for url in ("s.journal", "sqlite:///s.db", "mysql://me:secret@host/db"):
        assert store.located(store.located(url)) == store.located(url)


def test_damaged_settings(small: Path, lutscape: Lutscape, tmp_path: Path) -> None:
    out = tmp_path / "out"
    session.sweep(small, out, workers=1, render=False)
    path = out / "versions.json"
    good = json.loads(path.read_text())
    damaged: list[tuple[Any, str]] = [
        ({}, "key 'schema_version' is missing"),
        ({k: v for k, v in good.items() if k != "versions"}, "key 'versions' is missing"),
        ({**good, "versions": {"python": "3"}}, "key 'versions.lutscape' is missing"),
        ({**good, "versions": {"lutscape": 1}}, "versions.lutscape = 1: must be a valid string"),
        ({**good, "versions": {**good["versions"], "numpy": None}}, "versions.numpy: must be a valid string"),
        ({**good, "trials": "8"}, "trials = '8': must be a valid integer"),
        ({**good, "trials": 0}, "trials = 0: must be greater than or equal to 1"),
        ({**good, "seed": None}, "seed: must be a valid integer"),
        ({**good, "schema_version": 2}, "schema_version = 2: must be 1"),
        ([1], "not a mapping of settings"),
        (path.read_text()[:40], "the file is damaged"),
    ]
    for data, message in damaged:
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        for command in (("report", out), ("sweep", small, "-o", out, "--resume")):
            refused = one_line(lutscape(*command))
            assert refused.startswith(f"{path}: ")
            assert message in refused
