"""Where a number comes from: its grade and its source."""

from __future__ import annotations

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class Grade(StrEnum):
    """How well a number is known, best first."""

    MEASURED = "measured"
    """On silicon, or by simulation of real RTL."""
    SYNTHESISED = "synthesised"
    """From logic synthesis with a named library."""
    PUBLISHED = "published"
    """Printed in a paper, standard or vendor document that is cited."""
    DERIVED = "derived"
    """Computed by a stated formula from better-graded numbers."""
    ASSUMED = "assumed"
    """A judgement; the source says whose and why."""


RANK = {grade: rank for rank, grade in enumerate(Grade)}


def worst(*grades: Grade) -> Grade:
    """Return the weakest of several grades: a product is only as good as its worst factor.

    A quantity computed from measured, synthesised or published inputs is itself ``derived``.
    """
    weakest = max(grades, key=lambda g: RANK[g])
    return max(weakest, Grade.DERIVED, key=lambda g: RANK[g])


class Source(BaseModel):
    """Grade and citation of one number, written beside it in YAML under ``sources:``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grade: Grade
    """One of measured, synthesised, published, derived, assumed."""
    source: str = Field(min_length=8)
    """Citation (paper and table, vendor document), formula, or the reason for an assumption."""
