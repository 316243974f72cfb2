"""Type hints are part of the public surface: frameworks read them at run time, and make schemas of them."""

import importlib
import inspect
import pkgutil
import typing
from functools import cached_property

PACKAGES = ("langchain_rockai", "llama_index_rockai", "rockai_sandbox", "rockai_transport")


def modules():
    """The names of all modules; a ``__main__`` would run."""
    for package in PACKAGES:
        yield package
        path = importlib.import_module(package).__path__
        found = pkgutil.walk_packages(path, f"{package}.")
        yield from (one.name for one in found if not one.name.endswith("__main__"))


def is_public(name):
    return not name.startswith("_") or (name.startswith("__") and name.endswith("__"))


def function_of(member):
    """The function of ours behind a method, property or whatever else a class holds; else None."""
    if isinstance(member, property):
        member = member.fget
    if isinstance(member, cached_property):
        member = member.func
    member = inspect.unwrap(getattr(member, "__func__", member))
    home = getattr(member, "__module__", None) or ""
    is_ours = home.partition(".")[0] in PACKAGES  # pydantic adds some of its own
    return member if inspect.isfunction(member) and is_ours else None


def annotated(module):
    """The public classes and functions of a module, and their public methods, ``__init__`` among them."""
    for name, value in vars(module).items():
        if not is_public(name) or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            for attribute, member in vars(value).items():
                function = function_of(member)
                if is_public(attribute) and function is not None:
                    yield f"{name}.{attribute}", function
        elif function_of(value) is not None:
            yield name, function_of(value)


def test_every_annotation_can_be_read_at_run_time():
    """Of every module: its names are imported where it stands, not for a type checker alone."""
    wrong, read = {}, 0
    for module in modules():
        for name, value in annotated(importlib.import_module(module)):
            read += 1
            try:
                typing.get_type_hints(value, include_extras=True)
            except NameError as error:
                wrong[module, name] = str(error)
    assert wrong == {}
    assert read > 1000
