"""Synthesizable RTL for narrow-number deep-learning arithmetic, proved against NumPy."""
