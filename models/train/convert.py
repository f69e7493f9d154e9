"""A classifier from images to tables: train it, then LUTBoost; every finished stage can be taken up again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from lutscape.hw.errors import choose
from lutscape.models.quantise.vector import VectorLayer, integer_layer
from lutscape.models.train import checkpoint, lutboost
from lutscape.models.train.data import Images
from lutscape.models.train.fit import BATCH, Adam, fit
from lutscape.models.train.layers import Given, Layer
from lutscape.models.train.lookup import LookupAffine
from lutscape.models.train.lutboost import Plan, Progress
from lutscape.models.train.network import KINDS, Network, build

SCHEMA = 1
"""Of checkpoints: raised when equal keys would mean other numbers."""
EPOCHS = {"mlp": 10, "cnn": 5}
PLANS = {
    "mlp": Plan(),
    "cnn": Plan(v=9, keep=("conv1",), calibrate_steps=100, joint_steps=2400, calibrate_rate=3e-3),
}
"""How each network is converted unless asked otherwise: the plans of reports/lut_dla/accuracy.md. The first
convolution has one input channel, K = 9, and stays."""
RATE = {"mlp": 1e-3, "cnn": 2e-3}
"""Learning rates of the first training."""
SAMPLED = {"mlp": 4096, "cnn": 512}
"""Images whose layer inputs make the codebooks and set the input scales."""


@dataclass(frozen=True)
class Stage:
    """A finished stage.

    Attributes:
        name: ``train``, ``replace``, ``calibrate`` or ``joint``.
        accuracy: share of test images that are classified right afterwards.
        seconds: wall clock.
        cpu_seconds: processor time of the process, all threads.
        loss: mean of the last hundred steps' loss; None for ``replace``.
    """

    name: str
    accuracy: float
    seconds: float
    cpu_seconds: float
    loss: float | None = None


@dataclass
class Conversion:
    """A converted classifier.

    Attributes:
        network: with trainable lookups.
        original: as it was trained, without.
        stages: in order, ``train`` first.
        largest: (K,) greatest magnitudes of the sampled inputs by layer.
    """

    network: Network
    original: Network
    stages: list[Stage] = field(default_factory=list)
    largest: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def accuracies(self) -> dict[str, float]:
        """Return the accuracy after each stage."""
        return {stage.name: stage.accuracy for stage in self.stages}

    @property
    def conversion_seconds(self) -> float:
        """Wall-clock seconds of everything after the first training."""
        return sum(stage.seconds for stage in self.stages[1:])

    @property
    def conversion_cpu_seconds(self) -> float:
        """Processor seconds of everything after the first training."""
        return sum(stage.cpu_seconds for stage in self.stages[1:])

    def layers(self, input_bits: int = 8, table_bits: int = 8) -> dict[str, VectorLayer]:
        """Return the converted layers in the machine's integers, by name."""
        return {
            layer.name: integer_layer(
                layer.books,
                layer.parameters["weight"],
                layer.parameters["bias"],
                self.largest[layer.name],
                input_bits=input_bits,
                table_bits=table_bits,
            )
            for _, layer in self.network.affine()
            if isinstance(layer, LookupAffine)
        }

    def computed_by(self, calls: dict[str, Callable[[np.ndarray], np.ndarray]]) -> Network:
        """Return the network with linear layers computed from outside, by name; forward only."""
        layers: list[Layer] = list(self.network.layers)
        for i, layer in self.network.affine():
            if layer.name in calls:
                layers[i] = Given(layer.name, calls[layer.name])
        return Network(self.network.kind, layers)


def convert(
    images: Images,
    kind: str,
    plan: Plan,
    seed: int,
    *,
    epochs: int | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Train a classifier on images and convert it.

    Args:
        images: data set.
        kind: ``mlp`` or ``cnn``.
        plan: of the conversion.
        seed: of weights, batches, samples and codebooks.
        epochs: of the first training.
        folder: where finished stages are kept and looked for; None: nowhere.
        progress: called with stage, steps done and steps.

    Raises:
        UserError: bad parameters, or images that do not fit the network.
    """
    choose(kind, KINDS, "network")
    network = build(kind, images.shape, images.classes, seed)
    steps = (EPOCHS[kind] if epochs is None else epochs) * -(-len(images.x_train) // BATCH)
    lutboost.check(network, plan)
    done = Conversion(network, network)
    key = checkpoint.key_of(
        schema=SCHEMA, data=images.sha256, kind=kind, seed=seed, steps=steps, batch=BATCH, rate=RATE[kind]
    )

    def learn() -> list[float]:
        rates = [(layer, name, RATE[kind]) for layer in network.layers for name in layer.parameters]
        tell = None if progress is None else (lambda n, total: progress("train", n, total))
        return fit(network, images.x_train, images.y_train, Adam(rates), steps, seed, where=f"{kind}: train", step=tell)

    _stage(done, "train", key, learn, images, folder)
    sample = images.x_train[np.random.default_rng([seed, 4]).permutation(len(images.x_train))[: SAMPLED[kind]]]
    done.largest = {name: np.abs(rows).max(axis=0) for name, rows in network.inputs(sample).items()}
    about = plan.as_dict()
    rules = {k: about[k] for k in ("v", "c", "metric", "variant", "keep", "rows")}
    for stage in lutboost.STAGES:
        if stage == "calibrate":
            rules = {k: v for k, v in about.items() if not k.startswith("joint") and k != "input_bits"}
        elif stage == "joint":
            rules = about
        key = checkpoint.key_of(before=key, stage=stage, plan=rules, sampled=SAMPLED[kind])

        def run(stage: str = stage) -> list[float]:
            if stage == "replace":
                done.network = lutboost.replace(network, sample, plan, seed, progress)
                return []
            return lutboost.train_stage(done.network, images.x_train, images.y_train, plan, stage, seed, progress)

        if stage == "replace" and folder is not None:
            done.network = lutboost.skeleton(network, plan)
        if stage != "replace":
            lutboost.prepare(done.network, plan, stage, done.largest)
        _stage(done, stage, key, run, images, folder)
    return done


def _stage(
    done: Conversion, name: str, key: str, run: Callable[[], list[float]], images: Images, folder: Path | None
) -> None:
    """Take a stage from disk, or run, measure and keep it."""
    path = None if folder is None else folder / f"{name}-{key[:16]}.npz"
    found = None if path is None else checkpoint.load(path, key)
    if found is not None:
        arrays, about = found
        for i, layer in enumerate(done.network.layers):
            for parameter in layer.parameters:
                layer.parameters[parameter] = arrays[f"{i}.{parameter}"]
        done.stages.append(Stage(**about))
        return
    start, cpu = time.perf_counter(), time.process_time()
    losses = run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    loss = float(np.mean(losses[-100:])) if losses else None
    stage = Stage(name, done.network.accuracy(images.x_test, images.y_test), seconds, cpu, loss)
    done.stages.append(stage)
    if path is not None:
        checkpoint.save(path, key, done.network.state(), asdict(stage))
