"""The tools that a reply may call, and how the names that models write are resolved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from rockai_transport.prompting.reply.call_formats import CALL_KEYS, HINTS, PLACEHOLDERS
from rockai_transport.prompting.reply.schema_values import known_properties, plain
from rockai_transport.prompting.reply.token_set import TokenSet

_NUMBER: Final = re.compile(r":\d+$")  # Kimi K2 numbers its calls: functions.get_weather:0
# Without its tokens, gpt-oss's channel follows the name at once.
_CHANNEL: Final = re.compile(r"(?<=[A-Za-z0-9])commentary$")
_AROUND: Final = " \t\r\n\"'`<>"  # Qwen's template has <function-name> in the name's place
_PREFIX: Final = re.compile(r"[^.:/]*[.:/]+(?=.)")


@dataclass(eq=False)
class Tools:
    """Names and schemas of the tools that may be called.

    A name refers to a tool if it is the same, or if it differs from exactly one tool's name by case, by
    ``-``, ``_``, ``.``, backslashes (Mixtral's) and other characters that are no letters or digits, as quotes
    or ``<>`` around it, or by a prefix like ``functions.`` or ``default_api:``.

    Attributes:
        schemas: The JSON schema of each tool's arguments, by its name.
        demanded: Whether one of them must be called. Then calls of other tools are invalid, and so are calls
            without any of a tool's arguments.
        accepts: Returns whether arguments are valid although their schema does not know them.
        answer: The name of the object that the text has to be, if it has one: a call of it is text.
    """

    schemas: Mapping[str, Mapping[str, Any]]
    demanded: bool = False
    accepts: Callable[[dict[str, Any]], bool] = lambda _: False
    answer: str = ""

    @cached_property
    def first_keys(self) -> frozenset[str]:
        """The first keys of calls without an opening token: one of the calls' keys, or a tool's name."""
        return CALL_KEYS.union(self.schemas)

    @cached_property
    def hints(self) -> TokenSet:
        """What may come before a call at the start of a line, but marks none: words, tags, tool names."""
        forms = (one for name in self.schemas for one in (name, f"functions.{name}", f"<{name}>"))
        return TokenSet(*HINTS, *forms)

    @cached_property
    def keys(self) -> frozenset[str]:
        """The keys that a call can have: one of the calls' keys, or a tool's argument."""
        return self.first_keys.union(*map(known_properties, self.schemas.values()))

    def is_placeholder(self, written: str) -> bool:
        """Return whether a name is no tool's, and stands in examples of calls, or is the answer's.

        Args:
            written: The name as the model wrote it.

        Returns:
            Whether it is.
        """
        name = plain(written.strip("<>{}[]$ "))
        return name != "" and name in {*_PLACEHOLDERS, plain(self.answer)} and self.resolve(written) is None

    def resolve(self, written: str) -> str | None:
        """Find the tool that a name refers to.

        Args:
            written: The name as the model wrote it.

        Returns:
            The tool's name; None if it matches none, or more than one.
        """
        if written in self.schemas:
            return written
        for form in _forms(written):
            found = [name for name in self.schemas if plain(name) == form]
            if found:
                return found[0] if len(found) == 1 else None
        return None


def _forms(written: str) -> Iterator[str]:
    name = written.strip(_AROUND).removesuffix("()").removesuffix(".call")
    for whole in dict.fromkeys((name, _CHANNEL.sub("", name))):
        rest = _NUMBER.sub("", whole.rstrip(":/"))
        while rest:
            yield plain(rest)
            prefix = _PREFIX.match(rest)
            rest = rest[prefix.end() :] if prefix else ""
    if name.startswith("functions"):  # Kimi K2's, with other joints or none: functionsget_weather0
        bare = plain(name).removeprefix("functions")
        yield from (bare, bare.rstrip("0123456789"))


_PLACEHOLDERS: Final = frozenset(map(plain, PLACEHOLDERS))
