"""Times and capacitances as users write them: ``1.2ns``, ``10fF``."""

from __future__ import annotations

import re

from lutscape.hw.errors import UserError

TIMES_PS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "us": 1e6}
LOADS_FF = {"aF": 1e-3, "fF": 1.0, "pF": 1e3, "nF": 1e6}
_FORM = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([A-Za-zµ]*)\s*")


def time_ps(text: str, what: str) -> float:
    """Return a positive time in ps.

    Raises:
        UserError: no number with a unit, or not positive.
    """
    value = _read(text, what, TIMES_PS, "1.2ns or 1200ps")
    if not value > 0:
        raise UserError(f"{what} {text!r}: must be more than 0, like 1.2ns or 1200ps")
    return value


def load_ff(text: str, what: str) -> float:
    """Return a capacitance in fF, 0 or more.

    Raises:
        UserError: no number with a unit, or negative.
    """
    value = _read(text, what, LOADS_FF, "10fF or 0.01pF")
    if value < 0:
        raise UserError(f"{what} {text!r}: must be 0 or more, like 10fF or 0.01pF")
    return value


def _read(text: str, what: str, units: dict[str, float], example: str) -> float:
    match = _FORM.fullmatch(text)
    scales = {unit.lower(): scale for unit, scale in units.items()}
    unit = match.group(2).lower().replace("µ", "u") if match else ""
    if match is None or unit not in scales:
        raise UserError(f"{what} {text!r}: write a number with a unit ({', '.join(units)}), like {example}")
    return float(match.group(1)) * scales[unit]
