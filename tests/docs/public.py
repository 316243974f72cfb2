"""The public names of all packages: what a user imports, and what these lead to."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from functools import cached_property

PACKAGES = ("rockai_transport", "langchain_rockai", "llama_index_rockai", "rockai_sandbox")
# Types that a user meets and need not import; docs/reference/rockai_transport.md lists them too.
MET = {
    "rockai_transport": (
        ("client", "Predictions"),
        ("async_client", "AsyncPredictions"),
        ("jobs.receipts", "Receipt"),
        ("jobs.records", "Record"),
    ),
}
# Hooks that only pydantic calls.
HOOKS = {"model_post_init"}


def public() -> dict[str, object]:
    """All names that a user may import or meets, and the public methods of the classes; each once."""
    found: dict[str, object] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        found[package] = module
        members = {name: getattr(module, name) for name in module.__all__ if name != "__version__"}
        for home, name in MET.get(package, ()):
            members[f"{home}.{name}"] = getattr(importlib.import_module(f"{package}.{home}"), name)
        for name, value in members.items():
            if any(value is other for other in found.values()):
                continue  # of another package
            found[f"{package}.{name}"] = value
            if inspect.isclass(value) and not issubclass(value, Exception):
                found.update(methods(f"{package}.{name}", value))
    return found


def methods(prefix: str, owner: type) -> dict[str, object]:
    """The public methods and properties that our packages define for a class, in it or in its bases."""
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    found = {}
    for name in dir(owner):
        if name.startswith("_") or name in HOOKS | fields:
            continue
        member = inspect.getattr_static(owner, name)
        if isinstance(member, cached_property):
            continue
        function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        function = inspect.unwrap(function)
        if getattr(function, "__module__", "").partition(".")[0] in PACKAGES and inspect.isroutine(function):
            found[f"{prefix}.{name}"] = function
    return found


PUBLIC = public()


def text_of(name: str) -> str:
    """The docstring of a public name; "" for a constant, whose docstring is its type's."""
    value = PUBLIC[name]
    if not (inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)):
        return ""
    return inspect.cleandoc(value.__doc__ or "")


def is_property(name: str) -> bool:
    """Whether a public name is read like an attribute."""
    owner = PUBLIC.get(name.rpartition(".")[0])
    return inspect.isclass(owner) and isinstance(
        inspect.getattr_static(owner, name.rpartition(".")[2]), property
    )


def is_exception(name: str) -> bool:
    """Whether a public name is an exception's."""
    value = PUBLIC[name]
    return inspect.isclass(value) and issubclass(value, Exception)
