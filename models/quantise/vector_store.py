"""Converted layers on disk: a folder that appears whole or not at all.

    manifest.json          what was converted and how; one entry per layer with its file and SHA-256
    layers/<name>.npz      centroids (Nc, c, v) int16, tables (Nc, c, N) int8 or int16, input_scales (Nc,) float32,
                           and bias (N,) float32 if any
    network.yaml           of a classifier: its layers, for ``lutscape trace``

A layer computes  dequantise(sum_k tables[k, idx[m, k], n]) = sum · table_scale + bias  with idx from
x = clip(rint(a / input_scales[k])), :mod:`lutscape.sim.lut_dla.golden`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models.quantise.vector import VectorLayer

SCHEMA_VERSION = 1
FORMAT = "lutscape-dla"


def check_target(folder: Path, force: bool = False) -> None:
    """Raise :class:`UserError` unless a new artefact can be written at ``folder``.

    Args:
        folder: where to.
        force: an earlier artefact may be replaced; nothing else ever is.
    """
    if not folder.exists():
        parent = folder.parent
        if not parent.is_dir():
            raise UserError(f"{folder}: the folder {str(parent)!r} does not exist")
        if not os.access(parent, os.W_OK):
            raise UserError(f"{folder}: the folder {str(parent)!r} cannot be written")
        return
    if not _is_artefact(folder):
        raise UserError(f"{folder}: exists and is no converted network; name another folder")
    if not force:
        raise UserError(f"{folder}: holds a converted network; name another folder, or replace it with --force")


def _is_artefact(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return isinstance(manifest, dict) and manifest.get("format") == FORMAT
    except (OSError, ValueError):
        return False


def write(
    folder: Path,
    layers: Mapping[str, VectorLayer],
    about: Mapping[str, Any],
    files: Mapping[str, str] | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Write an artefact and return its manifest.

    Args:
        folder: where to; must not exist, unless ``force`` and it is an artefact.
        layers: by name.
        about: further plain entries of the manifest.
        files: further text files by name.
        force: replace an artefact.

    Raises:
        UserError: the folder cannot be written, or holds something else.
    """
    check_target(folder, force)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    entries = []
    try:
        (temporary / "layers").mkdir(parents=True)
        for name, layer in layers.items():
            path = temporary / "layers" / f"{name}.npz"
            arrays = {"centroids": layer.centroids, "tables": layer.tables, "input_scales": layer.input_scales}
            if layer.bias is not None:
                arrays["bias"] = layer.bias
            np.savez(path, **arrays)  # type: ignore[arg-type]
            entries.append(_entry(name, layer, path))
        manifest = {"format": FORMAT, "schema_version": SCHEMA_VERSION, **about, "layers": entries}
        for name, text in {**(files or {}), "manifest.json": json.dumps(manifest, indent=1) + "\n"}.items():
            (temporary / name).write_text(text, encoding="utf-8")
        if folder.exists():
            old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
            folder.rename(old)
            temporary.rename(folder)
            shutil.rmtree(old)
        else:
            temporary.rename(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return manifest


def _entry(name: str, layer: VectorLayer, path: Path) -> dict[str, Any]:
    subspaces, count, v = layer.centroids.shape
    return {
        "name": name,
        "file": f"layers/{path.name}",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "n": int(layer.tables.shape[2]),
        "k": layer.columns,
        "v": v,
        "c": count,
        "subspaces": subspaces,
        "metric": layer.metric,
        "input_bits": layer.input_bits,
        "table_bits": layer.table_bits,
        "table_scale": layer.table_scale,
        "table_bytes": layer.tables.size * layer.table_bits // 8,
        "unused_centroids": sum(count - len(np.unique(book, axis=0)) for book in layer.centroids),
    }


def read(folder: Path) -> tuple[dict[str, VectorLayer], dict[str, Any]]:
    """Return layers by name, and the manifest.

    Raises:
        UserError: no artefact, another schema version, or a damaged layer.
    """
    path = folder / "manifest.json"
    if not _is_artefact(folder):
        raise UserError(f"{folder}: holds no converted network; write one with: lutscape dla convert")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema version {manifest.get('schema_version')}, this lutscape reads {SCHEMA_VERSION}; "
            "convert again"
        )
    layers = {}
    for entry in manifest["layers"]:
        file = folder / entry["file"]
        try:
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            with np.load(file, allow_pickle=False) as arrays:
                centroids, tables, scales = (arrays[key] for key in ("centroids", "tables", "input_scales"))
                bias = arrays["bias"] if "bias" in arrays.files else None
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise UserError(f"{file}: missing or damaged ({error}); convert again") from None
        if digest != entry["sha256"]:
            raise UserError(f"{file}: SHA-256 {digest}, the manifest says {entry['sha256']}; convert again")
        layers[entry["name"]] = VectorLayer(
            centroids,
            tables,
            scales,
            entry["table_scale"],
            bias,
            entry["metric"],
            entry["input_bits"],
            entry["table_bits"],
            entry["k"],
        )
    return layers, manifest
