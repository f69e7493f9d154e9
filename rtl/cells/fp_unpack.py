"""Front of every floating-point cell: a code to sign, significand and exponent on the grid of a wider format.

Exponents are biased as those of the target format, with room above it. Behind it a significand starts with a one
unless its exponent is the least one, 1: numbers that are subnormal in their own format alone, or in front of a shift
by a plane's weight, are normalised. So exponent and significand side by side order as magnitudes do. Codes of
infinities and NaNs pass with their raw fields; flags tell them.
"""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import BinaryFormat
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.fused_dot_multiply import classes, decoder
from lutscape.rtl.cells.fused_dot_part import extend, plus, unused
from lutscape.rtl.cells.fused_dot_round import leading_zeros
from lutscape.rtl.cells.text import index_bits, vector


@dataclass(frozen=True)
class Unpacked:
    """Wires of one number.

    Attributes:
        lines: Verilog.
        parts: cells in it.
        infinite: wire, or empty if the format has no infinity.
    """

    lines: list[str]
    parts: tuple[Cell, ...]
    infinite: str


def check(target: BinaryFormat, form: BinaryFormat, cell: str) -> None:
    """Refuse a pair of formats that the cells do not take."""
    for f in (target, form):
        if f.specials not in ("ieee", "fn") or not f.signed or f.dropped_bits:
            raise UserError(f"{cell}: {f.name} is not supported; allowed: fp32, fp16, bf16, e5m2, e4m3")
    if not target.holds(form):
        raise UserError(f"{cell}: {target.name} does not hold every {form.name} number")


def exponent_bits(target: BinaryFormat, form: BinaryFormat, passes: int = 1) -> int:
    """Return the bits of exponents up to one above the largest of either format."""
    most = max((1 << target.exponent_bits) - 1, (1 << form.exponent_bits) - 1 + target.bias - form.bias + passes - 1)
    return (most + 1).bit_length()


def unpack(name: str, code: str, form: BinaryFormat, target: BinaryFormat, width: int, passes: int = 1) -> Unpacked:
    """Return Verilog of ``{name}_sign``, ``_significand`` (target's fraction bits and one), ``_exponent`` and ``_nan``.

    Args:
        name: prefix of the wires.
        code: expression of the format's code.
        form: of the code.
        target: whose grid the result is on.
        width: bits of the exponent.
        passes: the number is shifted up by ``x_position``, 0 … passes - 1.
    """
    m, e, part = form.mantissa_bits, form.exponent_bits, decoder(form)
    infinite = "infinite" in classes(form)
    flags = ["sign", "zero", *classes(form)]
    lines = [
        f"wire {vector(m + 1)}{name}_raw;",
        f"wire {vector(e)}{name}_biased;",
        f"wire {', '.join(f'{name}_{flag}' for flag in flags)};",
        f"{part.name} decode_{name} (",
        f"    .x_code({code}), .y_significand({name}_raw), .y_exponent({name}_biased),",
        "    " + ", ".join(f".y_{flag}({name}_{flag})" for flag in flags),
        ");",
    ]
    off, more = target.bias - form.bias, target.mantissa_bits - m
    # how far a subnormal number may move up: until its exponent is 1
    room = off + passes - 1
    raised = plus(extend(f"{name}_biased", e, width), width, off)
    if passes > 1:
        raised += f" + {extend('x_position', index_bits(passes), width)}"
    parts: tuple[Cell, ...] = (part,)
    significand = f"{name}_raw"
    if room == 0:
        lines += [f"wire {vector(width)}{name}_exponent = {raised};", unused(f"{name}_zero", f"{name}_zero")]
    else:
        counter = leading_zeros(m + 1)
        parts += (counter,)
        lz = max(1, m.bit_length())
        lines += [
            f"wire {vector(lz)}{name}_count;",
            f"wire {name}_none;",
            f"{counter.name} count_{name} (.x_x({name}_raw), .y_count({name}_count), .y_none({name}_none));",
            unused(f"{name}_none", f"{name}_none"),
        ]
        up = f"{name}_count"
        if off < m:  # the exponent would fall below 1
            least = f"{lz}'d{off}" if passes == 1 else None
            if least is None:
                bits = max(lz, room.bit_length())
                lines.append(
                    f"wire {vector(bits)}{name}_room = "
                    f"{plus(extend('x_position', index_bits(passes), bits), bits, off)};"
                )
                small = f"{name}_room < {extend(f'{name}_count', lz, bits)}"
                cut = f"{name}_room[{lz - 1}:0]" if bits > lz else f"{name}_room"
                lines.append(f"wire {vector(lz)}{name}_up = {small} ? {cut} : {name}_count;")
            else:
                lines.append(f"wire {vector(lz)}{name}_up = {least} < {name}_count ? {least} : {name}_count;")
            up = f"{name}_up"
        # without a limit a zero moves too far for its exponent to mean anything
        masked = off >= m
        lines += [
            f"wire {vector(m + 1)}{name}_moved = {name}_raw << {up};",
            f"wire {vector(width)}{name}_{'raised' if masked else 'exponent'} = {raised} - {extend(up, lz, width)};",
            f"wire {vector(width)}{name}_exponent = {name}_raised & {{{width}{{~{name}_zero}}}};"
            if masked
            else unused(f"{name}_zero", f"{name}_zero"),
        ]
        significand = f"{name}_moved"
    wide = f"{{{significand}, {more}'d0}}" if more else significand
    lines.append(f"wire {vector(target.mantissa_bits + 1)}{name}_significand = {wide};")
    return Unpacked(lines, parts, f"{name}_infinite" if infinite else "")
