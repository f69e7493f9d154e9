"""The tile model of GPUs that were not measured here, scored against times that others published."""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw import spec as specs
from lutscape.hw.gpu.published import HEAD, HEADS, KV_HEADS, POINTS, Published
from lutscape.hw.machines.gpu import GpuSpec
from lutscape.models.recorder import Formats
from lutscape.models.trace import Header, Trace
from lutscape.models.tracing import trace_model
from lutscape.sim.gpu import timing


@dataclass(frozen=True)
class Score:
    """A published time beside the model's."""

    point: Published
    model_us: float

    @property
    def error(self) -> float:
        """Model over published, minus one."""
        return self.model_us / self.point.microseconds - 1


def score() -> list[Score]:
    """Time every published point on the spec of its machine."""
    return [Score(p, _time(p)) for p in POINTS]


def mape(scores: list[Score], machine: str) -> float:
    """Return the mean absolute percentage error of a machine's points."""
    errors = [abs(s.error) for s in scores if s.point.machine == machine]
    return 100 * sum(errors) / len(errors)


def _time(p: Published) -> float:
    spec = specs.load(p.machine)
    assert isinstance(spec, GpuSpec)
    if p.kind == "attention":
        return float(timing.timing(spec, attention(p)).seconds[0]) * 1e6
    formats = Formats(weights="int4-g32", head_weights="int4-g32", activations="fp16", kv="fp16")
    trace = trace_model(p.model, p.context, 1, p.batch, formats, execute=False).trace
    result = timing.timing(spec, trace)
    decode = (result.operators["phase"] == "decode").to_numpy()
    return float((result.seconds * result.operators["count"].to_numpy())[decode].sum()) * 1e6


def attention(p: Published) -> Trace:
    """Return a trace of one decode attention."""
    moved = 2 * p.batch * HEADS * HEAD
    header = Header(
        model="attention", source=f"shape:{p.source}", shape=None, executed=False, requantised=False, prompt_tokens=0,
        decode_tokens=1, batch=p.batch, weights="fp16", activations="fp16", accumulator="fp32", kv="fp16",
    )  # fmt: skip
    row = {
        "phase": "decode", "step": 0, "layer": 0, "name": "attention", "operator": "attention", "kind": "attention",
        "input": "", "M": 1, "N": p.context, "K": HEAD, "batch": p.batch, "heads": HEADS, "kv_heads": KV_HEADS,
        "activation_format": "fp16", "output_format": "fp16", "kv_format": "fp16",
        "macs": 2 * p.batch * HEADS * HEAD * p.context, "activation_bytes": moved, "output_bytes": moved,
        "kv_read_bytes": 4 * p.batch * p.context * KV_HEADS * HEAD, "kv_write_bytes": 4 * p.batch * KV_HEADS * HEAD,
    }  # fmt: skip
    return Trace.from_records(header, [row])
