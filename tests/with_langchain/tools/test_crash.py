"""Nothing is paid for twice, whenever the process is killed."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from langgraph.store.sqlite import SqliteStore

from langchain_rockai.toolkit import RockAIToolkit
from rockai_sandbox import Sandbox
from rockai_transport import ANIMATE_IMAGE
from tests.support import warm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")

# Where the process dies → how many predictions there are then, and whether the record can tell.
POINTS = {
    "before-record": (0, True),
    "recorded": (0, False),
    "claimed": (0, False),
    "sent": (1, False),
    "answered": (1, False),
    "waiting": (1, True),
}
ROUNDS = 10 if "SOAK" in os.environ else 2


@pytest.fixture(scope="module")
def run():
    """Run an agent in a process that may be killed; give its exit code."""
    program = Path(__file__).with_name("crash_agent.py")
    with subprocess.Popen(
        [*warm.PYTHON, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as zygote:

        def run_one(*, workers=1, **job):
            zygote.stdin.write(json.dumps({**job, "workers": workers}) + "\n")
            zygote.stdin.flush()
            return int(zygote.stdout.readline())

        yield run_one
        zygote.stdin.close()


@pytest.fixture(scope="module")
def service():
    with Sandbox(video_seconds=0.2) as running:
        yield running


def job_in(folder, service, *, asynchronous):
    """One conversation, whose checkpoints and records are in this folder."""
    return {
        "asynchronous": asynchronous,
        "thread": "thread.1",
        "url": service.base_url,
        "token": service.api_token,
        "checkpoints": str(folder / "checkpoints.db"),
        "store": str(folder / "store.db"),
        "answer": str(folder / "answer"),
    }


@pytest.mark.parametrize("round_number", range(ROUNDS))
@pytest.mark.parametrize("point", POINTS)
def test_a_killed_agent_that_is_resumed_starts_nothing_twice(run, service, tmp_path, point, round_number):
    """One start for one video; where the record says "unknown" none, until a developer clears it."""
    before = len(service.predictions)
    started, can_tell = POINTS[point]
    job = job_in(tmp_path, service, asynchronous=round_number % 2 == 1)

    assert run(**job, point=point, resume=False) == -signal.SIGKILL
    service.wait_for(lambda it: len(it.predictions) >= before + started)
    assert run(**job, point="never", resume=True) == 0

    answer = (tmp_path / "answer0").read_text(encoding="utf-8")
    mine = service.predictions[before:]
    if can_tell:
        assert [prediction.status for prediction in mine] == ["succeeded"]
        assert mine[0].id in answer
    else:
        assert len(mine) == started
        assert "unknown whether this started" in answer
        assert_can_be_cleared(service, job["store"])


@pytest.mark.parametrize("round_number", range(4 * ROUNDS))
def test_two_workers_that_resume_one_thread_start_once(run, service, tmp_path, round_number):
    """At the same moment: the record is read back before the start is sent, and holds one worker's claim."""
    before = len(service.predictions)
    job = job_in(tmp_path, service, asynchronous=round_number % 2 == 1)
    assert run(**job, point="before-record", resume=False) == -signal.SIGKILL
    assert run(**job, point="never", resume=True, workers=2) == 0
    (mine,) = service.predictions[before:]
    answers = [(tmp_path / f"answer{worker}").read_text(encoding="utf-8") for worker in range(2)]
    assert any(mine.id in answer for answer in answers)


def assert_can_be_cleared(service, path):
    """The receipt names the unknown start, and `resolve` clears it."""
    with SqliteStore.from_conn_string(path) as store:
        toolkit = RockAIToolkit(
            [ANIMATE_IMAGE], api_token=service.api_token, base_url=service.base_url, store=store
        )
        (unknown,) = toolkit.receipt().unknown
        toolkit.resolve(unknown.key, prediction_id=None)
        assert not toolkit.receipt().unknown
