"""What every scenario runs on: a kind of agent, what drives it, and a way to run it."""

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.store.memory import InMemoryStore
from scripted import RULES_MODEL, ScriptedModel, hosted

from langchain_rockai import ChatRockAI, RockAIToolkit
from rockai_sandbox import Sandbox

Script = Callable[[list[BaseMessage]], AIMessage]


def with_agent(script: Script | BaseChatModel, tools: Any, **settings: Any) -> Any:
    """LangChain's own agent, with a checkpointer and a store."""
    model = script if isinstance(script, BaseChatModel) else ScriptedModel(script=script)
    return create_agent(model, tools, checkpointer=InMemorySaver(), store=InMemoryStore(), **settings)


def with_graph(script: Script | BaseChatModel, tools: Any, **settings: Any) -> Any:
    """The same agent, put together from LangGraph's parts, with ``await`` where the graph is run so."""
    model = script if isinstance(script, BaseChatModel) else ScriptedModel(script=script)
    bound = model.bind_tools(tools)

    def think(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke(state["messages"])]}

    async def athink(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("model", RunnableLambda(think, athink))
    graph.add_node("tools", ToolNode(tools, **settings))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    return graph.compile(checkpointer=InMemorySaver(), store=InMemoryStore())


def by_script(sandbox: Sandbox, script: Script) -> BaseChatModel:
    """A model of LangChain's that follows the script and calls tools natively."""
    return ScriptedModel(script=script)


def by_rules(sandbox: Sandbox, script: Script) -> BaseChatModel:
    """`ChatRockAI` on the sandbox's own model, which knows no script: it does what the user asks for."""
    return ChatRockAI(model=RULES_MODEL, api_token=sandbox.api_token, base_url=sandbox.base_url)


AGENTS = {"create_agent": with_agent, "own graph": with_graph}
DRIVERS = {"scripted": by_script, "ChatRockAI, scripted": hosted, "ChatRockAI, by rules": by_rules}


def thread(name: str = "t.1") -> dict[str, Any]:
    """The config of a conversation."""
    return {"configurable": {"thread_id": name}}


class AgentHarness:
    """One conversation with one agent: it runs the user's turns, and notes what the caller was told."""

    def __init__(self, sandbox: Sandbox, agent: str, driver: str, *, asynchronous: bool) -> None:
        self.sandbox = sandbox
        self.asynchronous = asynchronous
        self.turn = 0
        self.told: list[Any] = []
        """The progress that the caller was told of."""
        self.ids: list[str] = []
        """What a user has read of ids in the agent's answers."""
        self._build = AGENTS[agent]
        self._drive = DRIVERS[driver]
        self._agent: Any = None
        self._toolkits: list[RockAIToolkit] = []
        self._runner = asyncio.Runner()

    def set_agent(self, script: Script, toolkit: RockAIToolkit) -> None:
        """Say which agent is asked."""
        self._toolkits.append(toolkit)
        self._agent = self._build(self._drive(self.sandbox, script), toolkit.get_tools())

    def ask(self, *asks: str) -> list[BaseMessage]:
        """Say these one after the other, with the ids put in that were read before; give all messages.

        Who follows rules needs every word; who follows a script goes on by itself, and hears the first alone.
        """
        messages: list[BaseMessage] = []
        for ask in asks if self._drive is by_rules else asks[:1]:
            text = ask.format(*self.ids)
            messages = self.run(self._follow(text)) if self.asynchronous else self._follow_sync(text)
            found = re.findall(r"Prediction (\w{20,})", messages[-1].text)
            self.ids = list(dict.fromkeys([*self.ids, *found]))
        return messages

    def invoke(self, ask: str) -> Any:
        """One turn, blocking."""
        return self._agent.invoke(_asked(ask), thread())

    async def ainvoke(self, ask: str) -> Any:
        """One turn, with ``await``."""
        return await self._agent.ainvoke(_asked(ask), thread())

    def stream(self, ask: str) -> Any:
        """One turn, with ``async for``."""
        return self._agent.astream(_asked(ask), thread(), stream_mode="custom")

    def set_step_timeout(self, seconds: float) -> None:
        """Let LangGraph itself end what takes longer."""
        self._agent.step_timeout = seconds

    def saved(self) -> list[BaseMessage]:
        """What the checkpointer has kept."""
        messages: list[BaseMessage] = self._agent.get_state(thread()).values["messages"]
        return messages

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run on the one loop of this conversation, and as a program would: Ctrl-C cancels it."""
        return self._runner.run(coroutine)

    def close(self) -> None:
        """End the loop, and the connections that belong to it."""
        for toolkit in self._toolkits:
            self.run(toolkit.aclose())
        self._runner.close()

    async def _follow(self, ask: str) -> Any:
        self.turn += 1
        state: Any = None
        modes = ["custom", "values"]
        async for mode, chunk in self._agent.astream(_asked(ask), thread(), stream_mode=modes):
            state = self._heard(mode, chunk, state)
        return state["messages"]

    def _follow_sync(self, ask: str) -> Any:
        self.turn += 1
        state: Any = None
        modes = ["custom", "values"]
        for mode, chunk in self._agent.stream(_asked(ask), thread(), stream_mode=modes):
            state = self._heard(mode, chunk, state)
        return state["messages"]

    def _heard(self, mode: str, chunk: Any, state: Any) -> Any:
        if mode == "values":
            return chunk
        self.told.append(chunk)
        return state


def _asked(ask: str) -> dict[str, Any]:
    return {"messages": [("user", ask)]}
