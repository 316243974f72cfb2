"""`Lifecycle` and `Toolset`: the common part of both frameworks' tools.

An adapter adds how its framework calls a tool, and how it shows the answer.

Invariants of this module:

* Arguments are checked before any request is sent.
* Errors are answers. Only errors that do not concern the agent (a cancellation, a failing store) are raised.
* The decisions are the same with and without ``await``: `Backends` carry them out.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from inspect import iscoroutinefunction
from typing import Any, Never, Self
from uuid import uuid4

from rockai_transport.async_client import AsyncClient
from rockai_transport.client import Client
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.agent_messages import ToolAnswer, describe_order, fitted, refusal
from rockai_transport.jobs.backends import AsyncBackends, Backends, BlockingBackends
from rockai_transport.jobs.budget import shown
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.json_schema import UNCHECKABLE, validator
from rockai_transport.jobs.policy import SETTINGS, CallContext, Policy, checked_policy, refuse_awaitable
from rockai_transport.jobs.records import Record
from rockai_transport.jobs.running import AgentRun, RunRegistry, ToolCallsUnderWay, cancel_all, open_blocks
from rockai_transport.jobs.schemas import check_models, input_schema, lifecycle_schemas, problems
from rockai_transport.jobs.starts import StartCall
from rockai_transport.jobs.stores import MemoryRecords, MirroredRecords, Store, as_store
from rockai_transport.prompting.reply.schema_values import adapted
from rockai_transport.protocol.io import run_blocking

logger = logging.getLogger("rockai")

DEFAULT_TIMEOUT = 120.0
_LEAST = 1.0
"""The least seconds that a call has for its requests, however short ``max_wait`` is."""
_KEPT_STORES = 16
"""Number of conversations' stores that a toolset remembers."""
ContextSource = CallContext | Callable[[], Coroutine[Any, Any, CallContext]]

DESCRIPTIONS = {
    "start_prediction": (
        "Start a hosted model and return at once with a prediction id, while it works. Costs money: start "
        "only what the user asked for, once. Afterwards call wait_for_prediction."
    ),
    "get_prediction": (
        "Look once at a prediction: status, progress, and the output when it is done. Do not call it again "
        "and again in a loop: wait_for_prediction waits."
    ),
    "wait_for_prediction": (
        "Wait until a prediction is done, or the time is up, and return its status. If it is still "
        "processing, tell the user or call this again: never start it again. A cold model takes minutes to "
        "start."
    ),
    "cancel_prediction": "Stop a prediction that is starting or processing, so that it costs nothing more.",
    "list_predictions": "List the predictions that this conversation has started, with their status.",
}
"""The descriptions of the five lifecycle tools, each below LlamaIndex's limit of 1024 characters."""

_TOOLS_WITHOUT_A_START: Mapping[str, Callable[..., Coroutine[Any, Any, ToolAnswer]]] = {
    "get_prediction": StartCall.get_prediction,
    "wait_for_prediction": StartCall.wait_for_prediction,
    "cancel_prediction": StartCall.cancel_prediction,
    "list_predictions": StartCall.list_predictions,
}


class Lifecycle:
    """What a tool call does, over any backends: the models, the limits and the running calls."""

    def __init__(self, models: Sequence[HostedModel], policy: Policy) -> None:
        self.policy = policy
        self.models = {model.name: model for model in models}
        inputs = {model.name: input_schema(model) for model in models}
        self.schemas = {**lifecycle_schemas(inputs, policy.max_wait), **inputs}
        """The arguments of every tool, as JSON schema, by the tool's name."""
        self._checkers = {name: validator(schema) for name, schema in self.schemas.items()}
        self.under_way = ToolCallsUnderWay()

    async def answer(
        self, backends: Backends, context: CallContext, tool: str, arguments: Mapping[str, Any]
    ) -> ToolAnswer:
        """Execute one tool call; if the caller leaves it, the run's predictions are canceled."""
        model = self.models.get(tool)
        seconds: float | None = self.policy.max_wait
        given, wrong = self._checked(tool, arguments)
        if tool == "start_prediction" and not wrong:
            model, seconds, arguments = self.models[given["model"]], None, given["input"]
            given, wrong = self._checked(model.name, arguments)
        if wrong:
            return refusal(f"{wrong}. Nothing was sent. Correct this and call it again.")
        until = backends.clock() + max(self.policy.max_wait, _LEAST)
        call = StartCall(self.models, self.policy, self.under_way, backends, context, until)
        try:
            if model is not None:
                return fitted(await call.start(model, given, seconds, arguments))
            return fitted(await _TOOLS_WITHOUT_A_START[tool](call, **given))
        except (Exception, GeneratorExit):
            raise
        except BaseException as error:
            await call.leave(error)
            raise

    def _checked(self, tool: str, arguments: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
        """Return the arguments, converted to the declared types if possible, and what is wrong with them."""
        checker = self._checkers[tool]
        with suppress(*UNCHECKABLE):  # `problems` says that they cannot be checked
            if checker.is_valid(arguments):
                return arguments, ""
        arguments = adapted(dict(arguments), self.schemas[tool])
        wrong = problems(checker, arguments)
        return arguments, wrong and f"{tool}: {wrong}"


class Toolset(Lifecycle):
    """A lifecycle with the clients and the stores of records.

    Its settings are documented at `RockAIToolkit` and `RockAIToolSpec`, which pass them on.
    """

    def __init__(
        self,
        models: Iterable[HostedModel],
        *,
        client: Client | None = None,
        async_client: AsyncClient | None = None,
        scope: Any = None,
        store: Any = None,
        **settings: Any,
    ) -> None:
        is_function = callable(scope) and not iscoroutinefunction(scope)
        if scope is not None and not is_function and not (isinstance(scope, str) and scope):
            raise ConfigurationError(
                f"scope={scope!r} must be a name, or a function that gives one and needs no await."
            )
        policy = {name: settings.pop(name) for name in SETTINGS if name in settings}
        checked = check_models(models, DESCRIPTIONS)
        super().__init__(checked, checked_policy(policy, checked))
        self.descriptions = {
            **{one.name: _describe(one, self.policy.max_wait) for one in checked},
            **DESCRIPTIONS,
        }
        """The description of every tool, by the tool's name."""
        if client is None and async_client is None:
            client = Client(**{"timeout": DEFAULT_TIMEOUT, **settings})
        if client is not None:
            self.client = client
        if async_client is not None:
            self.async_client = async_client
        self.scope = scope
        """The developer's name for a conversation: a text, a function that returns one, or None."""
        self.own_scope = f"toolkit:{uuid4().hex}"
        """The scope of calls outside any conversation."""
        memory = MemoryRecords()
        self._memory = Store(memory, memory)
        self._own = self._memory if store is None else as_store(store)
        """The developer's store, else the memory of this process."""
        self._recent: list[tuple[Any, Store]] = []
        """The last few stores of conversations: a record in them can be resolved without naming its store."""
        self.runs = RunRegistry()
        """The runs of this process and their running predictions."""

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # A copy of a tool shares the limits with the others: it has no separate budget.
        return self

    def __reduce__(self) -> Never:
        # A copy elsewhere would have limits and a budget of its own.
        raise TypeError(
            "A toolkit and its tools cannot be pickled, because they hold this process's limits and records: "
            "make the toolkit in each process. With a shared store=, they share the records."
        )

    # One tool call. There is always an answer.

    def call(self, tool: str, arguments: Mapping[str, Any], context: ContextSource, **how: Any) -> ToolAnswer:
        """Execute a tool call."""
        return run_blocking(self.acall(tool, arguments, context, blocking=True, **how))

    async def acall(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        context: ContextSource,
        *,
        interruptions: tuple[type[Exception], ...] = (),
        blocking: bool = False,
    ) -> ToolAnswer:
        """As `call`, with ``await``; with ``blocking`` it never suspends.

        Canceling it cancels the running predictions of its run.

        Args:
            tool: The tool's name.
            arguments: What the model wrote.
            context: The context of the call, or a function that finds it.
            interruptions: The exceptions with which a framework interrupts a tool; they are raised.
            blocking: Whether to use blocking calls.
        """
        found: CallContext | None = None
        try:
            found = await context() if callable(context) else context
            found = self._located(found)
            if blocking:
                return await self.answer(BlockingBackends(self.client, found.store), found, tool, arguments)
            return await self.answer(AsyncBackends(self.async_client, found.store), found, tool, arguments)
        except interruptions:
            raise
        except Exception as error:
            if found is None:  # it has no name, or its store cannot be written
                logger.exception("The scope of a call of %s could not be named.", tool)
                text = f"{tool} is not set up for this conversation; nothing was sent. Tell the user."
                return refusal(text)
            logger.exception("The tool %s failed.", tool)
            return refusal(
                f"{tool} failed inside ({type(error).__name__}). Before you repeat it, call "
                "list_predictions, which shows what was started. Tell the user."
            )

    def scope_of(self, place: Any, own: str | None) -> str:
        """Return the name of the conversation that a call belongs to.

        Args:
            place: The framework's object for the call's context, passed to the developer's function.
            own: The framework's name for the conversation; None: the scope of this toolset.

        Raises:
            Exception: The developer's function raised it.
            ConfigurationError: The function returned no name.
        """
        if not callable(self.scope):
            return self.scope or own or self.own_scope
        named = refuse_awaitable(self.scope(place), "scope")
        if named is None or not str(named):
            raise ConfigurationError(f"scope= must name a conversation, not give {named!r}.")
        return str(named)

    def question(self, tool: str, arguments: Mapping[str, Any], scope: str, store: Any) -> str:
        """Return the approval question for a tool call, for a framework that asks the person itself.

        A store with only async methods cannot be read here: then only this process's starts count.
        """
        named = arguments.get("model") if tool == "start_prediction" else tool
        given = arguments.get("input") if tool == "start_prediction" else arguments
        model = self.models.get(str(named))
        if model is None:
            return f"Call {tool} with {arguments}?"
        try:
            kept = self._records(store).for_blocking()
            records = run_blocking(kept.all(scope))
        except Exception:  # noqa: BLE001 - each store has its own error for it
            records = run_blocking(self._memory.awaited.all(scope))
        return f"{describe_order(model, records, self.policy.max_cost)} {given}"

    def _located(self, context: CallContext) -> CallContext:
        """Return the context with the store of its records, and with the runs that the call is part of.

        These are the framework's run and those of the surrounding blocks.
        """
        store = self._records(context.store)
        runs = [*context.runs]
        if blocks := open_blocks.get():
            runs += [one.run for one in blocks if one.owner is self and one.scope in (None, context.scope)]
        if context.run is not None:
            runs.append(self.runs.find(context.run))
        # Another process, such as the webhook receiver, must be able to read a sleeping call's record.
        is_readable = store.blocking is not None and store is not self._memory
        return context._replace(
            runs=tuple(runs),
            store=store,
            is_shared=context.scope == self.own_scope,
            thread=context.thread if is_readable else "",
        )

    def _records(self, store: Any) -> Store:
        """Choose the store of a call's records: the developer's, else the conversation's, else the process.

        Records in a conversation's store are also copied to this process, so that a receipt needs no store.
        """
        if store is None or self._own is not self._memory:
            return self._own
        opened, memory = as_store(store), self._memory.awaited
        blocking = opened.blocking and MirroredRecords(opened.blocking, memory)
        mirrored = Store(MirroredRecords(opened.awaited, memory), blocking)
        others = (one for one in self._recent if one[0] is not store)
        self._recent = [(store, mirrored), *others][:_KEPT_STORES]
        return mirrored

    # Ending a run from outside its tools.

    def end(self, run: AgentRun) -> None:
        """Cancel the running predictions of a run."""
        for store, records in self._taken(run).items():
            backends = BlockingBackends(self.client, store if store.blocking else self._memory)
            run_blocking(cancel_all(backends, records))

    async def aend(self, run: AgentRun) -> None:
        """As `end`, with ``await``, even if the caller is canceled."""
        for store, records in self._taken(run).items():
            backends = AsyncBackends(self.async_client, store)
            await backends.detached(cancel_all(backends, records))

    def _taken(self, run: AgentRun) -> dict[Store, list[Record]]:
        self.under_way.leave([run])
        stores: dict[Store, list[Record]] = {}
        for store, record in run.take():
            stores.setdefault(store, []).append(record)
        return stores

    # The clients.

    @cached_property
    def client(self) -> Client:
        """The client of blocking calls."""
        return Client.like(self.async_client)

    @cached_property
    def async_client(self) -> AsyncClient:
        """The client of awaited calls, with the same settings."""
        return AsyncClient.like(self.client)

    def close(self) -> None:
        """Close the blocking connections."""
        if "client" in vars(self):
            self.client.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and the blocking ones."""
        if "async_client" in vars(self):
            await self.async_client.aclose()
        self.close()

    # For the developer, used by `rockai_transport.jobs.admin`.

    def kept(self, store: Any) -> list[Store]:
        """Return the store of this process's starts, and ``store`` if the developer passes one."""
        return [self._own, *([] if store is None else [as_store(store)])]

    def unresolved(self, store: Any) -> list[Store]:
        """Return the stores that may have a record to resolve: as `kept`, and the recently used ones."""
        return [*(opened for _, opened in self._recent), *self.kept(store)]


def _describe(model: HostedModel, max_wait: float) -> str:
    """Return the description of a model's own tool."""
    price = f" Costs {shown(model.price.reserved)} at most." if model.price else ""
    about, output = f"{model.description}{price}", model.output or "output"
    if max_wait == math.inf:
        return f"{about} Waits for the {output}."
    return (
        f"{about} Waits at most {max_wait:g} s for the {output}, then returns the prediction id. The "
        "prediction goes on: call wait_for_prediction, do not call this again."
    )
