"""The service's own SDK, in a separate environment, because it requires an older httpx.

It runs in its own process, which measures itself.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import MODEL, TOKEN, Place

SDK = "rockai==0.1.74"
ENVIRONMENT = Path(sys.prefix) / "rockai-sdk"
"""Inside our environment, so that both are created together."""
PYTHON = ENVIRONMENT / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

PROGRAM = """
import json, logging, sys, time
import rockai
logging.disable(logging.CRITICAL)  # it logs all that it does, for which it should not pay here
url, model, token = sys.argv[1:]
client = rockai.Client(token)
client.predict_url = url + "/v1/predictions"
for line in sys.stdin:
    began = time.process_time()
    pieces = list(client.stream(model, input={"prompt": "Hi"}))
    spent = time.process_time() - began
    print(json.dumps(["".join(pieces[:-1]), spent]), flush=True)  # the last is of the last event
"""


class Told(NamedTuple):
    """What it reports about a stream."""

    text: str
    cpu: float
    """Seconds of its CPU time."""


def is_here() -> bool:
    """Whether its environment exists."""
    return (ENVIRONMENT / "made").exists()


def make_environment() -> str:
    """Create its environment if it does not exist; return what went wrong, or ""."""
    if is_here():
        return ""
    venv.create(ENVIRONMENT, clear=True, with_pip=True)
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SDK]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return done.stderr.strip().rpartition("\n")[2]
    (ENVIRONMENT / "made").touch()
    return ""


@contextlib.contextmanager
def sdk_process(place: Place) -> Iterator[Callable[[], Told]]:
    """Run its client, in a process of its environment."""
    command = [str(PYTHON), "-c", PROGRAM, place.url, MODEL, TOKEN]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:

        def read() -> Told:
            assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - for the type checker
            process.stdin.write("\n")
            return Told(*json.loads(process.stdout.readline()))

        yield read
        process.communicate()  # it ends with its input
