import contextlib
import random

import pytest

from rockai_transport.prompting.reply.call_values import as_arguments
from rockai_transport.prompting.reply.schema_values import (
    adapted,
    fits,
    known_properties,
    required_properties,
    structured_value,
)

LOOP = {"anyOf": [{"$ref": "#"}, {"type": "object", "properties": {"a": {"type": "integer"}}}]}


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ({"a": "1"}, LOOP, {"a": 1}),
        ("[1]", {"type": "array"}, [1]),
        ("[1]", {"type": ["array", "string"]}, "[1]"),
        ("[1", {"type": "array"}, "[1"),
        ("1", {"type": "array"}, "1"),
        ("1_000", {"type": "integer"}, "1_000"),
        ("NaN", {"type": "number"}, "NaN"),
        ("None", {"type": ["integer", "null"]}, None),
        ("2", {"const": 2}, 2),
        ("On", {"const": "on"}, "on"),
        ("c", {"enum": ["C", "C++"]}, "C"),
        ("C++", {"enum": ["c", "c++"]}, "c++"),
        ("-1", {"enum": ["1"]}, "-1"),
        ("A", {"enum": ["a", "A "]}, "A"),
        ("A", {"anyOf": [{"enum": ["a"]}, {"type": "string"}]}, "A"),
        ({"a": ""}, {"properties": {"a": {}}}, {"a": ""}),
        ({"A-b": 1, "aB": 2}, {"properties": {"a_b": {}}}, {"A-b": 1, "aB": 2}),
        ({"ab": 1}, {"properties": {"a_b": {}, "aB": {}}}, {"ab": 1}),
        ({"A": 1}, {"properties": {"a": {}}, "patternProperties": {"^A": {}}}, {"A": 1}),
        ("2", {}, "2"),
        ({"a": None}, {"properties": {"a": {}}}, {"a": None}),
        ({"a": None}, {"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"a": None}),
        (
            {"a": {"b": "1"}},
            {"additionalProperties": {"properties": {"b": {"type": "integer"}}}},
            {"a": {"b": 1}},
        ),
        ({"a": "1"}, {"properties": {"a": {"$ref": "#/$defs/nowhere"}}}, {"a": "1"}),
        (
            {"a": "1"},
            {"properties": {"a": {"$ref": "#/$defs/x~1y"}}, "$defs": {"x/y": {"type": "integer"}}},
            {"a": 1},
        ),
    ],
)
def test_a_value_is_read_as_its_schema_declares_it(value, schema, expected):
    """Where it is exactly that; else it stays what it was, for whoever validates."""
    assert adapted(value, schema) == expected


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        ({"a": 1}, LOOP, True),
        ({"a": "x"}, {"properties": {"a": {"type": "integer"}}}, False),
        ({"b": 1}, {"properties": {"a": {}}}, False),
        ({"b": 1}, {"properties": {"a": {}}, "additionalProperties": True}, True),
        ({"b": 1}, {"properties": {"a": {}}, "patternProperties": {"(?<x>)": {}}}, True),
        ({}, {"properties": {"a": {}}}, True),
        ({}, {"properties": {"a": {}}, "required": ["a"]}, False),
        (True, {"type": "integer"}, False),
        (1, {"type": "number"}, True),
        ([1, "x"], {"items": {"type": "integer"}}, False),
        (1, {"allOf": [{"type": "integer"}, {"enum": [2]}]}, False),
        (1, False, False),
    ],
)
def test_whether_a_value_has_a_schema_s_outline(value, schema, expected):
    """Types, required keys, enums, and for an object that one of its keys is known."""
    assert fits(value, schema) is expected


KEYWORDS = (
    "type",
    "properties",
    "required",
    "items",
    "anyOf",
    "allOf",
    "oneOf",
    "$ref",
    "$defs",
    "enum",
    "const",
)
KEYWORDS += ("additionalProperties", "patternProperties", "title", "A", "name")
LEAVES = (
    None,
    1,
    "x",
    "16",
    "object",
    "integer",
    "#/$defs/A",
    "#",
    True,
    1.5,
    "array",
    "[",
    '{"a": 1}',
    [],
    {},
)


def test_odd_schemas_and_values_raise_nothing():
    """Whatever is given as a schema, and whatever a model wrote for it."""
    dice = random.Random(5)  # noqa: S311 - shuffles, hides nothing

    def anything(levels):
        if levels == 0 or dice.random() < 0.3:
            return dice.choice(LEAVES)
        if dice.random() < 0.3:
            return [anything(levels - 1) for _ in range(dice.randrange(3))]
        return {dice.choice(KEYWORDS): anything(levels - 1) for _ in range(dice.randrange(4))}

    for _ in range(3000):
        schema = {dice.choice(KEYWORDS): anything(3) for _ in range(dice.randrange(6))}
        value = anything(3)
        adapted(value, schema)
        fits(value, schema)
        known_properties(schema)
        required_properties(schema)
        as_arguments(value, "A", schema)
        with contextlib.suppress(ValueError):
            structured_value(value, schema, "A")


def test_an_object_of_unknown_keys_is_refused_once_and_briefly():
    """Its keys are not gone through for each of them, and the model and the user read a part of them."""

    class Counted(dict):
        passes = 0

        def keys(self):
            Counted.passes += 1
            return super().keys()

    schema = {"type": "object", "properties": {"s": {"type": "string"}}}
    with pytest.raises(ValueError, match=r"none of the keys k0, k1, .* is one of the schema's: s$") as caught:
        structured_value(Counted({f"k{number}": number for number in range(5000)}), schema)
    assert len(str(caught.value)) < 400
    assert Counted.passes < 20
