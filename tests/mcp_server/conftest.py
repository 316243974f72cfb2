import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from rockai_sandbox import Sandbox

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


class Served:
    """A server's command and environment, and sessions with it."""

    def __init__(self, folder, sandbox):
        self.sandbox = sandbox
        self.models = folder / "models.toml"
        self.models.write_text(MODELS.format(store=(folder / "predictions.db").as_posix()), "utf-8")
        self.arguments = ["-m", "rockai_transport", "mcp", "--models", str(self.models)]
        self.environment = {**os.environ, **sandbox.environ(), "PYTHONPATH": str(Path(__file__).parents[2])}

    def set(self, name, value):
        """Add a setting to the models' file."""
        self.models.write_text(f'{name} = "{value}"\n{self.models.read_text("utf-8")}', "utf-8")

    @contextlib.asynccontextmanager
    async def session(self, address=None):
        """A session over stdio, with a process of its own; or with the server at an address."""
        if address:
            async with streamable_http_client(address) as (*streams, _), ClientSession(*streams) as session:
                await session.initialize()
                yield session
            return
        parameters = StdioServerParameters(command=sys.executable, args=self.arguments, env=self.environment)
        async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
            await session.initialize()
            yield session

    @contextlib.contextmanager
    def over_http(self):
        """The address of a server over HTTP."""
        command = [sys.executable, *self.arguments, "--http", "0"]
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                yield process.stderr.readline().strip()
            finally:
                process.terminate()
                process.communicate(timeout=20)


@pytest.fixture
def served(tmp_path):
    with Sandbox(api_token=TOKEN, video_seconds=0.2) as sandbox:
        yield Served(tmp_path, sandbox)
