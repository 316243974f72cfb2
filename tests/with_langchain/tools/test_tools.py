"""LangChain tools outside of an agent: what they say, what they know of the graph around them."""

import subprocess
import textwrap

import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers import BaseTracer
from langchain_core.utils.function_calling import convert_to_openai_tool
from langgraph.store.memory import InMemoryStore
from scripted import make_toolkit

from langchain_rockai import GENERATE_IMAGE, ChatRockAI, RockAIToolkit
from langchain_rockai.tools import PROGRESS_EVENT
from rockai_transport import ConfigurationError, Prediction
from tests.support import warm


def by_name(toolkit):
    return {tool.name: tool for tool in toolkit.get_tools()}


def as_call(name, **arguments):
    return {"type": "tool_call", "id": "1", "name": name, "args": arguments}


def test_what_a_model_is_told(sandbox):
    """Names, arguments and an enum of the models; nothing of the machinery."""
    functions = {
        name: convert_to_openai_tool(tool)["function"]
        for name, tool in by_name(make_toolkit(sandbox)).items()
    }
    start = functions["start_prediction"]["parameters"]
    assert start["properties"]["model"]["enum"] == ["generate_image", "animate_image"]
    animate = functions["animate_image"]["parameters"]
    assert list(animate["properties"]) == [
        "image",
        "prompt",
        "max_frames",
        "guidance_scale",
        "num_inference_steps",
    ]
    assert all(len(function["description"]) <= 1024 for function in functions.values())


def test_a_wrong_argument_is_corrected_before_anything_is_sent(sandbox):
    """The message names the argument, its description, and the one that was meant."""
    tool = by_name(make_toolkit(sandbox))["animate_image"]
    message = tool.invoke(as_call("animate_image", image="statue.png", promt="talk", max_frames="some"))
    assert message.status == "error"
    for words in ("'prompt' is missing", "do you mean 'prompt'", "max_frames must be of type integer"):
        assert words in message.text
    assert not sandbox.requests


async def test_a_text_is_the_first_argument(sandbox):
    """As of any tool of LangChain; what is missing then is an answer, and no exception."""
    tools = by_name(make_toolkit(sandbox))
    assert "succeeded" in tools["generate_image"].invoke("a boat")
    assert "succeeded" in await tools["generate_image"].ainvoke("a boat")
    assert [made.input for made in sandbox.predictions] == [{"prompt": "a boat"}] * 2
    assert sandbox.predictions[0].id in tools["get_prediction"].invoke(sandbox.predictions[0].id)
    assert sandbox.predictions[1].id in tools["list_predictions"].invoke("")
    assert "'prompt' is missing" in tools["animate_image"].invoke("https://a/b.png")


def test_a_direct_call_answers_with_text(sandbox):
    """Without a tool call's id there is no message, and an error is text all the same."""
    tools = by_name(make_toolkit(sandbox))
    assert "succeeded" in tools["generate_image"].invoke({"prompt": "x"})
    assert "'prompt' is missing" in tools["generate_image"].invoke({})


def test_progress_reaches_callbacks_without_langgraph(sandbox):
    """As custom events, from sync and async calls."""
    heard = []

    class Listener(BaseCallbackHandler):
        def on_custom_event(self, name, data, **_):
            heard.append((name, data))

    tool = by_name(make_toolkit(sandbox))["generate_image"]
    tool.invoke({"prompt": "x"}, {"callbacks": [Listener()]})
    assert {name for name, _ in heard} == {PROGRESS_EVENT}
    assert heard[-1][1]["status"] == "succeeded"


async def test_progress_reaches_astream_events(sandbox):
    """As on_custom_event."""
    tool = by_name(make_toolkit(sandbox))["generate_image"]
    chain = RunnableLambda(lambda prompt: {"prompt": prompt}) | tool
    events = [
        event["data"]
        async for event in chain.astream_events("x", version="v2")
        if event["event"] == "on_custom_event"
    ]
    assert events[-1]["status"] == "succeeded"


def test_a_listener_that_fails_does_not_fail_the_tool(sandbox):
    """The prediction goes on, and is answered."""

    class Broken(BaseCallbackHandler):
        raise_error = True

        def on_custom_event(self, *_, **__):
            raise RuntimeError("a broken listener")

    tool = by_name(make_toolkit(sandbox))["generate_image"]
    assert "succeeded" in tool.invoke({"prompt": "x"}, {"callbacks": [Broken()]})


def test_rich_content_is_opt_in(sandbox):
    """A block for each file beside the text: an image as such, a video as a file."""
    tools = by_name(make_toolkit(sandbox, rich_content=True))
    image = tools["generate_image"].invoke(as_call("generate_image", prompt="x"))
    url = image.artifact.output[0]
    assert [block["type"] for block in image.content] == ["text", "image"]
    video = tools["animate_image"].invoke(as_call("animate_image", image=url, prompt="x", max_frames=2))
    assert video.content[1]["mime_type"] == "video/mp4"
    assert isinstance(video.artifact, Prediction)


@pytest.mark.parametrize("wrong", [None, "film", ["film"], 1])
def test_rich_content_is_true_or_false(wrong):
    """With our error, as in LlamaIndex."""
    with pytest.raises(ConfigurationError, match=r"^rich_content=.* must be True or False"):
        RockAIToolkit([], rich_content=wrong)


def test_an_agent_goes_on_behind_rich_content(sandbox):
    """The model takes no image, and is told of it in words."""
    model, asked = "my/hermes", []
    answers = iter(
        ['<tool_call>{"name": "generate_image", "arguments": {"prompt": "x"}}</tool_call>', "Done."]
    )

    @sandbox.model(model)
    def talk(input):
        asked.append(input["prompt"])
        return next(answers)

    llm = ChatRockAI(model=model, api_token=sandbox.api_token, base_url=sandbox.base_url)
    agent = create_agent(llm, make_toolkit(sandbox, rich_content=True).get_tools())
    *_, result, answer = agent.invoke({"messages": [("user", "Draw.")]})["messages"]
    assert answer.text == "Done."
    assert f"[image: {result.artifact.output[0]}]" in asked[1]


def test_the_developer_s_store_beats_the_process(sandbox):
    """Records are in the store that the toolkit was given, and a second toolkit reads its receipt."""
    store = InMemoryStore()
    by_name(make_toolkit(sandbox, store=store))["generate_image"].invoke({"prompt": "x"})
    (record,) = make_toolkit(sandbox, store=store).receipt().started
    assert record.status == "succeeded"
    assert store.search(("rockai", "predictions"))


def test_a_scope_of_the_developer_s_own(sandbox):
    """Limits hold for what the function names, whatever the thread."""
    toolkit = make_toolkit(sandbox, scope=lambda config: config["configurable"]["user"], max_starts=1)
    tool = by_name(toolkit)["generate_image"]

    def draw(user, thread):
        return tool.invoke({"prompt": "x"}, {"configurable": {"user": user, "thread_id": thread}})

    assert "succeeded" in draw("ann", "1")
    assert "used all its 1 starts" in draw("ann", "2")
    assert "succeeded" in draw("bob", "2")


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize("scope", [lambda config: config["configurable"]["user"], lambda _: name_it(None)])
def test_a_scope_that_cannot_be_named_sends_nothing(sandbox, scope):
    """The developer's function fails, or returns a coroutine: an answer, like everything else."""
    tool = by_name(make_toolkit(sandbox, scope=scope))["generate_image"]
    message = tool.invoke(as_call("generate_image", prompt="x"))
    assert message.status == "error"
    assert "nothing was sent" in message.text
    assert not sandbox.requests


def test_langchain_core_alone_is_enough(sandbox):
    """A program that has no LangGraph makes an image; the tools do not ask for it."""
    program = textwrap.dedent(
        """
        import sys
        for name in ["langgraph", *sys.modules]:
            if name.startswith("langgraph"):
                sys.modules[name] = None  # as if it were not installed
            elif name.startswith(("langchain_rockai", "rockai_transport")):
                del sys.modules[name]
        from langchain_rockai.toolkit import RockAIToolkit
        from rockai_transport import GENERATE_IMAGE
        with_one = RockAIToolkit([GENERATE_IMAGE], sys.argv[1], sys.argv[2])
        print(with_one.get_tools()[0].invoke({"prompt": "x"}))
        with_one.close()
        """
    )
    command = [*warm.PYTHON, "-c", program, sandbox.api_token, sandbox.base_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "succeeded" in done.stdout, done.stderr


async def name_it(config):
    """A scope that nobody awaits; each coroutine would be a conversation with limits of its own."""
    return "x"


@pytest.mark.parametrize("scope", [5, "", name_it])
def test_a_scope_is_a_name_or_a_function(sandbox, scope):
    """Anything else is refused when the tools are made."""
    with pytest.raises(ConfigurationError, match="scope="):
        make_toolkit(sandbox, scope=scope)


def test_it_is_no_list_of_tools(sandbox):
    """Given as one, an agent would run without any; the error names the method that makes it."""
    with pytest.raises(ConfigurationError, match="get_tools"):
        list(make_toolkit(sandbox))


class Traces(BaseTracer):
    """Keeps the runs that a tracer is told of."""

    def __init__(self):
        super().__init__()
        self.runs_seen = []

    def _persist_run(self, run):
        self.runs_seen.append(run)


def test_the_trace_of_a_tool_call_carries_the_prediction_s_id(sandbox):
    """In the message that is its output, as text and as an object."""
    toolkit = RockAIToolkit([GENERATE_IMAGE], api_token=sandbox.api_token, base_url=sandbox.base_url)
    [tool] = [one for one in toolkit.get_tools() if one.name == "generate_image"]
    traces = Traces()
    call = {"name": "generate_image", "args": {"prompt": "x"}, "id": "c1", "type": "tool_call"}
    tool.invoke(call, {"callbacks": [traces]})
    message = traces.runs_seen[0].outputs["output"]
    assert message.artifact.id == sandbox.predictions[0].id
    assert sandbox.predictions[0].id in message.content
