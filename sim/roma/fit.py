"""ROMA's published times, and the four constants of the cycle model that are fitted to four of them.

The digests of the paper print eight times. Two of decode (31.8k tokens/s without a KV cache, 24.6k at 1,024) give the
overhead of a decode step and the KV bytes per cycle in decode; the two of prefill (5.6 ms at 256, 140.2 ms at 4,096)
give both for prefill. The other four, a table of decode rates against context, belong to no fit: :func:`score` sets
the model beside all eight and says which is which. The workload of a point is not always printed; Llama-3.2-3B at 4
bits with an adapter of rank 16 is, for the times to first token, and is taken for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lutscape.hw import spec as specs
from lutscape.hw.machines.roma import DIGEST, RomaSpec
from lutscape.hw.result import Floats
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model
from lutscape.sim.roma import timing

MODEL, WEIGHTS = "llama-3.2-3b", "int4-g128"
KEYS = ("step.decode_cycles", "h_unit.kv_bytes_per_cycle", "step.prefill_cycles", "h_unit.prefill_kv_bytes_per_cycle")


@dataclass(frozen=True)
class Point:
    """One published time.

    Attributes:
        name: short.
        phase: ``decode`` or ``prefill``.
        tokens: of context, or of the prompt.
        seconds: of one decoded token, or to the first token.
        fitted: a constant is fitted to it.
        source: where it is printed.
    """

    name: str
    phase: str
    tokens: int
    seconds: float
    fitted: bool
    source: str


POINTS = (
    Point("decode, no KV cache: 31.8k tok/s", "decode", 0, 1 / 31.8e3, True, DIGEST),
    Point("decode, 1K context: 24.6k tok/s", "decode", 1024, 1 / 24.6e3, True, DIGEST),
    Point("prefill of 256: 5.6 ms", "prefill", 256, 5.6e-3, True, DIGEST),
    Point("prefill of 4K: 140.2 ms", "prefill", 4096, 140.2e-3, True, DIGEST),
    Point("decode, 256 context: 20,078 tok/s", "decode", 256, 1 / 20078, False, f"{DIGEST}: comparison table"),
    Point("decode, 512 context: 18,703 tok/s", "decode", 512, 1 / 18703, False, f"{DIGEST}: comparison table"),
    Point("decode, 1K context: 12,840 tok/s", "decode", 1024, 1 / 12840, False, f"{DIGEST}: comparison table"),
    Point("decode, 2K context: 8,533 tok/s", "decode", 2048, 1 / 8533, False, f"{DIGEST}: comparison table"),
)


@cache
def workload(phase: str, tokens: int, model: str = MODEL, weights: str = WEIGHTS) -> Trace:
    """Return the trace of a point: one decode step behind ``tokens`` of context, or a prefill of ``tokens``."""
    formats = Formats(weights=weights, activations="fp16", kv="fp8_e4m3")
    decode = phase == "decode"
    return trace_model(model, max(tokens, 1), int(decode), 1, formats, execute=False).trace


def seconds(spec: RomaSpec, phase: str, tokens: int, model: str = MODEL, weights: str = WEIGHTS) -> float:
    """Return what the cycle model says of a point."""
    result = timing.timing(spec, workload(phase, tokens, model, weights))
    return result.total_seconds(phase)


def fit(spec: RomaSpec, model: str = MODEL, weights: str = WEIGHTS) -> dict[str, float]:
    """Return the four constants that meet the four fitted points, by key path of the spec.

    Each phase has two unknowns and two points: overhead x and KV cycles per byte y. Times are linear in x and, where
    the KV cache bounds attention, in y, so that Newton's steps meet them; a negative overhead is set to zero, and the
    points are then missed by what :func:`score` prints.
    """
    found: dict[str, float] = {}
    for phase, overhead, bandwidth in (("decode", KEYS[0], KEYS[1]), ("prefill", KEYS[2], KEYS[3])):
        points = [p for p in POINTS if p.fitted and p.phase == phase]

        def miss(
            x: float, y: float, points: list[Point] = points, keys: tuple[str, str] = (overhead, bandwidth)
        ) -> Floats:
            changed = specs.override(spec, {keys[0]: x, keys[1]: 1 / y})
            assert isinstance(changed, RomaSpec)
            return np.array([seconds(changed, p.phase, p.tokens, model, weights) / p.seconds - 1 for p in points])

        x, y = 50.0, 1 / 50
        for _ in range(8):
            here = miss(x, y)
            slopes = np.stack([(miss(x + 1, y) - here), (miss(x, y * 1.01) - here) / (0.01 * y)], axis=1)
            dx, dy = np.linalg.solve(slopes, -here)
            x, y = max(0.0, x + dx), min(max(y + dy, y / 4), 4 * y)
        found |= {overhead: float(x), bandwidth: float(1 / y)}
    return found


def score(spec: RomaSpec) -> list[dict[str, object]]:
    """Return every published point with the model's time and whether it was fitted."""
    rows: list[dict[str, object]] = []
    for p in POINTS:
        ours = seconds(spec, p.phase, p.tokens)
        rows.append(
            {
                "name": p.name, "phase": p.phase, "tokens": p.tokens, "published_s": p.seconds, "model_s": ours,
                "error": ours / p.seconds - 1, "fitted": p.fitted, "source": p.source,
            }
        )  # fmt: skip
    return rows
