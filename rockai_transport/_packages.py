"""Lazy imports of public names, and errors for missing extras."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping
from importlib import import_module
from typing import Any

from rockai_transport._version import install_command


def lazy_names(package: str, homes: Mapping[str, Container[str]]) -> Callable[[str], Any]:
    """Make a package's ``__getattr__``, which imports a name on first use.

    Args:
        package: The package.
        homes: The names to import, by module.
    """

    def find(name: str) -> Any:
        home = next((module for module, names in homes.items() if name in names), None)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[package], name, value)
        return value

    return find


def require(module: str, needs: str, extra: str) -> None:
    """Import a module that an extra installs.

    Args:
        module: The module.
        needs: Start of the error message: who needs what.
        extra: The name of the extra.

    Raises:
        ImportError: It is not installed; the message says how to install it.
    """
    try:
        import_module(module)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):  # a dependency of the module is missing
            raise
        raise ImportError(f"{needs}: {install_command(extra)}") from error
