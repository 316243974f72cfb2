"""with_structured_output: three methods, three kinds of schema, one repair."""

import json
import operator
from collections.abc import Callable
from datetime import date
from enum import Enum
from functools import reduce
from typing import Annotated, Any, Literal, NotRequired, Optional, Required, TypedDict

import pytest
import typing_extensions
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage
from pydantic import BaseModel, ConfigDict, Field, RootModel

from langchain_rockai import ChatRockAI
from rockai_transport import ConfigurationError, InvalidResponseError

MODEL = "my/hermes"
METHODS = ["function_calling", "json_mode", "json_schema"]


class Joke(BaseModel):
    """A joke to tell."""

    setup: str
    punchline: str = Field(min_length=3)


class JokeDict(TypedDict):
    """A joke to tell."""

    setup: str
    punchline: str


JOKE_SCHEMA = {
    "title": "Joke",
    "description": "A joke to tell.",
    "type": "object",
    "properties": {"setup": {"type": "string"}, "punchline": {"type": "string"}},
    "required": ["setup", "punchline"],
}
GOOD = {"setup": "Why?", "punchline": "Because."}
BAD = {"setup": "Why?"}


def written(method, value):
    """What a model writes that answers with a value."""
    text = json.dumps(value)
    return f'{{"name": "Joke", "arguments": {text}}}' if method == "function_calling" else text


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [Joke, JokeDict, JOKE_SCHEMA], ids=["pydantic", "typeddict", "schema"])
async def test_every_method_serves_every_kind_of_schema(scripted, llm, method, schema):
    """invoke, ainvoke, stream and astream give the same."""
    answer = written(method, GOOD).replace('"Joke"', '"JokeDict"' if schema is JokeDict else '"Joke"')
    scripted(*[answer] * 4)
    chain = llm.with_structured_output(schema, method=method)
    expected = Joke(**GOOD) if schema is Joke else GOOD
    assert chain.invoke("Tell me a joke.") == expected
    assert await chain.ainvoke("Tell me a joke.") == expected
    assert list(chain.stream("Tell me a joke.")) == [expected]
    assert [value async for value in chain.astream("Tell me a joke.")] == [expected]


@pytest.mark.parametrize("around", ["```json\n{}\n```", "Here it is:\n{}\nEnjoy!", "<think>hm {{</think>{}"])
def test_prose_around_the_json_does_no_harm(scripted, llm, around):
    """Fences, words, reasoning."""
    scripted(around.replace("{}", json.dumps(GOOD)).replace("{{", "{"))
    assert llm.with_structured_output(Joke, method="json_schema").invoke("Joke!") == Joke(**GOOD)


def test_what_the_model_is_told_depends_on_the_method(llm):
    """As a tool that must be called, with the schema, or to answer in JSON at all."""

    def prompt(method):
        chain = llm.with_structured_output(Joke, method=method)
        return llm.preview("Joke!", **chain.first.kwargs)["input"]["prompt"]

    assert "You must call the function Joke now" in prompt("function_calling")
    assert '"punchline": {"minLength": 3' in prompt("json_schema")
    assert "Answer with one JSON object" in prompt("json_mode")
    assert "punchline" not in prompt("json_mode")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", [Joke, JOKE_SCHEMA], ids=["pydantic", "schema"])
async def test_a_wrong_answer_is_repaired_once(scripted, llm, method, schema):
    """The second run is shown the answer and its error; streaming gives nothing of the first."""
    asked = scripted(*[written(method, BAD), written(method, GOOD)] * 3)
    chain = llm.with_structured_output(schema, method=method)
    expected = Joke(**GOOD) if schema is Joke else GOOD
    assert chain.invoke("Joke!") == expected
    assert await chain.ainvoke("Joke!") == expected
    assert list(chain.stream("Joke!")) == [expected]
    again = asked.inputs[1]["prompt"]
    assert "Your answer was not accepted" in again
    assert "punchline" in again
    assert '{"setup": "Why?"}' in again


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", [BAD, BAD | {"punchline": 1}])
def test_the_error_of_an_object_is_shown_whatever_its_form(scripted, llm, method, wrong):
    """An object without the call around it is told what does not fit too, not only that a call is missing."""
    asked = scripted(json.dumps(wrong), written(method, GOOD))
    assert llm.with_structured_output(Joke, method=method).invoke("Joke!") == Joke(**GOOD)
    assert "punchline: " in asked.inputs[1]["prompt"].split("Your answer was not accepted")[1]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("wrong", ["no JSON at all", "[1]", '{"setup": 1}'])
def test_two_wrong_answers_are_an_error(scripted, llm, method, wrong):
    """Both the transport's and core's, with the last answer; after two runs, not more."""
    asked = scripted(wrong, wrong, "one too many")
    with pytest.raises(InvalidResponseError, match="asked twice") as caught:
        llm.with_structured_output(Joke, method=method).invoke("Joke!")
    assert isinstance(caught.value, ModelError)
    assert caught.value.body == wrong
    assert len(asked.inputs) == 2


@pytest.mark.parametrize("method", METHODS)
async def test_include_raw_returns_the_failure(scripted, llm, method):
    """`raw` is the last answer, `parsing_error` what was wrong with it."""
    asked = scripted(*["nonsense"] * 4, written(method, GOOD))
    chain = llm.with_structured_output(Joke, method=method, include_raw=True)
    for answer in (chain.invoke("Joke!"), await chain.ainvoke("Joke!")):
        assert answer["raw"].content == "nonsense"
        assert answer["parsed"] is None
        assert isinstance(answer["parsing_error"], InvalidResponseError)
    assert len(asked.inputs) == 4
    good = chain.invoke("Joke!")
    assert (good["parsed"], good["parsing_error"]) == (Joke(**GOOD), None)
    assert isinstance(good["raw"], AIMessage)


def test_the_raw_message_of_a_failure_is_read_as_far_as_it_can_be(scripted, llm):
    """A call with wrong arguments is a call; the metadata are those of every message."""
    scripted(*[written("function_calling", BAD)] * 2)
    chain = llm.with_structured_output(Joke, include_raw=True)
    raw = chain.invoke("Joke!")["raw"]
    assert [(call["name"], call["args"]) for call in raw.tool_calls] == [("Joke", BAD)]
    assert raw.response_metadata["model_name"] == MODEL


def test_a_failure_of_the_service_is_no_parsing_error(sandbox, llm):
    """A gateway's page is not the model's answer."""
    sandbox.answer_next(200, "<h1>Sign in</h1>", content_type="text/html")
    with pytest.raises(InvalidResponseError, match="not with JSON"):
        llm.with_structured_output(Joke, include_raw=True).invoke("Joke!")


@pytest.mark.parametrize("include_raw", [False, True])
def test_the_chain_can_be_drawn_and_described(llm, include_raw):
    """As every Runnable: its schemas and its graph."""
    chain = llm.with_structured_output(Joke, include_raw=include_raw)
    assert chain.get_input_jsonschema()
    assert chain.get_output_jsonschema()
    assert chain.get_graph().nodes


def test_json_mode_needs_no_schema(scripted, llm):
    """Then any object is right; the other methods need one."""
    scripted('{"anything": [1]}')
    assert llm.with_structured_output(method="json_mode").invoke("JSON!") == {"anything": [1]}
    for method in ("function_calling", "json_schema"):
        with pytest.raises(ConfigurationError, match="needs a schema"):
            llm.with_structured_output(method=method)


def test_an_unknown_method_names_the_nearest(llm):
    """When it is bound, not when it is called."""
    with pytest.raises(ConfigurationError, match="did you mean 'json_schema'"):
        llm.with_structured_output(Joke, method="jsonschema")


@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_schema_is_refused(llm, method):
    """Nothing could be held against it; found before anything is sent."""
    schema = {"title": "A", "description": "A.", "type": "object", "properties": {"a": {"type": "numbr"}}}
    with pytest.raises(ConfigurationError, match="no JSON schema: 'numbr'"):
        llm.with_structured_output(schema, method=method)


def test_traces_say_which_form_was_asked_for(scripted, llm, tokens):
    """Core reads it from `ls_structured_output_format`."""
    scripted(written("json_schema", GOOD))
    llm.with_structured_output(Joke, method="json_schema").invoke("Joke!", {"callbacks": [tokens]})
    told = tokens.started[0]["options"]["ls_structured_output_format"]
    assert told["kwargs"] == {"method": "json_schema"}
    assert told["schema"]["title"] == "Joke"


def test_a_cache_tells_schemas_apart(scripted, sandbox):
    """The same schema hits, another one does not."""
    scripted(written("json_schema", GOOD), '{"n": 1}')
    llm = ChatRockAI(model=MODEL, cache=InMemoryCache())

    class Number(BaseModel):
        """A number."""

        n: int

    for _ in range(2):
        assert llm.with_structured_output(Joke, method="json_schema").invoke("Go!") == Joke(**GOOD)
        assert llm.with_structured_output(Number, method="json_schema").invoke("Go!") == Number(n=1)
    assert len(sandbox.predictions) == 2


@pytest.mark.parametrize("wrong", [5, "a joke", [Joke], {"type": "function"}])
def test_what_core_makes_no_schema_of_is_refused(llm, wrong):
    """In core's words, by our error."""
    with pytest.raises(ConfigurationError, match="must be passed in as"):
        llm.with_structured_output(wrong)


@pytest.mark.parametrize("method", METHODS)
def test_a_schema_may_come_as_openai_s_response_format(scripted, llm, method):
    """As `ChatOpenAI` takes it; one without a schema is refused."""
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    form = {"type": "json_schema", "json_schema": {"name": "Number", "schema": schema}}
    asked = scripted('{"n": "1"}')
    assert llm.with_structured_output(form, method=method).invoke("Go!") == {"n": 1}
    assert ("Number" in asked.inputs[0]["prompt"]) == (method != "json_mode")
    with pytest.raises(ConfigurationError, match="json_schema"):
        llm.with_structured_output({"type": "json_schema"}, method=method)


def test_a_schema_may_come_as_openai_s_newer_function(scripted, llm):
    """With its name beside its type, as in the tools of its Responses API."""
    parameters = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    scripted('{"n": "1"}')
    form = {"type": "function", "name": "Number", "parameters": parameters, "strict": True}
    assert llm.with_structured_output(form).invoke("Go!") == {"n": 1}


def test_pydantic_s_base_class_is_refused(llm):
    """It has no schema."""
    with pytest.raises(ConfigurationError, match="subclass of BaseModel"):
        llm.with_structured_output(BaseModel)


@pytest.mark.parametrize("reference", ["#/$defs/Missing", "http://127.0.0.1:9/schema.json"])
def test_a_reference_that_leads_nowhere_is_refused(llm, reference):
    """Found before anything is paid for; nothing is fetched."""
    schema = {**JOKE_SCHEMA, "properties": {"setup": {"$ref": reference}}}
    with pytest.raises(ConfigurationError, match="which is not in it"):
        llm.with_structured_output(schema)


def test_a_class_is_held_to_its_own_rules_only(scripted, llm):
    """Pydantic's patterns are Rust's, which Python's `re` and a check of JSON schemas may not know."""

    class Name(BaseModel):
        letters: str = Field(pattern=r"^\p{L}+$")

    scripted('{"letters": "Ada"}')
    assert llm.with_structured_output(Name, method="json_schema").invoke("Go!") == Name(letters="Ada")


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_a_schema_may_contain_values_that_json_has_not(llm, method):
    """As Python's, or YAML's, dates."""
    schema = {"title": "Trip", "properties": {"day": {"type": "string", "default": date(2026, 1, 2)}}}
    chain = llm.with_structured_output(schema, method=method)
    assert '"2026-01-02"' in llm.preview("Go!", **chain.first.kwargs)["input"]["prompt"]


def test_a_description_may_be_missing(scripted, llm):
    """As in the form of OpenAI's functions, where it may be null."""
    parameters = {key: JOKE_SCHEMA[key] for key in ("type", "properties", "required")}
    scripted(json.dumps(GOOD))
    chain = llm.with_structured_output(
        {"name": "Joke", "description": None, "parameters": parameters}, method="json_schema"
    )
    assert chain.invoke("Joke!") == GOOD


@pytest.mark.parametrize("method", METHODS)
def test_an_object_in_reasoning_is_not_the_answer(scripted, llm, method):
    """Streamed as well, where the server's template opened the reasoning, so that nothing announces it."""
    other = {**GOOD, "setup": "Who?"}
    answer = f"It could be {json.dumps(other)}.\n</think>\n{written(method, GOOD)}"
    scripted(*[list(answer)] * 2)
    chain = llm.with_structured_output(JOKE_SCHEMA, method=method)
    assert chain.invoke("Joke!") == list(chain.stream("Joke!"))[-1] == GOOD


class Page(TypedDict, total=False):
    """A page."""

    address: Required[str]
    rank: int


class Links(TypedDict):
    """Links of a page."""

    legal: str
    faq: NotRequired[str]
    score: Annotated[NotRequired[int], ..., "how good"]
    pages: NotRequired[list[Page]]
    by_name: NotRequired[dict[str, Page]]
    best: NotRequired[Page | str]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "value",
    [
        {"legal": "/legal"},
        {"legal": "/legal", "pages": [{"address": "/"}], "score": 3},
        {"legal": "/legal", "by_name": {"home": {"address": "/"}}, "best": {"address": "/"}},
    ],
)
def test_keys_that_a_typed_dict_does_not_require_may_be_missing(scripted, llm, method, value):
    """By `total=False`, `NotRequired` and `Required`, however deep; the others may not."""
    wrong = {**value, "pages": [{"rank": 1}]}
    scripted(*(written(method, one).replace('"Joke"', '"Links"') for one in (value, wrong, wrong)))
    chain = llm.with_structured_output(Links, method=method)
    assert chain.invoke("Go!") == value
    with pytest.raises(InvalidResponseError, match="'address' is a required property"):
        chain.invoke("Go!")


class Quoted(TypedDict):
    """As under ``from __future__ import annotations``."""

    word: "str"
    last: "NotRequired[str]"


def test_a_typed_dict_with_quoted_types_knows_what_is_required(llm):
    """The class itself does not: Python counts a quoted key as required."""
    assert Quoted.__required_keys__ == {"word", "last"}
    bound = llm.with_structured_output(Quoted).first
    assert bound.kwargs["tools"][0]["function"]["parameters"]["required"] == ["word"]


class Undescribed(TypedDict):
    word: str


class Described(TypedDict):
    """Words."""

    word: Annotated[str, Field(description="the first word")]
    last: NotRequired[Annotated[str, Field(description="the last word")]]
    limit: Annotated[int, Field(default=5, description="how many")]


def test_pydantic_s_fields_describe_the_keys_of_a_typed_dict(llm):
    """Core would take them for defaults, which no JSON can hold."""
    bound = llm.with_structured_output(Described).first
    parameters = bound.kwargs["tools"][0]["function"]["parameters"]
    assert parameters["properties"] == {
        "word": {"description": "the first word", "type": "string"},
        "last": {"description": "the last word", "type": "string"},
        "limit": {"description": "how many", "default": 5, "type": "integer"},
    }
    assert parameters["required"] == ["word"]


class Song(TypedDict):
    """A song.

    Args:
        words: all of its text
    """

    title: str | None
    year: Annotated[int | None, None, "when"]
    words: str
    stars: Annotated[int, Field(ge=1, le=5)]
    size: tuple[int, int]
    mood: Literal["glad"] | None
    about: Joke


def test_a_typed_dict_s_keys_have_any_type_of_pydantic(scripted, llm):
    """None, constraints, tuples, and pydantic's classes, which its v1 does not know."""
    song = {"title": None, "words": "la", "stars": 3, "size": [1, 2], "mood": None, "about": GOOD}
    scripted(json.dumps(song), json.dumps({**song, "stars": 6}), json.dumps({**song, "stars": 6}))
    chain = llm.with_structured_output(Song, method="json_schema")
    assert chain.invoke("Go!") == song
    with pytest.raises(InvalidResponseError, match="6 is greater than the maximum of 5"):
        chain.invoke("Go!")
    form = chain.first.kwargs["structured_output"].json_schema
    assert form["description"] == "A song."
    assert form["properties"]["words"] == {"type": "string", "description": "all of its text"}
    assert form["properties"]["year"]["description"] == "when"
    assert "year" not in form["required"]


class Branch(TypedDict):
    """A tree."""

    children: list["Branch"]


def test_a_typed_dict_without_a_docstring_has_no_description(llm):
    """Python would give it the one of `dict`."""
    bound = llm.with_structured_output(Undescribed).first
    assert "new empty dictionary" not in str(llm.preview("Go!", **bound.kwargs))


def test_a_typed_dict_that_refers_to_itself_is_refused(llm):
    """Core's conversion would not come to an end."""
    with pytest.raises(ConfigurationError, match="Branch refers to itself, as a pydantic class may"):
        llm.with_structured_output(Branch)


class Author(typing_extensions.TypedDict, total=False):
    """An author."""

    name: typing_extensions.Required[str]
    age: int


class Book(typing_extensions.TypedDict):
    """A book."""

    by: Author
    others: typing_extensions.NotRequired[list[Author]]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "value", [{"by": {"name": "Ada"}}, {"by": {"name": "Ada"}, "others": [{"name": "Bo"}]}]
)
def test_typed_dicts_of_typing_extensions_are_the_same(scripted, llm, method, value):
    """LangChain's guides use them; and one class may stand in two places."""
    wrong = {**value, "by": {"age": 1}}
    scripted(*(written(method, one).replace('"Joke"', '"Book"') for one in (value, wrong, wrong)))
    chain = llm.with_structured_output(Book, method=method)
    assert chain.invoke("Go!") == value
    with pytest.raises(InvalidResponseError, match="'name' is a required property"):
        chain.invoke("Go!")


@pytest.mark.parametrize("method", METHODS)
def test_a_schema_may_allow_other_types_beside_objects(scripted, llm, method):
    """Core reads one type only."""
    schema = {"title": "Joke", "type": ["object", "null"], "properties": {"setup": {"type": "string"}}}
    scripted(written(method, {"setup": "Why?"}))
    assert llm.with_structured_output(schema, method=method).invoke("Go!") == {"setup": "Why?"}


class Color(Enum):
    RED = "red"


class Numbers(RootModel[list[int]]):
    """Some numbers."""


@pytest.mark.parametrize(
    "schema",
    [
        Color,
        Numbers,
        Optional[Joke],  # noqa: UP045 - another class than of `|`
        Joke | Color,
        {"type": "array", "items": {"type": "integer"}},
        {"title": "Numbers", "type": "array", "items": {"type": "integer"}},
        {"name": "numbers", "description": "Some.", "parameters": {"type": "array"}},
        {"title": "Color", "enum": ["red"]},
        {"title": "Color", "$ref": "#/$defs/Color", "$defs": {"Color": {"type": "string"}}},
        {"title": "Either", "anyOf": [{"type": "string"}, {"type": "array"}]},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", METHODS)
def test_what_is_no_object_is_refused(llm, method, schema):
    """A call's arguments are an object; found before anything is sent."""
    with pytest.raises(ConfigurationError, match="schema"):
        llm.with_structured_output(schema, method=method)


class WithCode(BaseModel):
    """No JSON can hold it."""

    code: Callable[[int], int]


class Unfinished(BaseModel):
    """A class that pydantic cannot describe yet."""

    word: "Word"  # noqa: F821 - that is the point


@pytest.mark.parametrize("schema", [WithCode, Unfinished, TypedDict("Code", {"code": Callable[..., Any]})])
@pytest.mark.parametrize("method", METHODS)
def test_a_class_that_no_schema_describes_is_refused(llm, method, schema):
    """With our error, which has pydantic's words."""
    with pytest.raises(ConfigurationError, match=r"schema cannot be used as one\. (Cannot|`Unf)"):
        llm.with_structured_output(schema, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_a_schema_without_properties_is_held_against_the_answer(scripted, llm, method):
    """Core's form of a tool would lose all it says."""
    schema = {"title": "Joke", "anyOf": [JOKE_SCHEMA, {"type": "object", "required": ["refusal"]}]}
    scripted(written(method, BAD), written(method, GOOD))
    assert llm.with_structured_output(schema, method=method).invoke("Joke!") == GOOD


@pytest.mark.parametrize("method", METHODS)
async def test_a_cached_answer_that_does_not_fit_any_more_is_our_error(scripted, sandbox, method):
    """The class has changed since; with `include_raw` it is the `parsing_error`."""
    scripted(written(method, GOOD))
    llm = ChatRockAI(model=MODEL, cache=InMemoryCache())
    allowed = [True]

    class Joke(BaseModel):
        """A joke to tell."""

        setup: str
        punchline: str

        def model_post_init(self, context, /):
            if not allowed:
                raise ValueError("not funny")

    assert llm.with_structured_output(Joke, method=method).invoke("Joke!")
    allowed.clear()
    chain = llm.with_structured_output(Joke, method=method)
    with pytest.raises(InvalidResponseError, match="not funny") as caught:
        chain.invoke("Joke!")
    assert isinstance(caught.value, ModelError)
    raw = llm.with_structured_output(Joke, method=method, include_raw=True)
    for answer in (raw.invoke("Joke!"), await raw.ainvoke("Joke!")):
        assert isinstance(answer["raw"], AIMessage)
        assert answer["parsed"] is None
        assert isinstance(answer["parsing_error"], InvalidResponseError)
    assert len(sandbox.predictions) == 1


class Keywords(BaseModel):
    """Words."""

    model_config = ConfigDict(populate_by_name=True)

    names: list[str] = Field(default=[], alias="Names")
    limit: int = 5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Names": ["sea"]}, Keywords(names=["sea"])),
        ({"Keywords": {"Names": ["sea"]}}, Keywords(names=["sea"])),
        ({"properties": {"Names": '["sea"]', "limit": "3"}}, Keywords(names=["sea"], limit=3)),
        ({"Names": ["sea"], "limit": None}, Keywords(names=["sea"])),
        ({}, Keywords()),
    ],
)
def test_a_class_is_read_as_it_is_meant(scripted, llm, method, value, expected):
    """Out of one level too many, with texts as the declared types, at the first run."""
    scripted(written(method, value).replace('"Joke"', '"Keywords"'))
    assert llm.with_structured_output(Keywords, method=method).invoke("Go!") == expected


@pytest.mark.parametrize("method", ["json_mode", "json_schema"])
def test_a_class_may_be_read_by_its_fields_own_names(scripted, llm, method):
    """Where it takes these too."""
    scripted('{"names": ["sea"]}')
    assert llm.with_structured_output(Keywords, method=method).invoke("Go!") == Keywords(names=["sea"])


@pytest.mark.parametrize("method", METHODS)
def test_defaults_are_no_answer(scripted, llm, method):
    """An object none of whose keys the class knows is asked for again."""
    scripted(*(written(method, one).replace('"Joke"', '"Keywords"') for one in ({"words": 1}, {"limit": 1})))
    assert llm.with_structured_output(Keywords, method=method).invoke("Go!") == Keywords(limit=1)


OPENAI_FORM = {
    "type": "json_schema",
    "json_schema": {"name": "Joke", "schema": JOKE_SCHEMA, "strict": True},
}


@pytest.mark.parametrize("form", [OPENAI_FORM, Joke, JokeDict, JOKE_SCHEMA], ids=str)
async def test_a_response_format_is_the_json_schema_method(scripted, llm, form):
    """Invoked and streamed: the schema is shown, a wrong answer asked for again, the text is JSON alone."""
    asked = scripted(*[json.dumps(BAD), f"<think>Hm</think>Sure:\n```json\n{json.dumps(GOOD)}\n```"] * 4)
    bound = llm.bind(response_format=form, strict=True)
    for message in (
        bound.invoke("Joke!"),
        await bound.ainvoke("Joke!"),
        reduce(operator.add, bound.stream("Joke!")),
        reduce(operator.add, [chunk async for chunk in bound.astream("Joke!")]),
    ):
        assert json.loads(message.content) == GOOD
        assert message.additional_kwargs == {"reasoning_content": "Hm"}
        assert message.response_metadata["runs"] == 2
    assert "that fits this JSON schema" in asked.inputs[0]["prompt"]


def test_a_response_format_of_any_json_or_of_text(scripted, llm):
    """As OpenAI has them; what is none is refused."""
    scripted("Sure: {}", "Hello.")
    assert llm.invoke("Go!", response_format={"type": "json_object"}).content == "{}"
    assert llm.invoke("Go!", response_format={"type": "text"}).content == "Hello."
    for wrong in ({"type": "json_schema"}, {"type": "xml"}, 5):
        with pytest.raises(ConfigurationError, match="response_format"):
            llm.invoke("Go!", response_format=wrong)


@pytest.mark.parametrize("schema", [Joke, JOKE_SCHEMA], ids=["pydantic", "schema"])
def test_an_agent_may_ask_for_it(scripted, llm, schema):
    """By core's `ProviderStrategy`, its tools included."""

    def look(topic: str) -> str:
        """Look a topic up."""
        return "Because."

    call = '<tool_call>{"name": "look", "arguments": {"topic": "why"}}</tool_call>'
    asked = scripted(call, f"Here: {json.dumps(GOOD)}")
    agent = create_agent(llm, [look], response_format=ProviderStrategy(schema, strict=True))
    answer = agent.invoke({"messages": [("user", "Joke!")]})["structured_response"]
    assert answer == (Joke(**GOOD) if schema is Joke else GOOD)
    assert asked.inputs[0].keys() == {"prompt", "prompt_template"}


def look(topic: str) -> str:
    """Look a topic up."""
    return "Because."


@pytest.mark.parametrize("method", ["json_mode", "json_schema"])
async def test_an_answer_that_calls_another_tool_has_no_value(scripted, llm, method):
    """It is accepted as it is: not an error, and not asked for again; `include_raw` shows the calls."""
    call = '<tool_call>{"name": "look", "arguments": {"topic": "why"}}</tool_call>'
    asked = scripted(*[call] * 5, written(method, GOOD))
    raw = llm.with_structured_output(Joke, method=method, include_raw=True, tools=[look])
    for answer in (raw.invoke("Joke!"), await raw.ainvoke("Joke!")):
        assert [one["args"] for one in answer["raw"].tool_calls] == [{"topic": "why"}]
        assert answer["parsed"] is answer["parsing_error"] is None
    chain = llm.with_structured_output(Joke, method=method, tools=[look])
    assert chain.invoke("Joke!") is None
    assert await chain.ainvoke("Joke!") is None
    assert list(chain.stream("Joke!")) == [None]
    assert chain.invoke("Joke!") == Joke(**GOOD)
    assert len(asked.inputs) == 6


@pytest.mark.parametrize(("choice", "is_shown"), [("none", True), ("auto", False)])
def test_an_object_is_shown_as_it_arrives_unless_the_answer_may_be_a_call(sandbox, llm, choice, is_shown):
    """With a choice of no tool, it streams as without tools."""
    text = json.dumps(GOOD)
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def say(input):
        yield text[:-2]
        gate.wait()
        yield text[-2:]

    chain = llm.with_structured_output(Joke, method="json_schema", tools=[look], tool_choice=choice)
    stream = chain.stream("Joke!")
    if not is_shown:
        gate.set()
    objects = [next(stream)]
    gate.set()
    objects += stream
    assert (len(objects) > 1) == is_shown
    assert objects[-1] == Joke(**GOOD)


def test_an_object_may_be_written_as_a_call_beside_tools(scripted, llm):
    """As without tools. An agent told the model again and again that there is no tool of that name."""
    call = f"It is: <tool_call>{json.dumps({'name': 'Joke', 'arguments': GOOD})}</tool_call>"
    asked = scripted(*[call] * 4)
    chain = llm.with_structured_output(Joke, method="json_schema", tools=[look])
    assert chain.invoke("Joke!") == list(chain.stream("Joke!"))[-1] == Joke(**GOOD)
    raw = llm.with_structured_output(Joke, method="json_schema", tools=[look], include_raw=True)
    assert raw.invoke("Joke!")["raw"].text == call
    agent = create_agent(llm, [look], response_format=ProviderStrategy(Joke))
    assert agent.invoke({"messages": [("user", "Joke!")]})["structured_response"] == Joke(**GOOD)
    assert len(asked.inputs) == 4


@pytest.mark.parametrize("method", ["json_mode", "json_schema"])
def test_an_object_is_no_call_of_the_tool_that_must_be_called(scripted, llm, method):
    """Not even of one whose arguments it does not have: the model is asked for the call."""
    call = '<tool_call>{"name": "look", "arguments": {"topic": "why"}}</tool_call>'
    asked = scripted(written(method, GOOD), call)
    chain = llm.with_structured_output(
        Joke, method=method, include_raw=True, tools=[look], tool_choice="look"
    )
    assert [one["args"] for one in chain.invoke("Joke!")["raw"].tool_calls] == [{"topic": "why"}]
    assert len(asked.inputs) == 2


def test_no_other_tool_can_be_called_where_the_schema_is_one(llm):
    """The error names the methods that accept tools."""
    with pytest.raises(ConfigurationError, match=r"tools.*'json_schema' or 'json_mode'"):
        llm.with_structured_output(Joke, tools=[look])


@pytest.mark.parametrize("method", [None, 5, b"json_mode", [], {}])
def test_a_method_that_is_no_text_is_refused(llm, method):
    """Like a wrong name, with the methods there are."""
    with pytest.raises(ConfigurationError, match=r"is not a method of structured output; .*json_mode"):
        llm.with_structured_output(Joke, method=method)


@pytest.mark.parametrize("parameters", [5, "object", ["setup"], ("setup",)])
def test_parameters_that_are_no_schema_are_refused(llm, parameters):
    """In OpenAI's form of a function."""
    with pytest.raises(ConfigurationError, match="must be a JSON schema"):
        llm.with_structured_output({"name": "Joke", "description": "A joke.", "parameters": parameters})


class Tree(BaseModel):
    """A tree."""

    name: str
    branches: list["Tree"] = []


class Wood(BaseModel):
    """Trees."""

    trees: list[Tree]


@pytest.mark.parametrize("method", METHODS)
def test_a_class_that_refers_to_itself_is_shown_whole(scripted, llm, method):
    """With its `$defs`, which core's form of a tool would lose; at the root and below it."""
    tree = {"name": "oak", "branches": [{"name": "twig", "branches": []}]}
    answers = {"Tree": tree, "Wood": {"trees": [tree]}}
    asked = scripted(*(written(method, one).replace("Joke", name) for name, one in answers.items()))
    for schema, value in ((Tree, tree), (Wood, {"trees": [tree]})):
        answer = llm.with_structured_output(schema, method=method).invoke("Go!")
        assert answer == schema.model_validate(value)
    if method != "json_mode":
        assert all(one["prompt"].count('"#/$defs/Tree"') for one in asked.inputs)


@pytest.mark.parametrize("method", ["function_calling", "json_schema"])
def test_an_answer_that_cannot_be_checked_is_not_accepted(scripted, llm, method):
    """A number of 400 digits is too large for jsonschema, whose own error came after the paid run."""
    schema = {"title": "Half", "type": "object", "properties": {"n": {"type": "number", "multipleOf": 0.5}}}
    asked = scripted(f'{{"n": {10**400}}}', '{"n": 1.5}')
    assert llm.with_structured_output(schema, method=method).invoke("Go!") == {"n": 1.5}
    assert "this cannot be checked against the JSON schema" in asked.inputs[1]["prompt"]
