"""Sounds, as log-mel spectrograms, as a modality of mae-core."""
