"""faasd-py: asynchronous functions on one box."""

__version__ = "0.1.0"
