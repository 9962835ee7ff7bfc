"""Published checkpoints by the name of their layout."""
