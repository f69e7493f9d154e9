"""Technology nodes: gate area, SRAM density and energy relative to 45 nm.

Dynamic energy of a fixed circuit scales between nodes X and Y as

    E_Y / E_X = C_Y V_Y² / (C_X V_X²)

with C the capacitance that the circuit switches, relative to 45 nm. At 7 nm C is measured on our own netlists: the
geometric mean over the arrays that were synthesised with both calibrated libraries; nodes between are interpolated,
linear in logarithms of feature size. The widely used polynomials of Stillmaker and Baas (Integration 58, 2017,
Table 5, high performance) say 7 nm needs a third of that energy; the operations of Jouppi et al. (ISCA 2021, Table 2:
45 to 7 nm, 2.1 to 4.3 times less energy for arithmetic) do not, and agree with the netlists.
``tests/hw/test_scaling.py`` holds the factors to all three.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lutscape.hw import yaml_file
from lutscape.hw.errors import nearest
from lutscape.hw.provenance import Source

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
    switched_capacitance: float = Field(gt=0)
    """Capacitance that a circuit switches here, relative to 45 nm."""
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
        return self.switched_capacitance * (self.supply_v / REFERENCE_VOLTAGE) ** 2

    def energy_ratio(self, other: Technology) -> float:
        """Energy here divided by energy at another node."""
        return self.energy_scale / other.energy_scale

    def logic_area_ratio(self, other: Technology) -> float:
        """Logic area here divided by logic area at another node (gate areas)."""
        return self.gate_area_um2 / other.gate_area_um2


@cache
def load(name: str, relative_to: Path | None = None) -> Technology:
    """Load a node by name (``28nm``) or path.

    Raises:
        UserError: missing or invalid file, with file, line, key and the nearest name.
    """
    path = yaml_file.find(name, "technology", relative_to)
    data, lines = yaml_file.read(path)
    return yaml_file.validate(Technology, data, path, lines)
