"""Video as a modality of mae-core."""
