"""Structured output on models that write text only: a tool that must be called, its arguments the object.

Core's own ways are broken for such models (0.14.25): the prompt of its `PydanticOutputParser` holds the JSON
schema with its braces doubled, which is no JSON (output_parsers/pydantic.py:65), and nothing asks again when
the reply does not fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_index.core.bridge.pydantic import BaseModel, ValidationError
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.types import BasePydanticProgram, Model, PydanticProgramMode

from llama_index_rockai.tool_calls import function_schema, selections_of
from rockai_transport.prompting.reply.json_values import extract_json
from rockai_transport.prompting.reply.structured import ResponseFormat

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from llama_index.core.base.llms.types import ChatMessage, ChatResponse
    from llama_index.core.llms.function_calling import FunctionCallingLLM
    from llama_index.core.prompts import BasePromptTemplate

    from rockai_transport.prompting.reply.reader import ModelReply


def response_format(output_cls: type[BaseModel]) -> ResponseFormat:
    """The form of a reply that is an object of a class, as JSON."""
    return ResponseFormat(output_cls.model_json_schema())


def complain_of(output_cls: type[BaseModel]) -> Callable[[ModelReply], str | None]:
    """Make a check of replies: the arguments of the call, or the text, must fit a class.

    Args:
        output_cls: The class.

    Returns:
        A function that says what is wrong with a reply, in words a model can act on.
    """

    def check(reply: ModelReply) -> str | None:
        try:
            output_cls.model_validate(
                reply.tool_calls[0].arguments if reply.tool_calls else extract_json(reply.text)
            )
        except ValidationError as error:
            return _in_words(error)
        except ValueError as error:
            return str(error)
        return None

    return check


def _in_words(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, at['loc'])) or 'the object'}: {at['msg']}" for at in problems)


class StructuredProgram(BasePydanticProgram[Model]):
    """Asks an LLM for an object of a class; where the reply does not fit, it is asked once more.

    Args:
        llm: The LLM. Its ``chat`` takes ``tools``, ``tool_choice`` and ``output_cls``.
        output_cls: The class.
        prompt: What to ask.
        mode: ``LLM``: the reply's text is the JSON. Any other: the class is a tool that must be called.
    """

    def __init__(
        self,
        llm: FunctionCallingLLM,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        mode: PydanticProgramMode = PydanticProgramMode.DEFAULT,
    ) -> None:
        self._llm = llm
        self._output_cls = output_cls
        self._prompt = prompt
        self._as_text = mode == PydanticProgramMode.LLM

    @property
    def output_cls(self) -> type[Model]:
        """The class of what it returns."""
        return self._output_cls

    def __call__(self, *_: Any, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> Model:
        """Get the object.

        Args:
            llm_kwargs: Arguments for the LLM's call.
            kwargs: What the prompt is filled with.

        Raises:
            InvalidResponseError: The model was asked twice, and its reply does not fit.
        """
        return self._object(self._llm.chat(self._messages(kwargs), **self._arguments(llm_kwargs)))

    async def acall(self, *_: Any, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any) -> Model:
        """As calling it, with ``await``."""
        return self._object(await self._llm.achat(self._messages(kwargs), **self._arguments(llm_kwargs)))

    def stream_call(
        self, *_: Any, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> Generator[Model, None, None]:
        """As calling it, through the event stream; the object comes once it is complete and fits."""
        chunks = self._llm.stream_chat(self._messages(kwargs), **self._arguments(llm_kwargs))
        for chunk in chunks:
            if chunk.raw is not None:
                yield self._object(chunk)

    async def astream_call(
        self, *_: Any, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Model, None]:
        """As `stream_call`, with ``await``."""
        chunks = await self._llm.astream_chat(self._messages(kwargs), **self._arguments(llm_kwargs))

        async def objects() -> AsyncGenerator[Model, None]:
            async for chunk in chunks:
                if chunk.raw is not None:
                    yield self._object(chunk)

        return objects()

    def _messages(self, values: dict[str, Any]) -> list[ChatMessage]:
        return self._prompt.format_messages(llm=self._llm, **values)

    def _arguments(self, llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """What the call is told; the choice of the tool is not the caller's (function_program.py:150)."""
        tool = get_function_tool(self._output_cls)
        forced = {
            "tools": [function_schema(tool)],
            "tool_choice": tool.metadata.get_name(),
            "parallel_tool_calls": False,
        }
        own = {"tool_required", "tool_choice", "allow_parallel_tool_calls"}
        given = {name: value for name, value in (llm_kwargs or {}).items() if name not in own}
        return {**given, **({} if self._as_text else forced), "output_cls": self._output_cls}

    def _object(self, response: ChatResponse) -> Model:
        calls = selections_of(response.message)
        value = calls[0].tool_kwargs if calls else extract_json(response.message.content or "")
        return self._output_cls.model_validate(value)
