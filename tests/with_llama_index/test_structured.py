"""Structured output on models that write text only."""

import json
from collections.abc import Callable
from enum import Enum

import pytest
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMChatStartEvent
from llama_index.core.llms import ChatMessage
from llama_index.core.program import FunctionCallingProgram
from llama_index.core.tools import FunctionTool
from llama_index.core.types import PydanticProgramMode
from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model
from pydantic.v1 import BaseModel as V1Model
from with_llama_index.conformance_kit import WHO, Person

from rockai_transport import ConfigurationError, InvalidResponseError

ADA = Person(name="Ada", age=36)
RIGHT = '<tool_call>{"name": "Person", "arguments": {"name": "Ada", "age": 36}}</tool_call>'
WRONG = '<tool_call>{"name": "Person", "arguments": {"name": "Ada"}}</tool_call>'


@pytest.mark.parametrize("is_function_calling_model", [True, False])
def test_it_works_whatever_agents_are_told(backend, is_function_calling_model):
    """Core would choose a prompt with broken JSON for the latter (output_parsers/pydantic.py:65)."""
    backend.says(RIGHT)
    llm = backend.llm(is_function_calling_model=is_function_calling_model)
    assert llm.structured_predict(Person, WHO, who="Ada") == ADA
    assert "You must call the function Person now" in backend.inputs[0]["system_prompt"]


class TestRepair:
    async def test_an_object_that_does_not_fit_is_asked_for_once_more(self, backend):
        """The model is told what is wrong with it."""
        llm = backend.llm()
        backend.says_in_turn(WRONG, RIGHT)
        assert llm.structured_predict(Person, WHO, who="Ada") == ADA
        assert "age: Field required" in backend.inputs[1]["prompt"]
        backend.says_in_turn(WRONG, RIGHT)
        assert await llm.astructured_predict(Person, WHO, who="Ada") == ADA

    async def test_streams_do_so_too(self, backend):
        """Nothing comes out of the reply that was refused."""
        llm = backend.llm()
        backend.says_in_turn(WRONG, RIGHT)
        assert list(llm.stream_structured_predict(Person, WHO, who="Ada")) == [ADA]
        backend.says_in_turn(WRONG, RIGHT)
        stream = await llm.astream_structured_predict(Person, WHO, who="Ada")
        assert [part async for part in stream] == [ADA]
        assert backend.runs == 4

    def test_then_it_is_an_error(self, backend):
        """There are two runs at most, whatever was wrong with each."""
        backend.says_in_turn("It is Ada.", WRONG)
        with pytest.raises(InvalidResponseError, match="age: Field required") as caught:
            backend.llm().structured_predict(Person, WHO, who="Ada")
        assert (caught.value.body, backend.runs) == (WRONG, 2)


class TestAsText:
    def test_the_reply_is_the_json(self, backend):
        """With the schema in the prompt, in braces as JSON has them."""
        backend.says('Sure: {"name": "Ada", ', '"age": 36}')
        llm = backend.llm(pydantic_program_mode=PydanticProgramMode.LLM)
        assert llm.structured_predict(Person, WHO, who="Ada") == ADA
        first, last = llm.stream_structured_predict(Person, WHO, who="Ada")
        assert (first.model_dump(), last) == ({"name": "Ada", "age": None}, ADA)
        system = backend.inputs[0]["system_prompt"]
        assert json.dumps(Person.model_json_schema()) in system
        assert "{{" not in system

    def test_it_is_repaired_likewise(self, backend):
        """No JSON at all, and then some."""
        backend.says_in_turn("It is Ada.", '{"name": "Ada", "age": 36}')
        llm = backend.llm(pydantic_program_mode=PydanticProgramMode.LLM)
        assert llm.structured_predict(Person, WHO, who="Ada") == ADA

    def test_chat_takes_a_class_itself(self, backend):
        """The text of its answer then is JSON that fits."""
        backend.says_in_turn("It is Ada.", '{"name": "Ada", "age": 36}')
        response = backend.llm().chat([ChatMessage("Who is Ada?")], output_cls=Person)
        assert Person.model_validate_json(response.message.content) == ADA

    async def test_chat_takes_a_class_beside_tools(self, backend):
        """A call is accepted as it is; an answer without one must fit, and the model is shown what."""
        call = '<tool_call>{"name": "look", "arguments": {"topic": "Ada"}}</tool_call>'
        backend.says_in_turn(call, call, "It is Ada.", '{"name": "Ada", "age": 36}')
        llm, asked = backend.llm(), [ChatMessage("Who is Ada?")]
        given = {"tools": [FunctionTool.from_defaults(look)], "output_cls": Person}
        for answer in (llm.chat(asked, **given), await llm.achat(asked, **given)):
            assert [one.tool_kwargs for one in llm.get_tool_calls_from_response(answer)] == [{"topic": "Ada"}]
        *_, last = llm.stream_chat(asked, **given)
        assert Person.model_validate_json(last.message.content) == ADA
        assert json.dumps(Person.model_json_schema()) in backend.inputs[0]["system_prompt"]
        assert len(backend.inputs) == 4

    @pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.LLM])
    def test_an_object_is_not_asked_for_with_tools(self, backend, mode):
        """They were left out, or their calls refused after they were paid for."""
        llm, tools = backend.llm(pydantic_program_mode=mode), [FunctionTool.from_defaults(look)]
        with pytest.raises(ConfigurationError, match="tools= is not for a structured call"):
            llm.structured_predict(Person, WHO, llm_kwargs={"tools": tools}, who="Ada")
        with pytest.raises(ConfigurationError, match="tools= is not for a structured call"):
            llm.as_structured_llm(Person).chat([ChatMessage("Who is Ada?")], tools=tools)
        assert not backend.inputs


def look(topic: str) -> str:
    """Look a topic up."""
    return topic


class Branch(BaseModel):
    """A branch."""

    length: int
    branches: list["Branch"] = []


class TestTheToolThatTheClassIs:
    def test_it_says_what_the_class_says(self, backend):
        """Core's own tool for a class without a docstring is described by a function of core's."""
        backend.says('{"words": "sea"}')
        made = create_model("Words", words=(str, ...))
        backend.llm().structured_predict(made, WHO, who="Ada")
        assert '{"name": "Words", "description": "", "parameters"' in backend.inputs[0]["system_prompt"]

    def test_a_class_that_refers_to_itself_is_shown(self, backend):
        """Core leaves an empty schema of it (tools/types.py:43), in agents' tools too."""
        tree = Branch(length=1, branches=[Branch(length=2)])
        backend.says(tree.model_dump_json())
        llm = backend.llm()
        assert llm.structured_predict(Branch, WHO, who="Ada") == tree
        tool = FunctionTool.from_defaults(print, name="grow", fn_schema=Branch)
        backend.says('<tool_call>{"name": "grow", "arguments": {"length": "1"}}</tool_call>')
        response = llm.chat_with_tools([tool], "Grow.")
        assert llm.get_tool_calls_from_response(response)[0].tool_kwargs == {"length": 1}
        for given in backend.inputs:
            assert (
                '"parameters": {"description": "A branch.", "properties": {"length"' in given["system_prompt"]
            )
            assert '"$ref": "#/$defs/Branch"' in given["system_prompt"]


def test_another_package_s_way_is_refused(backend):
    """It knows that package's own LLMs alone."""
    llm = backend.llm(pydantic_program_mode=PydanticProgramMode.GUIDANCE)
    with pytest.raises(ConfigurationError, match=r"mode='guidance' .* there are default, function and llm"):
        llm.structured_predict(Person, WHO, who="Ada")
    assert backend.runs == 0


def test_core_s_own_program_works(backend):
    """For those who make it themselves; its streaming too."""
    backend.says(RIGHT)
    program = FunctionCallingProgram.from_defaults(Person, "Who is {who}?", llm=backend.llm())
    assert program(who="Ada") == ADA
    assert list(program.stream_call(who="Ada"))[-1] == ADA


def test_events_can_be_written_as_json(backend, events):
    """The class is not in them: a tracing exporter could not write it."""
    backend.says(RIGHT)
    backend.llm().structured_predict(Person, WHO, who="Ada")
    start, end = events.of(LLMChatStartEvent, LLMChatEndEvent)
    assert '"tool_choice":"Person"' in start.model_dump_json()
    assert '"tool_name":"Person"' in end.model_dump_json()


class Keywords(BaseModel):
    """Words."""

    model_config = ConfigDict(populate_by_name=True)

    names: list[str] = Field(default=[], alias="Names")
    limit: int = 5


@pytest.mark.parametrize("mode", [PydanticProgramMode.DEFAULT, PydanticProgramMode.LLM])
class TestReading:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ({"Names": ["sea"]}, Keywords(names=["sea"])),
            ({"Keywords": {"Names": ["sea"]}}, Keywords(names=["sea"])),
            ({"properties": {"Names": '["sea"]', "limit": "3"}}, Keywords(names=["sea"], limit=3)),
            ({"Names": ["sea"], "limit": None}, Keywords(names=["sea"])),
        ],
    )
    def test_a_class_is_read_as_it_is_meant(self, backend, mode, value, expected):
        """Out of one level too many, with texts as the declared types, at the first run."""
        backend.says(json.dumps(value))
        llm = backend.llm(pydantic_program_mode=mode)
        assert llm.structured_predict(Keywords, WHO, who="Ada") == expected
        assert list(llm.stream_structured_predict(Keywords, WHO, who="Ada")) == [expected]
        assert backend.runs == 2

    def test_defaults_are_no_answer(self, backend, mode):
        """An object none of whose keys the class knows is asked for again."""
        backend.says_in_turn('{"words": 1}', '{"limit": 1}')
        llm = backend.llm(pydantic_program_mode=mode)
        assert llm.structured_predict(Keywords, WHO, who="Ada") == Keywords(limit=1)

    def test_what_refuses_an_answer_only_later_is_our_error(self, backend, mode):
        """The class is asked once more behind the check."""
        times = []

        class Once(BaseModel):
            n: int

            def model_post_init(self, context, /):
                times.append(self.n)
                if len(times) > 1:
                    raise ValueError("not again")

        backend.says('{"n": 1}')
        llm = backend.llm(pydantic_program_mode=mode)
        with pytest.raises(InvalidResponseError, match="not again"):
            llm.structured_predict(Once, WHO, who="Ada")


class Color(Enum):
    RED = "red"


class Numbers(RootModel[list[int]]):
    """Some numbers."""


class OldKeywords(V1Model):
    """A class of pydantic's v1."""

    words: list[str]


async def test_a_class_of_pydantic_s_v1_is_filled_in(backend):
    """Only core's `StructuredLLM` accepts none."""
    call, expected = '{"name": "OldKeywords", "arguments": {"words": ["sea"]}}', OldKeywords(words=["sea"])
    backend.says_in_turn(call, call, call, '{"words": ["sea"]}')
    llm = backend.llm()
    assert llm.structured_predict(OldKeywords, WHO, who="Ada") == expected
    assert await llm.astructured_predict(OldKeywords, WHO, who="Ada") == expected
    assert list(llm.stream_structured_predict(OldKeywords, WHO, who="Ada"))[-1] == expected
    assert llm.chat([ChatMessage("Hi")], output_cls=OldKeywords).message.content == '{"words": ["sea"]}'
    with pytest.raises(ConfigurationError, match="must be a class of pydantic 2"):
        llm.as_structured_llm(OldKeywords)


class WithCode(BaseModel):
    """No JSON can hold it."""

    code: Callable[[int], int]


async def test_a_class_that_no_schema_describes_is_refused(backend):
    """Before anything is sent, with our error."""
    llm = backend.llm()
    for ask in (llm.structured_predict, llm.stream_structured_predict):
        with pytest.raises(ConfigurationError, match=r"output_cls cannot be used as one\. Cannot generate"):
            list(ask(WithCode, WHO, who="Ada"))
    with pytest.raises(ConfigurationError, match="cannot be used as one"):
        llm.chat([ChatMessage("Hi")], output_cls=WithCode)
    assert backend.runs == 0


@pytest.mark.parametrize(
    "kind", [Color, Numbers, Keywords | None, Keywords | Color, {"type": "array"}], ids=str
)
async def test_what_is_no_object_is_refused(backend, kind):
    """Before anything is sent."""
    llm = backend.llm()
    for ask in (llm.structured_predict, llm.stream_structured_predict):
        with pytest.raises(ConfigurationError, match="must be a pydantic class with fields"):
            list(ask(kind, WHO, who="Ada"))
    with pytest.raises(ConfigurationError, match="must be a pydantic class with fields"):
        await llm.astructured_predict(kind, WHO, who="Ada")
    with pytest.raises(ConfigurationError, match="must be a pydantic class with fields"):
        llm.as_structured_llm(kind)
    with pytest.raises(ConfigurationError, match="must be a pydantic class with fields"):
        llm.chat([ChatMessage("Hi")], output_cls=kind)
    with pytest.raises(ConfigurationError, match="prompt must be PromptTemplate"):
        llm.structured_predict(Keywords, "Who is Ada?")
    assert backend.runs == 0


def test_a_structured_llm_refuses_what_core_would_ignore(backend):
    """A parameter of the model goes with each call; a misspelled argument is named."""
    with pytest.raises(ConfigurationError, match="'temperature' is not an argument of as_structured_llm"):
        backend.llm().as_structured_llm(Person, temperature=0.5)
    with pytest.raises(ConfigurationError, match="did you mean 'system_prompt'"):
        backend.llm().as_structured_llm(Person, sytem_prompt="Be brief.")
    with pytest.raises(ConfigurationError, match="'llm' is not an argument of as_structured_llm"):
        backend.llm().as_structured_llm(Person, llm=backend.llm())
