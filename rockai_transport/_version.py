"""The version and the install command for extras, defined only here."""

__version__ = "0.1.0"
ON_PYPI = False  # set to True with the first release: CONTRIBUTING.md


def install_command(extra: str) -> str:
    """Return the command that installs an extra, for error messages."""
    if ON_PYPI:
        return f'pip install "rockai-integrations[{extra}]"'
    return f'pip install ".[{extra}]" in a clone of the repository'
