"""The examples, run as a newcomer would run them, on the sandbox."""

from __future__ import annotations

import gc
import re
import runpy
import subprocess
import sys
from pathlib import Path

import av
import pytest
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from rockai_sandbox import Sandbox
from tests.support import warm

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# A chat engine's memory is an SQLite database that LlamaIndex never closes (core/storage/chat_store/sql.py).
# Its workflows look at every attribute of an agent, pydantic's deprecated ones too.
pytestmark = pytest.mark.filterwarnings(
    "ignore:<aiosqlite.core.Connection.*before being closed:ResourceWarning",
    "ignore::pydantic.warnings.PydanticDeprecationWarning",
)

AFTER_THE_IMAGE = 2  # of LangGraph's steps

# File → what it prints on the sandbox, in this order.
PRINTS = {
    "cold_start.py": ["status: succeeded", "good morning"],
    "durable_video_agent.py": ["Beginning.", "animate_image: succeeded, 100%", "2 started"],
    "rag_llama_index.py": [
        "1787",
        "[porcelain.md]",
        "[mending.md]",
        "31 metres",
        "[lighthouse.md]",
        "Marta Lind",
    ],
    "several_turns.py": [
        "Your name is Ada.",
        "You said Turin.",
        "[INST] Be brief.",
        "</s> [INST] Where do I live?",
    ],
    "sleeping_agent.py": [
        "The agent sleeps: ['rockai_sleeping']",
        "The webhook says: animate_image succeeded",
        "2 started",
    ],
    "sleeping_agent_llama_index.py": [
        "The agent sleeps: 1 saved.",
        "has woken the agent: animate_image",
        "2 started",
    ],
    "streaming_callbacks.py": [
        "Steamed hams,\na poem",
        "pieces, 11 lines",
        "Sea,\na poem",
        "pieces, 11 lines",
    ],
    "structured_output.py": [
        "Order(dish='steamed hams', quantity=3, takeaway=True)",
        "'parsing_error': None",
    ],
    "tool_calling.py": ["get_weather({'city': 'Paris'})", "answer: ", "sunny in Paris", "{'city': 'Turin'}"],
    "video_agent.py": ["agent → generate_image", "agent → animate_image", "succeeded, 100%", "2 started"],
}
ELSEWHERE = {"ray_batch.py"}  # test_ray_batch.py


def run(name: str) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, and a service that makes a video in half a second."""
    monkeypatch.chdir(tmp_path)
    with Sandbox(video_seconds=0.5) as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        yield tmp_path
    gc.collect()  # what was left open is found here, not in another test


def test_every_example_is_here():
    """No example is left out of the tests, nor of the table in examples/README.md."""
    files = {path.name for path in EXAMPLES.glob("*.py")}
    assert files == PRINTS.keys() | ELSEWHERE
    table = (EXAMPLES / "README.md").read_text("utf-8")
    assert set(re.findall(r"^\| \[(\w+\.py)\]", table, re.MULTILINE)) == files


@pytest.mark.parametrize("name", sorted(PRINTS.keys() | ELSEWHERE))
def test_an_example_is_short(name):
    """An example has one idea: its first line says it, and it has fewer than 80 lines."""
    text = (EXAMPLES / name).read_text("utf-8")
    assert len(text.splitlines()) < 80
    assert re.match(r'"""[A-Z].{20,}[.\w]"?"?"?\n', text)


@pytest.mark.parametrize("name", sorted(PRINTS))
def test_an_example_runs(name, folder, capsys):
    """With no more than the environment set it prints what it promises; its video can be played."""
    run(name)
    printed = capsys.readouterr().out
    at = 0
    for expected in PRINTS[name]:
        assert expected in printed[at:], printed
        at = printed.index(expected, at) + len(expected)
    if name == "video_agent.py":
        [path] = (folder / "out").glob("*.mp4")
        with av.open(str(path)) as video:
            assert sum(1 for _ in video.decode(video=0)) > 1


def test_a_cold_model_is_waited_for_in_steps(folder, monkeypatch, capsys):
    """While the model is starting each wait ends at its limit, and the same prediction is waited for anew."""
    with Sandbox(cold_start=0.7) as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        runpy.run_path(str(EXAMPLES / "cold_start.py"))["main"](seconds=0.3)
        assert len(sandbox.predictions) == 1
    printed = capsys.readouterr().out
    assert "after 0.3 s it is not done" in printed
    assert printed.endswith("good morning\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_durable_agent_that_was_killed_goes_on(tmp_path, monkeypatch, capsys):
    """Killed while its video is being made and started again, the agent ends with that same video."""
    command = [*warm.PYTHON, str(EXAMPLES / "durable_video_agent.py")]
    monkeypatch.chdir(tmp_path)
    with Sandbox(video_seconds=1.5) as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
            assert any("animate_image: processing" in line for line in first.stdout)
            first.kill()
            first.stdout.read()  # up to its end
        run("durable_video_agent.py")
        second = capsys.readouterr().out
        run("durable_video_agent.py")
        third = capsys.readouterr().out
        videos = [one for one in sandbox.predictions if "image" in one.input]
    assert second.startswith("Going on.\n")
    assert third.startswith("This was done already:\n")
    assert "2 started" in third
    assert [video.status for video in videos] == ["succeeded"]
    assert len(list((tmp_path / "out").glob("*.mp4"))) == 1


def test_a_durable_agent_that_died_behind_a_step_goes_on(folder, monkeypatch, capsys):
    """The step's result is saved and no checkpoint: `state.next` is empty, though the run has not ended."""

    async def dies(self, config, checkpoint, metadata, new_versions):
        if metadata["step"] == AFTER_THE_IMAGE:
            raise OSError("the process dies")
        return await saved(self, config, checkpoint, metadata, new_versions)

    saved = AsyncSqliteSaver.aput
    monkeypatch.setattr(AsyncSqliteSaver, "aput", dies)
    with pytest.raises(OSError, match="the process dies"):
        run("durable_video_agent.py")
    monkeypatch.setattr(AsyncSqliteSaver, "aput", saved)
    run("durable_video_agent.py")
    assert "Going on." in (printed := capsys.readouterr().out)
    assert "2 started" in printed


def test_a_durable_agent_sleeps_where_a_webhook_wakes_it(tmp_path, monkeypatch, capsys):
    """The program ends while the video is being made; started again once it is done, it says so."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBHOOK_URL", "https://my.app/rockai")
    with Sandbox(video_seconds=7.0) as sandbox:
        for name, value in sandbox.environ().items():
            monkeypatch.setenv(name, value)
        run("durable_video_agent.py")
        assert "The agent sleeps" in capsys.readouterr().out
        sandbox.wait_for(lambda it: all(one.is_terminal for one in it.predictions))
        run("durable_video_agent.py")
        assert "animate_image        succeeded" in capsys.readouterr().out
        assert len([one for one in sandbox.predictions if "image" in one.input]) == 1
