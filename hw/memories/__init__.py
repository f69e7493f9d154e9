"""Area, energy, leakage and access time of SRAM, register files, ROM and FIFOs; :mod:`lutscape.hw.memory` asks."""
