"""LLMs that follow a script: one that calls functions, and one that reasons in words."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM

from llama_index_rockai import RockAI, RockAIToolSpec
from rockai_sandbox import Sandbox, SandboxPrediction
from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE, HostedModel

OUTPUT = "Output: "
TEXT_MODEL = "mistralai/mistral-7b-instruct-v0.1"
RULES_MODEL = "meta/meta-llama-3-70b-instruct"
MADE: list[RockAIToolSpec] = []
"""All that `make_spec` has made, for a fixture to close."""
Turn = list[tuple[str, dict[str, Any]]] | str
Script = Callable[[list[str]], Turn]
"""What the tools have said so far → tools to call, or the last word."""


def calling(
    script: Script, ids: str | None = None, lengths: list[int] | None = None
) -> MockFunctionCallingLLM:
    """An LLM for FunctionAgent; the ids of its calls are its own in each turn, the same in all, or empty.

    How many messages it is given each time goes to ``lengths``.
    """

    def reply(messages: Sequence[ChatMessage], **_: Any) -> ChatMessage:
        said = [message.content or "" for message in messages if message.role == MessageRole.TOOL]
        if lengths is not None:
            lengths.append(len(messages))
        turn = script(said)
        if isinstance(turn, str):
            return ChatMessage(role="assistant", content=turn)
        blocks = [
            ToolCallBlock(
                tool_call_id="" if ids == "" else f"{ids or len(messages)}-{number}",
                tool_name=name,
                tool_kwargs=arguments,
            )
            for number, (name, arguments) in enumerate(turn)
        ]
        return ChatMessage(role="assistant", blocks=blocks)

    return MockFunctionCallingLLM(response_generator=reply, is_chat_model=True)


def hosted(sandbox: Sandbox, script: Script) -> RockAI:
    """`RockAI` itself, on a text model of the sandbox that reads its prompt and follows the script."""

    @sandbox.model(TEXT_MODEL)
    def say(given: dict[str, Any]) -> str:
        prompt = given["prompt"]
        if "<tool_call>" not in prompt:
            return reasoned(
                script, re.findall(r"Observation: ((?:- )?Prediction .*?)\s*\[/INST\]", prompt, re.DOTALL)
            )
        found = re.findall(r"<tool_response>(\{.*?\})</tool_response>", prompt)
        answers = [json.loads(text) for text in found]
        turn = script([answer.get("content", answer.get("error")) for answer in answers])
        if isinstance(turn, str):
            return turn
        calls = [{"name": name, "arguments": arguments} for name, arguments in turn]
        return "\n".join(f"<tool_call>{json.dumps(one)}</tool_call>" for one in calls)

    return RockAI(model=TEXT_MODEL, api_token=sandbox.api_token, base_url=sandbox.base_url)


def jobs(sandbox: Sandbox) -> list[SandboxPrediction]:
    """What the tools have started, without what the agent's own LLM was asked."""
    thoughts = (TEXT_MODEL, RULES_MODEL)
    return [prediction for prediction in sandbox.predictions if prediction.model not in thoughts]


def reasoned(script: Script, said: list[str]) -> str:
    """A turn as a ReActAgent reads it: one action, or the answer."""
    turn = script(said)
    if isinstance(turn, str):
        return f"Thought: I can answer.\nAnswer: {turn}"
    name, arguments = turn[0]
    return f"Thought: I need a tool.\nAction: {name}\nAction Input: {json.dumps(arguments)}"


class Reasoning(MockLLM):
    """An LLM for ReActAgent: a text model that writes its thoughts, and one action in each turn."""

    _script: Any = PrivateAttr()

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def _reply(self, messages: Sequence[ChatMessage]) -> str:
        said = [
            (message.content or "").removeprefix("Observation: ")
            for message in messages
            if (message.content or "").startswith("Observation: ")
        ]
        return reasoned(self._script, said)

    async def astream_chat(self, messages: Sequence[ChatMessage], **_: Any) -> Any:
        text = self._reply(messages)

        async def pieces() -> Any:
            yield ChatResponse(message=ChatMessage(role="assistant", content=text), delta=text)

        return pieces()


def address(said: str) -> str:
    """The URL in a tool's answer, as an agent reads it."""
    return next(line for line in said.splitlines() if line.startswith(OUTPUT)).removeprefix(OUTPUT)


def prediction_id(said: str) -> str:
    """The id in a tool's answer, as an agent reads it."""
    return said.split()[1]


def make_statue(said: list[str]) -> Turn:
    """Make a still, animate it, say so."""
    if not said:
        return [("generate_image", {"prompt": "a porcelain statue, kintsugi"})]
    if len(said) == 1:
        return [("animate_image", {"image": address(said[0]), "prompt": "the statue talks", "max_frames": 8})]
    return f"Here it is. {said[-1]}"


def make_spec(sandbox: Sandbox, *more: HostedModel, **settings: Any) -> RockAIToolSpec:
    """The tools of a sandbox's image and video models, and of more."""
    models = [GENERATE_IMAGE, ANIMATE_IMAGE, *more]
    made = RockAIToolSpec(models, api_token=sandbox.api_token, base_url=sandbox.base_url, **settings)
    MADE.append(made)
    return made
