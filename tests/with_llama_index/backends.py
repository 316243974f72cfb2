"""The backends that the conformance suite is run on: `RockAI` on the sandbox, and core's own mock."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from with_llama_index.conformance_kit import Backend

from llama_index_rockai import RockAI

if TYPE_CHECKING:
    from rockai_sandbox import Sandbox

TOKEN = "sandbox-token-3vRyS3cret"  # noqa: S105 - made up
HEADER = "header-value-a1soS3cret"


class RockAIBackend(Backend):
    """`RockAI` on a sandbox, in which one model is scripted."""

    secrets = (TOKEN, HEADER)
    kind = RockAI

    def __init__(self, sandbox: Sandbox, model: str) -> None:
        self.sandbox = sandbox
        self.model = model
        # Kept, as an application keeps its LLM: an AsyncClient that is dropped right before its loop ends
        # cannot close several connections in time.
        self._made: list[RockAI] = []

    @property
    def runs(self) -> int:
        return len(self.sandbox.predictions)

    def llm(self, **arguments: Any) -> RockAI:
        made = self.kind(
            **{
                "model": self.model,
                "api_token": TOKEN,
                "base_url": self.sandbox.base_url,
                "default_headers": {"X-Test": HEADER},
                **arguments,
            }
        )
        self._made.append(made)
        return made

    def says(self, *pieces: str) -> str:
        @self.sandbox.model(self.model)
        def talk(input):
            yield from pieces

        return "".join(pieces)

    def says_in_turn(self, *answers: str) -> None:
        """Let each run have the next answer."""
        left = iter(answers)

        @self.sandbox.model(self.model)
        def talk(input):
            yield next(left)

    def calls(self, *calls: tuple[str, dict[str, Any]]) -> None:
        lines = [
            f"<tool_call>{json.dumps({'name': name, 'arguments': given})}</tool_call>\n"
            for name, given in calls
        ]
        half = len(lines[0]) // 2
        self.says(lines[0][:half], lines[0][half:], *lines[1:])

    def hangs(self, piece: str) -> None:
        gate = self.sandbox.hold()

        @self.sandbox.model(self.model)
        def talk(input):
            yield piece
            gate.wait()

    def wait_until_running(self) -> None:
        self.sandbox.wait_for(lambda sandbox: sandbox.predictions)

    def wait_until_left(self, seconds: float) -> None:
        self.sandbox.wait_for("disconnect", seconds)

    def meets(self, number: int, answer: str) -> None:
        gate = self.sandbox.hold()

        @self.sandbox.model(self.model)
        def talk(input):
            if len(self.sandbox.predictions) == number:
                gate.set()
            gate.wait()
            yield answer

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """What the model was given, run by run."""
        return [prediction.input for prediction in self.sandbox.predictions]


class MockBackend(Backend):
    """Core's mock. Its completions repeat the prompt, which the suite makes the answer."""

    secrets = ("mock-s3cret",)

    def __init__(self, kind: type[MockFunctionCallingLLM] = MockFunctionCallingLLM) -> None:
        self._kind = kind
        self._answer = ChatMessage(role="assistant", content="")

    def llm(self, **arguments: Any) -> MockFunctionCallingLLM:
        llm = self._kind(**arguments)
        llm.response_generator = lambda messages, **_: self._answer
        return llm

    def says(self, *pieces: str) -> str:
        self._answer = ChatMessage(role="assistant", content="".join(pieces))
        return "".join(pieces)

    def calls(self, *calls: tuple[str, dict[str, Any]]) -> None:
        blocks = [
            ToolCallBlock(tool_call_id=f"call-{number}", tool_name=name, tool_kwargs=given)
            for number, (name, given) in enumerate(calls)
        ]
        self._answer = ChatMessage(role="assistant", blocks=blocks)
