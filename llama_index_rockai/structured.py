"""Structured output on models that write text only: a tool that must be called, its arguments the object.

Core's own ways are broken for such models (0.14.25): the prompt of its `PydanticOutputParser` holds the JSON
schema with its braces doubled, which is no JSON (output_parsers/pydantic.py:65), and nothing asks again when
the reply does not fit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.function_program import get_function_tool
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import BasePydanticProgram, Model, PydanticProgramMode

from llama_index_rockai.responses import PARTIAL
from llama_index_rockai.tool_calls import function_schema, selections_of
from rockai_transport import InvalidResponseError
from rockai_transport.adapters import OutputParser, check_object_class, forced_tool, partial_object


class StructuredProgram(BasePydanticProgram[Model]):
    """Asks an LLM for an object of a class; where the reply does not fit, it is asked once more.

    Args:
        llm: The LLM. Its ``chat`` takes ``tools``, ``tool_choice`` and ``output_cls``.
        output_cls: The class.
        prompt: What to ask.
        mode: ``LLM``: the reply's text is the JSON. Any other: the class is a tool that must be called.

    Raises:
        ConfigurationError: The class is none of which an object can be asked.
    """

    def __init__(
        self,
        llm: FunctionCallingLLM,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        mode: PydanticProgramMode = PydanticProgramMode.DEFAULT,
    ) -> None:
        check_object_class(output_cls, "output_cls")
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
        """As calling it, through the event stream: the object as it fills in, each a prefix of the next.

        Fields that have not come are None; the last one is validated. Where the model is asked again, an
        object of which nothing has come says so, and the next reply begins.
        """
        chunks = self._llm.stream_chat(self._messages(kwargs), **self._arguments(llm_kwargs))
        for chunk in chunks:
            yield from self._objects(chunk)

    async def astream_call(
        self, *_: Any, llm_kwargs: dict[str, Any] | None = None, **kwargs: Any
    ) -> AsyncGenerator[Model, None]:
        """As `stream_call`, with ``await``."""
        chunks = await self._llm.astream_chat(self._messages(kwargs), **self._arguments(llm_kwargs))

        async def objects() -> AsyncGenerator[Model, None]:
            async for chunk in chunks:
                for value in self._objects(chunk):
                    yield value

        return objects()

    def _objects(self, chunk: ChatResponse) -> list[Model]:
        """What a chunk tells of the object."""
        value = chunk.additional_kwargs.get(PARTIAL)
        if value is not None:
            return [partial_object(self._output_cls, value)]
        return [] if chunk.raw is None else [self._object(chunk)]

    def _messages(self, values: dict[str, Any]) -> list[ChatMessage]:
        return self._prompt.format_messages(llm=self._llm, **values)

    def _arguments(self, llm_kwargs: dict[str, Any] | None) -> dict[str, Any]:
        """What the call is told; the choice of the tool is not the caller's (function_program.py:150)."""
        tool = get_function_tool(self._output_cls)
        forced = {"tools": [function_schema(tool)], **forced_tool(tool.metadata.get_name())}
        own = {"tool_required", "tool_choice", "allow_parallel_tool_calls"}
        given = {name: value for name, value in (llm_kwargs or {}).items() if name not in own}
        return {**given, **({} if self._as_text else forced), "output_cls": self._output_cls}

    def _object(self, response: ChatResponse) -> Model:
        calls = [call.tool_kwargs for call in selections_of(response.message)]
        text = response.message.content or ""
        try:
            value: Model = OutputParser(self._output_cls).parse(text, calls)
        except ValueError as error:
            name = self._output_cls.__name__
            raise InvalidResponseError(
                f"The answer does not fit {name}: {error}", body=text, by_model=True
            ) from error
        return value
