"""The version and the install command for extras, defined only here."""

__version__ = "0.1.0"
ON_PYPI = False  # set to True with the first release: CONTRIBUTING.md


def install_command(*extras: str) -> str:
    """Return the command that installs extras, for error messages."""
    named = ",".join(extras)
    if ON_PYPI:
        return f'pip install "rockai-integrations[{named}]"'
    return f'pip install ".[{named}]" in a clone of the repository'
