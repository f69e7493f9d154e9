"""Numbers as an engineer writes them: SI prefixes, significant digits, units, ratios."""

from __future__ import annotations

import math
from typing import Any

PREFIXES = {-15: "f", -12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P"}
PREFIXED = frozenset({"s", "J", "W", "B", "b", "Hz", "MAC", "op"})
"""Units that take SI prefixes; others (mm2, GB, MHz, …) are printed as they are."""
SPELLED = {"mm2": "mm²", "um2": "µm²", "1/s": "/s", "1/J": "/J"}
# Suffix of a spec field -> unit; the longest that fits wins.
FIELD_UNITS = {
    "_mhz": "MHz",
    "_gb_s": "GB/s",
    "_pj_per_bit": "pJ/bit",
    "_ns": "ns",
    "_us": "µs",
    "_kib": "KiB",
    "_mib": "MiB",
    "_kib_per_sm": "KiB per SM",
    "_bits": "bits",
    "_mm2": "mm²",
    "_mm2_per_sm": "mm² per SM",
    "_um2": "µm²",
    "_tera_ops_per_watt": "TOPS/W",
    "_bytes_per_cycle": "B/cycle",
    "_bytes_per_cycle_per_sm": "B/cycle per SM",
    "_macs_per_cycle": "MAC/cycle",
    "_macs_per_cycle_per_sm": "MAC/cycle per SM",
    "_ops_per_cycle_per_sm": "op/cycle per SM",
    "_lanes": "lanes",
    "_cycles": "cycles",
    "_per_cycle": "per cycle",
    "_per_sm": "per SM",
}


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits, without exponent where it stays readable.

    >>> significant(1234.5), significant(0.012345), significant(3)
    ('1230', '0.0123', '3.00')
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if not -4 <= magnitude < 7:
        return f"{value:.{digits - 1}e}"
    rounded = round(value, digits - 1 - magnitude)
    return f"{rounded:.{max(0, digits - 1 - magnitude)}f}"


def quantity(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Return a number with its unit; seconds, joules, watts, … get an SI prefix.

    >>> quantity(0.0892, "s"), quantity(1.778, "mm2"), quantity(1664.4, "1/s")
    ('89.2 ms', '1.78 mm²', '1660 /s')
    """
    if value is None or not math.isfinite(value):
        return significant(math.nan if value is None else value)
    spelled = SPELLED.get(unit, unit)
    if unit not in PREFIXED or value == 0:
        return f"{significant(value, digits)} {spelled}".strip()
    rounded = float(f"{value:.{digits - 1}e}")  # 999.96 must become 1.00 k, not 1000
    exponent = min(max(3 * math.floor(math.log10(abs(rounded)) / 3), min(PREFIXES)), max(PREFIXES))
    return f"{significant(value / 10.0**exponent, digits)} {PREFIXES[exponent]}{spelled}"


def ratio(value: float, reference: float) -> str:
    """Return value / reference as ``0.45×``.

    >>> ratio(1.0, 2.0), ratio(30.0, 2.0)
    ('0.50×', '15×')
    """
    if not reference or not math.isfinite(value / reference):
        return "–"
    share = value / reference
    return f"{share:.2f}×" if share < 10 else f"{significant(share, 2 if share < 100 else 3)}×"


def percent(share: float) -> str:
    """Return a share of one as percent: ``12.3 %``."""
    return f"{100 * share:.1f} %" if math.isfinite(share) else "–"


def plain(value: Any) -> str:
    """Return a parameter or spec value as text: integers whole, floats without trailing zeros.

    >>> plain(64), plain(256.0), plain(0.9), plain("lut"), plain(1048576)
    ('64', '256', '0.9', 'lut', '1\u202f048\u202f576')
    """
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "–"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\u202f") if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(plain(v) for v in value)
    return str(value)


def field_unit(key: str) -> str:
    """Return the unit that the name of a spec field carries, or an empty string.

    >>> field_unit("dram.bandwidth_gb_s"), field_unit("array.n")
    ('GB/s', '')
    """
    name = "_" + key.rsplit(".", 1)[-1]
    fits = [suffix for suffix in FIELD_UNITS if name.endswith(suffix)]
    return FIELD_UNITS[max(fits, key=len)] if fits else ""


def metric_label(name: str) -> str:
    """Return a metric's name for people: ``time_to_first_token_s`` -> ``time to first token``."""
    for suffix in ("_s", "_j", "_mm2", "_w", "_gb"):
        if name.endswith(suffix) and not name.endswith(("_per_s", "_per_j")):
            name = name.removesuffix(suffix)
            break
    return (
        name.replace("tokens_per_s", "tokens per second")
        .replace("tokens_per_j", "tokens per joule")
        .replace("_", " ")
        .replace("dram", "DRAM traffic")
    )


def names(items: list[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]]) if len(items) > 1 else "".join(items)
