"""How much of our code one call uses: ``python -m benchmarks.structure``.

The second call on a warm client is recorded, in the same event loop: which files and functions of our
packages are entered (a function is a file and a qualified name, so comprehensions count), how often (a
resumed generator or coroutine counts again), and our frames on the stack when the first bytes are sent. No
clock is read, so the figures are the same everywhere, except the calls of `animate_image`, which depend on
how often it polls.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import langchain_rockai
import llama_index_rockai
import rockai_transport
from langchain_rockai import ANIMATE_IMAGE, ChatRockAI, RockAIToolkit
from rockai_sandbox import Sandbox
from rockai_transport import Client

PACKAGES = (rockai_transport, langchain_rockai, llama_index_rockai)
OURS = tuple(str(Path(str(package.__file__)).parent) for package in PACKAGES)
MODEL = "meta/meta-llama-3-70b-instruct"
AT_FIRST = {"Client.run": 90, "ChatRockAI.invoke": 207, "ChatRockAI.astream": 215, "animate_image": 181}
"""Number of functions that the first version entered."""
IMAGE = {"image": "https://example.com/still.png", "prompt": "wind"}


class Entered(NamedTuple):
    """What one call entered."""

    files: int
    functions: int
    calls: int
    frames: tuple[str, ...]
    """Our functions on the stack when the first bytes are sent, outermost first."""


class Recorder:
    """A profile function that records which of our functions are entered."""

    def __init__(self) -> None:
        self.entered: list[tuple[str, str]] = []
        self.frames: tuple[str, ...] = ()

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        """Record an event, as `sys.setprofile` passes it."""
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(OURS):
            self.entered.append((code.co_filename, code.co_qualname))
        elif event == "c_call" and not self.frames and sends(arg):
            self.frames = tuple(own_frames(frame))

    def __enter__(self) -> None:
        threading.setprofile(self)
        sys.setprofile(self)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def result(self) -> Entered:
        """Return the counts."""
        functions = set(self.entered)
        files = {file for file, _ in functions}
        return Entered(len(files), len(functions), len(self.entered), self.frames)


def sends(function: Any) -> bool:
    """Whether it is a socket method that sends to the service, and not an event loop that wakes itself."""
    sock = getattr(function, "__self__", None)
    named = function.__name__ in {"send", "sendall"}
    return named and isinstance(sock, socket.socket) and sock.family == socket.AF_INET


def own_frames(frame: FrameType | None) -> list[str]:
    """Return our functions on the stack, outermost first, including coroutines."""
    found = []
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    return found[::-1]


def operations(sandbox: Sandbox) -> dict[str, Callable[[], Any]]:
    """Return the operations to measure, each with a client; their results may have to be awaited."""
    place: dict[str, Any] = {"api_token": sandbox.api_token, "base_url": sandbox.base_url}
    client = Client(**place)
    llm = ChatRockAI(model=MODEL, **place)
    tools = {tool.name: tool for tool in RockAIToolkit(models=[ANIMATE_IMAGE], **place).get_tools()}

    async def astream() -> None:
        async for _ in llm.astream("Hi"):
            pass

    return {
        "Client.run": lambda: client.run(MODEL, {"prompt": "Hi"}),
        "ChatRockAI.invoke": lambda: llm.invoke("Hi"),
        "ChatRockAI.astream": astream,
        "animate_image": lambda: tools["animate_image"].ainvoke(IMAGE),
    }


def measure(sandbox: Sandbox) -> dict[str, Entered]:
    """Run each operation twice, and record the second run."""
    found = {}
    with asyncio.Runner() as runner:

        def carry_out(operation: Callable[[], Any]) -> None:
            result = operation()
            if asyncio.iscoroutine(result):
                runner.run(result)

        for name, operation in operations(sandbox).items():
            carry_out(operation)
            recorder = Recorder()
            with recorder:
                carry_out(operation)
            found[name] = recorder.result()
    return found


def main() -> None:
    """Print the table, and the frames at the socket."""
    with Sandbox(video_seconds=0.3) as sandbox:
        found = measure(sandbox)
    head = ("", "files", "functions", "at first", "fewer", "calls", "frames")
    rows: list[tuple[object, ...]] = [head]
    for name, one in found.items():
        fewer = f"{1 - one.functions / AT_FIRST[name]:.0%}"
        rows.append((name, one.files, one.functions, AT_FIRST[name], fewer, one.calls, len(one.frames)))
    for first, *others in rows:
        sys.stdout.write(f"{first!s:20}" + "".join(f"{cell!s:>10}" for cell in others) + "\n")
    for name, one in found.items():
        sys.stdout.write(f"\n{name}: {' > '.join(one.frames)}\n")


if __name__ == "__main__":
    main()
