"""Model to trace: with weights by running real tokens, without them by walking the shapes."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lutscape.hw.errors import UserError, nearest
from lutscape.models import network
from lutscape.models.executor import Model, Progress, load_model
from lutscape.models.numeric import Observer, Operands
from lutscape.models.ops import Extent, ShapeOps, Value
from lutscape.models.quantise.recipe import Recipe
from lutscape.models.quantise.scalar import QuantisedWeight
from lutscape.models.recorder import Formats, Recorder
from lutscape.models.registry import resolve
from lutscape.models.sampling import greedy
from lutscape.models.shape import ModelShape
from lutscape.models.text import default_text
from lutscape.models.trace import Header, Trace
from lutscape.models.walk import forward

NOTHING_TO_REQUANTISE = "nothing to requantise: give --weights, --activations or --kv"


@dataclass
class Traced:
    """A trace and what was captured on the way.

    Attributes:
        trace: header and rows.
        captured: ``<phase>.<step>.<operator name>.<operand>`` -> array; float32 operands are those of
            :data:`lutscape.models.numeric.Operands`, what the operator really computed with. Where
            they were requantised to integers, the codes stand beside them: ``x_codes`` and
            ``x_scales`` (one per row; x = x_codes · x_scales), ``w_codes`` uint8, ``w_scales`` and
            ``w_zeros`` (N, groups) (w = (w_codes - w_zeros) · w_scales, group by group). Everything
            of weights and biases is stored with the first step alone.
    """

    trace: Trace
    captured: dict[str, np.ndarray] = field(default_factory=dict)


def trace_model(
    model: str | Model | ModelShape,
    prompt_tokens: int,
    decode_tokens: int = 0,
    batch: int = 1,
    formats: Formats | None = None,
    execute: bool | None = None,
    requantise: bool = False,
    capture: Sequence[str] = (),
    text: str | None = None,
    progress: Progress | None = None,
) -> Traced:
    """Trace one prefill and ``decode_tokens`` decode steps of a batch.

    Args:
        model: what a user gives on the command line (name or path), or a model or shape at hand.
        prompt_tokens: tokens per sequence in prefill, ≥ 1.
        decode_tokens: decode steps, ≥ 0; each feeds the token that the step before produced.
        batch: sequences; they are successive windows of the text.
        formats: number formats to count.
        execute: run real tokens through real weights; None = where there are weights.
        requantise: really requantise weights, activations and KV to the formats (executed runs); a
            model at hand is replaced by its variant that computes with them.
        capture: glob patterns of operator names whose operands are kept (executed runs).
        text: what to read as the prompt; default: :func:`lutscape.models.text.default_text`.
        progress: called after every step.

    Raises:
        UserError: bad counts or formats, nothing to requantise, unknown model, no weights, context
            exceeded, or a capture pattern that no operator matches.
    """
    if requantise and formats is None:
        raise UserError(NOTHING_TO_REQUANTISE)
    formats = (formats or Formats()).checked()
    for name, value, least in (
        ("prompt-tokens", prompt_tokens, 1),
        ("decode-tokens", decode_tokens, 0),
        ("batch", batch, 1),
    ):
        if value < least:
            raise UserError(f"{name} {value}: must be at least {least}")
    recipe = Recipe.of(formats) if requantise else Recipe()
    original: Callable[[str], np.ndarray] | None = None  # weights before they were requantised
    if isinstance(model, str) and (listed := network.find(model)) is not None:
        if decode_tokens or requantise or capture:
            raise UserError(f"{listed.name}: a network without weights has one step; use --decode-tokens 0")
        return Traced(network.trace(listed, prompt_tokens, batch, formats))
    if isinstance(model, str):
        model = _find(model, execute, recipe, progress)
        if isinstance(model, Model):
            original = model.checkpoint.tensor
    elif isinstance(model, Model) and requantise:
        original = model.matrices.__getitem__
        model = model.variant(recipe.linear_factory, recipe.weight_transform, recipe.kv_quantiser, progress)
    executed = isinstance(model, Model)
    if execute and not executed:
        raise UserError(f"{model.name if isinstance(model, ModelShape) else model}: only weights can be executed")
    if not executed and (requantise or capture):
        option = "--requantise" if requantise else "--capture"
        raise UserError(f"{option} needs a run on real weights; this one walks shapes only")
    shape = model.shape if isinstance(model, Model) else model
    total = prompt_tokens + decode_tokens
    if total > shape.max_context:
        raise UserError(
            f"{shape.name}: {prompt_tokens} prompt + {decode_tokens} decode tokens exceed "
            f"the model's context of {shape.max_context}"
        )
    if isinstance(model, Model):

        def codes(name: str) -> QuantisedWeight | None:
            tied = name == "lm_head" and shape.tied_embeddings
            return None if original is None else recipe.weight_codes(name, original("embed" if tied else name))

        capturer = _Capturer(capture, codes) if capture else None
        return _run(model, prompt_tokens, decode_tokens, batch, formats, requantise, capturer, text, progress)
    recorder = Recorder(formats)
    walk(shape, recorder, prompt_tokens, decode_tokens, batch, progress)
    header = _header(shape, f"shape:{shape.source}", recorder, prompt_tokens, decode_tokens, batch)
    return Traced(Trace(header, recorder.frame()))


def _find(name: str, execute: bool | None, recipe: Recipe, progress: Progress | None) -> Model | ModelShape:
    found = resolve(name)
    if execute is None:
        execute = found.gguf is not None or bool(found.missing)
    if not execute:
        if found.shape is not None:
            return found.shape
        from lutscape.models.registry import open_checkpoint

        return open_checkpoint(name).shape
    if found.gguf is None and found.missing:
        raise UserError(f"{found.missing}, or trace it without weights: --shape-only")
    return load_model(name, recipe.linear_factory, recipe.weight_transform, recipe.kv_quantiser, progress)


def walk(
    shape: ModelShape,
    recorder: Recorder,
    prompt_tokens: int,
    decode_tokens: int,
    batch: int,
    progress: Progress | None = None,
) -> None:
    """Record prefill and decode of a model without weights."""
    ops = ShapeOps(shape, recorder)
    recorder.begin("prefill", 0, batch)
    forward(shape, ops, Value("tokens", Extent((batch, prompt_tokens))))
    for step in range(decode_tokens):
        ops.past = prompt_tokens + step
        recorder.begin("decode", step, batch)
        forward(shape, ops, Value("tokens", Extent((batch, 1))))
        if progress is not None:
            progress("walking", step + 1, decode_tokens)


def prompt_windows(model: Model, tokens: int, batch: int, text: str | None = None) -> np.ndarray:
    """Return the first ``batch`` windows of ``tokens`` ids of a text, (batch, tokens) int64.

    Raises:
        UserError: the text is too short.
    """
    ids = model.tokenizer.encode(default_text() if text is None else text)
    if len(ids) < tokens * batch:
        raise UserError(f"the text has {len(ids)} tokens; {batch} prompts of {tokens} need {tokens * batch}")
    return np.array(ids[: tokens * batch], np.int64).reshape(batch, tokens)


def _run(
    model: Model,
    prompt_tokens: int,
    decode_tokens: int,
    batch: int,
    formats: Formats,
    requantised: bool,
    capturer: _Capturer | None,
    text: str | None,
    progress: Progress | None,
) -> Traced:
    recorder = Recorder(formats, model.checkpoint.stored_format)
    prompt = prompt_windows(model, prompt_tokens, batch, text)
    cache = model.new_cache(batch, prompt_tokens + decode_tokens)
    tokens = prompt
    for step in range(-1, decode_tokens):
        phase = "prefill" if step < 0 else "decode"
        recorder.begin(phase, max(step, 0), batch)
        observer = capturer.at(phase, max(step, 0)) if capturer else None
        logits = model.forward(tokens, cache, recorder=recorder, observer=observer)
        if capturer:
            capturer.check()
        tokens = np.array([[greedy(row[-1])] for row in logits], np.int64)
        if progress is not None:
            progress("running", step + 2, decode_tokens + 1)
    header = _header(
        model.shape,
        model.source,
        recorder,
        prompt_tokens,
        decode_tokens,
        batch,
        executed=True,
        requantised=requantised,
        prompt_sha256=hashlib.sha256(prompt.astype("<i4").tobytes()).hexdigest(),
    )
    return Traced(Trace(header, recorder.frame()), capturer.captured if capturer else {})


def _header(
    shape: ModelShape,
    source: str,
    recorder: Recorder,
    prompt_tokens: int,
    decode_tokens: int,
    batch: int,
    executed: bool = False,
    requantised: bool = False,
    prompt_sha256: str = "",
) -> Header:
    formats = recorder.formats
    return Header(
        model=shape.name,
        source=source,
        shape=shape,
        executed=executed,
        requantised=requantised,
        prompt_tokens=prompt_tokens,
        decode_tokens=decode_tokens,
        batch=batch,
        prompt_sha256=prompt_sha256,
        weights=formats.weights or ("as stored" if executed else "fp16"),
        head_weights=formats.head_weights or ("as stored" if executed else "fp16"),
        activations=formats.activations,
        accumulator=formats.accumulator or "int32 for integer products, else fp32",
        kv=formats.kv,
    )


class _Capturer:
    """Keeps the operands of operators whose names match glob patterns.

    Args:
        patterns: of names.
        codes: returns the integers that a matrix was requantised to, if it was.
    """

    def __init__(self, patterns: Sequence[str], codes: Callable[[str], QuantisedWeight | None]) -> None:
        self.patterns = list(patterns)
        self._codes = codes
        self.captured: dict[str, np.ndarray] = {}
        self._names: list[str] = []
        self._unmatched = set(patterns)
        self._weights_kept: set[str] = set()

    def at(self, phase: str, step: int) -> Observer:
        """Return the observer of one step."""

        def observe(name: str, operands: Callable[[], Operands]) -> None:
            self._names.append(name)
            matching = [p for p in self.patterns if fnmatch.fnmatchcase(name, p)]
            if not matching:
                return
            self._unmatched.difference_update(matching)
            first = name not in self._weights_kept
            self._weights_kept.add(name)
            at = f"{phase}.{step}.{name}"
            found = operands()
            for operand, array in found.items():
                if operand not in ("w", "b"):
                    self.captured[f"{at}.{operand}"] = array.copy()
                elif first:
                    self.captured[f"{at}.{operand}"] = array
            matrix = first and "w" in found and found["w"].ndim == 2
            codes = self._codes(name) if matrix else None
            if codes is not None:
                kept = {"w_codes": codes.codes, "w_scales": codes.scales, "w_zeros": codes.zeros}
                self.captured.update({f"{at}.{operand}": array for operand, array in kept.items()})

        return observe

    def check(self) -> None:
        """Refuse patterns that matched nothing, after the first step."""
        for pattern in self.patterns:
            if pattern in self._unmatched:
                example = nearest(pattern.replace("*", "0"), self._names)
                raise UserError(f"--capture {pattern!r} matches no operator{example}; names are like layers.3.gate")


def save_captured(captured: dict[str, np.ndarray], path: Path) -> None:
    """Write captured operands as one safetensors file, whole or not at all.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in captured.items()}, temporary)
        os.replace(temporary, path)
    except Exception as error:  # safetensors wraps I/O errors in its own type
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
