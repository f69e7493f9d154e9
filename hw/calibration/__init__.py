"""Area and energy of generated hardware, fitted to its synthesis: tables per library, and how to read them.

``nangate45/`` and ``asap7/`` hold what ``lutscape rtl calibrate`` wrote: every synthesised design with its area,
timing, energy and hashes, and the coefficients fitted to them.
"""
