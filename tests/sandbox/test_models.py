"""Which models there are: told at `/`, in a 404, and at the command line, where more can be added."""

import contextlib
import signal
import socket

import httpx
import pytest

from rockai_sandbox import Sandbox
from rockai_sandbox.__main__ import main, parse, text_model
from rockai_transport import Client, NotFoundError


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "models.py"
    path.write_text("def poet(input):\n    yield 'Roses'\n\n\nnumber = 5\n", encoding="utf-8")
    return path


def test_the_root_tells_the_models_without_a_token(sandbox):
    """Whoever looks at the address in a browser sees what it is."""
    told = httpx.get(sandbox.base_url.removesuffix("/v1") + "/").json()
    assert told["models"] == sandbox.models
    assert "sandbox/echo" in told["models"]


def test_a_404_names_what_was_asked_for_and_what_there_is(api):
    """With the version, where one was given."""
    version = "0" * 64
    answer = api.post("run", json={"model": f"you/missing:{version}", "input": {}})
    assert answer.status_code == 404
    assert f"you/missing:{version}" in answer.json()["detail"]
    assert "sandbox/echo" in answer.json()["detail"]


@pytest.mark.parametrize(
    "prompt", ["What is 2 + 3?", "<|im_start|>user\nWhat is 2 + 3?<|im_end|>\n<|im_start|>assistant\n"]
)
def test_any_model_answers_as_a_text_model(prompt):
    """A bare prompt, and one that was formatted by a chat template; without the option it is a 404."""
    for any_model in (True, False):
        with contextlib.ExitStack() as stack:
            sandbox = stack.enter_context(Sandbox(any_model=any_model))
            client = stack.enter_context(Client(sandbox.api_token, sandbox.base_url))
            if not any_model:
                stack.enter_context(pytest.raises(NotFoundError, match="who/ever"))
            assert client.run("who/ever", {"prompt": prompt}).text == "2 + 3 = 5"


def test_models_of_the_command_line(script):
    """A text model, one that says its prompt back, and a function of a file."""
    options = parse(["--model", "a/text", "--model", "a/echo=echo", "--model", f"a/poet={script}:poet"])
    with Sandbox() as sandbox, Client(sandbox.api_token, sandbox.base_url) as client:
        for name, function in options.model:
            sandbox.model(name)(function or text_model(name))
        said = [client.run(f"a/{name}", {"prompt": "Say: hello"}).text for name in ("text", "echo", "poet")]
    assert said == ["hello", "Say: hello", "Roses"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nameless", "neither owner/name"),
        ("a/b=something", "neither echo nor file.py:function"),
        ("a/b=", "neither echo nor file.py:function"),
        ("a/b={script}:", "neither echo nor file.py:function"),
        ("a/b={broken}:f", "ZeroDivisionError"),
        ("a/b=missing.py:f", "missing.py"),
        ("a/b={script}:nobody", "no function 'nobody'"),
        ("a/b={script}:number", "cannot be a model"),
    ],
)
def test_a_model_that_is_none_ends_with_one_line(script, tmp_path, capsys, given, words):
    """And with the exit status of a wrong argument."""
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0", encoding="utf-8")
    with pytest.raises(SystemExit) as caught:
        parse(["--model", given.format(script=script, broken=broken)])
    assert caught.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert words in line


def test_signals_mean_what_they_did_once_it_has_ended():
    """A program that calls the command keeps its own Ctrl-C."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["--port", str(taken.getsockname()[1])]) == 1
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
