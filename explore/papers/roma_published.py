"""Numbers printed in ROMA (arXiv 2503.12988) and by its peers, as digests of the papers give them.

Keys are ours; units are in the names. Where two digests disagree both are here.
"""

from __future__ import annotations

from typing import Any

PAPER = "arXiv 2503.12988"

DIE_MM2, DIE_W, CLOCK_MHZ, NODE = 503.7, 33.1, 500, "7nm"
ROM_GB, SRAM_MB = 1.86, 304
SHARES = {"L-Units": 0.732, "H-Units": 0.206, "Vector Units": 0.014, "rest": 0.048}
"""Of the die; the rest is printed as "other". H-Units are printed as 16.6 % in the digest; see H_PRINTED."""
H_PRINTED = 0.166
L_UNIT_KUM2 = {"sram": 59.7, "standard": 36.7, "b-rom": 26.0, "fused": 22.5}
L_UNIT_MW = {"sram": 19.2, "standard": 11.4, "b-rom": 6.9, "fused": 6.8}
FORMS = {
    "sram": "SRAM and arithmetic",
    "standard": "ROM and arithmetic",
    "b-rom": "B-ROM and arithmetic",
    "fused": "B-ROM over arithmetic",
}
SRAM_TOKENS = [
    # MB, rank, printed tokens
    (64, 16, 736),
    (128, 16, 1600),
    (256, 16, 3808),
    (64, 64, 0),
]
GPU_TOK_S = {256: 219, 512: 215.6, 1024: 212.2, 2048: 205.8}
"""RTX 4090, TensorRT-LLM, by context."""
TABLE_TOK_S = {256: 20_078, 512: 18_703, 1024: 12_840, 2048: 8_533}
"""ROMA in the table beside them."""
GPU_SPEEDUP, ENERGY_MJ = 70.5, 1.0

PEERS: list[dict[str, Any]] = [
    # spec, workload (model, weights, prompt, decode), tok/s, die mm2, watts, what was fitted, notes
    {
        "spec": "roma", "model": "llama-3.2-3b", "weights": "int4-g128", "prompt": 1024, "published_tok_s": 24_600,
        "published_mm2": 503.7, "published_w": 33.1, "source": "ROMA, arXiv 2503.12988 (digests)",
        "fitted": "two times of decode, two of prefill; areas of H-Unit and Vector Unit from the split",
        "evidence": "Verilog, Design Compiler; no place and route",
    },
    {
        "spec": "tom", "model": "bitnet-b1.58-2b-4t", "weights": "ternary", "prompt": 256, "published_tok_s": 3_306,
        "published_mm2": 56.9, "published_w": 5.33, "source": "TOM, arXiv 2602.20662 (digests)",
        "fitted": "lanes: the power of two nearest to the rate",
        "evidence": "synthesis, cycle simulation; shares authors with ROMA",
    },
    {
        "spec": "bitrom", "model": "falcon3-1b", "weights": "ternary", "prompt": 256, "published_tok_s": None,
        "published_mm2": None, "published_w": None, "source": "BitROM, arXiv 2509.08542",
        "fitted": "nothing", "evidence": "post-layout simulation of a macro",
    },
    {
        "spec": "hnlpu", "model": "gpt-oss-120b", "weights": "int4-g32", "prompt": 512, "published_tok_s": 1_157,
        "published_mm2": 13_232, "published_w": 4_928, "source": "HNLPU, arXiv 2508.16151",
        "fitted": "overhead of a step, to rate and concurrency", "aggregate": 249_960,
        "evidence": "synthesis and own cycle simulator",
    },
    {
        "spec": "taalas-hc1", "model": "llama-3-8b", "weights": "int4-g128", "prompt": 1532, "published_tok_s": 16_960,
        "published_mm2": 815, "published_w": 225, "source": "Taalas, announcement of HC1",
        "fitted": "overhead of a step, to the rate", "evidence": "silicon",
    },
]  # fmt: skip

CONFLICTS = [
    ("decode at 1K of context", "24.6k tok/s (text) and 12,840 tok/s (comparison table)",
     "Cannot be one model and metric: from 256 to 2K the table grows by 19 cycles a token of context, the text's pair "
     "by 4.5. We fit the text's pair and score the table; section 6 has readings of it."),
    ("area of the H-Units", "16.6 % printed; the shares then add up to 96.0 %",
     "288 MB at the density of Fig. 2 need 18.7 % by themselves. With 20.6 % the shares add up to 100; we take that."),
    ("tokens at 128 MB, rank 16", "1,600 printed",
     "736 and 3,808 lie on a line of exactly 65,536 bytes a token, on which 128 MB give 1,760."),
    ("model of the SRAM table", "Llama-3.2-3B in the digest",
     "65,536 bytes a token are Llama-3-8B's FP8 cache (3B: 57,344)."),
    ("reductions of Fig. 12", "-88.4 % area and -81.5 % power in a digest",
     "The unit numbers give -62.3 % and -64.6 %; the digest's table is scrambled."),
    ("unit power and chip power", "16,384 x 6.8 mW = 111 W against 33.1 W",
     "Units wait for most of the time: a token reads 2,688 words of a unit in 15,723 cycles."),
]  # fmt: skip

OPENTALLAS = {"bits": 131_050_000_000, "p": 1e-9, "bare": 3e-63, "secded": 0.996, "patched": 0.9998, "overhead": 0.039}
"""Qwen3-8B in BF16: 8.19 G weights; yields of a die with that ROM as OpenTallas prints them."""
HNLPU_MASKS = {"full": 480.0, "first": 65.0, "respin": 37.0, "dies": 16}
"""Millions of dollars: 16 full sets, shared tape-out, re-spin."""
HNLPU_NRE = {"8B": (8, 38), "32B": (32, 69), "671B": (671, 353), "1T": (1000, 462)}
"""G weights, millions of dollars in all."""
