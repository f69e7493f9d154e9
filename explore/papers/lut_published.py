"""Numbers printed in LUT Tensor Core (arXiv 2408.06003 v3, ISCA 2025), as they stand there.

Keys are ours; units are in the names. Bars of figures were not recovered and are not here.
"""

from __future__ import annotations

PAPER = "arXiv 2408.06003v3"

TABLE_1 = [
    # hardware, format, BS1 SEQ2048 ms, BS1024 SEQ1 ms, peak TOPS, mm2 per SM, TOPS/mm2, TOPS/W, SMs
    ("a100-fp16", "LLaMA-3B FP16", 106.71, 41.15, 312, 0.975, 2.96, 2.98, 108),
    ("a100-int8", "BitNet-3B W2A8", 67.06, 21.70, 624, 0.312, 17.73, 19.94, 108),
    ("a100-lut-4x", "BitNet-3B W2A8", 42.49, 11.41, 1248, 0.187, 61.84, 33.32, 108),
    ("a100-lut-8x", "BitNet-3B W2A8", 38.02, 7.47, 2496, 0.373, 61.95, 33.65, 108),
    ("h100-fp8", "BitNet-3B W8A8 FP8", 38.20, 12.30, 1525, 0.918, 12.59, None, 132),
    ("h100-lut-4x", "BitNet-3B W2 AFP8", 28.70, 9.90, 1525, 0.488, 23.69, None, 132),
    ("h100-lut-8x", "BitNet-3B W2 AFP8", 23.48, 5.97, 3049, 0.909, 25.40, 17.32, 132),
]
SPEEDUPS = {"A100, LUT-8X over FP16": (5.51, "a100-fp16", "a100-lut-8x"),
            "H100, LUT-8X over FP8": (2.06, "h100-fp8", "h100-lut-8x")}  # fmt: skip

TABLE_2 = [
    # step, um2 (printed "mm2"), density, mW, power
    ("unpu", 17271.71, 1.0, 23.39, 1.0),
    ("reinterpretation", 13116.60, 1.317, 17.98, 1.301),
    ("negation", 12780.05, 1.351, 17.37, 1.347),
    ("fusion", 11991.29, 1.440, 16.22, 1.442),
]

TABLE_4 = [
    # model, batch, sequence, Welder ms, + precompute ms, + fused ms
    ("opt-175b", 1, 2048, 32.38, 38.77, 33.63),
    ("opt-175b", 1024, 1, 14.99, 17.43, 15.50),
    ("bloom-176b", 1, 4096, 107.11, 129.85, 108.38),
    ("bloom-176b", 1024, 1, 20.99, 26.05, 21.31),
    ("llama-2-70b", 1, 4096, 34.68, 37.60, 35.65),
    ("llama-2-70b", 1024, 1, 11.45, 15.21, 11.75),
]
TABLE_4_MEANS = {1: (16.47, 2.62), 1024: (24.41, 2.52)}
"""Batch: overhead of a separate and of a fused precompute, percent."""

TABLE_5 = [
    # model, configuration, WikiText-2 perplexity
    ("LLaMA-2-7B", "FP16", 5.47),
    ("LLaMA-2-7B", "W2 AFP16 (BitDistiller)", 7.68),
    ("LLaMA-2-7B", "W2, INT8 tables", 7.69),
]
LOG_CYCLES, LOG_SHAPE = 804_234, (2048, 27648, 5120)
"""Accel-Sim log of the artifact: W1A8, 4x, HMMA latency and interval 16."""
ROOFLINE_FLOP_PER_BYTE, ROOFLINE_TFLOPS, CUTLASS_TFLOPS = 736, 1104, 288.9
