"""lutscape: simulate, cost, generate and explore low-bit LLM accelerators.

Rooms: :mod:`lutscape.hw` (what hardware is and costs), :mod:`lutscape.models` (what runs),
:mod:`lutscape.sim` (how it computes and how long it takes), :mod:`lutscape.explore` (spaces,
sweeps, reports).
"""

from pathlib import Path

from lutscape.version import __version__

__all__ = ["__version__"]

# In a source checkout the rooms are folders beside this one (hw/, models/, ...); an installed
# package has them inside it. This line lets `python -m lutscape` work in a checkout too.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "hw" / "__init__.py").is_file() and not (Path(__file__).parent / "hw").exists():
    __path__.append(str(_checkout))
