"""YAML files that users copy: models, hardware, technology nodes, sweeps."""
