"""Generators: one hardware cell a file, each a function of its parameters that returns a Cell."""
