"""Coverage of the cores: which commands, answers and errors a run has met."""
