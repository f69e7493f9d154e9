"""Random small arrays of float activations, for property tests of golden models, timing and Verilog."""

from __future__ import annotations

from hypothesis import strategies as st

from lutscape.hw.formats.binary import FORMATS
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.catalogue import small_float

ACTIVATIONS = ("fp16", "bf16", "e4m3", "e5m2")


@st.composite
def float_arrays(draw: st.DrawFn, most: int = 3) -> Array:
    """Return a small array of any formats that nest."""
    activation = draw(st.sampled_from(ACTIVATIONS))
    tables = [f for f in ("same", *ACTIVATIONS) if f == "same" or FORMATS[f].holds(FORMATS[activation])]
    table = draw(st.sampled_from(tables))
    entry = FORMATS[activation if table == "same" else table]
    sums = [f for f in ("fp32", "fp16", "bf16") if FORMATS[f].holds(entry)]
    changes: dict[str, int | str] = {
        "m": draw(st.integers(1, most)),
        "n": draw(st.integers(1, most)),
        "k": draw(st.integers(2, 4)),
        "serial_weight_bits": draw(st.integers(1, 4)),
        "float_overflow": draw(st.sampled_from(["ieee", "saturate"])),
    }
    return small_float(activation, table, draw(st.sampled_from(sums)), **changes)
