"""Multivariate time series as a modality for mae-core."""
