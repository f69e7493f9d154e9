"""Hardware families: one module each, selected by ``kind:`` in a hardware YAML."""
