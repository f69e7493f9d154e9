"""One entry for every family: time and cost of a trace on a spec."""

from __future__ import annotations

import importlib

from lutscape.hw.errors import UserError
from lutscape.hw.ppa import Ppa
from lutscape.hw.result import Result
from lutscape.hw.spec import Spec
from lutscape.models.trace import Trace

# kind -> (timing module, cost module); each has timing(spec, trace) and cost(spec, result).
FAMILIES = {
    "gpu": ("lutscape.sim.gpu.timing", "lutscape.hw.cost_gpu"),
    "lut-dla": ("lutscape.sim.lut_dla.timing", "lutscape.hw.cost_lut_dla"),
    "lut-tensor-core": ("lutscape.sim.lut_tensor_core.timing", "lutscape.hw.cost_array"),
    "roma": ("lutscape.sim.roma.timing", "lutscape.hw.cost_roma"),
}


def simulate(spec: Spec, trace: Trace) -> tuple[Result, Ppa]:
    """Run the timing model of the spec's family on a trace and cost the result.

    Raises:
        UserError: the machine cannot run an operator of the trace, or has no timing model.
    """
    if spec.kind not in FAMILIES:
        raise UserError(f"hardware kind {spec.kind!r} has no timing model; allowed: {', '.join(FAMILIES)}")
    if spec.unpriced():
        raise UserError(f"{spec.name}: {spec.unpriced()}")
    timing, cost = (importlib.import_module(name) for name in FAMILIES[spec.kind])
    result: Result = timing.timing(spec, trace)
    ppa: Ppa = cost.cost(spec, result)
    return result, ppa
