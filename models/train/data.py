"""Images with labels: Fashion-MNIST as Debian packages it, or any .npz of the user's.

A .npz holds ``x_train`` (R, H, W) or (R, H, W, C), ``y_train`` (R,), ``x_test`` and ``y_test``. Pixels are standardised
with the mean and the standard deviation of the training images.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, nearest

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
"""Where the Debian package puts the files."""
GET = (
    "get it with: sudo apt-get install dataset-fashion-mnist, or name an .npz with x_train, y_train, x_test, y_test "
    "by --data"
)
KEYS = ("x_train", "y_train", "x_test", "y_test")
CLASSES = 1000
"""Greatest label that is taken for one, plus 1."""


@dataclass(frozen=True)
class Images:
    """A data set of labelled images.

    Attributes:
        name: for reports.
        x_train: (R, H, W, C) float32, standardised.
        y_train: (R,) int64, 0 … classes - 1.
        x_test: as ``x_train``.
        y_test: as ``y_train``.
        classes: how many.
        sha256: of pixels and labels.
    """

    name: str
    x_train: npt.NDArray[np.float32]
    y_train: npt.NDArray[np.int64]
    x_test: npt.NDArray[np.float32]
    y_test: npt.NDArray[np.int64]
    classes: int
    sha256: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        _, height, width, channels = self.x_train.shape
        return height, width, channels

    def part(self, rows: int | None) -> Images:
        """Return the same with the first ``rows`` training images only."""
        if rows is None or rows >= len(self.x_train):
            return self
        return Images(
            self.name,
            self.x_train[:rows],
            self.y_train[:rows],
            self.x_test,
            self.y_test,
            self.classes,
            f"{self.sha256}:{rows}",
        )


def load(source: str = "fashion-mnist", folder: Path = FASHION_MNIST) -> Images:
    """Return a data set: ``fashion-mnist``, or the path of an .npz.

    Raises:
        UserError: not there, damaged, or of another shape.
    """
    if source == "fashion-mnist":
        return _fashion_mnist(folder)
    path = Path(source).expanduser()
    if path.suffix != ".npz":
        raise UserError(
            f"data set {source!r} is neither fashion-mnist{nearest(source, ['fashion-mnist'])} nor the path of an .npz"
        )
    return _npz(path)


def _fashion_mnist(folder: Path) -> Images:
    if not folder.is_dir():
        raise UserError(f"Fashion-MNIST is not in {folder}; {GET}")
    names = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    return _images("fashion-mnist", str(folder), dict(zip(KEYS, [idx(folder / f"{n}.gz") for n in names], strict=True)))


def idx(path: Path) -> npt.NDArray[np.uint8]:
    """Read an IDX file of bytes, gzipped: big-endian magic 0x0000 08 <axes>, one 32-bit size per axis, then the data.

    Raises:
        UserError: missing, damaged, or no IDX file of bytes.
    """
    try:
        with gzip.open(path) as file:
            raw = file.read()
    except FileNotFoundError:
        raise UserError(f"{path}: not found; {GET}") from None
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: damaged or no gzip file: {error}") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise UserError(f"{path}: no IDX file of bytes: begins with {raw[:4].hex()}, expected 000008")
    axes = raw[3]
    sizes = np.frombuffer(raw, ">u4", axes, 4).astype(int) if len(raw) >= 4 + 4 * axes else np.zeros(1, int)
    data = np.frombuffer(raw, np.uint8, offset=min(4 + 4 * axes, len(raw)))
    if data.size != np.prod(sizes):
        raise UserError(f"{path}: {data.size} bytes of data; its header says {' x '.join(map(str, sizes))}")
    return data.reshape(sizes)


def _npz(path: Path) -> Images:
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [k for k in KEYS if k not in file.files]
            if missing:
                found = ", ".join(file.files) or "nothing"
                raise UserError(f"{path}: has no {', '.join(missing)}; it holds {found}; needed: {', '.join(KEYS)}")
            arrays = {k: file[k] for k in KEYS}
    except FileNotFoundError:
        raise UserError(f"data set {str(path)!r} not found; {GET}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: no readable .npz of plain arrays: {error}") from None
    return _images(path.stem, str(path), arrays)


def _images(name: str, where: str, arrays: dict[str, np.ndarray]) -> Images:
    """Check arrays and standardise the pixels."""
    digest = hashlib.sha256()
    pixels, labels = {}, {}
    for part in ("train", "test"):
        x, y = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if x.ndim not in (3, 4) or not x.size or x.dtype.kind not in "uif":
            raise UserError(
                f"{where}: x_{part} is {x.dtype} of shape {x.shape}; needed: numbers, (R, H, W) or (R, H, W, C)"
            )
        if y.shape != (len(x),) or y.dtype.kind not in "ui":
            raise UserError(f"{where}: y_{part} is {y.dtype} of shape {y.shape}; needed: integers of shape ({len(x)},)")
        if int(y.min()) < 0 or int(y.max()) >= CLASSES:
            raise UserError(f"{where}: y_{part} holds {y.min()} … {y.max()}; allowed: 0 … {CLASSES - 1}")
        digest.update(np.ascontiguousarray(x).tobytes() + y.astype(np.int64).tobytes())
        pixels[part] = x.reshape(*x.shape[:3], -1).astype(np.float32)
        labels[part] = y.astype(np.int64)
        if not np.isfinite(pixels[part]).all():
            raise UserError(
                f"{where}: x_{part} holds {int((~np.isfinite(pixels[part])).sum())} values that are no number"
            )
    if pixels["train"].shape[1:] != pixels["test"].shape[1:]:
        raise UserError(
            f"{where}: x_train is {pixels['train'].shape}, x_test {pixels['test'].shape}; images must agree"
        )
    mean, spread = float(pixels["train"].mean(dtype=np.float64)), float(pixels["train"].std(dtype=np.float64))
    for x in pixels.values():
        x -= np.float32(mean)
        x /= np.float32(spread or 1.0)
    classes = int(max(labels["train"].max(), labels["test"].max())) + 1
    return Images(name, pixels["train"], labels["train"], pixels["test"], labels["test"], classes, digest.hexdigest())
