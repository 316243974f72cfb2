"""The prediction lifecycle as an agent's tools: start, get, wait, cancel, list.

Invariants of this module:

* Arguments are checked before any request is sent.
* An agent cannot access a prediction of another scope, unless the developer allows its id.
* Errors are answers. Only errors that do not concern the agent (a cancellation, a failing store) are raised.
* The decisions are the same with and without ``await``: `Backends` carry them out.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from rockai_transport.jobs.agent_messages import ToolAnswer, fitted, refusal
from rockai_transport.jobs.backends import Backends
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.json_schema import validator
from rockai_transport.jobs.policy import CallContext, Policy
from rockai_transport.jobs.runs import ToolCallsUnderWay
from rockai_transport.jobs.schemas import input_schema, lifecycle_schemas, problems
from rockai_transport.jobs.starts import StartCall
from rockai_transport.prompting.reply.schema_values import adapted

_LEAST = 1.0
"""The least seconds that a call has for its requests, however short ``max_wait`` is."""
_TOOLS_WITHOUT_A_START: dict[str, Callable[..., Coroutine[Any, Any, ToolAnswer]]] = {
    "get_prediction": StartCall.get_prediction,
    "wait_for_prediction": StartCall.wait_for_prediction,
    "cancel_prediction": StartCall.cancel_prediction,
    "list_predictions": StartCall.list_predictions,
}
"""The tools that start nothing."""


class Lifecycle:
    """The state that the tools of one toolset share: the policy, and the running calls of this process."""

    def __init__(self, models: Sequence[HostedModel], policy: Policy) -> None:
        self.policy = policy
        self.models = {model.name: model for model in models}
        inputs = {model.name: input_schema(model) for model in models}
        self.schemas = {**lifecycle_schemas(inputs, policy.max_wait), **inputs}
        self.checkers = {name: validator(schema) for name, schema in self.schemas.items()}
        self.under_way = ToolCallsUnderWay()

    async def answer(
        self, backends: Backends, context: CallContext, tool: str, arguments: Mapping[str, Any]
    ) -> ToolAnswer:
        """Execute one tool call; if the caller leaves it, the run's predictions are canceled."""
        asked = arguments
        arguments, wrong = self._checked(tool, asked)
        if wrong:
            return _to_correct(tool, wrong)
        until = backends.now() + max(self.policy.max_wait, _LEAST)
        call = StartCall(self.models, self.policy, self.under_way, backends, context, until)
        try:
            if (model := self.models.get(tool)) is not None:
                answer = await call.start(model, arguments, self.policy.max_wait, asked)
            elif tool == "start_prediction":
                answer = await self._start(call, arguments)
            else:
                answer = await _TOOLS_WITHOUT_A_START[tool](call, **arguments)
            return fitted(answer)
        except (Exception, GeneratorExit):
            raise
        except BaseException as error:
            await call.leave(error)
            raise

    async def _start(self, call: StartCall, arguments: Mapping[str, Any]) -> ToolAnswer:
        name = arguments["model"]
        given, wrong = self._checked(name, arguments["input"])
        if wrong:
            return _to_correct(f"input of {name}", wrong)
        return await call.start(self.models[name], given, None, arguments["input"])

    def _checked(self, tool: str, arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """Return the arguments, converted to the declared types if possible, and what is wrong with them."""
        checker = self.checkers[tool]
        if checker.is_valid(arguments):
            return arguments, ""
        arguments = adapted(dict(arguments), self.schemas[tool])
        return arguments, problems(checker, arguments)


def _to_correct(what: str, wrong: str) -> ToolAnswer:
    return refusal(f"{what}: {wrong}. Nothing was sent. Correct this and call it again.")
