"""Where fetched and computed files are kept: one directory of the user's, chosen by one variable."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "LUTSCAPE_CACHE"


def cache_dir() -> Path:
    """Return the cache directory: ``$LUTSCAPE_CACHE``, else the user's (``~/.cache/lutscape``)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lutscape"))
