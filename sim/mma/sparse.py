"""Structured sparsity of A: which row of B each kept element meets.

``mma.sp`` keeps two of every four elements of a row of A (one of every two for tf32) and stores
their positions. Elements that were dropped take no part, not even as zero times infinity.
Source: PTX ISA 8.8, "Sparse matrix storage".
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.errors import UserError


def row_index(
    metadata: np.ndarray, kept_shape: tuple[int, ...], keep: tuple[int, int], lead: tuple[int, ...] = ()
) -> np.ndarray:
    """Return (T, M, K') int32: for every kept element of A the row of B that it is multiplied with.

    Args:
        metadata: (…, M, K') unsigned, position of the kept element within its group, ascending.
        kept_shape: shape of the compressed A, (…, M, K').
        keep: (kept, of) per group.
        lead: leading axes to broadcast to.

    Raises:
        UserError: wrong shape or dtype, a position outside the group, positions not ascending.
    """
    kept, group = keep
    if metadata.shape[-2:] != kept_shape[-2:] or metadata.dtype.kind != "u":
        raise UserError(
            f"metadata is unsigned, one position per kept element, shape (…, {kept_shape[-2]}, {kept_shape[-1]}); "
            f"got {metadata.dtype} {metadata.shape}"
        )
    position = metadata.astype(np.int32)
    if position.size and int(position.max()) >= group:
        raise UserError(f"metadata positions are 0 … {group - 1}, got {int(position.max())}")
    if kept > 1:
        grouped = position.reshape(*position.shape[:-1], -1, kept)
        if bool((np.diff(grouped, axis=-1) <= 0).any()):
            raise UserError(f"metadata positions within a group of {group} must ascend")
    base = np.arange(position.shape[-1], dtype=np.int32) // kept * group
    index = np.broadcast_to(position + base, (*lead, *position.shape[-2:]))
    return np.ascontiguousarray(index).reshape(-1, *position.shape[-2:])


def compress(A: np.ndarray, keep: tuple[int, int] = (2, 4)) -> tuple[np.ndarray, np.ndarray]:
    """Split a dense A (…, M, K) with enough zeros into kept elements and metadata, both (…, M, K * kept / of).

    Raises:
        UserError: a group holds more non-zeros than are kept.
    """
    kept, group = keep
    groups = A.reshape(*A.shape[:-1], -1, group)
    if bool(((groups != 0).sum(-1) > kept).any()):
        raise UserError(f"A has a group of {group} with more than {kept} non-zero elements")
    order = np.argsort(groups == 0, axis=-1, kind="stable")[..., :kept]
    order.sort(axis=-1)
    values = np.take_along_axis(groups, order, -1)
    shape = (*A.shape[:-1], A.shape[-1] // group * kept)
    return values.reshape(shape), order.reshape(shape).astype(np.uint8)
