"""Coverage of the units: which number classes and cases a run has met."""
