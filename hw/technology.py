"""Technology nodes: gate area, SRAM density and energy relative to 45 nm.

Energy of a fixed circuit scales between nodes X and Y as

    E_Y / E_X = f_Y(V_Y) / f_X(V_X),    f(V) = a2 V² + a1 V + a0

with the coefficients of A. Stillmaker and B. Baas, "Scaling equations for the accurate prediction of
CMOS device performance from 180 nm to 7 nm", Integration 58 (2017), Table 5. A node between two of
the table's takes coefficients linearly interpolated in feature size; the node's YAML says so.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lutscape.hw import yaml_file
from lutscape.hw.errors import nearest
from lutscape.hw.provenance import Source

REFERENCE_COEFFICIENTS = (1.103, -0.362, 0.2767)
"""f at 45 nm, Stillmaker and Baas 2017, Table 5."""
REFERENCE_VOLTAGE = 0.9
"""Volts of the 45 nm energies quoted by Horowitz, ISSCC 2014 (Fig. 1.1.9)."""


class Technology(BaseModel):
    """One process node, from ``configs/technology``."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["technology"] = "technology"
    schema_version: Literal[1] = 1
    name: str
    node_nm: float = Field(ge=3, le=180)
    supply_v: float = Field(ge=0.4, le=1.8)
    """Supply voltage at which energies are quoted."""
    gate_area_um2: float = Field(gt=0)
    """Area of one gate equivalent (two-input NAND of unit drive)."""
    sram_area_um2_per_bit: float = Field(gt=0)
    """Macro area per bit, periphery included, for macros of 32 KiB and more."""
    energy_coefficients: tuple[float, float, float]
    """(a2, a1, a0) of f(V), see the module's docstring."""
    calibration: tuple[str, ...] = Field(default=("nangate45", "asap7"), min_length=1)
    """Synthesised libraries that arrays are priced from: packaged names, or folders that ``lutscape rtl calibrate``
    wrote. One at this node is taken as it is; else costs are interpolated (:mod:`lutscape.hw.calibration.price`)."""
    sources: dict[str, Source]
    """Grade and source of each number above, by field name."""

    @model_validator(mode="after")
    def _known_sources(self) -> Technology:
        for key in self.sources:
            if key not in type(self).model_fields:
                raise ValueError(f"sources: no field {key!r} in a technology{nearest(key, type(self).model_fields)}")
        return self

    @property
    def energy_scale(self) -> float:
        """Energy of a circuit at this node divided by its energy at 45 nm and 0.9 V."""
        return _polynomial(self.energy_coefficients, self.supply_v) / _polynomial(
            REFERENCE_COEFFICIENTS, REFERENCE_VOLTAGE
        )

    def energy_ratio(self, other: Technology) -> float:
        """Energy here divided by energy at another node."""
        return self.energy_scale / other.energy_scale

    def logic_area_ratio(self, other: Technology) -> float:
        """Logic area here divided by logic area at another node (gate areas)."""
        return self.gate_area_um2 / other.gate_area_um2


def _polynomial(coefficients: tuple[float, float, float], volts: float) -> float:
    a2, a1, a0 = coefficients
    return a2 * volts * volts + a1 * volts + a0


@cache
def load(name: str, relative_to: Path | None = None) -> Technology:
    """Load a node by name (``28nm``) or path.

    Raises:
        UserError: missing or invalid file, with file, line, key and the nearest name.
    """
    path = yaml_file.find(name, "technology", relative_to)
    data, lines = yaml_file.read(path)
    return yaml_file.validate(Technology, data, path, lines)
