"""Runs programs in forks of a test process that has imported everything, for tests that need no cold start.

`PYTHON` replaces `sys.executable`. It is a small program: it passes its own files, folder and environment to
a process that was forked before the first test, and that forks again for each program. It forwards signals,
and ends as the program does. It is `sys.executable` itself if forking is not safe: on other systems than
Linux, and while coverage is measured.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import logging
import multiprocessing
import multiprocessing.connection
import os
import runpy
import signal
import socket
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PYTHON = [sys.executable]
"""The start of a program's command; a module (``-m``), a script or code (``-c``) and arguments follow."""

# What the frameworks import on first use, so that no program imports it again.
_LATE = (
    "anyio._backends._asyncio",
    "langchain_core.messages.block_translators.langchain_v0",
    "langchain_core.tracers.run_collector",
    "langchain_core.tracers.stdout",
    "rockai_transport.io.pools",
    "rockai_transport.io.transports",
    "workflows.plugins.basic",
    "workflows.representation.validate",
    "workflows.runtime.control_loop.runner",
)
# No site, which is half of the interpreter's start time.
_LAUNCHER = [sys.executable, "-I", "-S", str(Path(__file__).with_name("warm_launcher.py"))]
_FORK = multiprocessing.get_context("fork") if sys.platform == "linux" else None


@contextlib.contextmanager
def interpreter() -> Iterator[None]:
    """Fork the process that programs are forked from, and end it."""
    if _FORK is None or "coverage" in sys.modules:
        yield
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener,
    ):
        listener.bind(f"{folder}/warm")
        listener.listen()
        ended, ours = _FORK.Pipe(duplex=False)
        process = _FORK.Process(target=_serve, args=(listener, ended, ours))
        with warnings.catch_warnings():
            # Python 3.12 warns about threads; pytest-xdist's waits for its own file, and holds no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        ended.close()
        PYTHON[:] = [*_LAUNCHER, f"{folder}/warm"]
        try:
            yield
        finally:
            PYTHON[:] = [sys.executable]
            ours.close()
            process.join()


def _serve(listener: socket.socket, ended: Any, theirs: Any) -> None:
    """Fork for each program, and send its exit code, until the tests' process has ended."""
    theirs.close()
    _forget_pytest()
    is_ready = False
    running: dict[Any, Any] = {}  # a connection to a launcher → its program
    while True:
        ends = {program.sentinel: connection for connection, program in running.items()}
        for ready in multiprocessing.connection.wait([listener, ended, *ends, *running]):
            if ready is ended:
                for program in running.values():
                    program.kill()
                return
            if ready is listener:
                connection, _ = listener.accept()
                if not is_ready:
                    _import_late()
                    gc.freeze()  # the collector would write to shared memory, and so copy it
                    is_ready = True
                running[connection] = _start(connection)
            elif ready in ends:
                connection = ends[ready]
                program = running.pop(connection)
                program.join()
                with connection, contextlib.suppress(OSError):
                    connection.send(str(program.exitcode).encode())
            elif ready in running:  # the launcher was killed
                running[ready].kill()


def _start(connection: socket.socket) -> Any:
    request, files, _, _ = socket.recv_fds(connection, 1 << 18, 3)
    program = _FORK.Process(target=_run, args=(request, files))
    program.start()
    for file in files:
        os.close(file)
    connection.send(str(program.pid).encode())
    return program


def _import_late() -> None:
    for name in _LATE:
        if name.partition(".")[0] in sys.modules:
            with contextlib.suppress(ImportError):  # another version may not have this module
                importlib.import_module(name)


def _forget_pytest() -> None:
    """Undo what differs between a test process and a program."""
    logging.root.handlers.clear()
    sys.meta_path[:] = [finder for finder in sys.meta_path if "pytest" not in type(finder).__module__]
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)  # as without pytest
    sys.unraisablehook = sys.__unraisablehook__
    threading.excepthook = threading.__excepthook__
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _run(request: bytes, files: list[int]) -> None:
    """Run the program."""
    folder, count, *words = request.decode().split("\0")
    command, environ = words[: int(count)], words[int(count) :]
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(one.split("=", 1) for one in environ)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        encoding = "utf-8" if os.environ.get("PYTHONUTF8") == "1" else None
        setattr(sys, name, open(number, mode, encoding=encoding, closefd=False))  # noqa: SIM115
    sys.stdout.reconfigure(line_buffering="PYTHONUNBUFFERED" in os.environ)
    sys.stderr.reconfigure(line_buffering=True)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    kind, rest = command[0], command[1:]
    if kind == "-m":
        sys.path.insert(0, folder)
        sys.argv = rest
        sys.modules.pop(f"{rest[0]}.__main__", None)
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path.insert(0, "")
        sys.argv = ["-c", *rest[1:]]
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(rest[0], main.__dict__)  # noqa: S102 - as the interpreter does
    else:
        sys.path.insert(0, str(Path(kind).parent))
        sys.argv = command
        runpy.run_path(kind, run_name="__main__")
