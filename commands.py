"""Running commands for `tasks.py`: one at a time or side by side, with Ctrl-C, and how far they are.

As there, only the standard library is used, and nothing newer than Python 3.8.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PATIENCE = 5.0
COLUMNS = 78


def say(text: str) -> None:
    """Speak between the lines of the tools, in order with them."""
    print(text, flush=True)


def start(command: list[str], output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in the project's folder; what it says goes to a file where one is given."""
    # Bytecode is wanted: without it each process of the tests would compile everything again.
    unwanted = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE"}
    environ = {name: value for name, value in os.environ.items() if name not in unwanted}
    environ["NO_MKDOCS_2_WARNING"] = "1"  # an advertisement of the theme's
    environ.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0")
    error = None if output is None else subprocess.STDOUT
    return subprocess.Popen(command, cwd=str(ROOT), env=environ, stdout=output, stderr=error)


def finish(process: subprocess.Popen[bytes], *, interrupted: bool = False) -> int:
    """Wait for a command and give its exit code, 128 + n for signal n.

    Ctrl-C reaches the child too; it is waited for, so that it can tidy up (the demo cancels what it started).
    One that reached this process alone is passed on after some seconds, and at last the child is killed.
    """
    interrupt = process.terminate if os.name == "nt" else lambda: process.send_signal(signal.SIGINT)
    hurry = [process.kill, interrupt]
    while True:
        try:
            hold_interrupts(hold=False)
            code = process.wait(PATIENCE if interrupted and hurry else None)
        except KeyboardInterrupt:  # noqa: PERF203 - it may come again
            interrupted = True
        except subprocess.TimeoutExpired:
            hurry.pop()()
        else:
            # Popen takes a child for a success whose end was read when Ctrl-C came once more.
            return (code if code >= 0 else 128 - code) or 130 * interrupted


def hold_interrupts(*, hold: bool) -> None:
    """Keep Ctrl-C waiting, here and in what is started from now on; or let it through again, here alone."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK if hold else signal.SIG_UNBLOCK, {signal.SIGINT})


def run(command: list[str]) -> int:
    """Run a command in the project's folder and give its exit code."""
    return finish(start(command))


def must(command: list[str], what: str) -> None:
    """Run a command that the rest depends on."""
    code = run(command)
    if code:
        raise SystemExit(f"tasks.py: {what} failed (exit code {code}); the lines above say why.")


def watched(command: list[str], venv: Path) -> int:
    """Run a command that fills an environment, and give its exit code.

    How far it is gets one line, every few seconds a new one where it is no terminal; what the command itself
    prints is shown where it fails. Ctrl-C ends it, and goes on.
    """
    began, terminal = time.monotonic(), sys.stdout.isatty()
    with tempfile.TemporaryFile() as output:
        process = start(command, output)
        try:
            while process.poll() is None:
                time.sleep(0.2 if terminal else 2)
                line = f"{time.monotonic() - began:4.0f} s  {progress(output, venv)}"[:COLUMNS]
                print(
                    *(["\r", line.ljust(COLUMNS)] if terminal else [line, "\n"]), sep="", end="", flush=True
                )
        except KeyboardInterrupt:
            finish(process, interrupted=True)
            raise
        finally:
            if terminal:
                print("\r" + " " * COLUMNS + "\r", end="", flush=True)
        if process.returncode:
            output.seek(0)
            say(output.read().decode("utf-8", "replace").strip())
    return process.returncode


def progress(output: IO[bytes], venv: Path) -> str:
    """Say how many packages an environment has, and what the installer said last."""
    output.seek(0)
    said = output.read().decode("utf-8", "replace")
    steps = re.findall(r"^ *((?:Collecting|Downloading|Installing) [a-z_. ]*[a-z])", said, re.MULTILINE)
    installed = len(list(venv.glob("[Ll]ib/**/*.dist-info")))
    return f"{installed:3} packages installed  {steps[-1] if steps else ''}"


def python(venv: Path = VENV) -> str:
    """Give the Python inside an environment."""
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def module(*words: str, venv: Path = VENV) -> list[str]:
    """Spell a command of a tool inside an environment."""
    return [python(venv), "-m", *words]


def each(steps: dict[str, list[str]]) -> None:
    """Run steps side by side, all of them also when one fails, and end with one line on each.

    The first step's words are seen at once, the others' when it has ended.
    """
    began = time.monotonic()
    codes: dict[str, int] = {}
    with contextlib.ExitStack() as files:
        outputs = [None, *(files.enter_context(tempfile.TemporaryFile()) for _ in list(steps)[1:])]
        running = [start(command, output) for command, output in zip(steps.values(), outputs)]
        for name, process, output in zip(steps, running, outputs):
            say(f"\n--- {name}")
            codes[name] = finish(process)
            if output is not None:
                output.seek(0)
                say(output.read().decode("utf-8", "replace").strip())
    say("")
    for name, code in codes.items():
        say(f"{name:<12} {f'FAILED (exit code {code})' if code else 'ok'}")
    say(f"{time.monotonic() - began:.0f} s")
    if any(codes.values()):
        raise SystemExit(1)
