"""What the architect's verbs of ``lutscape roma`` share: the machine, the model, its weight format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lutscape.hw.errors import UserError

if TYPE_CHECKING:
    from lutscape.hw.machines.roma import RomaSpec
    from lutscape.models.shape import ModelShape


def machine(name: str) -> RomaSpec:
    """Load a spec and refuse other kinds."""
    from lutscape.hw import spec as specs
    from lutscape.hw.machines.roma import RomaSpec

    spec = specs.load(name)
    if not isinstance(spec, RomaSpec):
        raise UserError(f"--hardware {name}: kind {spec.kind!r}; allowed: kind 'roma'")
    return spec


def model(name: str) -> ModelShape:
    """Return the shape of a packaged or registered model, or of a file."""
    from lutscape.models.registry import resolve

    shape = resolve(name).shape
    if shape is None:
        raise UserError(f"{name}: no language model; weights in ROM are planned for those only")
    return shape


def numbers(text: str, option: str) -> list[float]:
    """Read numbers separated by commas."""
    found = []
    for part in text.split(","):
        try:
            found.append(float(part))
        except ValueError:
            raise UserError(f"{option} {text!r}: {part.strip()!r} is no number; write for example 64,256") from None
    return found


def weight_bits(spec: RomaSpec, text: str) -> int:
    """Return the bits of a weight format that the machine's ROM holds."""
    from lutscape.hw.formats.storage import parse_weight_format
    from lutscape.sim.roma import capacity

    return capacity.check_format(spec, parse_weight_format(text), "--weights")
