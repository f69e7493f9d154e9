"""LUTBoost: a trained network becomes one of table lookups in three stages.

1. *replace*: linear layers get codebooks by k-means on inputs sampled from the network as it was;
2. *calibrate*: centroids learn, all weights stay; loss of the task plus a reconstruction loss per layer;
3. *joint*: centroids, weights and biases learn at a lower rate.

Stage names and order are those of LUT-DLA (arXiv 2501.10658); learning rates, steps and the reconstruction rate are
this project's choice (:class:`Plan`), since the authors' code is not public.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from lutscape.hw.errors import UserError, choose, nearest
from lutscape.models.quantise import vector
from lutscape.models.train.fit import Adam, fit
from lutscape.models.train.layers import Affine, Layer, Single
from lutscape.models.train.lookup import LookupAffine
from lutscape.models.train.network import Network
from lutscape.models.train.soft import SoftAffine

Progress = Callable[[str, int, int], None]
STAGES = ("replace", "calibrate", "joint")
VARIANTS = ("lutboost", "soft")


@dataclass(frozen=True)
class Plan:
    """How a network is converted.

    Attributes:
        v: values of a sub-vector.
        c: centroids of a codebook.
        metric: ``l2``, ``l1`` or ``chebyshev``.
        variant: ``lutboost`` (straight-through) or ``soft`` (LUT-NN: soft assignment with a learned temperature).
        keep: names of layers that stay as they are.
        rows: sampled rows that make a codebook.
        calibrate_steps: batches of stage 2.
        joint_steps: batches of stage 3.
        calibrate_rate: learning rate of centroids in stage 2.
        joint_centroid_rate: of centroids in stage 3.
        joint_weight_rate: of weights and biases in stage 3.
        temperature_rate: of temperatures (``soft``).
        reconstruct_rate: weight of the reconstruction loss in stage 2.
        joint_reconstruct_rate: of the same in stage 3, where it keeps centroids near their rows.
        input_bits: in stage 3, layers encode on integers of as many bits, as the machine does
            (exact up to 10 bits: float32 holds the distances); 0: on float32.
        task_gradient: see :class:`lutscape.models.train.lookup.LookupAffine`.
    """

    v: int = 4
    c: int = 16
    metric: str = "l2"
    variant: str = "lutboost"
    keep: tuple[str, ...] = ()
    rows: int = 4096
    calibrate_steps: int = 469
    joint_steps: int = 1876
    calibrate_rate: float = 1e-3
    joint_centroid_rate: float = 3e-3
    joint_weight_rate: float = 2e-3
    temperature_rate: float = 1e-1
    reconstruct_rate: float = 0.01
    joint_reconstruct_rate: float = 0.01
    input_bits: int = 0
    task_gradient: bool = True

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        return {**asdict(self), "keep": list(self.keep)}


def check(network: Network, plan: Plan) -> list[str]:
    """Return the names of the layers that a plan converts.

    Raises:
        UserError: bad parameters, an unknown layer to keep, or none left to convert.
    """
    vector.check_parameters(plan.v, plan.c, plan.metric)
    choose(plan.variant, VARIANTS, "variant")
    names = [layer.name for _, layer in network.affine()]
    for name in plan.keep:
        if name not in names:
            raise UserError(f"unknown layer to keep {name!r}{nearest(name, names)}; allowed: {', '.join(names)}")
    found = [name for name in names if name not in plan.keep]
    if not found:
        raise UserError(f"all layers are kept ({', '.join(names)}); nothing is left to convert")
    if plan.variant == "soft" and plan.metric != "l2":
        raise UserError(f"soft assignment is defined for metric 'l2', not {plan.metric!r}")
    return found


def replace(network: Network, x: Single, plan: Plan, seed: int, progress: Progress | None = None) -> Network:
    """Return the network with lookups in place of its linear layers, codebooks from images x.

    Raises:
        UserError: bad parameters (:func:`check`), or inputs that are not finite.
    """
    converted = check(network, plan)
    rng = np.random.default_rng([seed, 3])
    found = skeleton(network, plan)
    inputs = network.inputs(x)
    done = 0
    for i, layer in network.affine():
        if layer.name not in converted:
            continue
        rows = inputs[layer.name]
        chosen = rng.permutation(len(rows))[: plan.rows]
        books = vector.codebooks(
            rows[chosen], plan.v, plan.c, plan.metric, int(rng.integers(1 << 31)), where=f"inputs of {layer.name}"
        )
        found.layers[i].parameters["centroids"] = books.centroids
        done += 1
        if progress is not None:
            progress("codebooks", done, len(converted))
    return found


def skeleton(network: Network, plan: Plan) -> Network:
    """Return a copy of a network with lookups whose centroids are all zero."""
    layers: list[Layer] = []
    for layer in network.layers:
        if not isinstance(layer, Affine):
            layers.append(layer)
            continue
        own = Affine(layer.name, layer.parameters["weight"].copy(), layer.parameters["bias"].copy())
        if layer.name not in plan.keep:
            columns = own.parameters["weight"].shape[1]
            zeros = np.zeros((-(-columns // plan.v), plan.c, plan.v), np.float32)
            own = lookup_layer(own, vector.Codebooks(zeros, plan.metric, columns), plan.variant)
        own.wanted = layer.wanted
        layers.append(own)
    return Network(network.kind, layers)


def lookup_layer(layer: Affine, books: vector.Codebooks, variant: str) -> LookupAffine:
    """Return a trainable lookup in place of a linear layer, its weights copied."""
    kind = SoftAffine if variant == "soft" else LookupAffine
    return kind(layer.name, layer.parameters["weight"].copy(), layer.parameters["bias"].copy(), books)


def prepare(network: Network, plan: Plan, stage: str, largest: dict[str, Single]) -> None:
    """Set how lookups compute in a stage and after it: reconstruction loss, bits of the encoder.

    Args:
        network: of lookups.
        plan: of the conversion.
        stage: ``calibrate`` or ``joint``.
        largest: (K,) greatest magnitudes of sampled inputs by layer.
    """
    for _, layer in network.affine():
        if isinstance(layer, LookupAffine):
            joint = stage == "joint"
            layer.rate = plan.joint_reconstruct_rate if joint else plan.reconstruct_rate
            layer.task_gradient, layer.largest = plan.task_gradient, largest[layer.name]
            layer.input_bits = plan.input_bits if joint else 0


def train_stage(
    network: Network, x: Single, y: np.ndarray, plan: Plan, stage: str, seed: int, progress: Progress | None = None
) -> list[float]:
    """Run ``calibrate`` or ``joint`` in place, after :func:`prepare`; return the loss of the task in every step."""
    joint = stage == "joint"
    rates: list[tuple[Layer, str, float]] = []
    for _, layer in network.affine():
        if isinstance(layer, LookupAffine):
            rates.append((layer, "centroids", plan.joint_centroid_rate if joint else plan.calibrate_rate))
        if isinstance(layer, SoftAffine):
            rates.append((layer, "temperature", plan.temperature_rate * (0.1 if joint else 1.0)))
        if joint:
            rates += [(layer, "weight", plan.joint_weight_rate), (layer, "bias", plan.joint_weight_rate)]
    steps = plan.joint_steps if joint else plan.calibrate_steps
    tell = None if progress is None else (lambda done, total: progress(stage, done, total))
    return fit(network, x, y, Adam(rates), steps, seed + 1000 * (1 + joint), where=stage, step=tell)
