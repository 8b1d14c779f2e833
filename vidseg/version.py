"""The version of the package, for files and requests; `vidseg.__version__` is the same."""

__version__ = "0.1.0"
