"""Hold the executor's logits to transformers + torch (CPU, float32) on the same GGUF file.

Development only; needs an environment of its own:

    python -m venv oracle
    oracle/bin/pip install torch transformers gguf accelerate
    lutscape models get smollm2-135m
    python reports/executor/compare_transformers.py --oracle oracle/bin/python

Both get the same token ids (the beginning of the default text, from our tokenizer: transformers'
own GGUF tokenizer splits digits otherwise). Writes ``transformers.json`` and ``transformers.md``
beside this script.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ORACLE = """
import json, sys
import numpy as np, torch, transformers
from transformers import AutoModelForCausalLM
torch.set_num_threads(1)
folder, name, ids_file, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
ids = torch.from_numpy(np.load(ids_file).astype(np.int64))[None]
with torch.no_grad():
    np.save(out, model(ids).logits[0].numpy())
    text = model.generate(ids[:, :32], max_new_tokens=32, do_sample=False)[0, 32:].tolist()
print(json.dumps({"torch": torch.__version__, "transformers": transformers.__version__, "greedy": text}))
"""


def main() -> None:
    """Run both and write the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--oracle", required=True, help="python with torch and transformers")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--model", default="smollm2-135m")
    arguments = parser.parse_args()
    here = Path(__file__).resolve().parent
    sys.path.insert(0, str(here.parent.parent))
    from lutscape.models.executor import load_model
    from lutscape.models.registry import resolve
    from lutscape.models.text import default_text, sha256

    model = load_model(arguments.model)
    gguf = resolve(arguments.model).gguf
    assert gguf is not None
    text = default_text()
    ids = np.array(model.tokenizer.encode(text)[: arguments.tokens])
    ours = model.forward(ids, every_logit=True)[0]
    greedy = list(model.generate(ids[:32], 32))
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/ids.npy", ids)
        command = [
            arguments.oracle,
            "-c",
            ORACLE,
            str(gguf.parent),
            gguf.name,
            f"{folder}/ids.npy",
            f"{folder}/y.npy",
        ]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        theirs = np.load(f"{folder}/y.npy")
    oracle = json.loads(done.stdout.splitlines()[-1])
    difference = np.abs(ours - theirs)
    result = {
        "model": arguments.model,
        "source": model.source,
        "tokens": len(ids),
        "vocab": ours.shape[-1],
        "text_sha256": sha256(text),
        "top1_agreement": float((ours.argmax(-1) == theirs.argmax(-1)).mean()),
        "max_abs_difference": float(difference.max()),
        "mean_abs_difference": float(difference.mean()),
        "largest_logit": float(np.abs(theirs).max()),
        "greedy_tokens_equal": sum(a == b for a, b in zip(greedy, oracle["greedy"], strict=False)),
        "greedy_tokens": len(greedy),
        "torch": oracle["torch"],
        "transformers": oracle["transformers"],
        "numpy": np.__version__,
        "python": platform.python_version(),
        "command": " ".join(["python", *sys.argv]).replace(arguments.oracle, "PYTHON"),
    }
    (here / "transformers.json").write_text(json.dumps(result, indent=2) + "\n")
    lines = ["# Executor against transformers, same GGUF", "", "| | |", "|---|---|"]
    lines += [f"| {key.replace('_', ' ')} | {value} |" for key, value in result.items()]
    (here / "transformers.md").write_text("\n".join(lines) + "\n")
    print(json.dumps(result, indent=2))
    if result["top1_agreement"] < 0.995 or result["max_abs_difference"] > 1e-3:
        sys.exit("outside the target: top-1 agreement >= 99.5 %, largest difference <= 1e-3")


if __name__ == "__main__":
    main()
