"""Floating-point converter to a format that holds every number of the other one: exact."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.formats.binary import BinaryFormat
from lutscape.hw.formats.encode import nan_code
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import fp_numbers
from lutscape.rtl.cells.fp_unpack import check, exponent_bits, unpack
from lutscape.rtl.cells.fused_dot_part import part, unused
from lutscape.rtl.cells.text import vector
from lutscape.sim.lut_tensor_core.float_array import codes, values

Arrays = dict[str, np.ndarray]


@cache
def fp_convert(form: BinaryFormat, target: BinaryFormat) -> Cell:
    """Return the converter; NaN becomes the canonical NaN.

    Raises:
        UserError: a target that does not hold every number of ``form``.
    """
    check(target, form, "fp_convert")
    m, field, w = target.mantissa_bits, target.mantissa_bits + target.exponent_bits, exponent_bits(target, form)
    number = unpack("v", "x_v", form, target, w)
    infinity = f"v_infinite ? {field}'h{target.largest + 1:x} : " if number.infinite else ""
    lines = [
        *number.lines,
        "// the leading one of a normal number adds one to the exponent",
        f"wire {vector(w + m)}packed_field = {{v_exponent - {w}'d1, {m}'d0}} + {{{w - 1}'d0, v_significand}};",
        unused("top", f"packed_field[{w + m - 1}:{field}]"),
        f"wire {vector(field)}finite = v_zero ? {field}'d0 : packed_field[{field - 1}:0];",
        f"assign y_v = v_nan ? {field + 1}'h{nan_code(target):x} : {{v_sign, {infinity}finite}};",
    ]
    return part(
        kind="fp_convert",
        name=f"fp_convert_{form.name}_{target.name}",
        what=f"a number of {form.name} in {target.name}",
        parameters={"from": form.name, "to": target.name},
        numbers=f"{form.name} to {target.name}, exact",
        inputs=(Field("v", form.width, meaning=form.name),),
        outputs=(Field("v", target.width, meaning=target.name),),
        lines=lines,
        golden=lambda x: {"v": codes(values(x["v"], form), target)},
        stimulus=lambda rng, count: {
            "v": np.concatenate([fp_numbers.edges(form), rng.integers(0, 1 << form.bits, max(count, 64))])
        },
        coverage=lambda x: dict(fp_numbers.classes(form, x["v"])),
        parts=number.parts,
        operations=1.0,
    )
