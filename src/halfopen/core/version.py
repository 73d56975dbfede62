"""The version of halfopen."""

__version__ = "0.1.0"
