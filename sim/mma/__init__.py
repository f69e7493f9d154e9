"""Bit-exact arithmetic of GPU matrix instructions, after arXiv 2511.10909v2 and captures on silicon.

``instruction(arch, name)`` gives a callable (A, B, C) -> D with ``explain()`` and ``trace()``;
``Custom`` builds a fused unit of your own; ``gemm`` chains an instruction into a whole kernel.
Kernels are compiled at first use and kept in numba's cache; importing this package compiles nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lutscape.sim.mma.api import Instruction, instruction
    from lutscape.sim.mma.chaining import gemm
    from lutscape.sim.mma.custom import Custom

__all__ = ["Custom", "Instruction", "gemm", "instruction", "list_instructions"]


def __getattr__(name: str) -> Any:
    if name == "Custom":
        from lutscape.sim.mma.custom import Custom

        return Custom
    if name in ("Instruction", "instruction"):
        from lutscape.sim.mma import api

        return getattr(api, name)
    if name == "gemm":
        from lutscape.sim.mma.chaining import gemm

        return gemm
    if name == "list_instructions":
        from lutscape.sim.mma.instructions import architecture, table

        return lambda arch: list(table(architecture(arch)))
    raise AttributeError(name)
