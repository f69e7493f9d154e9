"""Perplexity of a model, and how far a quantised one is from it: KL, top-1, paired errors.

Text is cut into windows of ``context`` tokens without overlap; each token but the first of a window
is scored given those before it in the window. Per token: nll = -ln p(token) of either model,
KL(reference ‖ quantised) over the vocabulary, and whether both name the same most probable token.

Standard errors: tokens of a window share their context and are correlated, so with at least
:data:`BLOCKS` windows the window means are the independent samples; with fewer, the tokens are
taken as independent and the errors are too small by an unknown factor. Errors of perplexities are
first-order: ppl · se(mean nll). Δnll is paired: both models score the same tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models.executor import Model, Progress
from lutscape.models.kernels import log_softmax
from lutscape.models.shape import ModelShape

BLOCKS = 8
"""Windows from which on standard errors are taken over windows."""
_ROWS = 128
"""Tokens whose full distributions are in memory at once."""


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Comparison:
    """Result of :func:`evaluate`.

    Attributes:
        tokens: scored tokens.
        windows: windows they come from.
        blocks: what the standard errors are taken over: ``windows`` or ``tokens``.
        reference_nll: nats per token of the reference.
        quantised_nll: of the quantised model; None without one, as all below.
        delta_nll: paired difference, quantised minus reference.
        kl: KL(reference ‖ quantised), nats per token.
        top1: share of tokens where both name the same most probable token.
    """

    tokens: int
    windows: int
    blocks: str
    reference_nll: Mean
    quantised_nll: Mean | None = None
    delta_nll: Mean | None = None
    kl: Mean | None = None
    top1: Mean | None = None

    @property
    def reference_perplexity(self) -> Mean:
        """exp(reference_nll)."""
        return _perplexity(self.reference_nll)

    @property
    def quantised_perplexity(self) -> Mean | None:
        """exp(quantised_nll)."""
        return None if self.quantised_nll is None else _perplexity(self.quantised_nll)

    def as_dict(self) -> dict[str, object]:
        """Return plain values for JSON."""
        found: dict[str, object] = asdict(self)
        found["reference_perplexity"] = asdict(self.reference_perplexity)
        quantised = self.quantised_perplexity
        found["quantised_perplexity"] = None if quantised is None else asdict(quantised)
        return found

    def lines(self) -> list[tuple[str, str, str]]:
        """Return label, value and error of each quantity, for a table."""
        rows: list[tuple[str, Mean | None, str]] = [
            ("perplexity, reference", self.reference_perplexity, "{:.3f}"),
            ("perplexity, quantised", self.quantised_perplexity, "{:.3f}"),
            ("Δnll, nats per token (paired)", self.delta_nll, "{:.5f}"),
            ("KL(reference ‖ quantised), nats per token", self.kl, "{:.5f}"),
            ("top-1 agreement", self.top1, "{:.2%}"),
        ]
        return [(label, f.format(m.value), f.format(m.error)) for label, m, f in rows if m is not None]


def _perplexity(nll: Mean) -> Mean:
    value = math.exp(min(nll.value, 700.0))
    return Mean(value, value * nll.error)


def windows(ids: Sequence[int], context: int, tokens: int, shape: ModelShape) -> np.ndarray:
    """Return (windows, context) ids: as many whole windows as ``tokens`` tokens of the text fill.

    Raises:
        UserError: context longer than the model's, or not one whole window.
    """
    if context > shape.max_context:
        raise UserError(f"context {context} exceeds the {shape.max_context} of {shape.name}")
    count = min(len(ids), tokens) // context
    if not count:
        what = f"--tokens {tokens}" if tokens < context else f"the text ({len(ids)} tokens)"
        raise UserError(f"{what} does not fill one window of {context} tokens; lower --context")
    return np.array(ids[: count * context], np.int64).reshape(count, context)


def evaluate(
    reference: Model, quantised: Model | None, windows: np.ndarray, progress: Progress | None = None
) -> Comparison:
    """Score windows of text with one or two models.

    Args:
        reference: the model that ``quantised`` is held to.
        quantised: another computation of the same vocabulary (:meth:`Model.variant`), or None.
        windows: (windows, context) token ids from :func:`windows`.
        progress: called after each window.
    """
    # Rows: nll of the reference, nll of the quantised model, KL, agreement. (4, windows, context - 1)
    scores = np.zeros((4, windows.shape[0], windows.shape[1] - 1))
    for w, window in enumerate(windows):
        first = reference.forward(window, every_logit=True)[0]
        second = None if quantised is None else quantised.forward(window, every_logit=True)[0]
        for start in range(0, len(window) - 1, _ROWS):
            rows = slice(start, min(start + _ROWS, len(window) - 1))
            targets = window[rows.start + 1 : rows.stop + 1]
            place = np.arange(len(targets))
            p = log_softmax(first[rows])  # (rows, vocab) natural logarithms
            scores[0, w, rows] = -p[place, targets]
            if second is not None:
                q = log_softmax(second[rows])
                scores[1, w, rows] = -q[place, targets]
                scores[2, w, rows] = np.sum(np.exp(p) * (p - q), -1, dtype=np.float64)
                scores[3, w, rows] = p.argmax(-1) == q.argmax(-1)
        if progress is not None:
            progress("scoring windows", w + 1, len(windows))
    by_window = len(windows) >= BLOCKS

    def mean(values: np.ndarray) -> Mean:
        samples = values.mean(-1) if by_window else values.ravel()
        error = samples.std(ddof=1) / math.sqrt(samples.size) if samples.size > 1 else math.nan
        return Mean(float(values.mean()), float(error))

    counts = {
        "tokens": scores[0].size,
        "windows": len(windows),
        "blocks": "windows" if by_window else "tokens",
    }
    if quantised is None:
        return Comparison(**counts, reference_nll=mean(scores[0]))
    return Comparison(
        **counts,
        reference_nll=mean(scores[0]),
        quantised_nll=mean(scores[1]),
        delta_nll=mean(scores[1] - scores[0]),
        kl=mean(scores[2]),
        top1=mean(scores[3]),
    )
