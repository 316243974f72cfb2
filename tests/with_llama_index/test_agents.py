"""Core's agents on the sandbox, with a task that takes two tools, streamed."""

import json

import pytest
from llama_index.core.agent.workflow import (
    AgentStream,
    AgentWorkflow,
    FunctionAgent,
    ReActAgent,
    ToolCallResult,
)
from llama_index.core.memory import ChatMemoryBuffer

from llama_index_rockai import RockAI

# Core's agents, that is, and the workflows they stand on.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning"),
    pytest.mark.filterwarnings("ignore:is_running called:DeprecationWarning"),
]
MODELS = ["meta/llama-2-7b-chat", "meta/meta-llama-3-70b-instruct", "mistralai/mistral-7b-instruct-v0.1"]
TASK = "Get the weather in Paris, then multiply 6 by 7."
CALLS = [("get_weather", {"city": "Paris"}), ("multiply", {"a": 6, "b": 7})]


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


async def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is sunny in {city}."


TOOLS = [multiply, get_weather]


@pytest.fixture(params=MODELS)
def make_llm(sandbox, request):
    """The sandbox's own models, which read the instructions; nothing is scripted."""
    return lambda **settings: RockAI(
        model=request.param, api_token=sandbox.api_token, base_url=sandbox.base_url, **settings
    )


async def work(agent, task=TASK):
    """Run an agent: its calls, what it streamed, and its answer."""
    memory = ChatMemoryBuffer.from_defaults(token_limit=3000)  # core's default leaves a database open
    handler = agent.run(task, memory=memory)
    calls, streamed = [], []
    async for event in handler.stream_events():
        if isinstance(event, AgentStream):
            streamed.append(event.delta)
        elif isinstance(event, ToolCallResult):
            calls.append((event.tool_name, event.tool_kwargs))
    return calls, streamed, str(await handler)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_function_agent_uses_two_tools(make_llm, streaming):
    """One after another, and answers with what they said."""
    agent = FunctionAgent(tools=TOOLS, llm=make_llm(), streaming=streaming)
    calls, streamed, answer = await work(agent)
    assert calls == CALLS
    assert "It is sunny in Paris." in answer
    assert "42" in answer
    assert not streaming or "".join(streamed).endswith(answer)


async def test_a_react_agent_uses_two_tools(make_llm, sandbox):
    """It sends no stop sequence of its own: the LLM is given the one that its format needs."""
    calls, streamed, answer = await work(ReActAgent(tools=TOOLS, llm=make_llm(stop=["Observation:"])))
    assert calls == CALLS
    assert answer == "It is sunny in Paris.\n42"
    assert "Thought:" in "".join(streamed)
    assert [prediction.status for prediction in sandbox.predictions] == ["succeeded"] * 3


async def test_a_model_that_goes_on_by_itself_is_stopped(sandbox):
    """What it makes up behind «Observation:» never comes back."""
    replies = iter(
        [
            'Thought: I need a tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}\nObserv',
            "Thought: I can answer.\nAnswer: 42",
        ]
    )

    @sandbox.model(MODELS[0])
    def talk(input):
        yield next(replies)
        yield "ation: 41\nThought: I can answer.\nAnswer: 41"

    llm = RockAI(
        model=MODELS[0], api_token=sandbox.api_token, base_url=sandbox.base_url, stop=["Observation:"]
    )
    calls, streamed, _ = await work(ReActAgent(tools=TOOLS, llm=llm), "What is 6 times 7?")
    assert calls == [("multiply", {"a": 6, "b": 7})]
    assert "Observ" not in "".join(streamed[:2])


@pytest.mark.parametrize("settings", [{}, {"is_function_calling_model": False, "stop": ["Observation:"]}])
async def test_a_workflow_chooses_its_agent_by_metadata(make_llm, settings):
    """Function calling, or ReAct; both get there."""
    agent = AgentWorkflow.from_tools_or_functions(TOOLS, llm=make_llm(**settings))
    calls, _, answer = await work(agent)
    assert calls == CALLS
    assert "42" in answer


async def test_agents_hand_over_to_each_other(backend):
    """The tool for it is one like any other."""
    handoff = {"name": "handoff", "arguments": {"to_agent": "sums", "reason": "It is about numbers."}}
    multiplied = {"name": "multiply", "arguments": {"a": 6, "b": 7}}
    backend.says_in_turn(
        f"<tool_call>{json.dumps(handoff)}</tool_call>",
        f"<tool_call>{json.dumps(multiplied)}</tool_call>",
        "42",
    )
    weather = FunctionAgent(
        name="weather", description="Knows the weather.", tools=[get_weather], llm=backend.llm()
    )
    sums = FunctionAgent(
        name="sums", description="Multiplies.", tools=[multiply], llm=backend.llm(system_prompt="Be exact.")
    )
    workflow = AgentWorkflow(agents=[weather, sums], root_agent="weather")
    calls, _, answer = await work(workflow, "What is 6 times 7?")
    assert [name for name, _ in calls] == ["handoff", "multiply"]
    assert answer == "42"
    assert ["Be exact." in str(given) for given in backend.inputs] == [False, True, True]


async def test_a_broken_call_ends_with_what_was_said(sandbox):
    """The agent answers with the text; no tool is run with half its arguments."""

    @sandbox.model(MODELS[0])
    def talk(input):
        yield '<tool_call>{"name": "multiply", "arguments": {"a": 6, "b": }}</tool_call>'

    llm = RockAI(model=MODELS[0], api_token=sandbox.api_token, base_url=sandbox.base_url)
    calls, _, answer = await work(FunctionAgent(tools=TOOLS, llm=llm))
    assert calls == []
    assert "multiply" in answer


async def test_a_forced_first_call(make_llm):
    """``initial_tool_choice`` holds for the first message only."""
    agent = FunctionAgent(tools=TOOLS, llm=make_llm(), initial_tool_choice="get_weather")
    calls, _, _ = await work(agent, "Tell me of Paris.")
    assert calls[0][0] == "get_weather"
