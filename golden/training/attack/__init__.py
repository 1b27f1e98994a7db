"""The search for the bits of a network's weights that it depends on most; needs torch."""
