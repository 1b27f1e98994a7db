"""Proofs: claims about a component, the engines that settle them, counterexamples."""
