"""Verilog generators, cocotb benches, synthesis and power flow."""
