import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.memory import create_connected_server_and_client_session

from rockai_sandbox import Sandbox
from rockai_transport.mcp_server import make_server, read_toolset
from tests.support import warm

TOKEN = "secret-token-5d41402a"  # noqa: S105 - of a sandbox
MODELS = """
max_wait = 20
max_starts = 50
max_running = 9
store = "{store}"

[[models]]
name = "generate_image"
model = "incomingflyingbrick/flux-1-schnell"
description = "Make a still image."
output = "image"
[models.input_schema]
required = ["prompt"]
properties.prompt = {{ type = "string", minLength = 1 }}

[[models]]
name = "endless"
model = "sandbox/never-ends"
description = "Never ends."
"""


ROOT = str(Path(__file__).parents[2])
SECOND_SDK = str(Path(sys.prefix) / "mcp-2")  # see tasks.py


class Served:
    """A server's command and environment, and sessions with it.

    Its process may use the second version of the SDK. The clients here use the first.
    """

    def __init__(self, folder, sandbox, *, second=False):
        self.sandbox = sandbox
        self.address = None
        """Where it is served over HTTP."""
        self.models = folder / "models.toml"
        self.models.write_text(MODELS.format(store=(folder / "predictions.db").as_posix()), "utf-8")
        self.arguments = ["-m", "rockai_transport", "mcp", "--models", str(self.models)]
        self.command = [*((sys.executable,) if second else warm.PYTHON), *self.arguments]
        path = os.pathsep.join((SECOND_SDK, ROOT) if second else (ROOT,))
        self.environment = {**os.environ, **sandbox.environ(), "PYTHONPATH": path}

    def set(self, name, value):
        """Add a setting to the models' file."""
        self.models.write_text(f'{name} = "{value}"\n{self.models.read_text("utf-8")}', "utf-8")

    @contextlib.asynccontextmanager
    async def in_memory(self):
        """A session with a server of its own in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.sandbox.environ().items():
                patch.setenv(name, value)
            toolset = read_toolset(self.models)
            async with create_connected_server_and_client_session(make_server(toolset)) as session:
                yield session
            await toolset.aclose()

    @contextlib.asynccontextmanager
    async def session(self):
        """A session over HTTP where it is served so; else over stdio, with a process of its own."""
        if self.address:
            async with (
                streamable_http_client(self.address) as (*streams, _),
                ClientSession(*streams) as session,
            ):
                await session.initialize()
                yield session
            return
        parameters = StdioServerParameters(
            command=self.command[0], args=self.command[1:], env=self.environment
        )
        async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
            await session.initialize()
            yield session

    @contextlib.contextmanager
    def over_http(self):
        """Serve it over HTTP."""
        with subprocess.Popen(
            [*self.command, "--http", "0"], env=self.environment, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                self.address = process.stderr.readline().strip()
                yield
            finally:
                process.terminate()
                process.communicate(timeout=20)


@contextlib.contextmanager
def serving(folder, *, second=False):
    with Sandbox(api_token=TOKEN, video_seconds=0.2) as sandbox:
        yield Served(folder, sandbox, second=second)


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as served:
        yield served


@pytest.fixture
def second(tmp_path):
    """A server with the SDK's second version, as a process."""
    with serving(tmp_path, second=True) as served:
        yield served


@pytest.fixture(scope="module")
def over_http(tmp_path_factory):
    """One server over HTTP for all tests that need no settings of their own."""
    with serving(tmp_path_factory.mktemp("mcp")) as served, served.over_http():
        yield served


@pytest.fixture(scope="module")
def second_over_http(tmp_path_factory):
    """The same with the SDK's second version."""
    with serving(tmp_path_factory.mktemp("mcp2"), second=True) as served, served.over_http():
        yield served


@pytest.fixture(params=["served", "over_http", "second", "second_over_http"])
def either(request):
    """A server as a process, over one of the two transports, with either version of the SDK."""
    return request.getfixturevalue(request.param)
