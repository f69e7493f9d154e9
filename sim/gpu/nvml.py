"""Clocks, power and energy of a GPU, read through the driver's management library (never set)."""

from __future__ import annotations

import ctypes
from typing import Any

from lutscape.hw.errors import UserError

_GRAPHICS, _SM, _MEMORY = 0, 1, 2
_THROTTLE = {0x4: "power cap", 0x8: "hardware slowdown", 0x20: "thermal (software)", 0x40: "thermal (hardware)"}


class Monitor:
    """One GPU as NVML sees it."""

    def __init__(self, device: int = 0) -> None:
        try:
            self._c = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            raise UserError("no NVIDIA driver here: libnvidia-ml.so.1 cannot be loaded") from None
        self._handle = ctypes.c_void_p()
        self._check(self._c.nvmlInit_v2(), "init")
        self._check(self._c.nvmlDeviceGetHandleByIndex_v2(device, ctypes.byref(self._handle)), "device")

    def _check(self, code: int, what: str) -> None:
        if code:
            self._c.nvmlErrorString.restype = ctypes.c_char_p
            raise UserError(f"NVML: {what}: {self._c.nvmlErrorString(code).decode()}")

    def _unsigned(self, name: str, *arguments: Any) -> int | None:
        value = ctypes.c_uint()
        code = getattr(self._c, name)(self._handle, *arguments, ctypes.byref(value))
        return None if code else value.value

    def driver(self) -> str:
        """Return the driver's version."""
        text = ctypes.create_string_buffer(96)
        self._check(self._c.nvmlSystemGetDriverVersion(text, 96), "driver version")
        return text.value.decode()

    def state(self) -> dict[str, Any]:
        """Return clocks (MHz), power (W), temperature (°C) and what holds the clocks down."""
        power, reasons = self._unsigned("nvmlDeviceGetPowerUsage"), ctypes.c_ulonglong()
        self._c.nvmlDeviceGetCurrentClocksThrottleReasons(self._handle, ctypes.byref(reasons))
        return {
            "sm_clock_mhz": self._unsigned("nvmlDeviceGetClockInfo", ctypes.c_int(_SM)),
            "memory_clock_mhz": self._unsigned("nvmlDeviceGetClockInfo", ctypes.c_int(_MEMORY)),
            "power_w": None if power is None else power / 1000,
            "temperature_c": self._unsigned("nvmlDeviceGetTemperature", ctypes.c_int(0)),
            "throttle": "; ".join(text for bit, text in _THROTTLE.items() if reasons.value & bit),
        }

    def limits(self) -> dict[str, Any]:
        """Return the largest clocks (MHz) and the enforced power limit (W)."""
        limit = self._unsigned("nvmlDeviceGetEnforcedPowerLimit")
        return {
            "max_sm_clock_mhz": self._unsigned("nvmlDeviceGetMaxClockInfo", ctypes.c_int(_SM)),
            "max_memory_clock_mhz": self._unsigned("nvmlDeviceGetMaxClockInfo", ctypes.c_int(_MEMORY)),
            "power_limit_w": None if limit is None else limit / 1000,
        }

    def energy_j(self) -> float:
        """Return the joules spent since the driver was loaded."""
        value = ctypes.c_ulonglong()
        self._check(self._c.nvmlDeviceGetTotalEnergyConsumption(self._handle, ctypes.byref(value)), "energy counter")
        return value.value / 1000

    def others(self) -> int:
        """Return how many processes have a context on the card, this one included."""
        count = ctypes.c_uint(0)
        code = self._c.nvmlDeviceGetComputeRunningProcesses_v3(self._handle, ctypes.byref(count), None)
        return count.value if code in (0, 7) else 0  # 7: buffer too small, the count is filled in
