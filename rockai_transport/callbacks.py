"""The types of callback parameters, excluded from the schemas of tools made from our methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from rockai_transport.protocol.prediction import Update


class _NoSchema:
    """Excludes a parameter from the JSON schema that pydantic makes of a signature: no model can pass it."""

    def __get_pydantic_json_schema__(self, _schema: Any, _handler: Any) -> dict[str, Any]:
        from pydantic_core import PydanticOmit

        raise PydanticOmit


OnText = Annotated[Callable[[str], Any], _NoSchema()]
"""The type of ``on_text``."""
OnUpdate = Annotated[Callable[[Update], Any], _NoSchema()]
"""The type of ``on_update``."""
