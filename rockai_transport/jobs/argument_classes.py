"""A JSON schema as the pydantic class that a framework wants; for the adapters, which have pydantic."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["argument_class"]


def argument_class(name: str, schema: Mapping[str, Any]) -> type[BaseModel]:
    """A class whose JSON schema is the given one, and which accepts everything: the lifecycle checks it."""

    def model_json_schema(_cls: type[BaseModel], *_: Any, **__: Any) -> dict[str, Any]:
        return deepcopy(dict(schema))

    members = {
        "__doc__": f"Arguments of {name}.",
        "__module__": __name__,
        "model_config": ConfigDict(extra="allow"),
        "model_json_schema": classmethod(model_json_schema),
    }
    return type(name, (BaseModel,), members)
