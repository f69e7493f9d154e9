"""Fixtures of the RTL tests."""

from __future__ import annotations

import pytest

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty


@pytest.fixture(scope="session")
def nangate45() -> liberty.Library:
    """The 45 nm library, which ``make test`` fetches."""
    try:
        return liberty.load("nangate45")
    except UserError as error:
        pytest.skip(str(error))
