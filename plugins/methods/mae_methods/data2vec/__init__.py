"""data2vec 2.0 for images (Baevski et al. 2023)."""
