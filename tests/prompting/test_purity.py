import ast
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import pytest

PACKAGE = Path(importlib.util.find_spec("rockai_transport.prompting").origin).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ALLOWED = ("rockai_transport.prompting", "rockai_transport.errors", "rockai_transport._version")
STANDARD = frozenset(
    {"__future__", "ast", "collections.abc", "dataclasses", "datetime", "difflib", "fnmatch", "importlib"}
    | {"functools", "itertools", "json", "math", "numbers", "re", "typing", "uuid"}
)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_package_is_pure(path):
    """No I/O, no clock but a template's, no framework, nothing of the wire."""
    for name in imported(path):
        if path.stem.startswith("jinja") and name.startswith("jinja2"):
            continue
        if (path.stem, name) == ("messages", "pathlib"):
            continue  # an image may be a path, which is a value; nothing here opens it
        assert name in STANDARD or name.startswith(ALLOWED), name
        assert name != "datetime" or path.stem == "jinja"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_annotations_are_names_at_run_time(path):
    """``typing.get_type_hints`` works on every public class, method and function."""
    name = ".".join(path.relative_to(PACKAGE.parents[1]).with_suffix("").parts)
    module = importlib.import_module(name.removesuffix(".__init__"))
    own = [one for one in vars(module).values() if getattr(one, "__module__", None) == module.__name__]
    for one in own:
        methods = (
            [method for method in vars(one).values() if inspect.isfunction(method)]
            if inspect.isclass(one)
            else []
        )
        for annotated in (*([one] if inspect.isclass(one) or inspect.isfunction(one) else []), *methods):
            if not annotated.__name__.startswith("_") or annotated.__name__ == "__init__":
                get_type_hints(annotated)


def test_importing_it_is_light():
    """Neither jinja2 nor anything else that only some need is imported with the dialects."""
    script = (
        "import sys; before = set(sys.modules); import rockai_transport.prompting.request.build as r; "
        "print(*[name for name in ('jinja2', 'jsonschema', 'difflib', 'langchain_core', 'llama_index') "
        "if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
