import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, ConfigurationError, HostedModel
from rockai_transport.jobs.json_schema import validator
from rockai_transport.jobs.schemas import check_models, input_schema, problems


def wrong_in(schema, value):
    return problems(validator(schema), value)


class VideoInput(BaseModel):
    prompt: str = Field(description="What to show.")
    frames: int = Field(16, ge=1, le=64)


class NoSchema(BaseModel):
    then: Callable


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "two words"}, "names a tool"),
        ({"name": ""}, "names a tool"),
        ({"model": "no-owner"}, "not a model reference"),
        ({"description": " "}, "needs a description"),
        ({"description": "x" * 801}, "longer than 800"),
        ({"output": "smell"}, "is none of"),
        ({"input_schema": {"type": "array"}}, "JSON schema of an object"),
        ({"input_schema": {"enum": ["fast", "slow"]}}, "JSON schema of an object"),
        ({"input_schema": {"anyOf": [{"type": "string"}, {"type": "array"}]}}, "JSON schema of an object"),
        ({"input_schema": 7}, "a JSON schema or a pydantic class"),
        ({"input_schema": VideoInput(prompt="x")}, r"pydantic class, not VideoInput\(prompt='x'"),
        ({"input_schema": NoSchema}, "input_schema has no JSON schema: Cannot generate"),
        ({"input_schema": {"properties": {1: {}}}}, "JSON schema of an object"),
        ({"defaults": [1]}, "must be a dict"),
        ({"defaults": {1: "a cat"}}, "must be a dict"),
        ({"usual_cold_start": "soon"}, "usual_cold_start='soon' must be a number"),
        ({"usual_cold_start": -1}, "usual_cold_start"),
        ({"usual_cold_start": float("nan")}, "usual_cold_start"),
        ({"usual_cold_start": float("inf")}, "usual_cold_start"),
    ],
)
def test_what_cannot_be_a_tool_is_refused(changes, words):
    """At once, in words that say what to change."""
    given = {"name": "draw", "model": "owner/name", "description": "Draws."}
    with pytest.raises(ConfigurationError, match=words):
        HostedModel(**{**given, **changes})


def test_the_ready_made_ones_are_the_quick_start_s():
    """Its image model by name, its image-to-video model by version, with that example's inputs."""
    assert GENERATE_IMAGE.model == "incomingflyingbrick/flux-1-schnell"
    assert ANIMATE_IMAGE.model == "5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4"
    example = {
        "image": "https://replicate.delivery/1.jpeg",
        "prompt": "Several statues",
        "max_frames": 16,
        "guidance_scale": 9,
        "num_inference_steps": 50,
    }
    assert not wrong_in(input_schema(ANIMATE_IMAGE), example)
    assert [model.output for model in (GENERATE_IMAGE, ANIMATE_IMAGE)] == ["image", "video"]


def test_a_pydantic_class_says_the_inputs():
    """With its descriptions, limits and defaults."""
    model = HostedModel("film", "owner/name", "Films.", VideoInput)
    schema = input_schema(model)
    assert schema["required"] == ["prompt"]
    assert not wrong_in(schema, {"prompt": "x"})
    assert "outside its limit" in wrong_in(schema, {"prompt": "x", "frames": 65})


def test_without_a_schema_there_is_a_prompt_and_nothing_else():
    """A key that the model may not know is a 422, so none is guessed."""
    schema = input_schema(HostedModel("draw", "owner/name", "Draws."))
    assert not wrong_in(schema, {"prompt": "x"})
    assert "'size' is not an argument" in wrong_in(schema, {"prompt": "x", "size": 3})


def test_a_default_makes_an_input_optional():
    """The agent sees it and may give another; one outside the schema it can neither see nor set."""
    model = HostedModel("film", "owner/name", "Films.", VideoInput, defaults={"prompt": "a cat", "seed": 7})
    schema = input_schema(model)
    assert schema["required"] == []
    assert schema["properties"]["prompt"]["default"] == "a cat"
    assert "'seed' is not an argument" in wrong_in(schema, {"seed": 8})


def test_an_open_file_is_read_once():
    """Each start sends all of it: a pipe would be empty the second time."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        pipe.write(b"\x89PNG\r\n\x1a\n")
    with os.fdopen(reading, "rb") as file:
        draw = HostedModel(
            "draw", "a/b", "Draws.", defaults={"image": file, "more": [{"mask": BytesIO(b"x")}]}
        )
    assert draw.defaults["image"] == "data:image/png;base64,iVBORw0KGgo="
    assert draw.defaults["more"] == [{"mask": "data:application/octet-stream;base64,eA=="}]


def test_a_file_that_cannot_be_read_is_refused(tmp_path):
    """When the model is made, before any agent asks for it."""
    (tmp_path / "closed").touch()
    with (tmp_path / "closed").open("rb") as file:
        pass
    with pytest.raises(ConfigurationError, match=r"HostedModel draw: defaults\['image'\] cannot be read"):
        HostedModel("draw", "a/b", "Draws.", defaults={"image": file})


@pytest.mark.parametrize("picture", [Path("statue.png"), b"x", "data:image/png;base64,AA=="])
def test_a_file_is_no_default_that_an_agent_reads(picture):
    """A tool's schema is JSON, and goes into a model's prompt."""
    schema = {"properties": {"prompt": {"type": "string"}, "image": {"description": "The picture."}}}
    draw = HostedModel("draw", "a/b", "Draws.", schema, {"image": picture})
    assert input_schema(draw)["properties"]["image"] == {"description": "The picture."}


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ([], "models is empty"),
        (["draw"], "must hold HostedModel"),
        (GENERATE_IMAGE, "must be a list of HostedModel"),
        (7, "must be a list of HostedModel"),
        ([GENERATE_IMAGE, GENERATE_IMAGE], "taken twice"),
        ([HostedModel("get_prediction", "a/b", "x")], "taken twice"),
        ([HostedModel("draw", "a/b", "x", {"properties": {"n": {"type": "numbr"}}})], "is no JSON schema"),
        ([HostedModel("draw", "a/b", "x", {"required": "prompt"})], "'prompt' is not of type 'array'"),
        ([HostedModel("draw", "a/b", "x", {"prompt": {"type": "string"}})], 'has no "properties"'),
        ([HostedModel("draw", "a/b", "x", {"$ref": "https://x.example/a.json"})], "nothing is fetched"),
        ([HostedModel("draw", "a/b", "x", {"$ref": "#/$defs/Missing"})], "refers to #/[$]defs/Missing"),
        ([HostedModel("draw", "a/b", "x", {"properties": {"n": {"anyOf": [{"$ref": "b.json"}]}}})], "b.json"),
        ([HostedModel("draw", "a/b", "x", {"$schema": 7, "properties": {}})], "its [$]schema must be a text"),
        ([HostedModel("film", "a/b", "x", VideoInput, defaults={"frames": 99})], "a default does not fit"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(models, words):
    """When the tools are made, not when an agent meets it."""
    with pytest.raises(ConfigurationError, match=words):
        check_models(models, ["get_prediction"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "'prompt' is missing (What moves"),
        ({}, "'image' is missing (URL of the still image"),
        ({"image": "a.png", "prompt": "x"}, "image='a.png' is not accepted (URL of the still image"),
        ({"image": "https://a/b", "prompt": ""}, "prompt must not be empty"),
        ({"image": "https://a/b", "prompt": 3}, "prompt must be of type string, not 3"),
        ({"image": "https://a/b", "prompt": "x", "max_frames": 0}, "max_frames=0 is outside its limit"),
        ({"image": "https://a/b", "prompt": "x", "frames": 3}, "do you mean 'max_frames'?"),
        ({"image": "https://a/b", "prompt": "x", "cfg_scale": 3}, "do you mean 'guidance_scale'?"),
        ({"image": "https://a/b", "prompt": ["x" * 9999]}, "…"),
    ],
)
def test_a_problem_is_told_in_words_by_which_an_agent_can_correct_itself(given, words):
    """Which argument, what is wrong, and what it is for; never a wall of text."""
    told = wrong_in(input_schema(ANIMATE_IMAGE), given)
    assert words in told
    assert len(told) < 700


class Look(BaseModel):
    """A size."""

    width: int = Field(gt=0)


class Wish(BaseModel):
    """Inputs as pydantic writes them: what may be None is an alternative of two."""

    seed: int | None = None
    look: Look | None = None
    tags: int | list[str] | None = None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seed": "x"}, "seed must be of type integer, not 'x'"),
        ({"look": {"width": 0}}, "look.width=0 is outside its limit (exclusiveMinimum 0)"),
        ({"look": 3}, "look must be of type object, not 3"),
        ({"tags": "x"}, "tags must be of type integer, not 'x' or tags must be of type array, not 'x'"),
    ],
)
def test_a_problem_of_an_optional_argument_says_what_its_alternatives_ask_for(given, told):
    """Not only that none of «the given schemas» fits, which the agent does not see."""
    assert wrong_in(input_schema(HostedModel("wish", "a/b", "x", Wish)), given) == told


@pytest.mark.parametrize(
    ("rule", "given", "told"),
    [
        ({"maxLength": 9}, "x" * 900, "it may have 9 characters at most"),
        ({"minItems": 2}, ["a"], "it must list 2 or more"),
        ({"maxItems": 1}, ["a" * 900, "b"], "it may list 1 at most"),
        ({"pattern": "^[a-z]+$"}, "A1", "it='A1' is not accepted (pattern ^[a-z]+$)"),
    ],
)
def test_a_problem_says_the_limit(rule, given, told):
    """A long value does not displace it, and a pattern is shown if no description says what it means."""
    assert wrong_in({"properties": {"it": rule}}, {"it": given}) == told


def test_without_jsonschema_the_extra_is_named():
    """Where only the transport is installed, the error says what to install."""
    program = (
        "import sys; sys.modules['jsonschema'] = None\n"
        "from rockai_transport import GENERATE_IMAGE\n"
        "from rockai_transport.jobs.schemas import check_models\n"
        "check_models([GENERATE_IMAGE], [])"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert 'pip install ".[langchain]"' in done.stderr


NODE = {
    "$defs": {
        "Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}, "n": {"type": "integer"}}}
    },
    "$ref": "#/$defs/Node",
}


@pytest.mark.parametrize(
    ("schema", "fits", "wrong"),
    [
        (NODE, {"n": 1, "next": {"n": 2}}, {"n": "a"}),
        (NODE, {}, {"m": 1}),
        ({"allOf": [{"properties": {"n": {"type": "integer"}}}]}, {"n": 1}, {"m": 1}),
        ({"additionalProperties": {"type": "string"}}, {"anything": "x"}, {"anything": 1}),
        ({"required": ["n"], "additionalProperties": True}, {"n": 1}, {}),
        ({"properties": {"n": {"default": {"$ref": "data"}}}}, {"n": 1}, {"m": 1}),
        (
            {"$id": "https://x.example/a", "$defs": {"N": {"$id": "n", "type": "integer"}},
             "properties": {"n": {"$ref": "n"}, "m": {"$ref": "https://x.example/a#/$defs/N"}}},
            {"n": 1, "m": 2},
            {"n": "a"},
        ),
    ],
)  # fmt: skip
def test_every_way_of_writing_a_schema_is_understood(schema, fits, wrong):
    """What is in it is followed, and what it does not name is no input."""
    (model,) = check_models([HostedModel("draw", "a/b", "x", schema)], [])
    assert wrong_in(input_schema(model), fits) == ""
    assert wrong_in(input_schema(model), wrong)
