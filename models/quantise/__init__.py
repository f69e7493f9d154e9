"""Quantisers: weights (affine groups, ternary), activations (INT8, FP8), KV cache (INT8/4/2)."""
