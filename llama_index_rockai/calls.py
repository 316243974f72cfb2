"""From a call in LlamaIndex's words to what `rockai_transport.prompting` asks the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from llama_index.core.base.llms.generic_utils import messages_to_prompt as default_messages_to_prompt
from llama_index.core.llms.llm import default_completion_to_prompt

from llama_index_rockai.messages import from_messages, to_messages
from llama_index_rockai.runs import Call
from llama_index_rockai.structured import complain_of, response_format
from llama_index_rockai.tool_calls import tool_spec
from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.reply.stop import stop_sequences
from rockai_transport.prompting.request.build import ChatCall, ModelSettings, completion_request
from rockai_transport.prompting.request.tool_choice import set_up_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from llama_index.core.base.llms.types import ChatMessage

    from llama_index_rockai.llms import RockAI
    from rockai_transport.prompting.messages import Message

ALIASES: Final = {
    "api_key": "api_token",
    "rockai_api_token": "api_token",
    "api_base": "base_url",
    "model_name": "model",
}
"""What other packages call an argument of the constructor, and its name here."""

_SAMPLING: Final = ("temperature", "top_p", "top_k", "max_tokens")
# Arguments of the constructor that a call may give too; then they hold for this call alone.
_PER_CALL: Final = frozenset(
    {
        *_SAMPLING,
        "additional_kwargs",
        "chat_template",
        "dialect",
        "model",
        "stop",
        "system_prompt",
        "timeout",
    }
)


def refuse_settings(owner: type[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments of a call that belong to the constructor, the token above all.

    Core puts a call's arguments into its events, and what is no setting here would go to the model.

    Raises:
        ConfigurationError: There is one.
    """
    for name in kwargs:
        if ALIASES.get(name, name) in owner.model_fields and name not in _PER_CALL:
            raise ConfigurationError(
                f"{name!r} is an argument of {owner.__name__}(...), not of a single call. "
                f"A call takes {', '.join(sorted(_PER_CALL))}, tools, and the model's own inputs."
            )


def model_settings(llm: RockAI, options: Mapping[str, Any] | None = None) -> ModelSettings:
    """Put together what the constructor set and what this call sets.

    Args:
        llm: The LLM.
        options: Arguments of the call.

    Returns:
        The settings; whatever is no word of ours is taken for an input of the model.
    """
    rest = dict(options or {})
    given = {name: rest.pop(name, getattr(llm, name)) for name in sorted(_PER_CALL)}
    return ModelSettings(
        model=given["model"],
        dialect=given["dialect"],
        chat_template=given["chat_template"],
        parameters={**{name: given[name] for name in _SAMPLING}, **rest},
        stop=stop_sequences(given["stop"]),
        extra={**llm.additional_kwargs, **given["additional_kwargs"]},
        extra_name="additional_kwargs",
    )


def chat_call(llm: RockAI, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> Call:
    """Read a call of ``chat``.

    Args:
        llm: The LLM.
        messages: The conversation; it is not changed.
        kwargs: Arguments of the call: ``tools``, ``tool_choice`` and ``parallel_tool_calls`` as
            `set_up_tools` takes them, ``output_cls`` (a pydantic class the reply must fit), settings, and
            inputs of the model.

    Returns:
        The call, ready to be run.

    Raises:
        ConfigurationError: The arguments contradict each other or the model.
    """
    options = dict(kwargs)
    tools = set_up_tools(
        [tool_spec(tool) for tool in options.pop("tools", None) or ()],
        options.pop("tool_choice", None),
        parallel=options.pop("parallel_tool_calls", True),
    )
    output_cls = options.pop("output_cls", None)
    settings = model_settings(llm, options)
    return Call(
        ChatCall(
            settings,
            to_messages(messages, model=settings.model),
            tools=tools,
            system_prompt=options.get("system_prompt", llm.system_prompt),
            response_format=response_format(output_cls) if output_cls and not tools.active else None,
            format_messages=_formatter(llm),
        ),
        complain_of(output_cls) if output_cls else None,
        options.get("timeout", llm.timeout),
    )


def completion_call(llm: RockAI, prompt: str, kwargs: Mapping[str, Any], *, formatted: bool) -> Call:
    """Read a call of ``complete``.

    Args:
        llm: The LLM.
        prompt: The prompt.
        kwargs: Arguments of the call: settings, and inputs of the model.
        formatted: Whether ``completion_to_prompt`` was applied already.

    Returns:
        The call, ready to be run.

    Raises:
        ConfigurationError: The arguments contradict the model.
    """
    given = llm.completion_to_prompt
    custom = given is not None and given is not default_completion_to_prompt
    if custom and not formatted and given is not None:
        prompt = given(prompt)
    request = completion_request(
        model_settings(llm, kwargs),
        prompt,
        system_prompt=kwargs.get("system_prompt", llm.system_prompt),
        formatted=custom,
    )
    return Call(request, timeout=kwargs.get("timeout", llm.timeout))


def _formatter(llm: RockAI) -> Callable[[Sequence[Message]], str] | None:
    """The user's own ``messages_to_prompt``; core fills in its default where none is given (llm.py:219)."""
    given = llm.messages_to_prompt
    if given is None or given is default_messages_to_prompt:
        return None
    return lambda messages: given(from_messages(messages))
