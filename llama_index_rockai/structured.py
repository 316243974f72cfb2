"""Structured output on models that only write text: a tool that must be called, with the object as arguments.

Core's own methods do not work with such models (0.14.25): the prompt of its `PydanticOutputParser` contains
the JSON schema with doubled braces, which is not JSON (output_parsers/pydantic.py:65), and nothing asks again
if the reply does not fit.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from llama_index.core.base.llms.types import ChatResponse
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.structured_llm import StructuredLLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher

from llama_index_rockai.responses import PARTIAL
from llama_index_rockai.tool_calls import selections_of
from rockai_transport import ConfigurationError
from rockai_transport.adapters import OutputParser, partial_object, wrong_argument

dispatcher = get_dispatcher(__name__)

_TOOL_MODES = {PydanticProgramMode.DEFAULT, PydanticProgramMode.FUNCTION}


class StructuredOutputLLM(FunctionCallingLLM):
    """Asks for objects of a class; if the reply does not fit, asks once more.

    The class is a tool that must be called; with ``pydantic_program_mode=PydanticProgramMode.LLM``, the
    reply's text is the JSON. ``chat`` accepts ``tools``, ``tool_choice`` and ``output_cls``.
    """

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """Ask for an object of a pydantic class.

        Args:
            output_cls: The class.
            prompt: The prompt template.
            llm_kwargs: Arguments for the LLM's call.
            prompt_args: Values for the prompt template.

        Returns:
            The object.

        Raises:
            ConfigurationError: The class cannot be requested as an object, or the prompt is no template.
            InvalidResponseError: The reply does not fit the class, even when the model was asked again.
            RockAIError: As in ``chat``.

        Example:
            >>> from llama_index.core import PromptTemplate
            >>> from pydantic import BaseModel
            >>> class Order(BaseModel):
            ...     dish: str
            ...     quantity: int
            >>> llm.structured_predict(Order, PromptTemplate("An order for {n} 'steamed hams'."), n=3)
            Order(dish='steamed hams', quantity=3)
        """
        call = self._structured_call(output_cls, prompt, llm_kwargs, **prompt_args)
        _dispatch_start(output_cls, prompt, prompt_args)
        return _dispatch_end(_object(output_cls, self.chat(**call)))

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        """As `structured_predict`, with ``await``.

        Example:
            >>> from llama_index.core import PromptTemplate
            >>> from pydantic import BaseModel
            >>> class Order(BaseModel):
            ...     dish: str
            ...     quantity: int
            >>> await llm.astructured_predict(Order, PromptTemplate("An order for {n} 'soups'."), n=2)
            Order(dish='soups', quantity=2)
        """
        call = self._structured_call(output_cls, prompt, llm_kwargs, **prompt_args)
        _dispatch_start(output_cls, prompt, prompt_args)
        return _dispatch_end(_object(output_cls, await self.achat(**call)))

    def as_structured_llm(self, output_cls: type[Any], **kwargs: Any) -> StructuredLLM:
        """Return an LLM whose answers are objects of a class.

        Args:
            output_cls: The class.
            kwargs: Arguments of core's `StructuredLLM`.

        Returns:
            That LLM.

        Raises:
            ConfigurationError: The class cannot be requested as an object, or an argument is unknown.

        Example:
            >>> from llama_index.core.llms import ChatMessage
            >>> from pydantic import BaseModel
            >>> class Order(BaseModel):
            ...     dish: str
            ...     quantity: int
            >>> orders = llm.as_structured_llm(Order)
            >>> orders.chat([ChatMessage("An order for 2 'soups'.")]).raw
            Order(dish='soups', quantity=2)
        """
        OutputParser.of_class(output_cls)
        if not hasattr(output_cls, "model_validate"):  # core's StructuredLLM has no others
            raise ConfigurationError(
                f"output_cls must be a class of pydantic 2; {output_cls.__name__!r} is one of pydantic.v1: "
                "use structured_predict, which accepts both."
            )
        names = StructuredLLM.model_fields.keys() - {"llm", "output_cls"}
        if unknown := kwargs.keys() - names:  # core would ignore it, or give it twice
            raise wrong_argument("as_structured_llm", min(unknown), names)
        return super().as_structured_llm(output_cls, **kwargs)

    def _structured_stream_call(self, *asked: Any, **prompt_args: Any) -> Generator[Any, None, None]:
        """Ask with the event stream, and yield the partial object, each time a prefix of the next one.

        Missing fields are None; the last object is validated. The longer a reply is, the more text comes
        between two objects. If the model is asked again, an empty object is yielded, and the next reply
        begins; so it is if the object so far turns out not to be the answer.
        """
        call = self._structured_call(*asked, **prompt_args)
        for chunk in self.stream_chat(**call):
            yield from _objects(call["output_cls"], chunk)

    async def _structured_astream_call(self, *asked: Any, **prompt_args: Any) -> AsyncGenerator[Any, None]:
        """As `_structured_stream_call`, with ``await``."""
        call = self._structured_call(*asked, **prompt_args)
        chunks = await self.astream_chat(**call)

        async def objects() -> AsyncGenerator[Any, None]:
            async for chunk in chunks:
                for value in _objects(call["output_cls"], chunk):
                    yield value

        return objects()

    def _structured_call(
        self,
        output_cls: type[Any],
        prompt: BasePromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> dict[str, Any]:
        """Return the arguments of ``chat``; the caller cannot choose the tool (function_program.py:150).

        Raises:
            ConfigurationError: The class cannot be requested as an object, the prompt is no template, there
                are tools, or the mode is another package's method, which supports only its own LLMs.
        """
        parser = OutputParser.of_class(output_cls)
        if not isinstance(prompt, BasePromptTemplate):
            raise ConfigurationError(f'prompt must be PromptTemplate("…"), not {type(prompt).__name__}.')
        own = {"tool_required", "tool_choice", "allow_parallel_tool_calls"}
        call = {name: value for name, value in (llm_kwargs or {}).items() if name not in own}
        if call.get("tools"):
            raise ConfigurationError("tools= is not for a structured call: use chat(…, output_cls=…).")
        mode = self.pydantic_program_mode
        if mode in _TOOL_MODES:
            call |= parser.as_tool()
        elif mode != PydanticProgramMode.LLM:
            raise ConfigurationError(
                f"pydantic_program_mode={mode.value!r} is not supported; there are default, function and llm."
            )
        return {**call, "messages": prompt.format_messages(llm=self, **prompt_args), "output_cls": output_cls}


def _objects(output_cls: type[Any], chunk: ChatResponse) -> list[Any]:
    """Return the objects in a chunk."""
    if (value := chunk.additional_kwargs.get(PARTIAL)) is not None:
        return [partial_object(output_cls, value)]
    return [] if chunk.raw is None else [_object(output_cls, chunk)]


def _object(output_cls: type[Model], response: ChatResponse) -> Model:
    calls = [call.tool_kwargs for call in selections_of(response.message)]
    parser = OutputParser(output_cls, name=output_cls.__name__)
    value: Model = parser.accepted(response.message.content or "", calls)
    return value


def _dispatch_start(output_cls: type[Model], prompt: BasePromptTemplate, prompt_args: dict[str, Any]) -> None:
    start = LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
    dispatcher.event(start)


def _dispatch_end(result: Model) -> Model:
    dispatcher.event(LLMStructuredPredictEndEvent(output=result))
    return result
