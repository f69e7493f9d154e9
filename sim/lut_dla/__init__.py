"""LUT-DLA: golden model, stage timing and cycle model."""
