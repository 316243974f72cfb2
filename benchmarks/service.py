"""The sandbox with the benchmark's models; also as a process of its own, which costs us no CPU time."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.contestants import Place
from rockai_sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CUT", "ENDLESS", "LONG", "RECORDED", "SHORT", "apart", "prepare"]

SAMPLES = Path(__file__).resolve().parents[1] / "tests" / "samples" / "wire"
RECORDED: dict[str, str] = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))
"""What the official model server said in each recording, by the recording's name."""

CUT, ENDLESS, LONG, SHORT = "bench/cut", "bench/endless", "bench/long", "bench/short"


def prepare(sandbox: Sandbox, pieces: int) -> None:
    """Script the models."""
    for name in RECORDED:
        sandbox.model(f"recorded/{name}")(_replay(name))

    @sandbox.model(CUT)
    def cut(_input: dict[str, Any]) -> Iterator[str]:
        yield "half of "
        raise RuntimeError("the model server broke")

    @sandbox.model(ENDLESS)
    def endless(_input: dict[str, Any]) -> Iterator[str]:
        yield "begun"
        sandbox.hold().wait()

    @sandbox.model(LONG)
    def long(_input: dict[str, Any]) -> Iterator[str]:
        for number in range(pieces):
            yield f" word{number % 10}"

    @sandbox.model(SHORT)
    def short(_input: dict[str, Any]) -> str:
        return "An answer."


def _replay(name: str) -> Any:
    recording = (SAMPLES / f"{name}.sse").read_bytes()
    frames = re.split(rb"^event: (?=output$|done$)", recording, flags=re.MULTILINE)[1:-1]
    pieces = [frame.removeprefix(b"output\ndata: ").removesuffix(b"\n\n").decode() for frame in frames]
    return lambda _input: iter(pieces)


@contextlib.contextmanager
def apart(pieces: int) -> Iterator[Place]:
    """The service in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.service", str(pieces)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise AssertionError("both are pipes")
        yield Place(*json.loads(process.stdout.readline()))
        process.stdin.close()  # it ends with that


def main(pieces: int) -> None:
    """Serve until nobody listens any more."""
    with Sandbox() as sandbox:
        prepare(sandbox, pieces)
        sys.stdout.write(json.dumps([sandbox.base_url, sandbox.api_token]) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
