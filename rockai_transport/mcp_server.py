"""``python -m rockai_transport mcp``: an agent's tools over the Model Context Protocol.

Invariants of this module: standard output contains only protocol messages, and none contains the API token.
If a request is canceled or its session ends, the prediction of its call is canceled. HTTP is served only on
loopback, and a session cannot see another session's predictions.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import mimetypes
import os
import signal
import socket
import sys
import time
import tomllib
from collections import deque
from pathlib import Path
from typing import Any

from rockai_transport._packages import require
from rockai_transport._version import __version__
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.agent_messages import ToolAnswer, refusal
from rockai_transport.jobs.hosted_models import HostedModel
from rockai_transport.jobs.policy import CallContext, Progress
from rockai_transport.jobs.toolset import Toolset

_REPORTS_EVERY = 1.0
"""Seconds between two notifications of progress."""
_LEAVES_WITHIN = 2.5
"""Seconds to wait for a canceled call; its own limit is two."""


def add_to(commands: Any) -> None:
    """Add the command to a parser's commands."""
    text = "Serve hosted models as MCP tools. The token is read from ROCKAI_API_TOKEN."
    parser = commands.add_parser("mcp", help="serve hosted models as MCP tools", description=text)
    parser.add_argument("--models", required=True, metavar="FILE.toml", help="the models, and the limits")
    parser.add_argument(
        "--http", type=int, metavar="PORT", help="serve HTTP at this port of 127.0.0.1, instead of stdio"
    )
    parser.set_defaults(run=main)


def main(options: argparse.Namespace) -> int:
    """Serve until the client leaves; return the exit status."""
    try:
        require("mcp", "The MCP server needs mcp", "mcp")
        server = make_server(read_toolset(options.models))
        asyncio.run(_serve_stdio(server) if options.http is None else _serve_http(server, options.http))
    except (ConfigurationError, ImportError, OSError, OverflowError) as error:  # no such port
        is_port = options.http is not None and isinstance(error, OSError | OverflowError)
        about = f"--http {options.http}: " if is_port else ""
        print(f"{about}{error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    return 0


def read_toolset(file: str | Path) -> Toolset:
    """Read a `HostedModel` from each ``[[models]]`` table, and a toolkit's settings from the top of the file.

    The API token comes from the environment.
    """
    from rockai_transport.adapters.toolkits import make_toolset  # needs pydantic, as the SDK does

    try:
        settings = tomllib.loads(Path(file).read_text("utf-8-sig"))  # Windows' editors write a mark
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: {error}") from error
    if settings.keys() & {"api_token", "api_key"}:
        raise ConfigurationError(f"{file}: the API token belongs in the environment: ROCKAI_API_TOKEN.")
    tables = settings.pop("models", [])
    try:
        models = [HostedModel(**table) for table in tables]
    except TypeError as error:  # there are no tables, or a key is unknown or missing
        raise ConfigurationError(
            f"{file}: write a [[models]] table for each model, with the arguments of HostedModel. {error}"
        ) from None
    return make_toolset(str(file), "rockai-mcp", models, settings)


def make_server(toolset: Toolset) -> Any:
    """Make an ``mcp.server.lowlevel.Server`` with a toolset's tools, for any transport of the SDK."""
    from mcp import types

    async def list_tools(_context: Any, _params: Any) -> Any:
        tools = [
            {"name": name, "description": text, "inputSchema": toolset.schemas[name]}
            for name, text in toolset.descriptions.items()
        ]
        return types.ListToolsResult.model_validate({"tools": tools})

    async def call_tool(context: Any, params: Any) -> Any:
        name, arguments = params.name, params.arguments or {}
        if name not in toolset.schemas:
            known = ", ".join(toolset.schemas)
            return _result(refusal(f"There is no tool {name[:64]!r}; there are: {known}."))
        latest = deque(["asking the service"], maxlen=1)

        async def call_context() -> CallContext:
            scope = toolset.scope_of(None, _session_scope(context.request))
            return CallContext(scope, report=lambda progress: latest.append(_in_words(progress)))

        reporting = asyncio.create_task(_report_regularly(context, latest))
        try:
            return _result(await _finished(toolset.acall(name, arguments, call_context)))
        finally:
            reporting.cancel()

    return _server(list_tools, call_tool)


def _server(list_tools: Any, call_tool: Any) -> Any:
    """Make a server of the SDK's version 2, whose handlers take a context and parameters, or of version 1."""
    from mcp import types
    from mcp.server.lowlevel import Server

    make: Any = Server
    if not hasattr(Server, "request_context"):
        return make("rockai", version=__version__, on_list_tools=list_tools, on_call_tool=call_tool)
    server = make("rockai", __version__)

    def handler(handle: Any) -> Any:
        async def answer(request: Any) -> Any:
            return types.ServerResult(await handle(server.request_context, request.params))

        return answer

    server.request_handlers[types.ListToolsRequest] = handler(list_tools)
    server.request_handlers[types.CallToolRequest] = handler(call_tool)
    return server


def _session_scope(request: Any) -> str:
    """Return one scope per HTTP session, and one for all calls without a session.

    Over stdio, clients start a process per call. Over HTTP, the protocol of 2026-07-28 has no sessions; a
    scope per call would have limits per call, which are none.
    """
    session = None if request is None else request.headers.get("mcp-session-id")
    return f"mcp:{session}" if session else "mcp"


async def _finished(call: Any) -> ToolAnswer:
    """Execute a call in its own task. If it is canceled, wait until it has canceled its prediction.

    The SDK repeats its cancellation as long as anything is awaited.
    """
    import anyio

    task: asyncio.Task[ToolAnswer] = asyncio.ensure_future(call)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait({task}, timeout=_LEAVES_WITHIN)
        raise


def _in_words(progress: Progress) -> str:
    share = "" if progress.progress is None else f", {progress.progress:.0%}"
    return f"{progress.model or progress.prediction_id}: {progress.status}{share}"


async def _report_regularly(context: Any, latest: deque[str]) -> None:
    """Report the latest progress to the client if it asked for it, until this is canceled.

    The protocol requires an increasing number; this sends seconds.
    """
    meta, came = context.meta or {}, time.monotonic()
    token = meta.get("progress_token") if isinstance(meta, dict) else meta.progressToken  # the SDK's 2, and 1
    notify = context.session.send_progress_notification
    while token is not None:
        with contextlib.suppress(Exception):  # if the client is gone, the call continues
            await notify(token, time.monotonic() - came, None, latest[-1], str(context.request_id))
        await asyncio.sleep(_REPORTS_EVERY)


def _result(answer: ToolAnswer) -> Any:
    """Return the text, and links to each file: its address at the service, and its saved copy."""
    from mcp import types

    from rockai_transport.adapters.files import media_files

    content: list[Any] = [types.TextContent(type="text", text=answer.text)]
    found = [(one.address, one.media_type) for one in media_files(answer.result)]
    saved = [(path.absolute().as_uri(), mimetypes.guess_type(path)[0]) for path in answer.files]
    for address, media_type in found + saved:
        name = address.partition("?")[0].rstrip("/").rpartition("/")[2]
        link = {"type": "resource_link", "uri": address, "name": name, "mimeType": media_type}
        with contextlib.suppress(ValueError):  # pydantic rejects the URL; the text contains it
            content.append(types.ResourceLink.model_validate(link))
    return types.CallToolResult.model_validate({"content": content, "isError": answer.is_error})


async def _serve_stdio(server: Any) -> None:
    from mcp.server.stdio import stdio_server

    serving: Any = asyncio.current_task()
    with contextlib.suppress(NotImplementedError):  # Windows ends a process without a signal
        for ending in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(ending, serving.cancel)
    async with stdio_server() as (read, write):
        try:
            await server.run(read, write, server.create_initialization_options())
        except asyncio.CancelledError:  # the calls have ended; the SDK would wait for standard input
            os._exit(0)


async def _serve_http(server: Any, port: int) -> None:
    import uvicorn
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.applications import Starlette
    from starlette.routing import Route

    with socket.create_server(("127.0.0.1", port)) as listening:
        names = [f"{name}:{listening.getsockname()[1]}" for name in ("127.0.0.1", "localhost")]
        origins = [f"http://{name}" for name in names]
        guard = TransportSecuritySettings(allowed_hosts=names, allowed_origins=origins)
        sessions = StreamableHTTPSessionManager(server, security_settings=guard)
        app = Starlette(routes=[Route("/mcp", _Endpoint(sessions))], lifespan=lambda _: sessions.run())
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
        print(f"{origins[0]}/mcp", file=sys.stderr, flush=True)  # noqa: T201 - this is a command
        await uvicorn.Server(config).serve([listening])


class _Endpoint:
    """The session manager as an ASGI app: Starlette takes a method for a handler of its own requests."""

    def __init__(self, sessions: Any) -> None:
        self._sessions = sessions

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self._sessions.handle_request(scope, receive, send)
