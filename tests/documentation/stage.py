"""What the examples of docstrings take for granted, and how they are run: as in ``python -m asyncio``.

docs/reference/*.md say the same to their readers.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import importlib
import inspect
import io
import re
import sys
import textwrap
import types
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import rockai_transport
from langchain_rockai import ChatRockAI, RockAILLM, RockAIToolkit
from llama_index_rockai import RockAI, RockAIToolSpec
from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rockai_sandbox import Sandbox

CODE_BLOCK = re.compile(r"^( *)\.\. code-block:: python\n\n((?:\1 +.*\n|\n)+)", re.MULTILINE)
MODEL = "meta/meta-llama-3-70b-instruct"
LLMS = {"llama_index_rockai": RockAI, "langchain_rockai.RockAILLM": RockAILLM}
TOOLKITS = {"llama_index_rockai": RockAIToolSpec}

# What has to go wrong before an example can show what it does then.
FAULTS: dict[str, Callable[[Sandbox], None]] = {
    "APIStatusError": lambda sandbox: sandbox.answer_next(400, headers={"x-request-id": "req-7"}),
    "ConflictError": lambda sandbox: sandbox.answer_next(409),
    "InternalServerError": lambda sandbox: sandbox.answer_next(502),
    "InvalidResponseError": lambda sandbox: sandbox.answer_next(
        200, "<html>Please log in.</html>", content_type="text/html"
    ),
    "PaymentRequiredError": lambda sandbox: sandbox.answer_next(402),
    "PermissionDeniedError": lambda sandbox: sandbox.answer_next(403),
    "RateLimitError": lambda sandbox: sandbox.answer_next(429, headers={"Retry-After": "90"}),
    "RetryableModelError": lambda sandbox: sandbox.answer_next(429, headers={"Retry-After": "90"}),
    "RockAIError": lambda sandbox: sandbox.drop_next(),
}


class Step(NamedTuple):
    """One piece of code in a docstring, and what it prints; None where that is not said."""

    source: str
    want: str | None


def _by_prefix(table: dict[str, Any], name: str, default: Any) -> Any:
    return next((value for prefix, value in table.items() if name.startswith(prefix)), default)


def namespace(name: str, text: str, sandbox: Sandbox) -> dict[str, Any]:
    """The names that an example may use: those of its package, and such of `client`, `llm`, … as it names."""
    package = importlib.import_module(name.partition(".")[0])
    of_async = ".Async" in name
    makers: dict[str, Callable[[], Any]] = {
        "client": rockai_transport.AsyncClient if of_async else rockai_transport.Client,
        "llm": lambda: _by_prefix(LLMS, name, ChatRockAI)(model=MODEL),
        "toolkit": lambda: _by_prefix(TOOLKITS, name, RockAIToolkit)([GENERATE_IMAGE, ANIMATE_IMAGE]),
        "sandbox": lambda: sandbox,
    }
    own = {own: getattr(package, own) for own in package.__all__}
    used = {word: make() for word, make in makers.items() if re.search(rf"\b{word}\b", text)}
    if "toolkit" in used:
        used["start"] = partial(_start, used["toolkit"])
    FAULTS.get(name.rpartition(".")[2], lambda _: None)(sandbox)
    return {"__name__": "docstring", **own, **used}


def _start(toolkit: RockAIToolkit | RockAIToolSpec, model: str, **model_input: Any) -> None:
    """Call the toolkit's tool start_prediction, as an agent would."""
    arguments = {"model": model, "input": model_input}
    if isinstance(toolkit, RockAIToolkit):
        [tool] = [one for one in toolkit.get_tools() if one.name == "start_prediction"]
        tool.invoke(arguments)
    else:
        toolkit.to_tool_list(["start_prediction"])[0].call(**arguments)


def steps(text: str) -> list[Step]:
    """The examples in a docstring, in turn: LangChain's code blocks, and what stands behind ``>>>``."""
    blocks = [Step(textwrap.dedent(found[2]), None) for found in CODE_BLOCK.finditer(f"{text}\n")]
    typed = doctest.DocTestParser().get_examples(text)
    return [*blocks, *(Step(one.source, one.want) for one in typed)]


def run_examples(examples: Iterable[Step], names: dict[str, Any]) -> str:
    """Run examples in turn, each as one would type it; ``await`` may stand at the top.

    Returns:
        What came out that is not what the docstring says; empty where all is as it says.
    """
    checker, flags = doctest.OutputChecker(), doctest.ELLIPSIS
    with asyncio.Runner() as runner:
        for source, want in examples:
            got = _type_in(source, names, runner, whole=want is None)
            if want is not None and not checker.check_output(want, got, flags):
                shown = checker.output_difference(doctest.Example(source, want), got, flags)
                return f"{source}{shown}"
    return ""


def _type_in(source: str, names: dict[str, Any], runner: asyncio.Runner, *, whole: bool) -> str:
    mode = "exec" if whole else "single"
    code = compile(source, "<docstring>", mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)

    async def enter() -> None:
        result = types.FunctionType(code, names)()
        if inspect.iscoroutine(result):
            await result

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), _plain_display():
        runner.run(enter())
    return printed.getvalue()


@contextlib.contextmanager
def _plain_display() -> Iterator[None]:
    before, sys.displayhook = sys.displayhook, sys.__displayhook__
    try:
        yield
    finally:
        sys.displayhook = before
