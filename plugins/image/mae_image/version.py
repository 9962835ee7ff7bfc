"""The version of mae-image."""

__version__ = "0.1.0"
