"""Runs commands for `tasks.py`: one at a time or side by side, with Ctrl-C and progress.

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
    """Print a line between the output of the tools, in order."""
    print(text, flush=True)


def start(command: list[str], output: IO[bytes] | None = None) -> subprocess.Popen[bytes]:
    """Start a command in the project's folder; its output goes to a file, if one is given."""
    # Bytecode is needed: without it, each test process would compile everything again.
    unwanted = {"PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "PYTHONDONTWRITEBYTECODE"}
    environ = {name: value for name, value in os.environ.items() if name not in unwanted}
    environ["NO_MKDOCS_2_WARNING"] = "1"  # an advertisement of the theme's
    environ.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PIP_USER="0")
    error = None if output is None else subprocess.STDOUT
    return subprocess.Popen(command, cwd=str(ROOT), env=environ, stdout=output, stderr=error)


def finish(process: subprocess.Popen[bytes], *, interrupted: bool = False) -> int:
    """Wait for a command and return its exit code, 128 + n for signal n.

    Ctrl-C reaches the child too; wait for it, so that it can clean up (the demo cancels what it started). If
    Ctrl-C reached only this process, it is forwarded after some seconds, and finally the child is killed.
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
            # If Ctrl-C came again while its end was read, Popen treats a child as successful.
            return (code if code >= 0 else 128 - code) or 130 * interrupted


def hold_interrupts(*, hold: bool) -> None:
    """Hold Ctrl-C back, here and in commands started from now on; or let it through again, only here."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK if hold else signal.SIG_UNBLOCK, {signal.SIGINT})


def run(command: list[str]) -> int:
    """Run a command in the project's folder and return its exit code."""
    return finish(start(command))


def must(command: list[str], what: str) -> None:
    """Run a command that the rest depends on."""
    code = run(command)
    if code:
        raise SystemExit(f"tasks.py: {what} failed (exit code {code}); the lines above say why.")


def watched(command: list[str], venv: Path) -> int:
    """Run a command that fills an environment, and return its exit code.

    Its progress is one line, or without a terminal a new line every few seconds. The command's own output is
    shown only if it fails. Ctrl-C ends the command, and then this program.
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
    """Return how many packages an environment has, and the installer's last line."""
    output.seek(0)
    said = output.read().decode("utf-8", "replace")
    steps = re.findall(r"^ *((?:Collecting|Downloading|Installing) [a-z_. ]*[a-z])", said, re.MULTILINE)
    # Only where packages are listed: an installer removes folders below while this looks.
    installed = [
        *venv.glob("lib/python*/site-packages/*.dist-info"),
        *venv.glob("Lib/site-packages/*.dist-info"),
    ]
    return f"{len(installed):3} packages installed  {steps[-1] if steps else ''}"


def python(venv: Path = VENV) -> str:
    """Return the Python inside an environment."""
    return str(venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def module(*words: str, venv: Path = VENV) -> list[str]:
    """Return the command of a tool inside an environment."""
    return [python(venv), "-m", *words]


def each(steps: dict[str, list[str]]) -> None:
    """Run steps side by side, all of them even if one fails, and end with one line per step.

    The first step's output is shown at once, the others' when they have ended.
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
