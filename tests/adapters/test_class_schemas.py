"""Classes whose JSON schema does not show all that they take: what they took before is taken."""

from datetime import date
from enum import Enum
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.v1 import BaseModel as V1Model
from pydantic.v1 import Field as V1Field

from rockai_transport.adapters import OutputParser


class Kind(Enum):
    A = "a"


class Choices(BaseModel):
    age: int = Field(validation_alias=AliasChoices("age", "years"))


class ByName(BaseModel):
    model_config = ConfigDict(populate_by_name=True)
    age: int = Field(alias="yearsOld")


class OldByName(V1Model):
    age: int = V1Field(alias="yearsOld")

    class Config:
        """Pydantic v1's way."""

        allow_population_by_field_name = True


class Before(BaseModel):
    age: int

    @model_validator(mode="before")
    @classmethod
    def _from_german(cls, data: Any) -> Any:
        return {"age": data["alter"]} if "alter" in data else data


class Nested(BaseModel):
    inner: ByName
    others: list[Choices] = []
    before: Before | None = None
    tags: list[str] = []

    @field_validator("tags", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        return value.split(",") if isinstance(value, str) else value


NESTED = '{"inner": {"age": 36}, "others": [{"years": 1}], "before": {"alter": 2}, "tags": "a,b"}'


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    kind: Kind
    sizes: tuple[int, float]
    names: dict[int, str]


def test_a_strict_class_reads_json_as_json(framework, says):
    """JSON has no dates, enums and tuples: there a strict class takes what stands for them."""
    text = '{"day": "2024-02-29", "kind": "a", "sizes": [1, 2], "names": {"1": "x"}}'
    asked = says(text)
    value = framework.object(framework.make(), Strict)
    assert value == Strict(day=date(2024, 2, 29), kind=Kind.A, sizes=(1, 2.0), names={1: "x"})
    assert len(asked) == 1
    with pytest.raises(ValueError, match="kind: "):
        OutputParser(Strict).parse(text.replace('"a"', '"b"'))


def test_names_and_validators_of_inner_classes_count_too():
    """However deep they are."""
    value = OutputParser(Nested).parse(NESTED)
    found = value.inner.age, value.others[0].age, value.before.age, value.tags
    assert found == (36, 1, 2, ["a", "b"])


@pytest.mark.parametrize("form", ["{}", '<tool_call>{{"name": "{name}", "arguments": {}}}</tool_call>'])
@pytest.mark.parametrize(
    ("model", "text"),
    [(ByName, '{"age": 36}'), (Choices, '{"years": 36}'), (Before, '{"alter": 36}'), (Nested, NESTED)],
)
def test_arguments_by_another_name_take_one_run(framework, says, model, text, form):
    """Bare or in a call: what the class takes that is the one function to call is taken at once."""
    asked = says(form.format(text, name=model.__name__))
    assert framework.object(framework.make(), model) == OutputParser(model).parse(text)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Choices, '{"age": 36}'),
        (Choices, '{"years": 36}'),
        (ByName, '{"yearsOld": 36}'),
        (ByName, '{"age": 36}'),
        (OldByName, '{"yearsOld": 36}'),
        (OldByName, '{"age": 36}'),
        (Before, '{"age": 36}'),
        (Before, '{"alter": 36}'),
    ],
)
def test_each_name_that_a_class_takes_is_read(model, text):
    """By alias, by each of several, by the field's name, and as its own validator reads it."""
    assert OutputParser(model).parse(text).age == 36


@pytest.mark.parametrize("model", [Choices, ByName, OldByName])
def test_an_object_of_foreign_keys_fits_none_of_them(model):
    """The names of another object are no value of the class."""
    with pytest.raises(ValueError, match=r"keys|field"):
        OutputParser(model).parse('{"name": "Ada"}')


@pytest.mark.parametrize("model", [Choices, OldByName])
def test_a_class_keeps_its_schema(model):
    """Pydantic's v1 hands out the schema that it keeps: what is taken out of it would be missing later."""
    first = OutputParser.of_class(model).as_tool()
    assert OutputParser.of_class(model).as_tool() == first
    assert OutputParser.of_class(model, by_call=False).response_format.schema["title"] == model.__name__
