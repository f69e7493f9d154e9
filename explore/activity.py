"""Which parameters matter to a design: a table width has no effect on a design of multipliers.

What a design's inert parameters are, its spec says (:meth:`lutscape.hw.spec.Spec.inert`).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pandas as pd

SEPARATOR = "; "


def active(frame: pd.DataFrame, key: str) -> npt.NDArray[np.bool_]:
    """Return for which trials a parameter has an effect, (trials,).

    Args:
        frame: trials, see :func:`lutscape.explore.store.table`.
        key: swept parameter.
    """
    known = {text: key not in text.split(SEPARATOR) for text in frame["inert"].unique()}
    return frame["inert"].map(known).to_numpy(bool)


def effective(frame: pd.DataFrame, parameters: Iterable[str]) -> pd.DataFrame:
    """Return the parameter columns alone, NaN where a value has no effect."""
    return pd.DataFrame({key: frame[key].where(active(frame, key)) for key in parameters}, index=frame.index)


def distinct(frame: pd.DataFrame, parameters: Iterable[str]) -> pd.DataFrame:
    """Return the first trial of each design; designs that differ in inert parameters alone are one."""
    return frame[~effective(frame, parameters).duplicated()]
