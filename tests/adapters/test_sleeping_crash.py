"""An agent that sleeps is paid for once and answers once, wherever on its way a process is killed."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from rockai_sandbox import Sandbox
from tests.support import warm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# Where a process dies → which one: the agent's, or the one that resumes it.
POINTS = {"sent": "begin", "asleep": "begin", "saved": "begin", "claimed": "deliver", "seen": "deliver"}
FRAMEWORKS = ["langgraph", "llama_index"]
TESTS = Path(__file__).parents[1]
PROGRAM = TESTS / "support" / "sleeping_process.py"
SCRIPTED = [str(TESTS / framework / "tools") for framework in ("with_langchain", "with_llama_index")]


@pytest.fixture(scope="module")
def run():
    """Run an agent in a process that may be killed; give its exit code."""
    with subprocess.Popen(
        [*warm.PYTHON, str(PROGRAM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(SCRIPTED)},
    ) as zygote:

        def run_one(**job):
            zygote.stdin.write(json.dumps(job) + "\n")
            zygote.stdin.flush()
            return int(zygote.stdout.readline())

        yield run_one
        zygote.stdin.close()


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(("point", "starts"), {"unwritten": 1, "written": 0}.items())
def test_an_agent_that_was_killed_before_its_start_was_sent(run, tmp_path, framework, point, starts):
    """Without a record the order is sent; with one it is unknown, until a developer clears it."""
    with Sandbox() as sandbox:
        sandbox.model("you/slow")(lambda given: "the video")
        job = {"framework": framework, "folder": str(tmp_path), "url": sandbox.base_url, "stale": 600.0}
        job |= {"token": sandbox.api_token, "webhook": "", "id": ""}
        assert run(**job, phase="begin", point=point) == -signal.SIGKILL
        assert not sandbox.predictions
        assert run(**job, phase="deliver", point="") == 0
        if starts:
            sandbox.wait_for("succeeded")
            assert run(**job, phase="deliver", point="") == 0
        answer = (tmp_path / "answer.txt").read_text(encoding="utf-8")
        assert ("the video" if starts else "unknown whether this started") in answer
        assert len(sandbox.predictions) == starts


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("point", POINTS)
def test_a_sleeping_agent_that_was_killed_goes_on_once(run, tmp_path, framework, point):
    """One start, and one answer with its video; by what a program does when it starts, and one delivery."""
    with Sandbox() as sandbox:
        gate = sandbox.hold()

        @sandbox.model("you/slow")
        async def make(given, running):
            await running.opened(gate)
            return "the video"

        job = {"framework": framework, "folder": str(tmp_path), "url": sandbox.base_url}
        job |= {"token": sandbox.api_token, "point": "", "stale": 600.0}
        begin = point if POINTS[point] == "begin" else ""
        assert run(**{**job, "phase": "begin", "point": begin}) == -signal.SIGKILL
        started = sandbox.wait_for(lambda it: it.predictions)[0]
        gate.set()
        sandbox.wait_for("succeeded")

        job |= {"phase": "deliver", "webhook": started.webhook, "id": started.id}
        if POINTS[point] == "deliver":
            assert run(**{**job, "point": point}) == -signal.SIGKILL
            job["stale"] = 0.0
        assert run(**job) == 0
        answer = (tmp_path / "answer.txt").read_text(encoding="utf-8")
        assert answer.count("the video") == 1
        assert [one.id for one in sandbox.predictions] == [started.id]
