"""Record what a real GPU's matrix instructions return, bit for bit.

:mod:`instructions` lists what can be captured, :mod:`families` draws the operands,
:mod:`bundle` writes them beside the CUDA source (``--emit``) and assembles the results
(``--collect``), :mod:`build` compiles and runs. Needs numpy and, to run, nvcc and a GPU.
"""
