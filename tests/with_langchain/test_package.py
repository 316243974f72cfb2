"""The package itself: names, imports, examples."""

import ast
import inspect
import re
import subprocess
import sys
import textwrap

import pytest

import langchain_rockai
from langchain_rockai import ChatRockAI, RockAILLM
from tests.support import warm

SYNC_NAMES = {
    "AsyncChunks": "Chunks",
    "AsyncIterator": "Iterator",
    "_acomplete": "_complete",
    "_agenerate": "_generate",
    "_astream": "_stream",
    "_async_client": "_sync_client",
    "arun": "run",
}


def without_await(thing):
    """A function's or class's source, as its synchronous twin would have it."""
    source = textwrap.dedent(inspect.getsource(thing)).replace("async ", "").replace("await ", "")
    return re.sub(r"\w+", lambda word: SYNC_NAMES.get(word[0], word[0]), source)


@pytest.mark.parametrize(
    ("sync", "asynchronous"),
    [
        (ChatRockAI._generate, ChatRockAI._agenerate),
        (RockAILLM._complete, RockAILLM._acomplete),
        (RockAILLM._stream, RockAILLM._astream),
    ],
    ids=lambda thing: thing.__qualname__,
)
def test_sync_and_async_differ_in_await_alone(sync, asynchronous):
    """What one of them decides, the other decides likewise."""
    assert ast.dump(ast.parse(without_await(sync))) == ast.dump(ast.parse(without_await(asynchronous)))


def run(code, *python):
    command = [*(python or [sys.executable]), "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_public_names():
    """All of the contract's; each can be imported, and dir() shows no other."""
    names = {
        "ANIMATE_IMAGE",
        "ChatRockAI",
        "Dialect",
        "GENERATE_IMAGE",
        "HostedModel",
        "RETRYABLE",
        "RockAILLM",
        "RockAIToolkit",
        "__version__",
    }
    assert names <= set(langchain_rockai.__all__) == set(dir(langchain_rockai))
    for name in langchain_rockai.__all__:
        assert getattr(langchain_rockai, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'ChatRockAi'"):
        _ = langchain_rockai.ChatRockAi


def test_the_constructors_have_the_contract_s_arguments():
    """With its defaults."""
    contract = {
        "api_token": None,
        "base_url": None,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "max_tokens": None,
        "stop": None,
        "timeout": None,
        "max_retries": 2,
        "streaming": False,
        "model_kwargs": {},
        "dialect": None,
        "route": "auto",
        "default_headers": None,
        "client": None,
        "async_client": None,
    }
    for cls in (ChatRockAI, RockAILLM):
        made = cls(model="my/model")
        assert {name: getattr(made, name) for name in contract} == contract
    assert ChatRockAI(model="my/model").chat_template is None
    assert "chat_template" not in RockAILLM.model_fields


def test_importing_it_imports_nothing_of_the_other_framework():
    """Nor the sandbox, nor transformers."""
    loaded = run("import sys, langchain_rockai as p; p.ChatRockAI, p.RockAILLM; print(*sys.modules)")
    assert not {"llama_index", "llama_index_rockai", "rockai_sandbox", "transformers"} & set(loaded.split())


def test_without_the_framework_an_error_says_what_to_install():
    """An ImportError that names the extra."""
    printed = run(
        """
        import sys
        sys.modules["langchain_core"] = None
        try:
            import langchain_rockai
        except ImportError as error:
            print(error)
        """
    )
    assert 'pip install ".[langchain]"' in printed


def test_without_jsonschema_an_error_says_what_to_install():
    """An ImportError that names the extra, before anything is sent."""
    printed = run(
        """
        import sys
        for name in list(sys.modules):
            if name.startswith(("langchain_rockai", "rockai_transport")):
                del sys.modules[name]
        sys.modules["jsonschema"] = None
        import langchain_rockai as p
        try:
            p.ChatRockAI(model="a/b").with_structured_output({"title": "A"})
        except ImportError as error:
            print(error)
        """,
        *warm.PYTHON,
    )
    assert 'pip install ".[langchain]"' in printed


def examples(cls):
    """The code in a docstring."""
    text = inspect.cleandoc(cls.__doc__)
    for block in re.findall(r"\.\. code-block:: python\n\n((?:(?: .*)?\n)+)", text + "\n"):
        yield textwrap.dedent(block)


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
async def test_the_examples_in_the_docstrings_run(sandbox, cls, capsys):
    """One after the other, as a reader would."""
    names = {}
    found = list(examples(cls))
    assert len(found) >= 5
    for example in found:
        code = compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)  # noqa: S307 - our own docstring
        if inspect.iscoroutine(result):
            await result
    assert len(sandbox.predictions) >= 4
