"""Structured sparsity of A: which row of B each kept element meets.

``mma.sp`` keeps two of every four elements of a row of A (one of every two for tf32, two pairs of
four for 4-bit integers) and stores where they were. Elements that were dropped take no part, not
even as zero times infinity. Source: PTX ISA 8.8, "Sparse matrix storage".
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.errors import UserError


def row_index(
    columns: np.ndarray, kept_shape: tuple[int, ...], keep: tuple[int, int], lead: tuple[int, ...] = ()
) -> np.ndarray:
    """Return (T, M, K') int32: for every kept element of A the row of B that it is multiplied with.

    Args:
        columns: (…, M, K') unsigned, column k in 0 … K-1 that each kept element had in the dense A.
        kept_shape: shape of the compressed A, (…, M, K').
        keep: (kept, of) per group.
        lead: leading axes to broadcast to.

    Raises:
        UserError: wrong shape or dtype, or a column outside its element's group.
    """
    kept, group = keep
    if columns.shape[-2:] != kept_shape[-2:] or columns.dtype.kind != "u":
        raise UserError(
            f"metadata is unsigned, the dense column of each kept element, shape (…, {kept_shape[-2]}, "
            f"{kept_shape[-1]}); got {columns.dtype} {columns.shape}"
        )
    index = columns.astype(np.int32)
    wrong = index // group != np.arange(index.shape[-1], dtype=np.int32) // kept
    if bool(wrong.any()):
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        first = at[-1] // kept * group
        raise UserError(
            f"metadata{list(at)} = {int(index[at])}: this element's group is columns {first} … {first + group - 1}"
        )
    index = np.broadcast_to(index, (*lead, *index.shape[-2:]))
    return np.ascontiguousarray(index).reshape(-1, *index.shape[-2:])


def compress(A: np.ndarray, keep: tuple[int, int] = (2, 4)) -> tuple[np.ndarray, np.ndarray]:
    """Split a dense A (…, M, K) with enough zeros into kept elements and their columns, (…, M, K * kept / of).

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
    columns = order + np.arange(groups.shape[-2])[:, None] * group
    return values.reshape(shape), columns.reshape(shape).astype(np.uint16 if A.shape[-1] > 256 else np.uint8)
