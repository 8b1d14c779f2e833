"""The version, for what is written and sent; `vidseg.__version__` is the same."""

__version__ = "0.1.0"
