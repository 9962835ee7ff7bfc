"""The version of mae-video."""

__version__ = "0.1.0"
