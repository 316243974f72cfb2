"""The one place where the version is written, besides `pyproject.toml`."""

__version__ = "0.1.0"
