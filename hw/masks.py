"""What a set of weights costs in masks: full sets, shared layers, re-spins.

Prices at 5 nm are those that HNLPU prints (arXiv 2508.16151): a full set of 70 masks 30 M$, of which the 10 metal masks
that hold the weights 2.31 M$ (deep ultraviolet) and the 60 shared ones 27.69 M$. Other nodes have no price here; give
one. A design of several dies shares the layers that hold no weights:

    first tape-out   shared + dies x programmable
    re-spin          dies x programmable
    without sharing  dies x full set
"""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw.errors import UserError, choose
from lutscape.hw.provenance import Grade, Source

SOURCE = "HNLPU, arXiv 2508.16151"
SETS: dict[str, tuple[float, int, float, int]] = {
    # node: full set in M$, its masks, programmable ones in M$, how many
    "5nm": (30.0, 70, 2.31, 10)
}
LAYERS = {
    # option: masks that a change of weights changes, who does so
    "contact": (1, "NOR ROM programmed by contacts (ROMA's standard ROM)"),
    "via": (1, "one via layer"),
    "metal-via": (2, "one metal and one via layer (Taalas: two masks a model)"),
    "metal-4": (10, f"M8 to M11 with their vias, ten masks ({SOURCE})"),
    "all": (0, "weights as standard cells: every mask (TOM)"),
}
WEEKS = "6 to 8 weeks"


@dataclass(frozen=True)
class MaskSet:
    """Prices of a node's masks.

    Attributes:
        full: millions of dollars of a full set.
        masks: in it.
        each: millions of dollars of one programmable mask.
        source: of the prices.
    """

    full: float
    masks: int
    each: float
    source: Source


@dataclass(frozen=True)
class Bill:
    """Cost of one design, millions of dollars.

    Attributes:
        option: of :data:`LAYERS`, or a number of masks.
        programmable: masks that weights change.
        first: first tape-out.
        respin: new weights.
        unshared: a full set for every die.
    """

    option: str
    programmable: int
    first: float
    respin: float
    unshared: float

    def after(self, models: int) -> float:
        """Return the cost of the first and all further models."""
        return self.first + (models - 1) * self.respin


def mask_set(node: str, full: float | None = None, masks: int | None = None, each: float | None = None) -> MaskSet:
    """Return a node's prices, the cited ones or the user's.

    Args:
        node: name of the technology.
        full: millions of dollars of a full set, in place of the cited price.
        masks: in the set.
        each: of one programmable mask; none: the mean price of the set's masks.

    Raises:
        UserError: no price for the node and none given.
    """
    if full is None and masks is None and each is None and node in SETS:
        price, count, programmable, many = SETS[node]
        return MaskSet(price, count, programmable / many, Source(grade=Grade.PUBLISHED, source=SOURCE))
    if full is None or masks is None:
        raise UserError(
            f"no cited price of masks at {node}; known: {', '.join(SETS)}; give --mask-set (M$) and --masks (count)"
        )
    for name, value in (("--mask-set", full), ("--masks", masks), ("--mask", each)):
        if value is not None and not value > 0:
            raise UserError(f"{name} {value:g}: must be above zero")
    return MaskSet(full, masks, each or full / masks, Source(grade=Grade.ASSUMED, source="prices given by the user"))


def bill(prices: MaskSet, dies: int, option: str | int) -> Bill:
    """Return what a design of so many different dies costs.

    Args:
        prices: of :func:`mask_set`.
        dies: that hold one model, each with weights of its own.
        option: of :data:`LAYERS`, or how many masks hold weights.

    Raises:
        UserError: unknown option, or numbers out of range.
    """
    if dies < 1:
        raise UserError(f"{dies} dies: must be 1 or more")
    if isinstance(option, int):
        count, name = option, f"{option} masks"
    else:
        choose(option, LAYERS, "programmable layers")
        count, name = LAYERS[option][0] or prices.masks, option
    if not 1 <= count <= prices.masks:
        raise UserError(f"{count} programmable masks: must be 1 … {prices.masks}, the masks of the set")
    programmable = prices.full if count == prices.masks else count * prices.each
    return Bill(name, count, prices.full - programmable + dies * programmable, dies * programmable, dies * prices.full)
