"""What silicon returned: every committed vector replays without a mismatch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lutscape.sim.mma.check import replay
from lutscape.sim.mma.evidence import CAPTURED, evidence
from lutscape.sim.mma.names import find

VECTORS = sorted((Path(__file__).parents[2] / "vectors" / "mma").glob("*.npz"))


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_no_output_of_the_hardware_differs(path: Path) -> None:
    arch = path.stem
    found = list(replay(path, arch))
    assert sum(c.outputs for c in found) > 100_000
    wrong = [(c.instruction, c.case, c.mismatches, c.note) for c in found if c.mismatches]
    assert not wrong


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: p.stem)
def test_claims_of_capture_are_backed_by_vectors(path: Path) -> None:
    """Each captured instruction says so, and the file names its device."""
    arch = path.stem
    device = json.loads(path.with_suffix(".json").read_text())["device"]
    for name in {c.instruction.partition("#")[0] for c in replay(path, arch)}:
        proof = evidence(find(arch, name))
        assert proof.level == CAPTURED, name
        assert device["name"] in proof.text
        assert device["driver"] in proof.text


def test_there_are_vectors() -> None:
    assert VECTORS
