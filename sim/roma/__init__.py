"""ROM-resident language models: bit-accurate L-Unit, adapters, ROM words, faults, and cycles."""
