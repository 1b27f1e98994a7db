"""Cores behind the ports of a system: AXI4-Lite for control, AXI4-Stream for packets."""
