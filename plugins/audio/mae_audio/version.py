"""The version of mae-audio."""

__version__ = "0.1.0"
