"""How hardware computes (golden models) and how long it takes (timing models)."""
