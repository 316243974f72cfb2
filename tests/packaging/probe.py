"""What must hold in an environment where the wheel was installed with the extras of one case.

Run by check.py as `python -I probe.py CASE`, in that environment, so it can use the standard library only.
Each check runs in a process of its own: what one imports must not be there for the next.
"""

from __future__ import annotations

import subprocess
import sys

# Importing a package brings nothing of the others. Then every public name, those that are looked up late too.
NEITHER = """
import rockai_transport as package
assert not LOADED('langchain_core', 'llama_index', 'starlette', 'jsonschema')
LOOK_UP(package)
"""
LANGCHAIN = """
import langchain_rockai as package
assert not LOADED('llama_index', 'llama_index_rockai', 'starlette')
LOOK_UP(package)
"""
LLAMA_INDEX = """
import llama_index_rockai as package
assert not LOADED('langchain_core', 'langchain_rockai', 'starlette')
LOOK_UP(package)
"""
SANDBOX = """
import rockai_sandbox as package
package.Sandbox
assert not LOADED('rockai_transport', 'langchain_rockai', 'llama_index_rockai')
assert not LOADED('langchain_core', 'llama_index')
LOOK_UP(package)
"""
COMMANDS = """
import contextlib, io
from rockai_transport.__main__ import main
for command in ([], ['doctor'], ['sweep'], ['mcp']):
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main([*command, '--help'])
    assert 'usage: ' in said.getvalue(), f'{command} does not start without further extras'
"""
ABSENT = "assert not FOUND({name!r}), 'this extra should not bring {name}'"
TEACHES = """
try:
    {statement}
except ImportError as error:
    advice = 'pip install ".[{extra}]"'
    assert advice in str(error), f'the message should hold {{advice}}, but is: {{error}}'
else:
    raise AssertionError('{statement} works without the extra {extra}?')
"""
PLUGIN = """
import os, tempfile, pytest
os.chdir(tempfile.mkdtemp())
with open('test_one.py', 'w') as file:
    file.write('def test_one(): pass')
assert pytest.main(['-q', '-p', 'no:cacheprovider']) == 0, 'the plug-in must load without the extra'
with open('test_two.py', 'w') as file:
    file.write('def test_two(rockai_sandbox): pass')
assert pytest.main(['-q', '-p', 'no:cacheprovider', '--setup-plan', 'test_two.py']) == 0, 'no such fixture'
"""
HELPERS = """
import sys
def LOADED(*names):
    return [name for name in names if name in sys.modules]
def LOOK_UP(package):
    assert package.__all__
    [getattr(package, name) for name in package.__all__]
def FOUND(name):
    import importlib.util
    return importlib.util.find_spec(name) is not None
"""

DISTRIBUTIONS = """
import llama_index.core, llama_index.llms.rockai, llama_index.tools.rockai, llama_index_rockai
from importlib.metadata import version
for package in (llama_index.llms.rockai, llama_index.tools.rockai):
    assert all(getattr(package, name) is getattr(llama_index_rockai, name) for name in package.__all__)
names = ('langchain-rockai', 'llama-index-llms-rockai', 'llama-index-tools-rockai', 'rockai-integrations')
assert len({version(name) for name in names}) == 1
"""

NO_LANGCHAIN = TEACHES.format(statement="import langchain_rockai", extra="langchain")
NO_LLAMA_INDEX = TEACHES.format(statement="import llama_index_rockai", extra="llama-index")
NO_SANDBOX = TEACHES.format(statement="from rockai_sandbox import Sandbox", extra="sandbox")
CHECKS = {
    "base": [NEITHER, COMMANDS, NO_LANGCHAIN, NO_LLAMA_INDEX, NO_SANDBOX],
    "langchain": [
        NEITHER,
        LANGCHAIN,
        ABSENT.format(name="llama_index"),
        NO_LLAMA_INDEX,
        NO_SANDBOX,
    ],
    "llama-index": [
        NEITHER,
        LLAMA_INDEX,
        ABSENT.format(name="langchain_core"),
        NO_LANGCHAIN,
        NO_SANDBOX,
    ],
    "sandbox": [SANDBOX, NO_LANGCHAIN, NO_LLAMA_INDEX],
    "templates-socks": [NEITHER, "import jinja2, socksio", NO_LANGCHAIN],
    "all": [NEITHER, LANGCHAIN, LLAMA_INDEX, SANDBOX, "import jinja2, socksio, rich"],
    "pytest-plugin": [PLUGIN],
    "distributions": [LANGCHAIN, LLAMA_INDEX, DISTRIBUTIONS],
}


def main(case: str) -> int:
    """Run the checks of a case; print those that do not hold."""
    failed = 0
    for check in CHECKS[case]:
        done = subprocess.run(
            [sys.executable, "-I", "-c", HELPERS + check],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        if done.returncode:
            failed += 1
            print(f"does not hold ({case}):\n{check.strip()}\n--> {done.stdout.strip()}\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
