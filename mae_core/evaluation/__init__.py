"""What a model is worth: the certificates."""
