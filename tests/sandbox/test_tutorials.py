"""The prompts of tutorials, in English and in Chinese, do on the sandbox what their readers expect."""

import asyncio

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from llama_index.core import Document, QueryBundle, SummaryIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent
from llama_index.core.program import LLMTextCompletionProgram
from llama_index.core.question_gen import LLMQuestionGenerator
from llama_index.core.selectors import (
    LLMMultiSelector,
    LLMSingleSelector,
    PydanticMultiSelector,
    PydanticSingleSelector,
)
from llama_index.core.tools import ToolMetadata
from pydantic import BaseModel

from langchain_rockai import ChatRockAI
from llama_index_rockai import RockAI

MODELS = ("meta/meta-llama-3-70b-instruct", "mistralai/mistral-7b-instruct-v0.1", "meta/llama-2-7b-chat")


class Weather(BaseModel):
    """The weather."""

    city: str
    temperature: int


class Invoice(BaseModel):
    """An invoice."""

    invoice_id: str
    date: str
    total: float


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is 21 degrees in {city}."


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@pytest.fixture(params=MODELS)
def llm(request, sandbox):
    return ChatRockAI(model=request.param, base_url=sandbox.base_url, api_token=sandbox.api_token)


@pytest.fixture(params=MODELS)
def completing(request, sandbox):
    """A model of LlamaIndex, and the event loop that its core makes and leaves open where there is none."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield RockAI(model=request.param, base_url=sandbox.base_url, api_token=sandbox.api_token)
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.parametrize(
    ("question", "tool", "arguments"),
    [
        ("what is the weather in sf", get_weather, {"city": "sf"}),
        ("What is the weather in San Francisco?", get_weather, {"city": "San Francisco"}),
        ("北京的天气怎么样？", get_weather, {"city": "北京"}),
        ("上海今天天气如何", get_weather, {"city": "上海"}),
        ("What is 3 * 12?", multiply, {"a": 3, "b": 12}),
        ("3 乘以 12 是多少？", multiply, {"a": 3, "b": 12}),
        ("What's 5 times forty two", multiply, {"a": 5, "b": 42}),
        ("今天北京天气怎么样", get_weather, {"city": "北京"}),
        ("纽约明天会下雨吗？", get_weather, {"city": "纽约"}),
        ("How hot is it in Los Angeles, California?", get_weather, {"city": "Los Angeles, California"}),
    ],
)
def test_an_agent_calls_the_tool_with_the_right_arguments(llm, question, tool, arguments):
    """Once, and ends with its result."""
    state = create_agent(llm, tools=[get_weather, multiply]).invoke({"messages": [("user", question)]})
    calls = [call for message in state["messages"] for call in getattr(message, "tool_calls", ())]
    assert [(call["name"], call["args"]) for call in calls] == [(tool.__name__, arguments)]
    assert str(tool(**arguments)) in state["messages"][-1].text


@pytest.mark.parametrize(
    ("question", "calls"),
    [
        ("What is the weather in Paris, London and Rome?", ["Paris", "London", "Rome"]),
        ("波士顿和东京的天气怎么样？", ["波士顿", "东京"]),
        ("What is the weather outside?", [None, "Florida"]),
        ("外面天气怎么样？", [None, "Florida"]),
        ("What is (121 + 2) * 5?", [(121, 2), (123, 5)]),
        ("3 * 12 是多少？另外，11 + 49 是多少？", [(3, 12), (11, 49)]),
        ("Add 3 and 4. Multiply the output by 2.", [(3, 4), (7, 2)]),
    ],
)
def test_an_agent_makes_one_call_for_each_step(llm, question, calls):
    """Each place, each operation of a sum, inner ones first; where no place is named, it is looked up."""

    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    def get_user_location() -> str:
        """Get the place where the user is."""
        return "Florida"

    agent = create_agent(llm, tools=[get_weather, multiply, add, get_user_location])
    messages = agent.invoke({"messages": [("user", question)]})["messages"]
    made = [call["args"] for message in messages for call in getattr(message, "tool_calls", ())]
    shapes = [given.get("city") if len(given) < 2 else tuple(given.values()) for given in made]
    assert shapes == calls


@pytest.mark.parametrize(
    ("question", "tool", "arguments"),
    [
        ("Calculate (25 + 3) * 4", "calculate", {"expression": "(25 + 3) * 4"}),
        ("计算 25 * 4", "calculate", {"expression": "25 * 4"}),
        ("搜索人工智能新闻", "search", {"query": "人工智能新闻"}),
        ("Who won the Super Bowl?", "search", {"query": "Who won the Super Bowl?"}),
        ("Read email 12345", "read_email", {"email_id": "12345"}),
    ],
)
def test_an_argument_is_what_its_name_says(llm, question, tool, arguments):
    """A sum for an expression, what is to be found for a query, digits for an id."""

    def calculate(expression: str) -> str:
        """Evaluate a mathematical expression."""

    def search(query: str) -> str:
        """Search for information."""

    def read_email(email_id: str) -> str:
        """Read an email by its id."""

    calls = llm.bind_tools([calculate, search, read_email]).invoke(question).tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [(tool, arguments)]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Invoice INV-1234, date 2024-05-01, total 1350.50", ("INV-1234", "2024-05-01", 1350.5)),
        ("发票号 INV-1234，日期 2024-05-01，总计 1350.50", ("INV-1234", "2024-05-01", 1350.5)),
    ],
)
def test_numbers_of_ids_and_dates_are_no_amounts(llm, text, values):
    """An invoice's id, date and total each take their own."""
    assert tuple(llm.with_structured_output(Invoice).invoke(text).model_dump().values()) == values


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
        ("写一首关于春天的俳句", "春天"),
        (
            "根据以下上下文回答问题：\n熊吃蜂蜜。灯塔建于1856年。\n\n问题：灯塔什么时候建的？",
            "灯塔建于1856年。",
        ),
        ("总结以下内容：熊喜欢蜂蜜。它们冬天睡觉。", "熊喜欢蜂蜜。"),
        ("用 Python 写一个名为 fib 的函数", "def fib"),
        ("你好！我叫小明", "小明你好"),
    ],
)
def test_chinese_prompts_work_as_the_english_ones_do(llm, prompt, said):
    """The poem's subject, sums, and what is to be said."""
    assert said in llm.invoke(prompt).text


@pytest.mark.parametrize("mode", ["refine", "compact", "tree_summarize"])
def test_llama_index_s_response_modes_answer_from_the_documents(completing, mode):
    """Over several documents, each mode ends with the fact."""
    texts = ["The lighthouse of Lindau was built in 1856.", "Bread is made of flour.", "Cats sleep a lot."]
    index = SummaryIndex.from_documents([Document(text=text) for text in texts])
    engine = index.as_query_engine(llm=completing, response_mode=mode)
    assert "1856" in str(engine.query("When was the lighthouse of Lindau built?"))


def test_documents_in_the_system_text_answer_under_every_chat_template(llm):
    """Also where the template has no system turn, and the question stands behind the documents."""
    told = "Use the given context to answer the question.\n\nContext: Cats sleep. Bears like honey."
    assert llm.invoke([("system", told), ("human", "What do bears like?")]).text == "Bears like honey."


ABOUT = {
    "essay": "Useful for questions about the author and his college",
    "animals": "Useful for questions about cats and bread",
    "lighthouse": "关于灯塔的资料",
}
SELECTORS = (LLMSingleSelector, LLMMultiSelector, PydanticSingleSelector, PydanticMultiSelector)


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize(
    ("question", "index"),
    [("What did the author do?", 0), ("What do cats do?", 1), ("灯塔什么时候建的？", 2)],
)
def test_routers_choose_the_description_nearest_to_the_question(completing, selector, question, index):
    """By a number in JSON and by a tool call."""
    choices = [ToolMetadata(description, name=name) for name, description in ABOUT.items()]
    chosen = selector.from_defaults(llm=completing).select(choices, question)
    assert [one.index for one in chosen.selections] == [index]


def test_sub_questions_go_to_the_tools_that_share_words_with_the_question(completing):
    """The question itself, to each of them."""
    tools = [ToolMetadata(description, name=name) for name, description in ABOUT.items()]
    question = "What do cats and the author do?"
    asked = LLMQuestionGenerator.from_defaults(llm=completing).generate(tools, QueryBundle(question))
    assert [(one.tool_name, one.sub_question) for one in asked] == [
        ("essay", question),
        ("animals", question),
    ]


def test_a_schema_with_doubled_braces_is_read(completing):
    """A text program leaves them so for models that chat."""
    program = LLMTextCompletionProgram.from_defaults(
        output_cls=Invoice,
        prompt_template_str="Read: Invoice INV-1, date 2024-05-01, total 5",
        llm=completing,
    )
    assert program() == Invoice(invoice_id="INV-1", date="2024-05-01", total=5)


@pytest.mark.filterwarnings(
    "ignore::pydantic.warnings.PydanticDeprecationWarning"
)  # core looks at all members
@pytest.mark.parametrize("request_", ["Write a report on the internet.", "写一份关于互联网的报告。"])
def test_agents_hand_over_once_and_end(completing, request_):
    """To the agent that fits, which goes on with the request."""

    def search_web(query: str) -> str:
        """Search the web."""

    def write_report(content: str) -> str:
        """Write a report."""
        return "Report written."

    agents = [
        FunctionAgent(
            name=name, description=told, llm=completing, tools=[tool], can_handoff_to=[other], streaming=False
        )
        for name, told, tool, other in (
            ("Researcher", "Useful for searching the web.", search_web, "Writer"),
            ("Writer", "Useful for writing a report.", write_report, "Researcher"),
        )
    ]

    async def run():
        return await AgentWorkflow(agents=agents, root_agent="Researcher").run(request_)

    answer = asyncio.run(run())
    assert [call.tool_name for call in answer.tool_calls] == ["handoff", "write_report"]
    assert answer.tool_calls[0].tool_kwargs["to_agent"] == "Writer"
    assert "Report written." in str(answer)
