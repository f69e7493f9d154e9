"""Generators: one hardware cell a file, each a function of its parameters that returns a Cell.

Shared by all: ``adder_tree``, ``accumulator``, ``fifo``. Lookup and its baselines: ``narrower``, ``table_builder``,
``lookup_pe``, ``add_pe``, ``mac_pe``, ``array``, ``unit``. Tensor-core arithmetic: ``fused_dot``. Which of them build a
spec is said by :mod:`lutscape.rtl.catalogue`.
"""
