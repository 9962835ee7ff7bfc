"""Images as a modality of mae-core."""
