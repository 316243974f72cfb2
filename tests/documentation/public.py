"""The public names of all packages: what a user imports, and what these lead to."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
from functools import cached_property
from pathlib import Path

PACKAGES = ("rockai_transport", "langchain_rockai", "llama_index_rockai", "rockai_sandbox")
# Types that a user meets and need not import; docs/reference/rockai_transport.md lists them too.
MET = {
    "rockai_transport": (
        ("client", "Predictions"),
        ("async_client", "AsyncPredictions"),
        ("jobs.records", "Receipt"),
        ("jobs.records", "Record"),
        ("jobs.webhooks", "WebhookReceiver"),
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
            if inspect.isclass(value):
                found.update(methods(f"{package}.{name}", value))
    return found


def methods(prefix: str, owner: type) -> dict[str, object]:
    """The public methods and properties that our packages define for a class, in it or in its bases."""
    fields = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
    found = {}
    for name in vars(owner) if issubclass(owner, Exception) else dir(owner):  # an exception's own alone
        if name.startswith("_") or name in HOOKS | fields:
            continue
        member = inspect.getattr_static(owner, name)
        read = {property: "fget", cached_property: "func"}.get(type(member), "__func__")
        function = getattr(member, read, member)
        function = inspect.unwrap(function)
        if getattr(function, "__module__", "").partition(".")[0] in PACKAGES and inspect.isroutine(function):
            found[f"{prefix}.{name}"] = function
    return found


def constants() -> dict[str, str]:
    """The docstrings that stand below public constants."""
    found = {}
    for package in PACKAGES:
        wanted = set(importlib.import_module(package).__all__)
        folder = Path(importlib.import_module(package).__file__).parent
        for path in folder.rglob("*.py"):
            body = ast.parse(path.read_text("utf-8")).body
            for one, below in itertools.pairwise(body):
                target = one.targets[0] if isinstance(one, ast.Assign) else getattr(one, "target", None)
                told = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
                if isinstance(target, ast.Name) and target.id in wanted and told:
                    found[f"{package}.{target.id}"] = inspect.cleandoc(below.value.value)
    return found


PUBLIC = public()
CONSTANTS = constants()


def text_of(name: str) -> str:
    """The docstring of a public name."""
    value = PUBLIC[name]
    if inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value):
        return inspect.cleandoc(value.__doc__ or "")
    return CONSTANTS.get(name, "")


def is_property(name: str) -> bool:
    """Whether a public name is read like an attribute."""
    owner = PUBLIC.get(name.rpartition(".")[0])
    return inspect.isclass(owner) and isinstance(
        inspect.getattr_static(owner, name.rpartition(".")[2]), property | cached_property
    )
