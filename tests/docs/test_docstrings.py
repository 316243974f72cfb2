"""The docstrings of public names: what they must say, and their examples, run on the sandbox.

`python tests/docs/test_docstrings.py` lists the names that have no example.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import gc
import importlib
import inspect
import io
import re
import sys
import textwrap
import types
from functools import cached_property

import pytest
from langchain.agents import create_agent
from llama_index.core.agent.workflow import FunctionAgent
from pydantic import BaseModel

import rockai_transport
from langchain_rockai import ChatRockAI
from llama_index_rockai import RockAI

PACKAGES = ("rockai_transport", "langchain_rockai", "llama_index_rockai", "rockai_sandbox")
# LlamaIndex looks at all members of its pydantic classes, deprecated ones too (workflows/utils.py).
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:inspect")

MODEL = "meta/meta-llama-3-70b-instruct"
AGENTS = {"create_agent": create_agent, "FunctionAgent": FunctionAgent}
CODE_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?:[ ]+.*\n|\n)+)", re.MULTILINE)
FENCED = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"^Examples?:\n[ ]+``(.+?)``[ ]*$", re.DOTALL | re.MULTILINE)

# Public classes that have no example of their own yet; nothing is added here.
NO_EXAMPLE = {
    "llama_index_rockai": ["ApprovalRequiredEvent", "PredictionProgressEvent"],
    "rockai_transport": ["AsyncStream", "Dialect", "Service", "Stream", "Timeouts", "Update"],
    "rockai_sandbox": [
        *("Event", "Hold", "Input", "Prediction", "Protocol", "RawAnswer", "Run", "Sandbox", "SeenRequest"),
    ],
}


def public() -> dict[str, object]:
    """All names that a user may import, and the public methods of the classes among them; each once."""
    found: dict[str, object] = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        found[package] = module
        for name in module.__all__:
            value = getattr(module, name)
            if name == "__version__" or any(value is other for other in found.values()):
                continue
            found[f"{package}.{name}"] = value
            if inspect.isclass(value) and not issubclass(value, Exception):
                found.update(methods(f"{package}.{name}", value))
    return found


def methods(prefix: str, owner: type) -> dict[str, object]:
    """The public methods that our packages define for a class, in it or in its bases."""
    found = {}
    for name in dir(owner):
        member = inspect.getattr_static(owner, name)
        function = (
            inspect.unwrap(getattr(member, "__func__", member))
            if not isinstance(member, property)
            else member.fget
        )
        if isinstance(member, cached_property) or name.startswith("_"):
            continue
        if getattr(function, "__module__", "").partition(".")[0] in PACKAGES and inspect.isroutine(function):
            found[f"{prefix}.{name}"] = function
    return found


PUBLIC = public()


def text_of(name: str) -> str:
    value = PUBLIC[name]
    if not (inspect.isroutine(value) or inspect.isclass(value) or inspect.ismodule(value)):
        return ""  # a constant's docstring is its type's
    return inspect.cleandoc(value.__doc__ or "")


def examples(name: str) -> list[str]:
    """The pieces of code in a docstring that are not in `>>>` form; those of one belong together."""
    text = text_of(name) + "\n"
    indented = textwrap.dedent(text)
    pieces = [textwrap.dedent(found) for found in re.findall(CODE_BLOCK, _flat(indented))]
    pieces += FENCED.findall(indented)
    pieces += [" ".join(found.split()) for found in INLINE.findall(indented)]
    return [piece for piece in pieces if "…" not in piece]  # with it, it is a sketch


def _flat(text: str) -> str:
    """Bring code blocks that stand inside of a section to the left edge."""
    lines, out, margin = text.splitlines(), [], None
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if line.strip() == ".. code-block:: python":
            margin = indent
        elif margin is not None and line.strip() and indent <= margin:
            margin = None
        out.append(line[margin:] if margin is not None else line)
    return "\n".join(out) + "\n"


def doctests(name: str) -> doctest.DocTest | None:
    if ">>> " not in text_of(name):
        return None
    return doctest.DocTestParser().get_doctest(
        text_of(name), dict(vars(importlib.import_module(name.partition(".")[0]))), name, None, 0
    )


def run(code: str, names: dict[str, object]) -> None:
    """Run a piece of code in which `await` may stand at the top, as in a notebook."""
    compiled = compile(code, "docstring", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(io.StringIO()):
        if compiled.co_flags & inspect.CO_COROUTINE:
            asyncio.run(types.FunctionType(compiled, names)())
        else:
            exec(compiled, names)


@pytest.fixture
def surroundings(rockai_sandbox, tmp_path, monkeypatch):
    """What examples take for granted: a client, a model, agents, and all names of their package."""
    monkeypatch.chdir(tmp_path)

    def names(name: str) -> dict[str, object]:
        package = importlib.import_module(name.partition(".")[0])
        llm = (RockAI if package.__name__ == "llama_index_rockai" else ChatRockAI)(model=MODEL)
        own = {own: getattr(package, own) for own in package.__all__}
        model = MODEL if package is rockai_transport else llm
        return {"__name__": "docstring", "llm": llm, "model": model, **AGENTS, **own}

    with rockai_transport.Client() as client:
        yield lambda name: {"client": client, "input": {"prompt": "Hello"}, **names(name)}
    gc.collect()


@pytest.mark.parametrize("name", [name for name in PUBLIC if examples(name)])
def test_an_example_runs(name, surroundings):
    """The code in a docstring runs on the sandbox; several blocks in turn, with each other's names."""
    names = surroundings(name)
    for code in examples(name):
        run(code, names)


@pytest.mark.parametrize("name", [name for name in PUBLIC if doctests(name)])
def test_a_doctest_holds(name):
    """What stands behind `>>>` gives what stands below it, with nothing set in the environment."""
    test = doctests(name)
    printed = io.StringIO()
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=printed.write)
    assert results.failed == 0, printed.getvalue()


def test_every_public_name_says_what_it_is():
    """Each class, function and method that a user can reach has a docstring."""
    silent = [name for name, value in PUBLIC.items() if callable(value) and not text_of(name)]
    assert not silent


def test_every_parameter_is_told_of():
    """A docstring with an `Args:` section names every parameter, and no other."""
    wrong = {}
    for name, value in PUBLIC.items():
        told = re.search(r"^Args:\n((?:[ ]+.*\n?|\n)+)", text_of(name), re.MULTILINE)
        if told is None or not callable(value):
            continue
        listed = set(re.findall(r"^    \*{0,2}(\w+):", told[1], re.MULTILINE))
        taken = set(inspect.signature(value).parameters) - {"self", "cls", "_", "__"}
        if listed != taken and not (inspect.isclass(value) and issubclass(value, BaseModel)):
            wrong[name] = listed ^ taken
    assert not wrong


def lacking() -> list[str]:
    """Names that have no example in their docstring."""
    return [
        one for one, value in PUBLIC.items() if callable(value) and not examples(one) and not doctests(one)
    ]


def test_classes_have_an_example():
    """Every public class has an example in its docstring, but for exceptions and those named above."""
    classes = {n for n in lacking() if inspect.isclass(PUBLIC[n]) and not issubclass(PUBLIC[n], Exception)}
    assert classes <= {f"{package}.{name}" for package, names in NO_EXAMPLE.items() for name in names}


if __name__ == "__main__":
    for missing in lacking():
        sys.stdout.write(f"no example: {missing}\n")
