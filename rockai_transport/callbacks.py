"""The types of a user's functions, as tools made of our methods show them to an agent: not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from rockai_transport.protocol.prediction import Update

__all__ = ["OnText", "OnUpdate"]


class _NoSchema:
    """Leaves an argument out of the JSON schema that pydantic makes of a signature: no model can write it."""

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        from pydantic_core import PydanticOmit

        raise PydanticOmit


OnText = Annotated[Callable[[str], Any], _NoSchema()]
"""What ``on_text`` takes."""
OnUpdate = Annotated[Callable[[Update], Any], _NoSchema()]
"""What ``on_update`` takes."""
