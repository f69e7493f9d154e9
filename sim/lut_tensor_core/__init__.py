"""LUT Tensor Core (ISCA 2025): timing of the stand-alone lookup array."""
