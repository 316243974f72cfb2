"""Which tools a model may or must call: every form of ``tool_choice``, normalized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.request.nearest import unknown_name

Choice = Literal["auto", "required", "none"]

_WORDS: Final[dict[str, Choice]] = {"auto": "auto", "any": "required", "required": "required", "none": "none"}


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool, as described to the model.

    Attributes:
        name: Its name.
        description: What it does.
        parameters: The JSON schema of its arguments.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class ToolSetup:
    """The tools of one request.

    Attributes:
        tools: The tools that are described to the model.
        choice: ``"auto"``, ``"required"`` (a call is required) or ``"none"``.
        name: The tool that must be called, if it is a specific one.
        parallel: Whether one reply may contain several calls.
        answer: The name of the object that the text has to be, if it has one: a call of it is text.
    """

    tools: tuple[ToolSpec, ...] = ()
    choice: Choice = "auto"
    name: str | None = None
    parallel: bool = True
    answer: str = ""

    @property
    def active(self) -> bool:
        """Whether tools are described to the model, and calls are read from its reply."""
        return bool(self.tools) and self.choice != "none"

    @property
    def forced(self) -> bool:
        """Whether a reply without a call is not accepted."""
        return self.active and self.choice == "required"

    @property
    def callable_tools(self) -> dict[str, Mapping[str, Any]]:
        """The schemas of the tools that the reply may call, by their names."""
        tools = self.tools if self.active else ()
        return {tool.name: tool.parameters for tool in tools if self.name in (None, tool.name)}


def set_up_tools(
    tools: Sequence[ToolSpec] = (),
    tool_choice: str | bool | Mapping[str, Any] | None = None,  # noqa: FBT001 - the frameworks' own spelling
    *,
    parallel: bool = True,
) -> ToolSetup:
    """Normalize tools and ``tool_choice``.

    Args:
        tools: The bound tools.
        tool_choice: None, False or ``"auto"``: the model decides; ``"any"`` or ``"required"``: any tool;
            ``"none"``: no tool; a name: that tool; True: the only tool; or OpenAI's form,
            ``{"type": "function", "function": {"name": …}}``.
        parallel: Whether one reply may contain several calls.

    Returns:
        The setup.

    Raises:
        ConfigurationError: No tool has that name, two have the same, True was passed with several tools, or a
            call is required and there are no tools.
    """
    names = [tool.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"Two tools are named {twice!r}; the model could not tell them apart.")
    choice, name = _read_choice(tool_choice, names)
    if name is not None and name not in names:
        raise ConfigurationError(f"tool_choice: {unknown_name('a bound tool', name, names)}")
    if choice == "required" and not tools:
        raise ConfigurationError(f"tool_choice={tool_choice!r} requires a call, but no tools are bound.")
    return ToolSetup(tuple(tools), choice, name, parallel)


def _read_choice(tool_choice: object, names: list[str]) -> tuple[Choice, str | None]:
    match tool_choice:
        case None | False:
            return "auto", None
        case True if len(names) > 1:
            raise ConfigurationError(
                f"tool_choice=True means the only tool, but there are several: {', '.join(names)}. Name one."
            )
        case True:
            return "required", names[0] if names else None
        case str(named) | {"function": {"name": str(named)}} | {"name": str(named)} | {"type": str(named)}:
            return (_WORDS[named], None) if named in _WORDS else ("required", named)
    raise ConfigurationError(
        f"tool_choice={tool_choice!r} is none of the forms that are understood: {', '.join(_WORDS)}, "
        'True, the name of a tool, or {"type": "function", "function": {"name": …}}.'
    )
