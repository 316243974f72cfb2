"""What the model sees: the system prompt once, and a user's own formatter."""

import inspect

import pytest
from llama_index.core.base.llms.generic_utils import messages_to_prompt
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.chatml_utils import completion_to_prompt
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from with_llama_index.conformance_kit import WAYS, collect

from rockai_transport import ConfigurationError

LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"
MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
SYSTEM = "You are a heron."
CHAINED = ("predict", "apredict", "stream", "astream")


def now() -> str:
    """Tell the time."""
    return "noon"


def seen(backend):
    """All that the last run was given, as one text."""
    return "\n".join(str(value) for value in backend.inputs[-1].values())


async def chain(llm, way):
    result = getattr(llm, way)(PromptTemplate("Who is {who}?"), who="Ada")
    result = await result if inspect.isawaitable(result) else result
    if way == "astream":
        return "".join([token async for token in result])
    return "".join(result)


class TestSystemPrompt:
    @pytest.mark.parametrize("model", [LLAMA_2, LLAMA_3, MISTRAL])
    @pytest.mark.parametrize("way", WAYS)
    async def test_every_method_sends_it_once(self, backend, model, way):
        """Core sends it in none of the eight, and adds it in what is built on them."""
        backend.model = model
        backend.says("fine")
        await collect(backend.llm(system_prompt=SYSTEM), way)
        assert seen(backend).count(SYSTEM) == 1

    @pytest.mark.parametrize("is_chat_model", [True, False])
    @pytest.mark.parametrize("way", CHAINED)
    async def test_so_does_what_core_builds_on_them(self, backend, way, is_chat_model):
        """Predict and stream, for chat models and others."""
        backend.says("fine")
        llm = backend.llm(system_prompt=SYSTEM, is_chat_model=is_chat_model)
        assert await chain(llm, way) == "fine"
        assert seen(backend).count(SYSTEM) == 1
        assert seen(backend).count("Who is Ada?") == 1

    def test_a_chat_engine_sends_it_once_in_every_turn(self, backend):
        """Its own system prompt stands behind."""
        backend.says("fine")
        engine = SimpleChatEngine.from_defaults(
            llm=backend.llm(system_prompt=SYSTEM),
            system_prompt="Answer in verse.",
            memory=ChatMemoryBuffer.from_defaults(token_limit=2000),  # core's default leaves a database open
        )
        for question in ("Who are you?", "And who am I?"):
            engine.chat(question)
            assert backend.inputs[-1]["system_prompt"] == f"{SYSTEM}\n\nAnswer in verse."
            assert seen(backend).count(SYSTEM) == 1

    def test_a_conversation_that_begins_with_it_does_not_repeat_it(self, backend):
        """As one that was built by hand may."""
        backend.says("fine")
        backend.llm(system_prompt=SYSTEM).chat([ChatMessage(SYSTEM, role="system"), ChatMessage("Hello")])
        assert backend.inputs == [{"prompt": "Hello", "system_prompt": SYSTEM}]

    def test_a_call_can_have_another_one(self, backend):
        """It replaces the constructor's."""
        backend.says("fine")
        llm = backend.llm(system_prompt=SYSTEM)
        llm.complete("Hello", system_prompt="You are a crane.")
        llm.chat([ChatMessage("Hello")], system_prompt="You are a crane.")
        assert backend.inputs == [{"prompt": "Hello", "system_prompt": "You are a crane."}] * 2

    @pytest.mark.parametrize(("given", "sent"), [(None, {"system_prompt": SYSTEM}), ("", {})])
    def test_none_is_not_given_and_an_empty_one_is_none(self, backend, given, sent):
        """As every setting of a call; with an empty text a call takes off the constructor's."""
        llm = backend.llm(system_prompt=SYSTEM)
        assert llm.preview("Hello", system_prompt=given)["input"] == {"prompt": "Hello", **sent}
        chat = llm.preview([ChatMessage("Hello")], system_prompt=given)
        assert chat["input"] == {"prompt": "Hello", **sent}


class TestOwnFormatters:
    def test_messages_to_prompt_gets_everything(self, backend):
        """System prompt and tool instructions first; its result is the whole prompt."""
        backend.model = MISTRAL
        backend.says("fine")
        given = []

        def render(messages):
            given.extend(messages)
            return "|".join(f"{message.role.value}={message.content}" for message in messages)

        llm = backend.llm(system_prompt=SYSTEM, messages_to_prompt=render)
        llm.chat_with_tools([FunctionTool.from_defaults(now)], "What time is it?")
        assert [message.role.value for message in given] == ["system", "user"]
        assert given[0].content.startswith(f"{SYSTEM}\n\nYou can call these functions.")
        assert '"name": "now"' in given[0].content
        [sent] = backend.inputs
        assert sent["prompt_template"] == "{prompt}"
        assert sent["prompt"] == f"system={given[0].content}|user=What time is it?"

    def test_it_is_told_calls_and_results_as_the_model_is(self, backend):
        """It knows texts only, so they are written as the instructions say."""
        backend.model = MISTRAL
        llm = backend.llm(messages_to_prompt=lambda messages: "|".join(str(m) for m in messages))
        backend.calls(("now", {}))
        asked = ChatMessage("What time is it?")
        called = llm.chat_with_tools([FunctionTool.from_defaults(now)], asked).message
        result = ChatMessage(
            "noon", role="tool", additional_kwargs={"tool_call_id": called.blocks[-1].tool_call_id}
        )
        backend.says("fine")
        llm.chat([asked, called, result])
        assert backend.inputs[-1]["prompt"] == (
            'user: What time is it?|assistant: <tool_call>{"name": "now", "arguments": {}}</tool_call>|'
            'tool: <tool_response>{"name": "now", "content": "noon"}</tool_response>'
        )

    def test_completion_to_prompt_is_the_whole_prompt(self, backend):
        """The system prompt stands before it where the model has no key for it."""
        backend.model = MISTRAL
        backend.says("fine")
        llm = backend.llm(system_prompt=SYSTEM, completion_to_prompt=lambda prompt: f"<<{prompt}>>")
        llm.complete("Hello")
        llm.complete("<<Hello>>", formatted=True)
        assert backend.inputs == [{"prompt": f"{SYSTEM}\n\n<<Hello>>", "prompt_template": "{prompt}"}] * 2

    async def test_core_s_own_completion_formatter_can_be_given(self, backend):
        """As core's documentation does; predict of a model that is no chat model uses it once."""
        backend.model = MISTRAL
        backend.says("fine")
        llm = backend.llm(completion_to_prompt=completion_to_prompt, is_chat_model=False)
        await chain(llm, "apredict")
        assert backend.inputs == [
            {"prompt": completion_to_prompt("Who is Ada?"), "prompt_template": "{prompt}"}
        ]

    @pytest.mark.parametrize("name", ["messages_to_prompt", "completion_to_prompt"])
    def test_a_model_that_formats_in_any_case_refuses_both(self, backend, name):
        """Its server would put a second template around."""
        llm = backend.llm(**{name: lambda _: "x"})
        with pytest.raises(ConfigurationError, match="prompt_template"):
            llm.chat([ChatMessage("Hello")]) if name[0] == "m" else llm.complete("Hello")
        assert backend.runs == 0

    @pytest.mark.parametrize("name", ["messages_to_prompt", "completion_to_prompt"])
    def test_a_formatter_that_returns_nothing_is_refused(self, backend, name):
        """Its result would be paid for, beside a system prompt as the word None."""
        llm = backend.llm(model=LLAMA_3, system_prompt=SYSTEM, **{name: lambda given: None})
        ask = llm.chat if name.startswith("messages") else llm.complete
        with pytest.raises(ConfigurationError, match="must return a text, not NoneType"):
            ask([ChatMessage("Hello")] if name.startswith("messages") else "Hello")
        assert backend.runs == 0

    def test_core_s_defaults_are_not_given(self, backend):
        """They are told by identity: core fills them in where nothing was given."""
        backend.says("fine")
        backend.llm(messages_to_prompt=messages_to_prompt).chat([ChatMessage("Hello")])
        backend.llm(messages_to_prompt=None).chat([ChatMessage("Hello")])
        assert backend.inputs == [{"prompt": "Hello"}] * 2
