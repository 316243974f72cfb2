"""JSON schemas from users: checking a schema, and validating values against it.

Invariants of this module: nothing is fetched. A schema may refer only to parts of itself or to a draft of
JSON Schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rockai_transport._packages import require
from rockai_transport.errors import ConfigurationError

UNCHECKABLE = (ArithmeticError, RecursionError)
"""What jsonschema raises for a number that is too large, and for references that form a loop."""


def check_schema(schema: Mapping[str, Any], whose: str) -> None:
    """Check a schema before it validates anything.

    Args:
        schema: The schema.
        whose: The schema's name in the error.

    Raises:
        ConfigurationError: It is not a schema, or refers to something that is not in it.
        ImportError: ``jsonschema`` is not installed.
    """
    if not isinstance(schema.get("$schema", ""), str):
        raise ConfigurationError(f"{whose} is no JSON schema: its $schema must be a text.")
    checker = _validator_class(schema)
    from jsonschema.exceptions import SchemaError

    try:
        checker.check_schema(schema)
    except SchemaError as error:
        raise ConfigurationError(f"{whose} is no JSON schema: {error.message:.300}") from error
    if (missing := _leads_nowhere(schema)) is not None:
        raise ConfigurationError(
            f"{whose} refers to {missing}, which is not in it, and nothing is fetched. Put it into $defs."
        )


def validator(schema: Mapping[str, Any]) -> Any:
    """Return a jsonschema validator that can validate many values."""
    from jsonschema_specifications import REGISTRY

    # jsonschema's default registry would fetch a reference over the network.
    return _validator_class(schema)(schema, registry=REGISTRY)


def violations(checker: Any, value: Any) -> list[Any]:
    """Return what does not fit, as jsonschema's errors.

    Args:
        checker: The schema's `validator`.
        value: The value.

    Raises:
        ValueError: The value cannot be checked: it holds a number that is too large, or references of the
            schema form a loop or lead nowhere.
    """
    from referencing.exceptions import Unresolvable

    try:
        return list(checker.iter_errors(value))
    except (*UNCHECKABLE, Unresolvable) as error:
        raise ValueError(f"this cannot be checked against the JSON schema: {error}") from None


def keywords(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the keys of a schema that constrain values."""
    return frozenset(schema) & frozenset(_validator_class(schema).VALIDATORS)


def _leads_nowhere(schema: Mapping[str, Any]) -> str | None:
    """Return the first reference that cannot be resolved."""
    from jsonschema_specifications import REGISTRY
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012, specification_with

    root: Any = specification_with(schema.get("$schema", ""), default=DRAFT202012).create_resource(schema)
    left: list[tuple[Any, Any]] = [(root, REGISTRY.resolver_with_root(root))]
    while left:
        resource, resolver = left.pop()
        reference = resource.contents.get("$ref") if isinstance(resource.contents, Mapping) else None
        try:
            if isinstance(reference, str):
                resolver.lookup(reference)
        except (Unresolvable, ValueError):  # a ValueError if a list is indexed by a name
            return reference
        left.extend((part, resolver.in_subresource(part)) for part in resource.subresources())
    return None


def _validator_class(schema: Mapping[str, Any]) -> Any:
    needs = "JSON schemas need jsonschema, which the extras langchain, llama-index and mcp install"
    require("jsonschema", needs, "langchain")
    from jsonschema.validators import Draft202012Validator, validator_for  # slow to import

    return validator_for(schema, default=Draft202012Validator)
