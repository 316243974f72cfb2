"""Structured output: whether a reply holds the value that was asked for, and that value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from rockai_transport.jobs.json_schema import validator
from rockai_transport.prompting.reply.json_values import extract_json
from rockai_transport.prompting.reply.reader import ModelReply

__all__ = ["OutputParser"]

_MOST_ERRORS: Final = 5  # what a model is shown of its mistakes; the first ones cause the others


@dataclass(frozen=True, repr=False)
class OutputParser:
    """Reads the value out of replies.

    Attributes:
        model: The pydantic class to make an instance of; None for a dict.
        json_schema: What a dict must fit; None for any.
        by_call: Whether the value is the arguments of a tool call, where there is one; else it is the text.
    """

    model: type[Any] | None = None
    json_schema: Mapping[str, Any] | None = field(default=None, hash=False)
    by_call: bool = True

    def parse(self, text: str, calls: Sequence[Mapping[str, Any]] = ()) -> Any:
        """Read a value.

        Args:
            text: The reply's text.
            calls: The arguments of its calls, of which the first counts.

        Returns:
            An instance of the class, which reads the value by its own rules; else a dict.

        Raises:
            ValueError: It is no JSON, or does not fit; the message says what is wrong, in words that a model
                can act on.
        """
        value = calls[0] if calls and self.by_call else extract_json(text)
        if self.model is not None:
            return _instance(self.model, value)
        if not isinstance(value, dict):
            raise ValueError("the answer must be a JSON object")  # noqa: TRY004 - the answer is wrong, no type
        if self.json_schema is not None:
            errors = validator(self.json_schema).iter_errors(value)
            if wrong := _in_words((error.absolute_path, error.message) for error in errors):
                raise ValueError(wrong)
        return value

    def validation_error(self, reply: ModelReply) -> str | None:
        """Say what is wrong with a reply; None where it is right: the check of a `Dialogue`.

        Args:
            reply: The reply.
        """
        try:
            self.parse(reply.text, [call.arguments for call in reply.tool_calls])
        except ValueError as error:
            return str(error)
        return None


def _instance(model: type[Any], value: Any) -> Any:
    validate = getattr(model, "model_validate", None) or model.parse_obj  # pydantic's own v1 models too
    try:
        return validate(value)
    except ValueError as error:
        if not hasattr(error, "errors"):
            raise
        raise ValueError(_in_words((item["loc"], item["msg"]) for item in error.errors())) from error


def _in_words(errors: Iterable[tuple[Iterable[Any], str]]) -> str:
    first = islice(errors, _MOST_ERRORS)
    return "; ".join(f"{'.'.join(map(str, where))}: {what}" if where else what for where, what in first)
