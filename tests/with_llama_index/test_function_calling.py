"""Tools on models that have none: told in the prompt, read from the reply."""

import inspect
import json

import pytest
from llama_index.core.base.llms.types import ThinkingBlock, ToolCallBlock
from llama_index.core.instrumentation.events.llm import LLMChatStartEvent
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from with_llama_index.conformance_kit import TOOLS, add

from rockai_transport import ConfigurationError, InvalidResponseError

CALL = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>'
WITH_TOOLS = ("chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools")


async def last(result):
    """The last response of any of the four methods."""
    result = await result if inspect.isawaitable(result) else result
    if inspect.isasyncgen(result):
        return [response async for response in result][-1]
    return list(result)[-1] if inspect.isgenerator(result) else result


@pytest.mark.parametrize("way", WITH_TOOLS)
class TestRequired:
    async def test_a_missing_call_is_asked_for_once_more(self, backend, way):
        """The model is shown its answer; nothing of the first one comes out."""
        backend.says_in_turn("It is 5.", CALL)
        response = await last(getattr(backend.llm(), way)(TOOLS, "What is 2 + 3?", tool_required=True))
        assert [block.tool_kwargs for block in response.message.blocks] == [{"a": 2, "b": 3}]
        assert "You must call a function now" in backend.inputs[0]["system_prompt"]
        assert "It is 5." in backend.inputs[1]["prompt"]
        assert backend.runs == 2

    async def test_then_it_is_an_error(self, backend, way):
        """Which holds the answer; there are never more than two runs."""
        backend.says("It is 5.")
        with pytest.raises(InvalidResponseError) as caught:
            await last(getattr(backend.llm(), way)(TOOLS, "What is 2 + 3?", tool_required=True))
        assert (caught.value.body, caught.value.may_have_started, backend.runs) == ("It is 5.", True, 2)

    async def test_a_choice_by_name_counts_more(self, backend, way):
        """As FunctionAgent's ``initial_tool_choice`` gives it."""
        backend.says(CALL)
        await last(getattr(backend.llm(), way)(TOOLS, "Hello", tool_choice="add"))
        assert "You must call the function add now" in backend.inputs[0]["system_prompt"]
        backend.says("fine")
        await last(getattr(backend.llm(), way)(TOOLS, "Hello", tool_choice="none", tool_required=True))
        assert backend.inputs[1] == {"prompt": "Hello"}


class TestResponses:
    def test_calls_stand_in_both_places(self, backend):
        """As a block, and where structured streaming of core looks (program/utils.py:197)."""
        backend.says("Let me see.\n", CALL)
        message = backend.llm().chat_with_tools(TOOLS, "What is 2 + 3?").message
        assert message.content == "Let me see.\n"
        [block] = [block for block in message.blocks if isinstance(block, ToolCallBlock)]
        [legacy] = message.additional_kwargs["tool_calls"]
        assert legacy["id"] == block.tool_call_id
        assert legacy["function"] == {"name": "add", "arguments": json.dumps(block.tool_kwargs)}

    def test_text_streams_while_tools_are_bound(self, backend):
        """Only what begins like a call is held back."""
        backend.says("Let ", "me ", "see. ", CALL[:10], CALL[10:])
        deltas = [chunk.delta for chunk in backend.llm().stream_chat_with_tools(TOOLS, "Hello")]
        assert deltas == ["Let ", "me ", "see. ", "", ""]

    @pytest.mark.parametrize("parallel", [True, False])
    def test_each_call_of_many_is_converted_once(self, backend, parallel):
        """A model that repeats a call to its limit takes no minutes: later chunks hold the same objects."""
        backend.says(*[CALL] * 3)
        stream = backend.llm().stream_chat_with_tools(TOOLS, "Hello", allow_parallel_tool_calls=parallel)
        name = "tool_calls" if parallel else "invalid_tool_calls"
        found = [chunk.message for chunk in stream][1:]  # in the first, nothing is invalid
        for kept in ([one.blocks[0] for one in found], [one.additional_kwargs[name][0] for one in found]):
            assert len({id(one) for one in kept}) == 1
        assert len(found[-1].additional_kwargs[name]) == (3 if parallel else 2)

    def test_a_broken_call_is_text(self, backend):
        """Never an exception, and never run with half its arguments; what is wrong stands beside it."""
        broken = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": }}</tool_call>'
        backend.says(broken)
        llm = backend.llm()
        response = llm.chat_with_tools(TOOLS, "What is 2 + 3?")
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        [invalid] = response.message.additional_kwargs["invalid_tool_calls"]
        assert (invalid["name"], invalid["arguments"]) == ("add", '{"a": 2, "b": }')
        assert response.message.content == invalid["text"] == broken

    async def test_reasoning_is_a_block_of_its_own(self, backend):
        """First in the message; new pieces of it are in ``thinking_delta``, where agents look."""
        backend.says("<think>two and ", "three</think>", "It is 5.")
        response = backend.llm().chat([ChatMessage("What is 2 + 3?")])
        assert isinstance(response.message.blocks[0], ThinkingBlock)
        assert response.message.blocks[0].content == "two and three"
        assert response.message.content == "It is 5."
        chunks = [chunk async for chunk in await backend.llm().astream_chat([ChatMessage("What is 2 + 3?")])]
        thinking = [chunk.additional_kwargs.get("thinking_delta") for chunk in chunks]
        assert thinking == ["two and ", "three", None, None]
        assert [chunk.delta for chunk in chunks] == ["", "", "It is 5.", ""]
        completion = backend.llm().complete("What is 2 + 3?")
        assert (completion.text, completion.additional_kwargs) == ("It is 5.", {"thinking": "two and three"})

    async def test_reasoning_that_nothing_opened_is_a_block_too(self, backend):
        """The server's template opened it: until the tag that ends it comes, it is told as text."""
        backend.says("two and ", "three</think>\n", "It is 5.")
        llm = backend.llm()
        whole = llm.chat([ChatMessage("What is 2 + 3?")])
        chunks = [chunk async for chunk in await llm.astream_chat([ChatMessage("What is 2 + 3?")])]
        for message in (whole.message, chunks[-1].message):
            assert isinstance(message.blocks[0], ThinkingBlock)
            assert (message.blocks[0].content, message.content) == ("two and three", "It is 5.")
        assert "".join(chunk.delta for chunk in chunks) == "two and three</think>It is 5."

    def test_results_go_back_in_the_model_s_form(self, backend):
        """Call and result stand in the prompt as the instructions say; reasoning does not."""
        backend.says("<think>hm</think>", CALL)
        llm = backend.llm()
        asked = ChatMessage("What is 2 + 3?")
        called = llm.chat_with_tools(TOOLS, asked).message
        result = ChatMessage(
            "5", role="tool", additional_kwargs={"tool_call_id": called.blocks[-1].tool_call_id}
        )
        backend.says("It is 5.")
        llm.chat_with_tools(TOOLS, chat_history=[asked, called, result])
        prompt = backend.inputs[-1]["prompt"]
        assert CALL in prompt
        assert '<tool_response>{"name": "add", "content": "5"}</tool_response>' in prompt
        assert "hm" not in prompt


class TestArguments:
    def test_chat_takes_tools_itself(self, backend):
        """LlamaIndex's own, or function schemas as OpenAI has them."""
        backend.says(CALL)
        schema = {"name": "add", "parameters": {"type": "object", "properties": {"a": {}, "b": {}}}}
        for tool in (TOOLS[0], {"type": "function", "function": schema}, schema):
            message = backend.llm().chat([ChatMessage("What is 2 + 3?")], tools=[tool]).message
            assert message.blocks[-1].tool_name == "add"

    def test_events_hold_descriptions_of_tools(self, backend, events):
        """A tracing exporter writes JSON, which knows no tools."""
        backend.says(CALL)
        backend.llm().chat([ChatMessage("What is 2 + 3?")], tools=TOOLS)
        [start] = events.of(LLMChatStartEvent)
        assert '"name":"add"' in start.model_dump_json()

    def test_a_function_is_no_tool_yet(self, backend):
        """The error says how to make one of it."""
        with pytest.raises(ConfigurationError, match=r"FunctionTool\.from_defaults"):
            backend.llm().chat_with_tools([print], "Hello")

    async def test_tools_are_a_list(self, backend):
        """A tool alone, or one's description, is answered in words, whichever method takes it."""
        llm = backend.llm()
        for alone in (TOOLS[0], {"name": "add"}, 5):
            with pytest.raises(ConfigurationError, match="must be a list of tools"):
                llm.chat_with_tools(alone, "Hello")
            with pytest.raises(ConfigurationError, match="must be a list of tools"):
                await llm.astream_chat([ChatMessage("Hello")], tools=alone)
        assert backend.runs == 0

    def test_a_tool_without_a_name_is_an_error(self, backend):
        """It says what a tool looks like."""
        with pytest.raises(ConfigurationError, match='"type": "function"'):
            backend.llm().chat([ChatMessage("Hello")], tools=[{"description": "x"}])

    def test_types_that_are_only_texts(self, backend):
        """As with ``from __future__ import annotations``: core cannot resolve them; the error says so."""

        def order(dish: "ChatMessage") -> str:
            """Order it."""
            return str(dish)

        tool = FunctionTool.from_defaults(order)
        with pytest.raises(ConfigurationError, match=r"'order' cannot be described.*import annotations"):
            backend.llm().chat([ChatMessage("Hello")], tools=[tool])

    def test_a_name_is_told_as_it_is(self, backend):
        """Core looks the tool up by it; its own OpenAI form would change it (tools/types.py:72)."""
        tool = FunctionTool.from_defaults(add, name="add[int]")
        backend.says('<tool_call>{"name": "add[int]", "arguments": {"a": 1, "b": 1}}</tool_call>')
        assert str(backend.llm().predict_and_call([tool], "Add.")) == "2"


class TestPredictAndCall:
    @pytest.mark.parametrize("is_function_calling_model", [True, False])
    async def test_it_works_whatever_agents_are_told(self, backend, is_function_calling_model):
        """Core's own would make a ReAct agent with ``formatter=None`` and fail (llms/llm.py:814)."""
        backend.says(CALL)
        llm = backend.llm(is_function_calling_model=is_function_calling_model)
        assert str(llm.predict_and_call(TOOLS, "What is 2 + 3?")) == "5"
        assert str(await llm.apredict_and_call(TOOLS, "What is 2 + 3?")) == "5"

    def test_several_tools_are_run_where_allowed(self, backend):
        """Their results are joined as core joins them."""
        backend.calls(("add", {"a": 2, "b": 3}), ("greet", {"name": "Ada"}))
        result = backend.llm().predict_and_call(TOOLS, "Do both.", allow_parallel_tool_calls=True)
        assert str(result) == "5\n\nHello Ada"

    def test_an_answer_without_a_call(self, backend):
        """Is an error, or the response."""
        backend.says("No.")
        with pytest.raises(ValueError, match="tool call"):
            backend.llm().predict_and_call(TOOLS, "Hello")
        assert str(backend.llm().predict_and_call(TOOLS, "Hello", error_on_no_tool_call=False)) == "No."

    async def test_a_tool_that_there_is_not(self, backend):
        """Is a source that is an error, beside what the others gave."""
        backend.calls(("add", {"a": 2, "b": 3}), ("ad", {"a": 2}))
        llm = backend.llm()
        for result in (
            llm.predict_and_call(TOOLS, "Add.", allow_parallel_tool_calls=True),
            await llm.apredict_and_call(TOOLS, "Add.", allow_parallel_tool_calls=True),
        ):
            right, wrong = result.sources
            assert (right.content, right.is_error, wrong.is_error) == ("5", False, True)
            assert "did you mean 'add'" in wrong.content

    def test_a_tool_that_fails(self, backend):
        """Is a source that is an error, or raised."""
        backend.calls(("add", {"a": 2}))
        [source] = backend.llm().predict_and_call(TOOLS, "Add.").sources
        assert source.is_error
        with pytest.raises(ValueError, match="missing"):
            backend.llm().predict_and_call(TOOLS, "Add.", error_on_tool_error=True)
