"""Mutants of a design, run through the design's own bench: which of them does it notice?"""
