"""The one error that a user sees: a single line, exit code 2, no traceback.

Every message names the place (file, line, key path or argument), the bad value, what is allowed
and, where a name was misspelt, the nearest valid spelling.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. ``str(error)`` is one line, fit to print after ``lutscape: error:``."""


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the closest allowed spelling, or an empty string."""
    names = [str(a) for a in allowed]
    lowered = {n.lower(): n for n in names}
    close = difflib.get_close_matches(name.lower(), list(lowered), n=1, cutoff=0.6)
    return f" (did you mean {lowered[close[0]]!r}?)" if close else ""


def choose(name: str, allowed: Iterable[str], what: str) -> str:
    """Return ``name`` if it is allowed; otherwise raise :class:`UserError` that lists what is."""
    names = list(allowed)
    if name in names:
        return name
    raise UserError(f"unknown {what} {name!r}{nearest(name, names)}; allowed: {', '.join(sorted(names))}")
