import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

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


def test_importing_it_is_light():
    """Neither jinja2 nor anything else that only some need is imported with the dialects."""
    script = (
        "import sys; before = set(sys.modules); import rockai_transport.prompting.request.build as r; "
        "print(*[name for name in ('jinja2', 'jsonschema', 'difflib', 'langchain_core', 'llama_index') "
        "if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
