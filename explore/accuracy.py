"""What each machine's arithmetic does to a language model: measured through its golden model, read from a table.

``configs/accuracy/MODEL.yaml`` holds one entry for each kind of linear layer: KL divergence and perplexity with
standard errors, over the same text for all, and the command that measured them. A machine without an entry has no
accuracy: it is never taken from another one.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError, choose


class Mean(BaseModel):
    """A mean with its standard error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    value: float
    error: float


class Measured(BaseModel):
    """One kind of linear layer inside the model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: str
    golden: str
    """Function that computed every product."""
    kl: Mean
    """Nats per token, to the stored weights in FP32."""
    perplexity: Mean
    top1: Mean
    """Share of tokens with the same first choice."""
    note: str = ""


class Table(BaseModel):
    """A YAML file of ``configs/accuracy``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["accuracy"]
    schema_version: Literal[1] = 1
    model: str
    text: str
    windows: int = Field(ge=1)
    context: int = Field(ge=1)
    blocks: str
    """What standard errors are over."""
    reference_perplexity: float
    command: str
    entries: dict[str, Measured]


@cache
def load(model: str) -> Table:
    """Load the measured accuracies of a model.

    Raises:
        UserError: no such file, or damaged.
    """
    path = yaml_file.find(model, "accuracy")
    data, lines = yaml_file.read(path)
    return yaml_file.validate(Table, data, path, lines)


def known(model: str) -> bool:
    """Return whether a model has measured accuracies."""
    return (yaml_file.configs_dir() / "accuracy" / f"{model}.yaml").is_file()


def entry(model: str, name: str) -> Measured:
    """Return one entry.

    Raises:
        UserError: no table of the model, or no such entry, with the nearest name.
    """
    table = load(model)
    try:
        return table.entries[choose(name, table.entries, f"accuracy of {model}")]
    except UserError as error:
        raise UserError(f"accuracy: {error}") from None
