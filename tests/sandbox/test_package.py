"""The package stands alone, imports lightly, and serves from the command line and from pytest."""

import ast
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import rockai_sandbox as package
from rockai_sandbox.__main__ import main
from tests.support import warm

ROOT = Path(package.__file__).parent
OTHERS = {"rockai_transport", "langchain_rockai", "llama_index_rockai"}
HEAVY = {"starlette", "uvicorn", "av", "PIL", "httpx", "asyncio", "numpy"}


def run_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()


def test_no_module_imports_another_package_of_the_project():
    """Or sandbox and client could be wrong together."""
    modules = sorted(ROOT.rglob("*.py"))
    assert len(modules) > 20
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.partition(".")[0] for name in names} & OTHERS, path


def test_the_public_names_are_those_of_all():
    """Each can be imported; nothing else is promised."""
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="no attribute 'Sandbocks'"):
        _ = package.Sandbocks


def test_former_names_can_be_imported():
    """They are the classes under their present names."""
    from rockai_sandbox import Hold, Prediction

    assert (Hold, Prediction) == (package.Gate, package.SandboxPrediction)


def test_importing_the_package_loads_nothing_heavy():
    """It is imported in every pytest run of whoever has it installed."""
    loaded = set(run_python("import rockai_sandbox, sys; print(*sys.modules)"))
    assert not loaded & HEAVY


def test_the_plugin_itself_loads_nothing_heavy_either():
    """Beside what pytest loads anyway."""
    loaded = run_python(
        "import pytest, sys; before = set(sys.modules); import rockai_sandbox.pytest_plugin; "
        "print(*set(sys.modules) - before)"
    )
    assert not set(loaded) & HEAVY


def test_a_failed_test_shows_what_its_model_raised(pytester):
    """With the line in the model; the client only sees a bare 500."""
    pytester.makepyfile(
        """
        from rockai_transport import Client

        def test_app(rockai_sandbox):
            rockai_sandbox.model("my/model")(lambda input: input["promt"])
            Client().run("my/model", {"prompt": "Hi"})
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Captured stderr teardown*", "KeyError: 'promt'"])


def test_without_the_extra_the_import_says_how_to_get_it():
    """Not only that a module is missing."""
    code = (
        "import sys; sys.modules['starlette'] = None; sys.modules['uvicorn'] = None\n"
        "import rockai_sandbox\n"
        "try: rockai_sandbox.Sandbox\n"
        "except ImportError as error: print(error)"
    )
    assert 'pip install ".[sandbox]"' in " ".join(run_python(code))


@pytest.mark.parametrize("missing", ["uvicorn", "starlette", "av", "PIL"])
def test_without_the_extra_the_command_says_how_to_get_it(missing):
    """In one line and without a traceback; its help needs nothing."""
    code = (
        f"import runpy, sys; sys.modules[{missing!r}] = None\n"
        "runpy.run_module('rockai_sandbox', run_name='__main__', alter_sys=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    from rockai_transport._version import install_command

    sentence = f"rockai_sandbox.Sandbox needs the sandbox extra: {install_command('sandbox')}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence)
    helped = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False, timeout=60
    )
    assert (helped.returncode, helped.stderr) == (0, "")


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--port", "99999", "a whole number from 0 to 65535"),
        ("--port", "-1", "a whole number from 0 to 65535"),
        ("--port", "8100.5", "a whole number from 0 to 65535"),
        ("--cold-start", "-1", "a finite number of seconds, 0 or more"),
        ("--cold-start", "nan", "a finite number of seconds, 0 or more"),
        ("--seconds-per-piece", "-0.1", "a finite number of seconds, 0 or more"),
        ("--seconds-per-piece", "slow", "a finite number of seconds, 0 or more"),
        ("--token", "two words", "ASCII text without blanks"),
    ],
)
def test_the_command_refuses_values_that_cannot_be(capsys, option, value, allowed):
    """With one line, which names the option and what it may be."""
    with pytest.raises(SystemExit) as ended:
        main([option, value])
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert told == f"python -m rockai_sandbox: argument {option}: {allowed} is expected, not {value!r}\n"


def test_the_fixture_starts_a_sandbox_and_leads_clients_there(rockai_sandbox):
    """Both environment variables are set while the test runs."""
    assert os.environ["ROCKAI_BASE_URL"] == rockai_sandbox.base_url
    assert os.environ["ROCKAI_API_TOKEN"] == rockai_sandbox.api_token
    headers = {"Authorization": f"Bearer {rockai_sandbox.api_token}"}
    answer = httpx.get(f"{rockai_sandbox.base_url}/predictions/x", headers=headers)
    assert answer.json() == {"detail": "id not found"}


@pytest.mark.skipif(sys.platform == "win32", reason="there a signal ends the process at once")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_interrupted(end):
    """It prints address and token as they are to be exported, and ends cleanly.

    An output in cp1252 has no Chinese model's name: it gets question marks.
    """
    command = [sys.executable, "-m", "rockai_sandbox", "--port", "0", "--token", "t", "--shape", "enveloped"]
    command += ["--model", "sandbox/\u6a21\u578b"]
    env = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=env) as process:
        lines = iter(process.stdout.readline, "")
        text = ""
        while "Ctrl-C" not in text:
            text += next(lines)
        assert "  sandbox/??\n" in text
        exports = dict(re.findall(r"export (\w+)=(\S+)", text))
        assert exports["ROCKAI_API_TOKEN"] == "t"  # noqa: S105 - made up
        body = {"model": "sandbox/echo", "input": {"prompt": "hi"}}
        answer = httpx.post(
            f"{exports['ROCKAI_BASE_URL']}/run", json=body, headers={"Authorization": "Bearer t"}
        )
        assert answer.json()["data"] == ["hi"]
        process.send_signal(end)
        rest, errors = process.communicate(timeout=20)
    assert (process.returncode, rest, errors) == (0, "The sandbox has stopped.\n", "")


def test_a_taken_port_is_told_in_one_line(rockai_sandbox):
    """With a hint at another one."""
    port = httpx.URL(rockai_sandbox.base_url).port
    command = [*warm.PYTHON, "-m", "rockai_sandbox", "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Port {port} cannot be used")
    assert "Traceback" not in done.stderr


def test_it_serves_this_machine_only():
    """Any other address is refused."""
    command = [*warm.PYTHON, "-m", "rockai_sandbox", "--host", "0.0.0.0"]  # noqa: S104 - it is refused
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
