"""See, explain, release and prevent half-open TCP connections on Linux."""

__version__ = "0.1.0"
