"""A classifier as a list of layers that ``lutscape trace`` reads (:mod:`lutscape.models.network`)."""

from __future__ import annotations

from typing import Any

import yaml

from lutscape.hw.errors import UserError
from lutscape.models.train.data import Images
from lutscape.models.train.layers import Affine, Patches, Pool, Relu
from lutscape.models.train.network import Network


def network_yaml(network: Network, images: Images) -> str:
    """Return the YAML of a classifier; ``batch`` of the trace is its images.

    Raises:
        UserError: convolutions on images that are not square.
    """
    height, width, channels = images.shape
    size, patches = height, False
    layers: list[dict[str, Any]] = []
    for i, layer in enumerate(network.layers):
        if isinstance(layer, Patches):
            patches = True
            if height != width:
                raise UserError(f"images of {height} x {width}: a trace of convolutions needs square ones")
        elif isinstance(layer, Affine):
            n, k = (int(s) for s in layer.parameters["weight"].shape)
            if patches:
                layers.append(
                    {"kind": "convolution", "name": layer.name, "size": size, "inputs": k // 9, "outputs": n}
                    | {"kernel": 3, "padding": 1, "bias": True}
                )
            else:
                layers.append({"kind": "linear", "name": layer.name, "n": n, "k": k, "rows": "one"})
            channels, patches = n, False
        elif isinstance(layer, Pool):
            size //= 2
            layers.append({"kind": "elementwise", "name": f"pool{i}", "n": channels, "size": size, "operands": 4})
        elif isinstance(layer, Relu):
            last = size if network.kind == "cnn" else 1
            layers.append({"kind": "elementwise", "name": f"relu{i}", "n": channels, "size": last})
    document = {
        "kind": "network",
        "name": f"{network.kind}-{images.name}",
        "source": "trained by lutscape dla convert",
        "input": "image",
        "blocks": [{"layers": layers}],
    }
    return str(yaml.safe_dump(document, sort_keys=False))
