"""The demo, as `make demo` runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import pytest

from demo.__main__ import interpreter, main

ROOT = Path(__file__).parent.parent


@pytest.fixture
def live(tmp_path, monkeypatch, capsys):
    """Start it with LIVE=1, where nobody sits at a terminal; gives the exit code and what was printed."""

    def start(**environ):
        for name, value in {"LIVE": "1", "COLUMNS": "100", **environ}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        return main(), capsys.readouterr()

    return start


def test_it_shows_the_main_job_and_ends_with_a_playable_video(tmp_path):
    """A poem with its line breaks, an answer, an agent's image and video, a second one canceled."""
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-m", "demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert re.search(r"\brule.*, not .* a model", shown.stdout)
    assert "Steamed hams,\na poem by rule and line:\n\nThe words" in shown.stdout
    assert "Your name is Ada." in shown.stdout
    assert "is canceled" in shown.stdout
    assert f"{interpreter(sys.executable, tmp_path)} -m rockai_sandbox --port 8100 " in shown.stdout
    with av.open(str(tmp_path / "out" / "demo.mp4")) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in video.decode(video=0)) > 1


def test_the_interpreter_is_named_as_it_is_typed():
    """Below the current folder by its relative path, elsewhere by its whole one; never by a bare name."""
    folder = Path.cwd()
    local = folder / ".venv" / "bin" / "python"
    assert interpreter(str(local), folder) == str(Path(".venv", "bin", "python"))
    assert interpreter(str(local), folder / "docs") == str(local)
    assert interpreter(str(local), local.parent) == str(local)
    assert interpreter(str(folder / "my env" / "python"), folder)[1:-1] == str(Path("my env", "python"))


NOBODY = {"ROCKAI_API_TOKEN": "r8_example", "ROCKAI_BASE_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize("agreed", [{}, {"YES": "1"}])
def test_live_without_a_token_says_what_to_do_and_asks_nothing(live, agreed):
    """Where nothing can be charged, there is nothing to agree to; YES=1 makes no difference."""
    code, (printed, errors) = live(ROCKAI_API_TOKEN="", **agreed)
    said = " ".join(printed.split())
    assert (code, errors) == (1, "")
    assert "No API token" in said
    assert "Then run it again: make demo LIVE=1" in said
    assert "charged" not in said


def test_live_asks_first_and_without_a_terminal_needs_yes(live, tmp_path):
    """Live it names the paid calls and the doctor; without a terminal and YES=1 nothing is sent."""
    code, (printed, _) = live(**NOBODY)
    assert code == 2
    assert "incomingflyingbrick/flux-1-schnell" in printed
    assert "python -m rockai_transport doctor" in printed
    assert "YES=1" in printed
    assert not (tmp_path / "out").exists()


def test_live_with_yes_talks_to_the_service_of_the_environment(live):
    """LIVE=1 YES=1 uses the environment's own service; its refusal is told in a line, without a trace."""
    code, (printed, errors) = live(YES="1", **NOBODY)
    assert code == 1
    assert "no connection" in printed
    assert "Traceback" not in printed + errors
