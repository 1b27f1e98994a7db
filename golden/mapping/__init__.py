"""Layers of nets as commands of `cores.flexblock_core`: tiles, placing of data, cycles, traffic."""
