"""An agent's model that follows a script, and what scripts need; `crash_agent.py` uses it too."""

import json
import re
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_rockai import ChatRockAI, RockAIToolkit
from rockai_sandbox import Sandbox, SandboxPrediction
from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, HostedModel

OUTPUT = "Output: "
TEXT_MODEL = "mistralai/mistral-7b-instruct-v0.1"
RULES_MODEL = "meta/meta-llama-3-70b-instruct"
MADE: list[RockAIToolkit] = []
"""All that `make_toolkit` has made, for a fixture to close."""


class ScriptedModel(BaseChatModel):
    """A chat model whose replies a function decides, given the conversation so far."""

    script: Callable[[list[BaseMessage]], AIMessage]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> "ScriptedModel":
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self.script(messages))])


def hosted(sandbox: Sandbox, script: Callable[[list[BaseMessage]], AIMessage]) -> ChatRockAI:
    """`ChatRockAI` itself, on a text model of the sandbox that reads its prompt and follows the script."""

    @sandbox.model(TEXT_MODEL)
    def say(given: dict[str, Any]) -> str:
        found = re.findall(r"<tool_response>(\{.*?\})</tool_response>", given["prompt"])
        answers = [json.loads(text) for text in found]
        said = [answer.get("content", answer.get("error")) for answer in answers]
        turn = script([ToolMessage(text, tool_call_id="x") for text in said])
        calls = [{"name": one["name"], "arguments": one["args"]} for one in turn.tool_calls]
        return "\n".join([turn.text, *(f"<tool_call>{json.dumps(one)}</tool_call>" for one in calls)])

    return ChatRockAI(model=TEXT_MODEL, api_token=sandbox.api_token, base_url=sandbox.base_url)


def jobs(sandbox: Sandbox) -> list[SandboxPrediction]:
    """What the tools have started, without what the agent's own model was asked."""
    thoughts = (TEXT_MODEL, RULES_MODEL)
    return [prediction for prediction in sandbox.predictions if prediction.model not in thoughts]


def call(*calls: tuple[str, dict[str, Any]], ids: str = "call") -> AIMessage:
    """A model's turn that calls tools; its ids are the same in every turn, as some models' are."""
    return AIMessage(
        "",
        tool_calls=[
            {"type": "tool_call", "id": f"{ids}-{number}", "name": name, "args": args}
            for number, (name, args) in enumerate(calls)
        ],
    )


def results(messages: list[BaseMessage]) -> list[ToolMessage]:
    """All that the tools have answered."""
    return [message for message in messages if isinstance(message, ToolMessage)]


def address(message: ToolMessage) -> str:
    """The URL in a tool's answer, as an agent reads it."""
    return next(line for line in message.text.splitlines() if line.startswith(OUTPUT)).removeprefix(OUTPUT)


def prediction_id(message: ToolMessage) -> str:
    """The id in a tool's answer, as an agent reads it."""
    return message.text.split()[1]


def make_statue(messages: list[BaseMessage]) -> AIMessage:
    """Make a still, animate it, say so."""
    done = results(messages)
    if not done:
        return call(("generate_image", {"prompt": "a porcelain statue, kintsugi"}))
    if len(done) == 1:
        image = {"image": address(done[0]), "prompt": "the statue talks", "max_frames": 8}
        return call(("animate_image", image))
    return AIMessage(f"Here it is. {done[-1].text}")


def make_toolkit(sandbox: Sandbox, *more: HostedModel, **settings: Any) -> RockAIToolkit:
    """A toolkit of a sandbox's image and video models, and of more."""
    models = [GENERATE_IMAGE, ANIMATE_IMAGE, *more]
    made = RockAIToolkit(models, api_token=sandbox.api_token, base_url=sandbox.base_url, **settings)
    MADE.append(made)
    return made
