"""What else an agent may meet with: people, limits, lost answers, a Context that is restored."""

import copy
import pickle

import pytest
from llama_index.core.agent.workflow import CodeActAgent, FunctionAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.workflow import Context, HumanResponseEvent
from llama_index_harness import WARNINGS, AgentHarness, function_agent
from scripted_llm import calling, jobs, make_spec, prediction_id

from llama_index_rockai import RockAIToolSpec
from llama_index_rockai.tools import ApprovalRequiredEvent
from rockai_sandbox import NEVER_ENDS
from rockai_transport import ConfigurationError, HostedModel, Prediction

pytestmark = [pytest.mark.filterwarnings(one) for one in WARNINGS]

ASK = "make a video of a talking porcelain statue"
ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text")


async def test_parallel_calls_share_the_limits(sandbox):
    """Of three videos asked for at once two start, and the third is refused in words."""

    def script(said):
        start = [("start_prediction", {"model": "endless", "input": {"prompt": str(n)}}) for n in range(3)]
        return "done" if said else start

    spec = make_spec(sandbox, ENDLESS)
    harness = AgentHarness(sandbox, "FunctionAgent", "scripted")
    harness.set_agent(script, spec)
    await harness.ask(ASK)
    assert len(jobs(sandbox)) == 2
    (refused,) = [output for output in harness.came if output.is_error]
    assert "2 are allowed at once" in refused.content
    for output in harness.came:
        if not output.is_error:
            await spec._toolset.async_client.predictions.cancel(output.raw_output.id)
    await spec.aclose()


@pytest.mark.parametrize(("word", "started"), [("yes", 1), ("no", 0)])
async def test_a_person_approves_before_the_start(sandbox, word, started):
    """The tool is run again after the answer, and starts once, or not at all."""

    def script(said):
        return said[-1] if said else [("generate_image", {"prompt": "x"})]

    handler = function_agent(script, make_spec(sandbox, approval=True).to_tool_list()).run(ASK)
    async for event in handler.stream_events():
        if isinstance(event, ApprovalRequiredEvent):
            assert not jobs(sandbox)
            assert (event.model, event.input) == ("generate_image", {"prompt": "x"})
            handler.ctx.send_event(HumanResponseEvent(response=word, key=event.key))
    text = str(await handler)
    assert len(jobs(sandbox)) == started
    assert ("succeeded" in text) == bool(started)


def test_without_a_context_nobody_can_approve(sandbox):
    """So nothing is started."""
    (tool, *_) = make_spec(sandbox, approval=True).to_tool_list()
    output = tool.call(prompt="x")
    assert "could not be asked" in output.content
    assert not sandbox.requests


async def test_a_restored_context_starts_nothing_twice(sandbox):
    """The same tool call in a Context that was saved and restored gets what it had started."""
    spec = make_spec(sandbox)

    def script(said):
        return said[-1] if said else [("generate_image", {"prompt": "x"})]

    agent = function_agent(script, spec.to_tool_list())
    context = Context(agent)
    first = str(await agent.run(ASK, ctx=context))
    restored = Context.from_dict(agent, context.to_dict())
    second = str(await agent.run(ASK, ctx=restored))
    assert prediction_id(first) == prediction_id(second)
    assert len(jobs(sandbox)) == 1
    receipt = await spec.areceipt(store=restored)
    assert [record.status for record in receipt.started] == ["succeeded"]


async def test_repeated_tool_call_ids_are_new_calls(sandbox):
    """An LLM that gives every call the same id gets what it asks for, in each turn and for each question."""
    spec = make_spec(sandbox)
    order = [("generate_image", {"prompt": "same"})]
    llm = calling(lambda said: "done" if len(said) == 2 else order, ids="call")
    agent = function_agent(None, spec.to_tool_list(), llm)
    context = Context(agent)
    await agent.run(ASK, ctx=context)
    assert len(jobs(sandbox)) == 2
    llm = calling(lambda said: "done" if said else order, ids="call")
    agent = function_agent(None, spec.to_tool_list(), llm)
    await agent.run("another one", ctx=context)
    assert len(jobs(sandbox)) == 3


async def test_calls_without_an_id_are_new_calls_in_each_turn(sandbox):
    """The turn tells them apart."""
    spec = make_spec(sandbox)
    order = [("generate_image", {"prompt": "same"})]
    llm = calling(lambda said: "done" if len(said) == 2 else order, ids="")
    await function_agent(None, spec.to_tool_list(), llm).run(ASK)
    assert len(jobs(sandbox)) == 2


async def test_an_unknown_start_is_cleared_by_the_developer(sandbox):
    """A lost answer is told as unknown, is not started again, and `aresolve` gives it its id."""
    spec = make_spec(sandbox)
    sandbox.answer_next(502, "bad gateway", content_type="text/html", method="POST")

    def script(said):
        return said[-1] if said else [("generate_image", {"prompt": "x"})]

    agent = function_agent(script, spec.to_tool_list())
    context = Context(agent)
    assert "unknown whether this started" in str(await agent.run(ASK, ctx=context))
    (unknown,) = (await spec.areceipt(store=context)).unknown
    assert not jobs(sandbox)
    there = await spec._toolset.async_client.predictions.create(
        model="incomingflyingbrick/flux-1-schnell", input={"prompt": "x"}
    )
    resolved = await spec.aresolve(unknown.key, prediction_id=there.id, store=context)
    assert resolved.prediction_id == there.id
    restored = Context.from_dict(agent, context.to_dict())
    assert there.id in str(await agent.run(ASK, ctx=restored))
    assert len(jobs(sandbox)) == 1
    await spec.aclose()


def test_blocking_calls_work_without_an_agent(sandbox, tmp_path):
    """`tool.call` and `tool(...)` answer and save, outside of any Context."""
    tools = {tool.metadata.name: tool for tool in make_spec(sandbox, save_to=tmp_path).to_tool_list()}
    output = tools["generate_image"]("a statue")
    assert isinstance(output.raw_output, Prediction)
    assert "Saved as: " in output.content
    listed = tools["list_predictions"].call()
    assert output.raw_output.id in listed.content


@pytest.mark.parametrize("name", ["generate_image", "start_prediction", "get_prediction", "list_predictions"])
def test_what_an_llm_is_told_of_a_tool(sandbox, name):
    """A description within LlamaIndex's limit, and the arguments without the Context."""
    tools = {tool.metadata.name: tool for tool in make_spec(sandbox).to_tool_list()}
    function = tools[name].metadata.to_openai_tool()["function"]
    assert function["name"] == name
    assert "rockai_context" not in function["parameters"]["properties"]


async def test_an_agent_that_writes_code_calls_the_tools_as_functions(sandbox):
    """`CodeActAgent` describes each with its name and arguments, and its code calls `real_fn`."""
    tools = make_spec(sandbox).to_tool_list()
    functions = {tool.metadata.name: tool.real_fn for tool in tools}
    asked = []

    def reply(messages, **_):
        asked.append(messages[0].content)
        text = messages[-1].content if asked[1:] else "<execute>generate_image a statue</execute>"
        return ChatMessage(role="assistant", content=text)

    def execute(code: str) -> str:
        name, prompt = code.split(" ", 1)
        return functions[name](prompt=prompt)

    llm = MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)
    agent = CodeActAgent(execute, llm=llm, tools=tools)
    answer = str(await agent.run(ASK))
    assert "def generate_image(*, prompt: " in asked[0]
    assert "succeeded" in answer
    assert len(jobs(sandbox)) == 1


def test_a_misspelt_argument_names_the_nearest():
    """Also of those that only this toolkit has."""
    with pytest.raises(ConfigurationError, match="did you mean 'approval'"):
        RockAIToolSpec([], aproval=True)


@pytest.mark.parametrize("wrong", [None, "film", ["film"], 1])
@pytest.mark.parametrize("name", ["approval", "rich_content"])
def test_a_switch_is_true_or_false(name, wrong):
    """A list of names would have meant all tools, and None nobody."""
    with pytest.raises(ConfigurationError, match=f"^{name}=.* must be True or False"):
        RockAIToolSpec([], **{name: wrong})


async def test_rich_content_is_opt_in(sandbox):
    """With rich_content=True an image block stands beside the text."""
    tools = {tool.metadata.name: tool for tool in make_spec(sandbox, rich_content=True).to_tool_list()}
    output = tools["generate_image"].call(prompt="x")
    assert [block.block_type for block in output.blocks] == ["text", "image"]


@pytest.mark.parametrize(("ending", "kind"), [("mp3", "mp3"), ("wav", "wav")])
def test_audio_has_a_format_that_llms_know(sandbox, ending, kind):
    """Its ending, as core has it: ``mpeg`` and ``x-wav`` are words of media types, which OpenAI refuses."""

    @sandbox.model("you/singer")
    def sing(input):
        return f"https://files.example/song.{ending}"

    singer = HostedModel("sing", "you/singer", "Sings.")
    (tool,) = make_spec(sandbox, singer, rich_content=True).to_tool_list(["sing"])
    _, audio = tool.call(prompt="x").blocks
    assert (audio.block_type, audio.format) == ("audio", kind)


def test_a_narrower_list_of_tools(sandbox):
    """Core's arguments are followed or refused, so that nobody hands an agent more than was meant."""
    spec = make_spec(sandbox)
    some = spec.to_tool_list(["list_predictions", ("generate_image", "ignored")])
    assert [tool.metadata.name for tool in some] == ["list_predictions", "generate_image"]
    assert spec.to_tool_list("list_predictions") == some[:1]  # a text is one name, not its letters
    with pytest.raises(ConfigurationError, match="did you mean 'list_predictions'"):
        spec.to_tool_list(["list_prediction"])
    with pytest.raises(ConfigurationError, match="HostedModel"):
        spec.to_tool_list(None, {"generate_image": some[0].metadata})


def test_surplus_arguments_start_nothing(sandbox):
    """What has no place in a tool's arguments is told, not left out."""
    (tool, *_, listing) = make_spec(sandbox).to_tool_list()
    surplus, twice = tool.call("a lighthouse", "in oil"), tool.call("a lighthouse", prompt="in oil")
    assert "2 arguments were given; it takes prompt" in surplus.content
    assert "1 argument was given; it takes none" in listing.call("all").content
    assert "'prompt' was given twice" in twice.content
    assert surplus.is_error
    assert twice.is_error
    assert not sandbox.requests


@pytest.mark.parametrize("scope", [5, ""])
def test_a_scope_is_a_name_or_a_function(sandbox, scope):
    """Anything else is refused when the tools are made."""
    with pytest.raises(ConfigurationError, match="scope="):
        make_spec(sandbox, scope=scope)


def test_it_is_no_list_of_tools(sandbox):
    """Given as one, an agent would run without any; the error names the method that makes it."""
    spec = make_spec(sandbox)
    for tools in (spec, [spec]):
        with pytest.raises(ConfigurationError, match="to_tool_list"):
            FunctionAgent(tools=tools, llm=calling(lambda said: ""))


def test_a_tool_that_is_pickled(sandbox):
    """It says what to do instead, as its toolkit does; a copy in this process is one more of the same."""
    (tool, *_) = make_spec(sandbox, max_starts=1).to_tool_list()
    with pytest.raises(TypeError, match="make the toolkit in each process"):
        pickle.dumps(tool)
    assert "succeeded" in copy.deepcopy(tool).call(prompt="x").content
    assert "used all its 1 starts" in tool.call(prompt="another").content
