"""What every scenario runs on: a kind of agent, and what drives it."""

import re
from collections.abc import Sequence
from typing import Any

from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent, ToolCallResult
from llama_index.core.llms import LLM
from llama_index.core.tools import BaseTool, ToolOutput
from llama_index.core.workflow import Context
from scripted_llm import RULES_MODEL, Reasoning, Script, calling, hosted

from llama_index_rockai import PredictionProgressEvent, RockAI, RockAIToolSpec
from rockai_sandbox import Sandbox

WARNINGS = [
    "ignore::pydantic.warnings.PydanticDeprecationWarning",
    "ignore:is_running called:DeprecationWarning",
    "ignore::workflows.context.state_store.UnserializableKeyWarning",
]
"""LlamaIndex's own: its workflows look at every attribute of an agent, pydantic's deprecated ones too, its
ReActAgent asks for one of its own, and a Context says that it does not save an agent's memory."""


def function_agent(script: Script, tools: Sequence[BaseTool], llm: LLM | None = None, **settings: Any) -> Any:
    """An agent whose LLM calls functions."""
    return FunctionAgent(tools=list(tools), llm=llm or calling(script), **settings)


def react_agent(script: Script, tools: Sequence[BaseTool], llm: LLM | None = None, **settings: Any) -> Any:
    """An agent whose LLM reasons in words, and takes one action in each turn."""
    return ReActAgent(tools=list(tools), llm=llm or Reasoning(script), **settings)


def workflow(script: Script, tools: Sequence[BaseTool], llm: LLM | None = None, **settings: Any) -> Any:
    """A workflow of agents, of one agent."""
    return AgentWorkflow.from_tools_or_functions(list(tools), llm=llm or calling(script), **settings)


def by_script(sandbox: Sandbox, script: Script) -> None:
    """The scripted LLM that a kind of agent takes by default."""


def by_rules(sandbox: Sandbox, script: Script) -> RockAI:
    """`RockAI` on the sandbox's own model, which knows no script: it does what the user asks for."""
    return RockAI(model=RULES_MODEL, api_token=sandbox.api_token, base_url=sandbox.base_url)


AGENTS = {"FunctionAgent": function_agent, "ReActAgent": react_agent, "AgentWorkflow": workflow}
DRIVERS = {"scripted": by_script, "RockAI, scripted": hosted, "RockAI, by rules": by_rules}


class AgentHarness:
    """One conversation with one agent: it runs the user's turns, and notes what the caller was told."""

    def __init__(self, sandbox: Sandbox, agent: str, driver: str) -> None:
        self.sandbox = sandbox
        self.turn = 0
        self.came: list[ToolOutput] = []
        """What the tools came to."""
        self.told: list[PredictionProgressEvent] = []
        """The progress that the caller was told of."""
        self.ids: list[str] = []
        """What a user has read of ids in the agent's answers."""
        self._build = AGENTS[agent]
        self._drive: Any = DRIVERS[driver]
        self._agent: Any = None
        self._context: Any = None

    def set_agent(self, script: Script, spec: RockAIToolSpec, **settings: Any) -> None:
        """Say which agent is asked."""
        llm = self._drive(self.sandbox, script)
        self._agent = self._build(script, spec.to_tool_list(), llm, **settings)
        self._context = Context(self._agent)

    def run(self, ask: str) -> Any:
        """Begin one turn in this conversation's Context."""
        self.turn += 1
        return self._agent.run(ask, ctx=self._context)

    async def ask(self, *asks: str) -> str:
        """Say these one after the other, with the ids put in that were read before; give the last answer.

        Who follows rules needs every word; who follows a script goes on by itself, and hears the first alone.
        """
        answer = ""
        for ask in asks if self._drive is by_rules else asks[:1]:
            handler = self.run(ask.format(*self.ids))
            async for event in handler.stream_events():
                if isinstance(event, ToolCallResult):
                    self.came.append(event.tool_output)
                elif isinstance(event, PredictionProgressEvent):
                    self.told.append(event)
            answer = str(await handler)
            self.ids = list(dict.fromkeys([*self.ids, *re.findall(r"Prediction (\w{20,})", answer)]))
        return answer
