"""The model: a backbone, and what is added to it to pre-train it."""
