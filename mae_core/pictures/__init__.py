"""Pictures of reconstructions and of masks."""
