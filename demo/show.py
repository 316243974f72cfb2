"""The whole demo: approval of the paid calls, a service, the scenes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.prompt import Confirm

from demo.scenes import PAID_CALLS, Stage, play
from rockai_sandbox import Sandbox
from rockai_transport import Client, ConfigurationError, RockAIError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_YES = frozenset({"1", "y", "yes", "true"})
_UNSEEN = (
    "This is beta: checked against recordings of the official model server and a local sandbox; "
    "the live gateway has not been seen. Run the doctor first:"
)


def show(stop: Callable[..., None]) -> int:
    """Show the demo.

    Args:
        stop: The effect of Ctrl-C before and after the scenes; during them, asyncio ends them first.

    Returns:
        The exit code; 0 if everything worked.
    """
    console = Console(highlight=False)
    live = os.environ.get("LIVE", "").lower() in _YES
    try:
        if live:
            Client().close()  # raises without a token: then there is nothing to approve
            if not _agreed(console):
                return 2
        with contextlib.nullcontext() if live else _sandbox():
            signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                receipt = asyncio.run(play(Stage(console, on_sandbox=not live)))
            finally:
                signal.signal(signal.SIGINT, stop)
    except RockAIError as error:
        console.print(f"\n[red]{type(error).__name__}[/]: {escape(str(error))}")
        if live and isinstance(error, ConfigurationError):
            console.print(
                "Then run it again: make demo LIVE=1. Without LIVE=1 it needs no token and costs nothing."
            )
        return 1
    except KeyboardInterrupt:
        console.print("\nStopped. What was running has been canceled, as far as its id was known.")
        return 130
    console.print(_closing_panel(live=live), receipt)
    return 0


@contextlib.contextmanager
def _sandbox() -> Iterator[None]:
    """Start a local service, and point the environment at it."""
    with Sandbox(seconds_per_piece=0.03) as sandbox:
        os.environ.update(sandbox.environ())
        yield


def _agreed(console: Console) -> bool:
    """List the paid calls, and ask. Without a terminal nobody can be asked, so YES=1 must approve them."""
    doctor = f"{escape(interpreter(sys.executable, Path.cwd()))} -m rockai_transport doctor"
    console.print(
        Panel(
            "\n".join([*(f"• {call}" for call in PAID_CALLS), "", _UNSEEN, f"  {doctor}"]),
            title="This will be charged by RockAI",
        )
    )
    if os.environ.get("YES", "").lower() in _YES:
        return True
    if not sys.stdin.isatty():
        console.print(
            "There is no terminal to ask at. Run it with YES=1 if you agree: make demo LIVE=1 YES=1"
        )
        return False
    return Confirm.ask("Go on?", console=console, default=False)


def interpreter(executable: str, folder: Path) -> str:
    """Return a Python as one types it in a folder: relative to the folder if it is inside."""
    path = Path(executable)
    if path.is_relative_to(folder) and path.parent != folder:  # a bare name would be searched on the PATH
        path = path.relative_to(folder)
    return subprocess.list2cmdline([str(path)]) if os.name == "nt" else shlex.quote(str(path))


def _closing_panel(*, live: bool) -> Panel:
    where = "the live service" if live else "the local sandbox, whose responses are rule-based"
    python = interpreter(sys.executable, Path.cwd())
    return Panel(
        f"All of this ran on {where}.\n"
        "The video is in [bold]out/demo.mp4[/]. Try next:\n"
        "  • README.md: ten lines each for LangChain, LlamaIndex and an agent\n"
        "  • the sandbox alone, for your own app:\n"
        f"    {escape(python)} -m rockai_sandbox --port 8100\n"
        "  • the same with real models, paid for:\n"
        "    export ROCKAI_API_TOKEN=… && make demo LIVE=1",
        title="Done",
    )
