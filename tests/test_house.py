"""The house's rules that a machine can check: packages complete, rooms import only from rooms above, no PyTorch."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ["hw", "models", "sim", "rtl", "explore", "lutscape"]  # top to bottom
FORBIDDEN = {"torch", "transformers", "pickle"}


def modules() -> list[Path]:
    return [p for room in ROOMS for p in sorted((ROOT / room).rglob("*.py"))]


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_only_from_rooms_above(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    if room != "lutscape":  # the command line may use every room
        below = [*ROOMS[ROOMS.index(room) + 1 :], "commands", "cli"]
        assert [n for n in imports(path) if n.startswith("lutscape.") and n.split(".")[1] in below] == []
    assert not {n.split(".")[0] for n in imports(path)} & FORBIDDEN


def test_every_package_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = set()
    for path in modules():
        if path.name == "__init__.py":
            parts = path.parent.relative_to(ROOT).parts
            present.add(".".join(parts if parts[0] == "lutscape" else ("lutscape", *parts)))
    assert present - declared == set()


def test_files_stay_readable_in_one_sitting() -> None:
    long = {str(p.relative_to(ROOT)): n for p in modules() if (n := len(p.read_text().splitlines())) > 500}
    assert long == {}


def test_the_command_line_starts_without_the_heavy_libraries() -> None:
    code = (
        "import sys, lutscape.cli; print(sorted({'numba','optuna','matplotlib','pandas','pyarrow'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "verb", [[], ["models"], ["trace"], ["simulate"], ["sweep"], ["report"], ["mma"], ["mma", "check"], ["papers"]]
)
def test_help_of_every_verb(verb: list[str]) -> None:
    out = subprocess.run([sys.executable, "-m", "lutscape", *verb, "--help"], capture_output=True, text=True, cwd=ROOT)
    assert out.returncode == 0
    assert out.stdout.startswith("Usage: ")
