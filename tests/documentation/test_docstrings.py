"""The docstrings of public names: what they must say, and their examples, run on the sandbox."""

from __future__ import annotations

import ast
import gc
import inspect
import re
import textwrap

import pytest
from documentation.public import PACKAGES, PUBLIC, is_property, text_of
from documentation.stage import namespace, run_examples, steps

from rockai_transport.base_client import BaseClient

# LlamaIndex looks at all members of its pydantic classes, deprecated ones too (workflows/utils.py).
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")

REFERENCE = re.compile(r"As (?:`([\w.]+)`|calling it)")
NAMES = [name for name, value in PUBLIC.items() if not inspect.ismodule(value)]
CALLABLE = [name for name, value in PUBLIC.items() if callable(value)]
NOT_TOLD = {"self", "cls", "_", "__"}


def referred(name: str) -> str | None:
    """The name that a docstring refers to ("As `Client.run`, with …"), in full, if it refers to one."""
    found = REFERENCE.match(text_of(name))
    if found is None:
        return None
    package, owner = name.partition(".")[0], name.rpartition(".")[0]
    choices = [f"{owner}.{found[1]}", f"{package}.{found[1]}", f"rockai_transport.client.{found[1]}"]
    return next((choice for choice in choices if choice in PUBLIC), "")


def parameters(name: str) -> set[str]:
    return set(inspect.signature(PUBLIC[name]).parameters) - NOT_TOLD


def listed(name: str, section: str) -> set[str]:
    """The names in a section of a docstring, ``Args`` or ``Attributes``."""
    found = re.search(rf"^{section}:\n((?:[ ]+.*\n?|\n)+)", text_of(name), re.MULTILINE)
    return set(re.findall(r"^    \*{0,2}(\w+)(?: \([^)]+\))?:", found[1], re.MULTILINE)) if found else set()


def shown(names: dict[str, object] | list[str]) -> str:
    """What is wrong, a line each: pytest cuts long lists."""
    rows = names.items() if isinstance(names, dict) else zip(names, strict=True)
    return "".join(f"\n  {' '.join(map(str, row))}" for row in rows)


def fields(owner: type) -> set[str]:
    """The public fields that our packages give a class."""
    found = set()
    for kind in owner.__mro__:
        if kind.__module__.partition(".")[0] not in PACKAGES or "[" in kind.__name__:
            continue  # pydantic makes `RockAIModel[str]`, which has no source
        [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
        found |= {field.target.id for field in tree.body if isinstance(field, ast.AnnAssign)}
    return {name for name in found if not name.startswith("_")}


@pytest.fixture
def stage(rockai_sandbox, tmp_path, monkeypatch):
    """An empty folder, a sandbox in the environment; what an example left open is found here."""
    monkeypatch.chdir(tmp_path)
    yield rockai_sandbox
    gc.collect(1)  # what is young


@pytest.mark.parametrize("name", [name for name in PUBLIC if steps(text_of(name))])
def test_an_example_is_true(name, stage):
    """The code in a docstring runs on the sandbox, and prints what stands below it."""
    text = text_of(name)
    assert run_examples(steps(text), namespace(name, text, stage)) == ""


def test_every_public_name_has_an_example():
    """Each class, function, method, property, exception and constant shows how it is used."""
    bare = [name for name in NAMES if not steps(text_of(name))]
    assert not bare, shown(bare)


def test_every_public_name_says_what_it_is():
    """Whatever a user can reach has a docstring, the packages too."""
    silent = [name for name in PUBLIC if not text_of(name)]
    assert not silent, shown(silent)


def test_a_reference_leads_to_the_same_parameters():
    """A docstring that says "As `run`, …" names one that exists and takes what this one takes."""
    wrong = {}
    for name in CALLABLE:
        other = referred(name)
        if other is not None and (not other or not parameters(name) <= parameters(other)):
            wrong[name] = other
    assert not wrong, shown(wrong)


def test_every_parameter_is_told_of():
    """The ``Args:`` of a function or method are its parameters, all of them and no other."""
    wrong = {}
    for name in CALLABLE:
        if inspect.isclass(PUBLIC[name]) or is_property(name):
            continue
        told = listed(name, "Args")
        if told != parameters(name) and not (referred(name) and not told):
            wrong[name] = told ^ parameters(name)
    assert not wrong, shown(wrong)


def test_every_result_is_told_of():
    """A function or method that returns something says what."""
    silent = []
    for name in CALLABLE:
        if inspect.isclass(PUBLIC[name]) or is_property(name) or referred(name):
            continue
        returned = inspect.signature(PUBLIC[name]).return_annotation
        if returned not in (None, "None") and "\nReturns:\n" not in text_of(name):
            silent.append(name)
    assert not silent, shown(silent)


def test_every_class_tells_of_what_it_is_made_of():
    """`help` of a class tells of its fields: a docstring below a field is not shown there.

    A class without fields tells of its constructor's parameters, or says what makes it.
    """
    wrong = {}
    for name in CALLABLE:
        owner = PUBLIC[name]
        if not inspect.isclass(owner):
            continue
        found = set() if issubclass(owner, Exception) else fields(owner)
        has_parameters = "__init__" in vars(owner) or issubclass(owner, BaseClient)
        if not found and has_parameters and "Made by `" not in text_of(name):
            found = parameters(name)
        if missing := found - listed(name, "Args") - listed(name, "Attributes"):
            wrong[name] = missing
    assert not wrong, shown(wrong)
