"""Hiera, for images and videos (Ryali et al. 2023)."""
