"""What frameworks make of our type hints: tools, fallbacks, states, schemas."""

from types import SimpleNamespace
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langchain_core.tools import StructuredTool, tool
from langgraph.graph import END, START, StateGraph
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, TypeAdapter

from langchain_rockai import ChatRockAI
from rockai_transport import AsyncClient, Client, ConfigurationError, Dialect, Prediction, Update
from rockai_transport.prompting.request.jinja import JinjaTemplate

CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Paris"}}</tool_call>'
INPUT = {"prompt": "Say: hello"}
LLAMA_2 = "meta/llama-2-7b-chat"


def get_weather(city: str) -> str:
    """Get the weather in a city."""
    return f"It is sunny in {city}."


class City(BaseModel):
    """A city."""

    name: str


class TestFallbacks:
    def test_tools_can_be_bound_to_a_model_with_fallbacks(self, says):
        """Core reads the hints of `bind_tools` there (langchain_core/runnables/fallbacks.py)."""
        says(CALL)
        llm = ChatRockAI(model="my/hermes")
        bound = llm.with_fallbacks([ChatRockAI(model="my/other-hermes")]).bind_tools([get_weather])
        [call] = bound.invoke("How is it in Paris?").tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})

    def test_structured_output_too(self, says):
        """Likewise, and the form is checked by whichever answers."""
        says('{"name": "City", "arguments": {"name": "Paris"}}')
        llm = ChatRockAI(model="my/hermes").with_fallbacks([ChatRockAI(model="my/other-hermes")])
        assert llm.with_structured_output(City).invoke("Which?") == City(name="Paris")

    def test_an_agent_takes_one(self, says):
        """It calls its tools."""
        says(CALL, "It is sunny there.")
        llm = ChatRockAI(model="my/hermes").with_fallbacks([ChatRockAI(model="my/other-hermes")])
        agent = create_agent(llm, [get_weather])
        *_, result, last = agent.invoke({"messages": [("user", "How is it in Paris?")]})["messages"]
        assert (result.content, last.content) == ("It is sunny in Paris.", "It is sunny there.")


class State(BaseModel):
    """A state of a graph, a body of a web service."""

    prediction: Prediction | None = None
    update: Update | None = None


class TestPredictions:
    def test_one_can_be_a_field(self, sandbox):
        """Of a pydantic model: it is taken as it is, or made of its fields."""
        with Client() as client:
            made = client.run(LLAMA_2, INPUT)
        assert State(prediction=made).prediction == made
        dumped = State(prediction=made).model_dump(mode="json")
        assert State(**dumped).prediction.text == made.text == "hello"
        assert State.model_json_schema()["$defs"]["Prediction"]["properties"]["status"]

    def test_one_can_be_a_state_of_a_graph(self, sandbox):
        """LangGraph makes channels of the state's hints."""
        client = Client()
        graph = StateGraph(State)
        graph.add_node("run", lambda state: {"prediction": client.run(LLAMA_2, INPUT)})
        graph.add_edge(START, "run")
        graph.add_edge("run", END)
        with client:
            assert graph.compile().invoke(State())["prediction"].text == "hello"

    def test_one_has_a_schema(self):
        """As every dataclass whose hints can be read."""
        assert TypeAdapter(list[Prediction]).json_schema()["items"]


class Deployment(BaseModel):
    """Settings of an application."""

    dialect: Dialect


class TestDialects:
    @pytest.mark.parametrize(
        "dialect",
        [
            Dialect("mine", chat_template="{{ messages }}", fixed_inputs={"seed": 1}),
            Dialect.of("meta/llama-2-7b-chat"),
            Dialect.of("mistralai/mistral-7b-instruct-v0.1"),
        ],
        ids=lambda dialect: dialect.name,
    )
    def test_one_can_be_a_field(self, dialect):
        """Of a pydantic model: it is taken as it is, or made of its fields, in Python or in JSON."""
        made = Deployment(dialect=dialect)
        assert made.dialect is dialect
        assert Deployment(**made.model_dump()) == made
        assert Deployment.model_validate_json(made.model_dump_json()) == made
        assert Deployment.model_json_schema()["properties"]["dialect"]["type"] == "object"

    def test_a_jinja_template_becomes_its_source(self):
        """As in a saved model."""
        made = Deployment(dialect=Dialect("mine", JinjaTemplate("{{ messages }}")))
        read = Deployment.model_validate_json(made.model_dump_json())
        assert read.dialect == Dialect("mine", "{{ messages }}")

    def test_a_users_own_template_stays(self):
        """Also one that says where it comes from: only the text of a Jinja template is a template too."""
        own = SimpleNamespace(render=str, source="templates/mine.txt")
        assert Deployment(dialect=Dialect("mine", own)).model_dump()["dialect"]["chat_template"] is own

    @pytest.mark.parametrize(
        "wrong",
        [
            {"nmae": "mine"},
            {"name": 5},
            {"name": "a", "chat_template": {}},
            {"name": "a", "server_template": {}},
        ],
    )
    def test_what_is_none_is_refused(self, wrong):
        """With the words of the dialect itself."""
        with pytest.raises(ConfigurationError, match="ialect"):
            Deployment(dialect=wrong)


WAYS: dict[str, Any] = {
    "tool": tool,
    "StructuredTool.from_function": StructuredTool.from_function,
    "FunctionTool.from_defaults": FunctionTool.from_defaults,
}


@pytest.mark.parametrize("way", WAYS)
class TestToolsMadeOfRun:
    def test_an_agent_is_told_its_arguments(self, sandbox, way):
        """But for the callback, which no model can write."""
        with Client() as client:
            made = WAYS[way](client.run)
            arguments = (
                made.metadata.get_parameters_dict()["properties"]
                if isinstance(made, FunctionTool)
                else made.args
            )
        assert set(arguments) == {"model", "input", "timeout"}
        assert arguments["input"]["type"] == "object"

    def test_a_preview_is_one_too(self, sandbox, way):
        """What a run would send; it costs nothing."""
        with Client() as client:
            made = WAYS[way](client.preview)
            given = {"model": LLAMA_2, "input": INPUT}
            body = made.call(**given).raw_output if isinstance(made, FunctionTool) else made.invoke(given)
        assert body["input"] == INPUT

    def test_it_runs(self, sandbox, way):
        """And gives the prediction."""
        with Client() as client:
            made = WAYS[way](client.run)
            if isinstance(made, FunctionTool):
                prediction = made.call(model=LLAMA_2, input=INPUT).raw_output
            else:
                prediction = made.invoke({"model": LLAMA_2, "input": INPUT})
        assert prediction.text == "hello"


async def test_tools_made_of_the_async_run(sandbox):
    """In both frameworks' ways."""
    async with AsyncClient() as client:
        chain = StructuredTool.from_function(coroutine=client.run)
        index = FunctionTool.from_defaults(async_fn=client.run)
        assert (await chain.ainvoke({"model": LLAMA_2, "input": INPUT})).text == "hello"
        assert (await index.acall(model=LLAMA_2, input=INPUT)).raw_output.text == "hello"
        assert set(chain.args) == set(index.metadata.get_parameters_dict()["properties"])


def test_a_model_can_call_such_a_tool(says, sandbox):
    """Bound to a model, it is described and called as any other."""
    says(f'<tool_call>{{"name": "run", "arguments": {{"model": "{LLAMA_2}", "input": {{}}}}}}</tool_call>')
    with Client() as client:
        answer: AIMessage = ChatRockAI(model="my/hermes").bind_tools([tool(client.run)]).invoke("Hi")
    assert answer.tool_calls[0]["args"] == {"model": LLAMA_2, "input": {}}
