"""What the server's tools answer, in memory; the server as a process, through the clients that agents use."""

import asyncio
import contextlib
import itertools
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from langchain_mcp_adapters.callbacks import Callbacks
from langchain_mcp_adapters.client import MultiServerMCPClient
from llama_index.tools.mcp import BasicMCPClient, McpToolSpec
from mcp import types
from mcp.shared.memory import create_connected_server_and_client_session

from rockai_transport import Client
from rockai_transport.__main__ import main
from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.hosted_models import GENERATE_IMAGE
from rockai_transport.jobs.toolset import DESCRIPTIONS, Toolset
from rockai_transport.mcp_server import make_server, read_toolset

PROMPT = {"prompt": "a lighthouse"}


def raises(_):
    raise LookupError("who is it?")


async def until(condition, seconds=10.0):
    """Wait for what happens in another process."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(0.02)


def prediction_id(text):
    return text.split()[1]


def langchain_client(served):
    if served.address:
        return {"transport": "streamable_http", "url": served.address}
    return {
        "transport": "stdio",
        "command": served.command[0],
        "args": served.command[1:],
        "env": served.environment,
    }


async def test_tools_and_their_schemas(served):
    """One tool for each model, with its own schema, and the five of the lifecycle."""
    async with served.in_memory() as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
    assert set(tools) == {"generate_image", "endless", *DESCRIPTIONS}
    assert tools["generate_image"].inputSchema["properties"]["prompt"]["minLength"] == 1
    assert tools["start_prediction"].inputSchema["properties"]["model"]["enum"] == [
        "generate_image",
        "endless",
    ]


async def test_an_output_is_a_resource_link(served):
    """The text says the address, and the link says it with its type."""
    async with served.in_memory() as session:
        result = await session.call_tool("generate_image", PROMPT)
    text, link = result.content
    assert not result.isError
    assert "succeeded" in text.text
    assert (link.type, link.mimeType) == ("resource_link", "image/png")
    assert str(link.uri) in text.text


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("generate_image", {}),
        ("generate_image", {"prompt": ""}),
        ("generate_image", {"prompt": "x", "size": 3}),
        ("start_prediction", {"model": "other", "input": {}}),
        ("wait_for_prediction", {"prediction_id": "no-such"}),
        ("no_such_tool", {}),
    ],
)
async def test_invalid_input_is_an_error_of_the_tool(served, tool, arguments):
    """It is a result with ``isError``, which a model can read; nothing is sent."""
    async with served.in_memory() as session:
        result = await session.call_tool(tool, arguments)
    assert result.isError
    assert served.sandbox.predictions == []


async def test_a_scope_that_fails_is_an_error_of_the_tool(served, caplog):
    """In the words of the other tools: the developer's exception is for the log, not for a client."""
    toolset = Toolset([GENERATE_IMAGE], scope=raises, client=Client("t", served.sandbox.base_url))
    async with create_connected_server_and_client_session(make_server(toolset)) as session:
        result = await session.call_tool("generate_image", PROMPT)
    assert result.isError
    assert "not set up for this conversation; nothing was sent" in result.content[0].text
    assert "who is it?" in caplog.text
    assert served.sandbox.requests == []


async def test_progress_is_told_at_least_every_two_seconds(served):
    """From the call to its end, with a number that grows each time."""
    heard = []

    async def on_progress(progress, total, message):
        heard.append((time.monotonic(), progress, message))

    async with served.in_memory() as session:
        began = time.monotonic()
        started = await session.call_tool("start_prediction", {"model": "endless", "input": {"prompt": "x"}})
        one = prediction_id(started.content[0].text)
        waiting = {"prediction_id": one, "timeout": 3}
        await session.call_tool("wait_for_prediction", waiting, progress_callback=on_progress)
        ended = time.monotonic()
        await session.call_tool("cancel_prediction", {"prediction_id": one})
    times = [began, *(when for when, _, _ in heard), ended]
    assert max(after - before for before, after in itertools.pairwise(times)) < 2
    numbers = [progress for _, progress, _ in heard]
    assert numbers == sorted(set(numbers))
    assert heard[-1][2].startswith("endless: ")


async def last_is(served, status, seconds=2.0):
    """Wait until the last prediction has a status."""
    await until(lambda: served.sandbox.predictions[-1].status == status, seconds)


async def begin(served, session):
    """Call a tool that never ends; give the call, once its prediction has been asked for."""
    before = len(served.sandbox.predictions)
    call = asyncio.ensure_future(session.call_tool("endless", {"prompt": "x"}))
    await until(lambda: len(served.sandbox.predictions) > before)
    return call


async def test_canceling_the_request_cancels_the_prediction(either):
    """By the protocol's own notification, within two seconds; the session goes on."""
    async with either.session() as session:
        request = session._request_id
        call = await begin(either, session)
        notice = types.CancelledNotification(params=types.CancelledNotificationParams(requestId=request))
        await session.send_notification(types.ClientNotification(notice))
        await last_is(either, "canceled")
        call.cancel()  # the SDK's first version answers it, the second does not
        assert not (await session.call_tool("list_predictions", {})).isError


async def started(session):
    """Start what never ends; give its id."""
    result = await session.call_tool("start_prediction", {"model": "endless", "input": {"prompt": "x"}})
    return prediction_id(result.content[0].text)


async def test_a_session_that_ends_cancels_what_it_waits_for(either):
    """A client that goes away in the middle of a call leaves nothing running but what was only started."""
    with contextlib.suppress(ExceptionGroup):  # the client, if it is answered while it leaves
        async with either.session() as session:
            one = await started(session)
            call = await begin(either, session)
            call.cancel()
    await last_is(either, "canceled")
    (left,) = [found for found in either.sandbox.predictions if found.id == one]
    assert left.status in ("starting", "processing")


async def test_servers_over_stdio_are_one_conversation(served):
    """The next one can look at what was started, and cancel it: the store is what they share."""
    async with served.in_memory() as session:
        one = await started(session)
    async with served.in_memory() as session:
        assert one in (await session.call_tool("list_predictions", {})).content[0].text
        assert not (await session.call_tool("cancel_prediction", {"prediction_id": one})).isError


async def test_sessions_over_http_are_conversations_of_their_own(over_http):
    """One can neither look at, wait for, cancel nor list another's predictions."""
    async with over_http.session() as mine, over_http.session() as other:
        one = await started(mine)
        about = {"prediction_id": one}
        for tool in ("get_prediction", "wait_for_prediction", "cancel_prediction"):
            assert (await other.call_tool(tool, about)).isError
        assert one not in (await other.call_tool("list_predictions", {})).content[0].text
        assert one in (await mine.call_tool("list_predictions", {})).content[0].text
        assert over_http.sandbox.predictions[-1].status in ("starting", "processing")


async def test_a_scope_makes_all_sessions_one_conversation(served):
    """As a client needs it that opens a session for each call: LangChain's does."""
    served.set("scope", "everybody")
    with served.over_http():
        client = MultiServerMCPClient({"rockai": langchain_client(served)})
        tools = {tool.name: tool for tool in await client.get_tools()}
        first = await tools["start_prediction"].ainvoke({"model": "endless", "input": {"prompt": "x"}})
        about = {"prediction_id": prediction_id(first[0]["text"])}
        assert "is canceled" in (await tools["cancel_prediction"].ainvoke(about))[0]["text"]


async def test_calls_without_a_session_are_one_conversation(second_over_http):
    """Sessions ended with the protocol of 2026-07-28; a limit for each call alone would be none."""
    version, address = "2026-07-28", second_over_http.address
    meta = {"protocolVersion": version, "clientInfo": {"name": "t", "version": "1"}, "clientCapabilities": {}}
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in meta.items()}

    async def call(name, arguments):
        params = {"name": name, "arguments": arguments, "_meta": meta}
        headers = {
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": version,
            "Mcp-Method": "tools/call",
            "Mcp-Name": name,
        }
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        async with httpx.AsyncClient(trust_env=False) as client:
            return (await client.post(address, json=message, headers=headers)).json()["result"]

    begun = await call("start_prediction", {"model": "endless", "input": {"prompt": "x"}})
    one = prediction_id(begun["content"][0]["text"])
    assert one in (await call("list_predictions", {}))["content"][0]["text"]
    assert not (await call("cancel_prediction", {"prediction_id": one}))["isError"]


@pytest.mark.parametrize("sdk", ["served", "second"])
@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT] * 2], ids=["SIGTERM", "Ctrl-C twice"])
async def test_a_signal_cancels_what_is_waited_for(request, sdk, signals):
    """The process ends by itself, though standard input is still open, and without a traceback."""
    served = request.getfixturevalue(sdk)
    process = await asyncio.create_subprocess_exec(
        sys.executable,  # as a client starts it, which has imported nothing yet
        *served.arguments,
        env=served.environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )

    def send(method, params, **more):
        message = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        process.stdin.write(json.dumps(message).encode() + b"\n")

    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    send("initialize", hello, id=1)
    await process.stdout.readline()
    send("notifications/initialized", {})
    send("tools/call", {"name": "endless", "arguments": {"prompt": "x"}}, id=2)
    await until(lambda: served.sandbox.predictions)
    served.sandbox.answer_next(503, path="/cancel", headers={"Retry-After": "0.2"})
    for one in signals:
        process.send_signal(one)
        await until(lambda: any(seen.path.endswith("/cancel") for seen in served.sandbox.requests))
    await until(lambda: served.sandbox.predictions[0].status == "canceled", 2)
    async with asyncio.timeout(5):
        _, complaints = await process.communicate()
    assert b"Traceback" not in complaints


def test_no_message_holds_the_token(served):
    """Not in a tool, an answer or an error, nor in what the server writes to its log."""
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    calls = [
        {"method": "initialize", "params": hello, "id": 1},
        {"method": "notifications/initialized"},
        {"method": "tools/list", "params": {}, "id": 2},
        {"method": "tools/call", "params": {"name": "generate_image", "arguments": PROMPT}, "id": 3},
        {"method": "tools/call", "params": {"name": "list_predictions", "arguments": {}}, "id": 4},
    ]
    process = subprocess.Popen(
        served.command,
        env={**served.environment, "ROCKAI_BASE_URL": "http://127.0.0.1:9"},  # nobody listens
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    said = []
    with process:
        for call in calls:
            process.stdin.write(json.dumps({"jsonrpc": "2.0", **call}).encode() + b"\n")
            process.stdin.flush()
            if "id" in call:
                said.append(process.stdout.readline())
        said += process.communicate(timeout=20)
    assert b'"isError":true' in said[2]
    assert served.sandbox.api_token.encode() not in b"".join(said)


async def test_langchain_starts_in_one_process_and_waits_in_another(served):
    """Its tools open a session, and so a process, for each call: the store is what they share."""
    client = MultiServerMCPClient({"rockai": langchain_client(served)})
    tools = {tool.name: tool for tool in await client.get_tools()}
    started = await tools["start_prediction"].ainvoke({"model": "generate_image", "input": PROMPT})
    waited = await tools["wait_for_prediction"].ainvoke({"prediction_id": prediction_id(started[0]["text"])})
    assert "succeeded" in waited[0]["text"]
    assert (waited[1]["type"], waited[1]["mime_type"]) == ("image", "image/png")


async def test_langchain_over_http_with_progress(over_http):
    """Its callback hears how far a call is."""
    heard = []

    async def on_progress(progress, total, message, context):
        heard.append(message)

    connections = {"rockai": langchain_client(over_http)}
    client = MultiServerMCPClient(connections, callbacks=Callbacks(on_progress=on_progress))
    tools = {tool.name: tool for tool in await client.get_tools()}
    answer = await tools["generate_image"].ainvoke(PROMPT)
    refused = await tools["endless"].ainvoke({"name": "endless", "args": {}, "id": "1", "type": "tool_call"})
    assert answer[1]["url"].endswith(".png")
    assert heard
    assert refused.status == "error"


async def test_llama_index(either):
    """Its tools have the models' own arguments, and its results say what is an error."""
    client = BasicMCPClient(either.command[0], args=either.command[1:], env=either.environment)
    if either.address:
        client = BasicMCPClient(either.address)
    tools = {tool.metadata.name: tool for tool in await McpToolSpec(client).to_tool_list_async()}
    answer = await tools["generate_image"].acall(**PROMPT)
    refused = await client.call_tool("generate_image", {})
    await client.http_client.aclose()  # it is made by the adapter, which leaves it open
    assert "prompt" in tools["generate_image"].metadata.get_parameters_dict()["properties"]
    assert answer.raw_output.content[1].type == "resource_link"
    assert refused.isError


async def test_http_is_for_this_machine_s_own_programs(over_http):
    """A page in a browser, which sends its own origin or another host's name, is refused."""
    address = over_http.address
    assert address.startswith("http://127.0.0.1:")
    async with httpx.AsyncClient(trust_env=False) as client:
        foreign = await client.post(address, json={}, headers={"Origin": "https://evil.example"})
        rebound = await client.post(address, json={}, headers={"Host": "evil.example"})
    assert (foreign.status_code, rebound.status_code) == (403, 421)


def test_ctrl_c_ends_a_server_over_http_without_a_traceback(served):
    """The exit status is a shell's for an interrupted program."""
    with subprocess.Popen(
        [*served.command, "--http", "0"], env=served.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        address = process.stderr.readline().strip().removesuffix("mcp")
        assert httpx.get(address, trust_env=False).status_code == 404  # so it serves
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models = 3", r"\[\[models\]\]"),
        ("[[models]]\nname = 'x'", "missing 2 required"),
        ("[[models]]\nname = 'x'\nmodel = 'a/b'\ndescription = 'd'\nouput = 'text'", "ouput"),
        ("max_runing = 3", "max_running"),
        ("rich_content = true", "there are: allowed_ids, async_client"),
        ("api_token = 'x'", "token belongs in the environment: ROCKAI_API_TOKEN"),
        ("api_key = 'x'", "token belongs in the environment: ROCKAI_API_TOKEN"),
        ("= 3", "models.toml"),
    ],
)
def test_a_file_that_cannot_be_right(tmp_path, monkeypatch, text, said):
    """It is refused before anything is served; the token belongs in the environment."""
    monkeypatch.setenv("ROCKAI_API_TOKEN", "x")
    file = tmp_path / "models.toml"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigurationError, match=said):
        read_toolset(file)


def test_a_port_that_cannot_be_used_is_named(tmp_path, monkeypatch, capsys):
    """The error of the operating system does not name it."""
    monkeypatch.setenv("ROCKAI_API_TOKEN", "x")
    file = tmp_path / "models.toml"
    file.write_text("[[models]]\nname = 'x'\nmodel = 'a/b'\ndescription = 'd'", "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["mcp", "--models", str(file), "--http", str(port)]) == 2
    assert capsys.readouterr().err.startswith(f"--http {port}: ")


def test_the_file_on_the_page_can_be_read(monkeypatch, tmp_path):
    """As it stands in docs/how-to/mcp.md."""
    monkeypatch.setenv("ROCKAI_API_TOKEN", "x")
    page = Path(__file__).parents[2] / "docs" / "how-to" / "mcp.md"
    text = re.search(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL)[1]
    file = tmp_path / "models.toml"
    file.write_text(text, "utf-8-sig")  # with a byte order mark, as some editors on Windows write it
    toolset = read_toolset(file)
    assert "Costs 0.01 at most." in toolset.descriptions["generate_image"]
    toolset.close()


WITHOUT = """\
import sys
sys.modules.update(pydantic=None, jsonschema=None)
from rockai_transport import Client
from rockai_transport.__main__ import main
print(*{"mcp", "starlette", "uvicorn"} & set(sys.modules))
sys.modules["mcp"] = None
sys.exit(main())
"""


def test_the_sdk_is_loaded_only_to_serve(served):
    """The other commands work without it and what it brings; without it this one says what to install."""
    command = [sys.executable, "-c", WITHOUT, *served.arguments[2:]]
    ended = subprocess.run(
        command, check=False, env=served.environment, capture_output=True, text=True, timeout=60
    )
    assert ended.stdout.strip() == ""
    assert ended.returncode == 2
    assert '.[mcp]"' in ended.stderr
