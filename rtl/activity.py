"""How often nets toggle and how long they are high: what power is computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError
from lutscape.rtl.linked import Linked
from lutscape.rtl.netlist import ONE

CLOCK_TOGGLES = 2.0  # of the clock, per cycle


@dataclass(frozen=True, eq=False)
class Activity:
    """Toggles and duty of every net of a :class:`Linked` netlist.

    Attributes:
        toggles: (nets,) edges per clock cycle, rising and falling.
        duty: (nets,) share of the time that the net is 1.
        source: where it comes from, in words.
    """

    toggles: NDArray[np.float64]
    duty: NDArray[np.float64]
    source: str


def uniform(linked: Linked, toggles: float, duty: float = 0.5) -> Activity:
    """Return one activity and duty for every net but the clock (2 toggles a cycle) and the constants.

    Raises:
        UserError: a negative activity, or a duty outside 0 to 1.
    """
    if not toggles >= 0:
        raise UserError(f"activity {toggles:g}; allowed: 0 or more toggles per cycle")
    if not 0 <= duty <= 1:
        raise UserError(f"duty {duty:g}; allowed: 0 to 1")
    result = Activity(
        np.full(linked.nets, float(toggles)),
        np.full(linked.nets, float(duty)),
        f"{toggles:g} toggles a cycle on every net",
    )
    settle(linked, result)
    return result


def settle(linked: Linked, activity: Activity) -> None:
    """Set what is known of every netlist: the clock toggles twice a cycle, constants never."""
    activity.toggles[linked.clock_nets > 0] = CLOCK_TOGGLES
    activity.duty[linked.clock_nets > 0] = 0.5
    activity.toggles[:2] = 0.0
    activity.duty[:2] = 0.0, 1.0
    assert ONE == 1
