"""The real SmolLM2-135M: golden text, token ids, speed of reading, memory of a traced run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lutscape.models import shape
from lutscape.models.executor import Model
from lutscape.models.gguf_file import GgufFile
from lutscape.models.recorder import Formats
from lutscape.models.text import default_text
from lutscape.models.tokenizer import Tokenizer
from lutscape.models.tracing import trace_model

from .test_tokenizer import twin_encode

pytestmark = pytest.mark.model
GOLDEN = json.loads((Path(__file__).parent.parent / "vectors" / "models" / "smollm2-135m.json").read_text())
CHECKOUT = Path(shape.__file__).resolve().parent.parent


def test_token_ids(smollm2_path: Path) -> None:
    file = GgufFile(smollm2_path)
    tokenizer = Tokenizer(file)
    assert file.sha256() == GOLDEN["gguf_sha256"]
    assert tokenizer.encode(GOLDEN["prompt"]) == GOLDEN["prompt_ids"]
    for text, ids in GOLDEN["text"].items():
        assert tokenizer.encode(text) == ids
        assert tokenizer.decode(ids) == text
        if "<|" not in text:
            assert twin_encode(file, text) == ids
    sample = default_text()[:20000]
    assert tokenizer.encode(sample) == twin_encode(file, sample)


def test_greedy_text(smollm2: Model) -> None:
    """The 20 tokens and the five largest logits that transformers computes from the same file."""
    ids = list(smollm2.generate(GOLDEN["prompt_ids"], 20))
    assert ids == GOLDEN["greedy_ids"]
    assert smollm2.tokenizer.decode(ids) == GOLDEN["greedy_text"]
    logits = smollm2.forward(GOLDEN["prompt_ids"])[0, -1]
    assert np.argsort(-logits)[:5].tolist() == GOLDEN["top5_ids"]
    np.testing.assert_allclose(np.sort(logits)[::-1][:5], GOLDEN["top5_logits"], atol=1e-3)


def test_shape_of_the_file_is_the_packaged_shape(smollm2: Model) -> None:
    packaged = shape.load("smollm2-135m")
    assert smollm2.shape.model_dump(exclude={"source"}) == packaged.model_dump(exclude={"source"})


def test_weights_and_shapes_give_the_same_rows(smollm2: Model) -> None:
    formats = Formats("int2", "fp16", "int8", "int4")
    run = trace_model(smollm2, 33, 4, 2, formats).trace
    walk = trace_model(shape.load("smollm2-135m"), 33, 4, 2, formats).trace
    pd.testing.assert_frame_equal(run.rows, walk.rows)
    assert run.header.executed
    assert run.header.source == f"gguf:{GOLDEN['gguf_sha256']}"


def test_as_stored(smollm2: Model) -> None:
    """Stored bytes of the linear layers: every Q4_1 block of the file, once per step."""
    rows = trace_model(smollm2, 3, 0).trace.rows
    linear = rows[(rows["kind"] == "linear") & (rows["layer"] >= 0)]
    assert set(linear["weight_format"]) == {"q4_1"}
    file = smollm2.checkpoint.file  # type: ignore[attr-defined]
    assert linear["weight_bytes"].sum() == sum(t.bytes for t in file.tensors.values() if t.type_name == "Q4_1")
    head = rows.set_index("name").loc["lm_head"]
    assert (head["weight_format"], head["weight_bytes"]) == ("q8_0", file.info("token_embd.weight").bytes)


def test_memory_of_a_traced_run(smollm2_path: Path, tmp_path: Path) -> None:
    """Weights are in memory once: peak below 1.2 GiB with a prompt of 256."""
    code = (
        "import resource, sys; from lutscape.cli import cli\n"
        f"cli.main(['trace', 'smollm2-135m', '--prompt-tokens', '256', '--decode-tokens', '4', '-o', "
        f"{str(tmp_path / 't.parquet')!r}], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert int(done.stdout.splitlines()[-1]) < 1.2 * 2**20  # KiB
