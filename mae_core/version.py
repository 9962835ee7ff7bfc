"""The version of mae-core."""

__version__ = "0.1.0"
