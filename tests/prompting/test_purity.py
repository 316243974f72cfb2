import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(importlib.util.find_spec("rockai_transport.prompting").origin).parent
MODULES = sorted(PACKAGE.rglob("*.py"))
ALLOWED = ("rockai_transport.prompting", "rockai_transport.errors", "rockai_transport._version")
STANDARD = frozenset(
    {
        "__future__",
        "ast",
        "collections.abc",
        "contextlib",
        "dataclasses",
        "datetime",
        "difflib",
        "fnmatch",
        "importlib",
    }
    | {
        "functools",
        "itertools",
        "json",
        "keyword",
        "math",
        "numbers",
        "operator",
        "re",
        "types",
        "typing",
        "uuid",
    }
)


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_package_is_pure():
    """No I/O, no clock but a template's, no framework, nothing of the wire."""
    assert len(MODULES) > 20
    for path, name in [(module, name) for module in MODULES for name in imported(module)]:
        if path.stem.startswith("jinja") and name.startswith("jinja2"):
            continue
        if (path.stem, name) == ("messages", "pathlib"):
            continue  # an image may be a path, which is a value; nothing here opens it
        assert name in STANDARD or name.startswith(ALLOWED), (path, name)
        assert name != "datetime" or path.stem == "jinja", path


def test_importing_it_is_light():
    """Neither jinja2 nor anything else that only some need is imported with the dialects."""
    script = (
        "import sys; before = set(sys.modules); import rockai_transport.prompting.request.build as r; "
        "print(*[name for name in ('jinja2', 'jsonschema', 'difflib', 'langchain_core', 'llama_index') "
        "if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
