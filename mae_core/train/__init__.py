"""Pre-training: the loop, its data, its checkpoints."""
