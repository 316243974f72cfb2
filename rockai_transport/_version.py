"""The version, and how an extra is installed: written here and nowhere else."""

__version__ = "0.1.0"
ON_PYPI = False  # the first release sets it: CONTRIBUTING.md


def install_command(*extras: str) -> str:
    """Give the command that installs extras, for the messages that name one."""
    named = ",".join(extras)
    if ON_PYPI:
        return f'pip install "rockai-integrations[{named}]"'
    return f'pip install ".[{named}]" in a clone of the repository'
