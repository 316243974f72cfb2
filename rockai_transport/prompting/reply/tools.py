"""The tools that a reply may call, found by the names that models write for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import Any, Final

from rockai_transport.prompting.reply.call_formats import CALL_KEYS, HINTS
from rockai_transport.prompting.reply.schema_values import known_properties
from rockai_transport.prompting.reply.token_set import TokenSet

_NUMBER: Final = re.compile(r":\d+$")  # Kimi K2 counts its calls: functions.get_weather:0
_JOINTS: Final = re.compile(r"[-_\s]")
_PREFIX: Final = re.compile(r"^.*[.:/](?=.)")


class Tools:
    """Names and schemas of the tools that may be called.

    A name that a model writes is a tool's where it is the same, or differs from exactly one tool's by case,
    by ``-``, ``_`` and blanks, or by a prefix like ``functions.`` or ``default_api:``.
    """

    def __init__(
        self,
        schemas: Mapping[str, Mapping[str, Any]],
        *,
        demanded: bool = False,
        accepts: Callable[[dict[str, Any]], bool] | None = None,
    ) -> None:
        """Make them known.

        Args:
            schemas: The JSON schema of each tool's arguments, by its name.
            demanded: Whether one of them must be called.
            accepts: Whether arguments are right although their schema does not know them.
        """
        self.schemas = schemas
        self.demanded = demanded
        self.accepts = accepts or (lambda _: False)

    @cached_property
    def first_keys(self) -> frozenset[str]:
        """What a call that no token marks can begin with: one of the calls' keys, or a tool's name."""
        return CALL_KEYS.union(self.schemas)

    @cached_property
    def hints(self) -> TokenSet:
        """What may begin a line with a call, and marks none by itself: words, tags, the tools' names."""
        return TokenSet(*HINTS, *self.schemas, *(f"functions.{name}" for name in self.schemas))

    @cached_property
    def keys(self) -> frozenset[str]:
        """What a call can have: such a key, or a tool's argument."""
        return self.first_keys.union(*map(known_properties, self.schemas.values()))

    def resolve(self, written: str) -> str | None:
        """Find the tool that a name means.

        Args:
            written: The name as the model wrote it.

        Returns:
            The tool's name; None where it means none, or could mean several.
        """
        if written in self.schemas:
            return written
        for form in _forms(written):
            found = [name for name in self.schemas if _plain(name) == form]
            if found:
                return found[0] if len(found) == 1 else None
        return None


def _forms(written: str) -> Iterator[str]:
    name = _NUMBER.sub("", written.strip().removesuffix("()").removesuffix(".call").rstrip(":"))
    yield _plain(name)
    yield _plain(_PREFIX.sub("", name))


def _plain(name: str) -> str:
    return _JOINTS.sub("", name.casefold())
