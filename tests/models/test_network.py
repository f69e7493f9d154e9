"""Networks listed layer by layer: published sizes, and the rows of their traces."""

from __future__ import annotations

from pathlib import Path

import pytest

from lutscape.hw.errors import UserError
from lutscape.models import network
from lutscape.models.recorder import Formats
from lutscape.models.tracing import trace_model


def test_resnet_18_has_the_published_parameters_and_macs() -> None:
    # torchvision 0.20, resnet18: 11,689,512 parameters, 1.814 GFLOPS (multiply-adds). Without batch norm's scale, shift
    # (9,600 values), with the folded biases (4,800).
    resnet = network.find("resnet-18")
    assert resnet is not None
    assert resnet.parameters == 11_689_512 - 9_600 + 4_800
    rows = network.trace(resnet).rows
    assert int(rows["macs"].sum()) == 1_814_073_344


def test_bert_base_has_the_encoder_of_the_published_110_million() -> None:
    # 109,482,240 parameters: embeddings (30522 + 512 + 2 + 2) x 768, pooler 768 x 769, encoder the rest.
    bert = network.find("bert-base")
    assert bert is not None
    assert bert.parameters == 109_482_240 - (30_522 + 512 + 2 + 2) * 768 - 768 * 769
    trace = network.trace(bert, prompt_tokens=128, batch=2)
    linear = trace.rows[trace.rows["kind"] == "linear"]
    assert int(linear["macs"].sum()) == 256 * 12 * (4 * 768 * 768 + 2 * 768 * 3072)
    attention = trace.rows[trace.rows["kind"] == "attention"]
    assert int(attention["macs"].sum()) == 12 * 2 * 2 * 128 * 128 * 768  # no causal mask
    assert trace.distinct().query("operator == 'q'")["readers"].tolist() == [3]  # q, k and v read one tensor


def test_a_convolution_reads_its_map_once() -> None:
    resnet = network.find("resnet-18")
    assert resnet is not None
    rows = network.trace(resnet, batch=3, formats=Formats(activations="int8")).rows.set_index("name")
    first = rows.loc["layers.0.conv1"]
    assert (first["M"], first["N"], first["K"]) == (3 * 112 * 112, 64, 147)
    assert first["activation_bytes"] == 3 * 3 * 224 * 224
    down = rows.loc["layers.3.down"]  # 1 x 1, stride 2: a quarter of the map
    assert (down["M"], down["K"], down["activation_bytes"]) == (3 * 28 * 28, 64, 3 * 28 * 28 * 64)


def test_a_trace_of_a_network_is_saved_and_loaded(tmp_path: Path) -> None:
    from lutscape.models.trace import Trace

    trace = trace_model("resnet-18", 512, 0).trace
    trace.save(tmp_path / "t.parquet")
    loaded = Trace.load(tmp_path / "t.parquet")
    assert loaded.header == trace.header
    assert loaded.header.shape is None


NETWORK = """kind: network
name: x
source: made up for a test
input: image
blocks:
  - layers:
      - {kind: convolution, name: c, size: 1, inputs: 1, outputs: 1, kernel: 1}
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "kernel: 1",
            "kernel: 3",
            "layers[0].convolution: kernel = 3 is larger than the padded map of 1",
        ),
        ("kernel: 1", "kernel: 1, input: con", "n.yaml:6: blocks[0]: layer 'c': no layer 'con' before it"),
        ("name: c", "name: in", "n.yaml:6: blocks[0]: layer 'in': names differ within a block, and none is 'in'"),
        ("kind: convolution", "kind: convolutoin", "n.yaml:7: blocks[0].layers[0]: input tag 'convolutoin'"),
    ],
)
def test_bad_networks_are_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(NETWORK.replace(old, new))
    with pytest.raises(UserError) as error:
        network.find(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_wrong_counts_are_refused() -> None:
    with pytest.raises(UserError, match=r"bert-base: 513 tokens exceed the network's 512"):
        trace_model("bert-base", 513, 0)
    with pytest.raises(UserError, match=r"bert-base: a network without weights has one step; use --decode-tokens 0"):
        trace_model("bert-base", 128, 4)
    with pytest.raises(UserError, match=r"model 'resnet-19' not found \(did you mean 'resnet-18'\?\)"):
        trace_model("resnet-19", 128, 0)
