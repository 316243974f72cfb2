"""The prompts of tutorials, in English and in Chinese, do on the sandbox what their readers expect."""

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from llama_index.core import Document, SummaryIndex
from pydantic import BaseModel

from langchain_rockai import ChatRockAI
from llama_index_rockai import RockAI

MODELS = ("meta/meta-llama-3-70b-instruct", "mistralai/mistral-7b-instruct-v0.1", "meta/llama-2-7b-chat")


class Weather(BaseModel):
    """The weather."""

    city: str
    temperature: int


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is 21 degrees in {city}."


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@pytest.fixture(params=MODELS)
def llm(request, sandbox):
    return ChatRockAI(model=request.param, base_url=sandbox.base_url, api_token=sandbox.api_token)


@pytest.mark.parametrize(
    ("question", "tool", "arguments"),
    [
        ("what is the weather in sf", get_weather, {"city": "sf"}),
        ("What is the weather in San Francisco?", get_weather, {"city": "San Francisco"}),
        ("北京的天气怎么样？", get_weather, {"city": "北京"}),
        ("上海今天天气如何", get_weather, {"city": "上海"}),
        ("What is 3 * 12?", multiply, {"a": 3, "b": 12}),
        ("3 乘以 12 是多少？", multiply, {"a": 3, "b": 12}),
    ],
)
def test_an_agent_calls_the_tool_with_the_right_arguments(llm, question, tool, arguments):
    """Once, and ends with its result."""
    state = create_agent(llm, tools=[get_weather, multiply]).invoke({"messages": [("user", question)]})
    calls = [call for message in state["messages"] for call in getattr(message, "tool_calls", ())]
    assert [(call["name"], call["args"]) for call in calls] == [(tool.__name__, arguments)]
    assert str(tool(**arguments)) in state["messages"][-1].text


@pytest.mark.parametrize("form", [Weather, ToolStrategy(Weather)], ids=["class", "tool strategy"])
def test_an_agent_with_a_response_format_ends(llm, form):
    """Where a call is demanded each time, the function that was not called yet is called."""
    agent = create_agent(llm, tools=[get_weather], response_format=form)
    state = agent.invoke({"messages": [("user", "What is the weather in Paris?")]}, {"recursion_limit": 12})
    assert state["structured_response"].city == "Paris"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("写一首关于大海的诗", "大海"),
        ("3 加 5 等于几？", "= 8"),
        ("12 除以 4 是多少", "= 3"),
        ("说：早上好", "早上好"),
        ("请说：早上好", "早上好"),
    ],
)
def test_chinese_prompts_work_as_the_english_ones_do(llm, prompt, said):
    """The poem's subject, sums, and what is to be said."""
    assert said in llm.invoke(prompt).text


@pytest.mark.filterwarnings("ignore:There is no current event loop:DeprecationWarning")  # core's counting
@pytest.mark.parametrize("mode", ["refine", "compact", "tree_summarize"])
def test_llama_index_s_response_modes_answer_from_the_documents(sandbox, mode):
    """Over several documents, each mode ends with the fact."""
    llm = RockAI(model=MODELS[0], base_url=sandbox.base_url, api_token=sandbox.api_token)
    texts = ["The lighthouse of Lindau was built in 1856.", "Bread is made of flour.", "Cats sleep a lot."]
    index = SummaryIndex.from_documents([Document(text=text) for text in texts])
    engine = index.as_query_engine(llm=llm, response_mode=mode)
    assert "1856" in str(engine.query("When was the lighthouse of Lindau built?"))
