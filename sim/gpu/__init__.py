"""GPUs: tile-level timing of matrix products, attention and element-wise operators."""
