"""The version of mae-methods."""

__version__ = "0.1.0"
