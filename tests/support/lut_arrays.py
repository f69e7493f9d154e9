"""Random small arrays of every datapath, for property tests of golden models, timing and Verilog."""

from __future__ import annotations

from hypothesis import strategies as st

from lutscape.hw.machines.lut_tensor_core import Array

DATAPATHS = ("lut", "lut-full", "unpu", "add", "mac")


@st.composite
def arrays(draw: st.DrawFn, datapaths: tuple[str, ...] = DATAPATHS, most: int = 4, exact: bool = False) -> Array:
    """Return a small array whose accumulators hold at least one step; ``exact``: with exact tables."""
    datapath = draw(st.sampled_from(datapaths))
    k = draw(st.integers(2, 5))
    bits = draw(st.integers(2, 9))
    needed = (k << (bits - 1)).bit_length() + 1
    return Array.model_validate(
        {
            "datapath": datapath,
            "m": draw(st.integers(1, most)),
            "n": draw(st.integers(1, most)),
            "k": k,
            "count": 1,
            "activation_bits": bits,
            "table_bits": max(4, needed) if exact else draw(st.integers(4, max(4, needed + 1))),
            "accumulator_bits": draw(st.integers(22, 48)),
            "multiplier_weight_bits": draw(st.integers(1, 4)),
            "planes_per_cycle": draw(st.integers(1, 4)),
            "serial_weight_bits": draw(st.integers(1, 5)),
        }
    )
