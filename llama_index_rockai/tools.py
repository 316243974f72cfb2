"""`RockAIToolSpec`: the prediction lifecycle as LlamaIndex tools."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from llama_index.core.base.llms.types import AudioBlock, ContentBlock, ImageBlock, TextBlock, VideoBlock
from llama_index.core.tools import FunctionTool, ToolMetadata, ToolOutput
from llama_index.core.tools.tool_spec.base import BaseToolSpec
from llama_index.core.workflow import Context, Event, HumanResponseEvent, InputRequiredEvent
from workflows.errors import WorkflowRuntimeError

from rockai_transport import AsyncClient, Client, HostedModel, Prediction
from rockai_transport.jobs.argument_classes import argument_class
from rockai_transport.jobs.bookkeeping import Bookkeeping
from rockai_transport.jobs.contents import media_files
from rockai_transport.jobs.terms import Progress, Site
from rockai_transport.jobs.toolset import DEFAULT_TIMEOUT, OnCancel, Toolset
from rockai_transport.jobs.words import Answer

__all__ = ["ApprovalRequiredEvent", "PredictionProgressEvent", "RockAITool", "RockAIToolSpec"]

logger = logging.getLogger("rockai")

_CONTEXT = "rockai_context"
_SCOPE = "rockai-scope"
Scope = str | Callable[[Context | None], str] | None
_YES = frozenset({"y", "yes", "ok", "true", "approve", "approved"})


class PredictionProgressEvent(Event):
    """How far a prediction is; written to the stream of the agent's run."""

    prediction_id: str | None
    model: str
    status: str
    progress: float | None
    elapsed: float


class ApprovalRequiredEvent(InputRequiredEvent):
    """Asks a person before a start: answer with ``HumanResponseEvent(response="yes", key=event.key)``."""

    prefix: str
    key: str
    model: str
    input: dict[str, Any]


class RockAITool(FunctionTool):
    """A tool that runs predictions; made by `RockAIToolSpec.to_tool_list`."""

    def __init__(
        self, toolset: Toolset, metadata: ToolMetadata, *, scope: Scope, approval: bool, rich_content: bool
    ) -> None:
        super().__init__(fn=self._text, async_fn=self._atext, metadata=metadata)
        # An agent hands its Context to a tool that says so; a tool without one works too.
        self.requires_context = True
        self.ctx_param_name = _CONTEXT
        self._toolset = toolset
        self._scope = scope
        self._approval = approval
        self._rich_content = rich_content
        self._parameters = list(toolset.schemas[metadata.get_name()]["properties"])

    def call(self, /, *args: Any, **kwargs: Any) -> ToolOutput:
        """Carry out a call and block; a Context is of no use here, since it can only be awaited."""
        arguments = self._arguments(args, kwargs)
        arguments.pop(_CONTEXT, None)
        scope = self._scope if isinstance(self._scope, str) else self._toolset.own_scope
        answer = self._toolset.call(self.metadata.get_name(), arguments, self._alone(scope))
        return self._output(answer, arguments)

    async def acall(self, /, *args: Any, **kwargs: Any) -> ToolOutput:
        """Carry out a call. Cancelling it ends the prediction, unless ``on_cancel`` is ``"leave"``."""
        arguments = self._arguments(args, kwargs)
        context = arguments.pop(_CONTEXT, None) or _running_context()
        site, store = await self._site(context)
        answer = await self._toolset.acall(
            self.metadata.get_name(), arguments, site, store, lets_through=_interruptions()
        )
        return self._output(answer, arguments)

    def _text(self, /, **arguments: Any) -> str:
        return self.call(**arguments).content

    async def _atext(self, /, **arguments: Any) -> str:
        return (await self.acall(**arguments)).content

    def _arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        # Core hands a single argument over by its place: llama_index/core/tools/calling.py.
        return {**dict(zip(self._parameters, args, strict=False)), **kwargs}

    def _alone(self, scope: str) -> Site:
        """Outside of any Context, where nobody can be asked."""
        return Site(scope, approve=lambda *_: not self._approval)

    async def _site(self, context: Context | None) -> tuple[Site, Context | None]:
        """Where this call happens, and the Context whose store keeps its record."""
        given = self._scope(context) if callable(self._scope) else self._scope
        if context is None:
            return self._alone(given or self._toolset.own_scope), None
        own = await _scope_of(context)
        site = Site(
            given or own or self._toolset.own_scope,
            _call_id(),
            _Reporter(context).tell,
            is_one_run=bool(own and not given),
        )
        if self._approval:
            site = site._replace(approve=_Approval(context).ask)
        return site, context if own else None

    def _output(self, answer: Answer, arguments: Mapping[str, Any]) -> ToolOutput:
        blocks: list[ContentBlock] = [TextBlock(text=answer.text)]
        if self._rich_content:
            blocks += _media_blocks(answer)
        return ToolOutput(
            blocks=blocks,
            tool_name=self.metadata.get_name(),
            raw_input={"args": (), "kwargs": dict(arguments)},
            raw_output=answer.result,
            is_error=answer.is_error,
        )


class RockAIToolSpec(Bookkeeping, BaseToolSpec):
    """Tools by which an agent runs hosted models: one for each model, and five for the lifecycle.

    A tool answers in short words, which an agent reads, and carries the `Prediction` as its ``raw_output``.
    Whatever goes wrong is an answer too, with ``is_error`` set: no call raises.

    Progress goes to the run's stream as `PredictionProgressEvent`. Cancelling the run (``cancel_run``, a
    time-out, a task that awaits the handler, Ctrl-C) cancels its predictions at the service within two
    seconds. A task that only listens to ``stream_events`` is not the run, which LlamaIndex lets go on without
    it: there ``await handler.cancel_run()`` in a ``finally``.

    A start is written to the ``Context``'s store before it is sent. That protects a Context that is saved and
    restored, and steps that run again after ``wait_for_event``; not a crash before the Context was saved. The
    same tool call, by the id that the model gave it and its input, gets what it had started; one of which the
    answer was lost is told as "unknown" and is not sent again until you `aresolve` it.

    Args:
        models: What the agent may run, and nothing else.
        api_token: As in `Client`.
        base_url: As in `Client`.
        timeout: Seconds for a single call to the service: a start, a look, a cancel, saving the files.
        max_retries: As in `Client`. A start is never sent twice.
        default_headers: As in `Client`.
        client: A `Client` of your own, in place of the settings before; they then hold for async too.
        async_client: An `AsyncClient` of your own.
        max_wait: Seconds that a tool waits at most, whatever the agent asks for. The prediction goes on.
        max_running: Predictions that one conversation may have under way at once.
        max_starts: Predictions that one conversation may start in all.
        on_cancel: What becomes of its predictions when a run is canceled: ``"cancel"``, or ``"leave"`` to let
            them run; the log and a note on the exception then say their ids.
        save_to: A folder where finished outputs are saved, by `Client.download`'s rules; the answer names the
            file. None: nothing is saved.
        scope: What one conversation is, for limits and ownership: a name, or a function of the ``Context``
            (None outside of a run). None: the Context, else these tools.
        allowed_ids: Ids of predictions that were not started here and may yet be looked at, waited for and
            canceled; or a function that tells.
        store: Where starts are remembered: a mapping of strings, or another Context. None: the run's Context,
            else this process.
        approval: Ask a person before each start, by an `ApprovalRequiredEvent` on the run's stream. Outside
            of a run nobody can be asked, and nothing is started.
        rich_content: Also put a content block for each file into the answer. Most LLMs refuse a video block.

    Raises:
        ConfigurationError: A setting cannot be right, or there is no token.
        ImportError: ``jsonschema`` is not installed.

    Example:
        ``FunctionAgent(tools=RockAIToolSpec([GENERATE_IMAGE, ANIMATE_IMAGE]).to_tool_list(), llm=llm)``
    """

    def __init__(
        self,
        models: Iterable[HostedModel],
        api_token: str | None = None,
        base_url: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        max_retries: int = 2,
        default_headers: Mapping[str, str] | None = None,
        client: Client | None = None,
        async_client: AsyncClient | None = None,
        max_wait: float = 60.0,
        max_running: int = 2,
        max_starts: int = 10,
        on_cancel: OnCancel = "cancel",
        save_to: str | Path | None = None,
        scope: Scope = None,
        allowed_ids: Collection[str] | Callable[[str], bool] = (),
        store: Any = None,
        approval: bool = False,
        rich_content: bool = False,
    ) -> None:
        self._toolset = Toolset(
            models,
            api_token=api_token,
            base_url=base_url,
            timeout=timeout,
            max_retries=max_retries,
            default_headers=default_headers,
            client=client,
            async_client=async_client,
            max_wait=max_wait,
            max_running=max_running,
            max_starts=max_starts,
            on_cancel=on_cancel,
            save_to=save_to,
            allowed_ids=allowed_ids,
            store=store,
        )
        self.spec_functions = list(self._toolset.descriptions)
        self._tools = [
            RockAITool(
                self._toolset,
                ToolMetadata(text, name, argument_class(name, self._toolset.schemas[name])),
                scope=scope,
                approval=approval,
                rich_content=rich_content,
            )
            for name, text in self._toolset.descriptions.items()
        ]

    def to_tool_list(self, *_: Any, **__: Any) -> list[FunctionTool]:
        """One tool for each model, named after it, and the five of the lifecycle."""
        return list(self._tools)


class _Reporter:
    """Tells of progress on the stream of the run. Never fails a tool."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def tell(self, progress: Progress) -> None:
        try:
            self._context.write_event_to_stream(PredictionProgressEvent(**progress._asdict()))
        except Exception:
            logger.debug("A progress event could not be written.", exc_info=True)


class _Approval:
    """Asks a person through the Context, before anything is started.

    ``wait_for_event`` runs the tool again from its beginning once there is an answer: nothing was sent yet.
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ask(self, model: HostedModel, model_input: Mapping[str, Any], key: str) -> bool:
        response = await self._context.wait_for_event(
            HumanResponseEvent,
            waiter_id=f"rockai-{key}",
            waiter_event=ApprovalRequiredEvent(
                prefix=f"Start {model.name}? It costs money.",
                key=key,
                model=model.name,
                input=dict(model_input),
            ),
            requirements={"key": key},
        )
        return str(response.response).strip().lower() in _YES


async def _scope_of(context: Context) -> str | None:
    """The name of a Context, which it keeps when it is saved and restored; None if it cannot hold one."""
    try:
        async with context.store.edit_state() as state:
            scope: str = state.get(_SCOPE) or f"context:{uuid4().hex}"
            state[_SCOPE] = scope
    except (AttributeError, TypeError, ValueError):  # a typed state has no room for more
        logger.warning(
            "The Context's state is typed: starts are remembered in this process only. Pass store=."
        )
        return None
    return scope


def _interruptions() -> tuple[type[Exception], ...]:
    """What ``wait_for_event`` raises to interrupt a tool."""
    try:
        from workflows.runtime.types.results import WaitingForEvent  # noqa: PLC0415 - not in every version
    except ImportError:
        return ()
    return (WaitingForEvent,)


def _running_context() -> Context | None:
    """The Context of the running step, where a workflow of one's own calls a tool; None outside of one."""
    try:
        return Context.get_step_context()
    except (AttributeError, WorkflowRuntimeError):  # not in every version; not in a step
        return None


def _call_id() -> tuple[str, ...]:
    """What tells the running call from others: the tool id of the step's event.

    An agent hands its tools no id; the event of the running step has it. Where it cannot be read, nothing but
    model and input tells two calls of one Context apart, so that the same input is started once.
    """
    try:
        from workflows.runtime.types.results import StepWorkerStateContextVar  # noqa: PLC0415 - likewise

        step = StepWorkerStateContextVar.get()
    except (ImportError, LookupError):
        return ("",)
    return (str(getattr(step.event, "tool_id", "")),)


def _media_blocks(answer: Answer) -> list[ContentBlock]:
    """A block for each file."""
    blocks: list[ContentBlock] = []
    if isinstance(answer.result, Prediction):
        for kind, address, media_type in media_files(answer.result):
            match kind:
                case "image":
                    blocks.append(ImageBlock(url=address, image_mimetype=media_type))
                case "video":
                    blocks.append(VideoBlock(url=address, video_mimetype=media_type))
                case "audio":
                    blocks.append(AudioBlock(url=address, format=media_type.partition("/")[2]))
    return blocks
