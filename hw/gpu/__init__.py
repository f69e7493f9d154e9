"""Measured GPU kernels: the records shipped in ``measured/`` and how they are read."""
