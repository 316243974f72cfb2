"""examples/ray_batch.py on a local Ray of two workers, one of which is killed."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from rockai_sandbox import Sandbox

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "ray_batch.py"
MODEL = "meta/meta-llama-3-70b-instruct"
PROMPTS, PARTS, AT_ONCE = 40, 4, 8
ANSWERED_BEFORE = 3  # so few that two actors still have more under way than one alone can have
# Each line that it is sent is one start; Ray itself, which takes seconds to start, is the same for all.
MAIN = (
    "import ray, runpy, sys; from pathlib import Path\n"
    "ray.init(num_cpus=3, include_dashboard=False)\n"
    "for start in sys.stdin:\n"
    "    main = runpy.run_path(sys.argv[1])['main']\n"
    f"    main(Path('prompts.txt'), Path('answers'), actors=2, per_second=40.0, parts={PARTS})\n"
    "    print('The end.', flush=True)\n"
)

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install ".[ray]"'),
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the workers in /proc"),
    pytest.mark.timeout(300),
]


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def workers(driver: int) -> list[int]:
    """The processes of the actor pool that a driver has started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            title, above = (entry / "cmdline").read_bytes(), ancestors(int(entry.name))
        except (OSError, ValueError):  # it has ended meanwhile
            continue
        if title.startswith(b"ray::MapWorker") and driver in above:
            found.append(int(entry.name))
    return found


def driver(folder: Path, sandbox: Sandbox) -> subprocess.Popen[str]:
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    environ = {**os.environ, **sandbox.environ(), **quiet, "HOME": str(folder)}
    command = [sys.executable, "-c", MAIN, str(EXAMPLE)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environ, text=True, bufsize=1, **pipes)


def start(process: subprocess.Popen[str]) -> None:
    """Let the driver ask for all prompts."""
    process.stdin.write("start\n")


def printed(process: subprocess.Popen[str]) -> str:
    """What the driver prints up to the end of one start."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "The end.\n":
            return "".join(lines)
    pytest.fail("the driver has ended: " + "".join(lines))


def answers(folder: Path) -> list[dict[str, str]]:
    files = sorted((folder / "answers").glob("*.jsonl"))
    return [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]


def test_a_killed_worker_and_a_second_start_lose_nothing(tmp_path):
    """After a kill all prompts are answered once; later starts ask only for what the files lack."""
    prompts = [f"Say: number {number}" for number in range(PROMPTS)]
    (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    both_at_work, go_on = threading.Event(), threading.Event()
    asked: list[str] = []
    held: list[str] = []
    with Sandbox() as sandbox:

        @sandbox.model(MODEL)
        def repeat(given):
            asked.append(given["prompt"])
            if len(asked) > ANSWERED_BEFORE:
                held.append(given["prompt"])
                if len(held) > AT_ONCE:  # more than one actor can have under way
                    both_at_work.set()
                go_on.wait(150)
            return given["prompt"].partition(": ")[2]

        with driver(tmp_path, sandbox) as process:
            try:
                start(process)
                assert both_at_work.wait(140)
                victim = workers(process.pid)[0]
                os.kill(victim, signal.SIGKILL)
                go_on.set()
                printed(process)
                assert sorted(line["prompt"] for line in answers(tmp_path)) == sorted(prompts)
                assert all(line["answer"] == line["prompt"].partition(": ")[2] for line in answers(tmp_path))
                again = len(asked) - len(set(asked))
                assert 0 < again <= AT_ONCE  # what was under way in the victim, and nothing else

                first = min((tmp_path / "answers").glob("*.jsonl"))
                first.write_text(
                    first.read_text("utf-8")[:-5], encoding="utf-8"
                )  # as if it had died within a line
                asked.clear()
                prompts.insert(0, "Say: number one")  # the others move to other lines
                (tmp_path / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
                sandbox.answer_next(402, {"detail": "no balance"}, method="POST")
                start(process)
                assert f"asked for 2 of {PROMPTS + 1}" in printed(process)
                assert len(answers(tmp_path)) == PROMPTS
                start(process)
                assert f"asked for 1 of {PROMPTS + 1}" in printed(process)
                process.stdin.close()
                assert process.wait(60) == 0
            finally:
                go_on.set()
                process.kill()
    assert len(asked) == 2
    assert len(answers(tmp_path)) == PROMPTS + 1
