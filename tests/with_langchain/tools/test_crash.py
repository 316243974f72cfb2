"""Nothing is paid for twice, whenever the process is killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from langgraph.store.sqlite import SqliteStore

from langchain_rockai.toolkit import RockAIToolkit
from rockai_sandbox import Sandbox
from rockai_transport import ANIMATE_IMAGE

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# Where the process dies → how many predictions there are then, and whether the record can tell.
POINTS = {
    "before-record": (0, True),
    "recorded": (0, False),
    "sent": (1, False),
    "answered": (1, False),
    "waiting": (1, True),
}
ROUNDS = int(os.environ.get("SOAK_ROUNDS", "3"))


@pytest.fixture(scope="module")
def run():
    """Run an agent in a process that may be killed; give its exit code."""
    program = Path(__file__).with_name("crash_agent.py")
    with subprocess.Popen(
        [sys.executable, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zygote:

        def run_one(**job):
            zygote.stdin.write(json.dumps(job) + "\n")
            zygote.stdin.flush()
            return int(zygote.stdout.readline())

        yield run_one
        zygote.stdin.close()


@pytest.fixture(scope="module")
def service():
    with Sandbox(video_seconds=0.2) as running:
        yield running


@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_agent_that_is_resumed_starts_nothing_twice(run, service, tmp_path, point, round_number):
    """One start for one video; where the record says "unknown" none, until a developer clears it."""
    before = len(service.predictions)
    started, can_tell = POINTS[point]
    job = {
        "asynchronous": round_number % 2 == 1,
        "thread": f"thread.{round_number}",
        "url": service.base_url,
        "token": service.api_token,
        "checkpoints": str(tmp_path / "checkpoints.db"),
        "store": str(tmp_path / "store.db"),
        "answer": str(tmp_path / "answer.txt"),
    }

    assert run(**job, point=point, resume=False) == -signal.SIGKILL
    service.wait_for(lambda it: len(it.predictions) >= before + started)
    assert run(**job, point="never", resume=True) == 0

    answer = Path(job["answer"]).read_text(encoding="utf-8")
    mine = service.predictions[before:]
    if can_tell:
        assert [prediction.status for prediction in mine] == ["succeeded"]
        assert mine[0].id in answer
    else:
        assert len(mine) == started
        assert "unknown whether this started" in answer
        assert_can_be_cleared(service, job["store"])


def assert_can_be_cleared(service, path):
    """The receipt names the unknown start, and `resolve` clears it."""
    with SqliteStore.from_conn_string(path) as store:
        toolkit = RockAIToolkit(
            [ANIMATE_IMAGE], api_token=service.api_token, base_url=service.base_url, store=store
        )
        (unknown,) = toolkit.receipt().unknown
        toolkit.resolve(unknown.key, prediction_id=None)
        assert not toolkit.receipt().unknown
