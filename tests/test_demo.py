"""The demo, as `make demo` runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import av
import pytest

from demo.show import interpreter, show

ROOT = Path(__file__).parent.parent


@pytest.fixture
def live(tmp_path, monkeypatch, capsys):
    """Start it with LIVE=1, where nobody sits at a terminal; gives the exit code and what was printed."""

    def start(**environ):
        for name, value in {"LIVE": "1", "COLUMNS": "100", **environ}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        return show(signal.default_int_handler), capsys.readouterr()

    return start


def test_it_shows_the_main_job_and_ends_with_a_playable_video(tmp_path):
    """A poem, answers, an agent's image and video in its model's own words, a canceled video, the receipt."""
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-m", "demo"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    lines = shown.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert re.search(r"\brule.*, not .* a\W+model", shown.stdout)
    assert "Steamed hams,\na poem by rule and line:\n\nThe words" in shown.stdout
    assert "Your name is Ada." in shown.stdout
    assert "is canceled" in shown.stdout
    assert f"{interpreter(sys.executable, tmp_path)} -m rockai_sandbox" in re.sub(
        r"[│\s]+", " ", shown.stdout
    )
    assert "agent: Here is what the tools say:" in lines  # no words but the model's
    assert re.findall(r"^│ (\w+_image) +│ (\w+) +│ +[\d.]+ │", shown.stdout, re.MULTILINE) == [
        ("generate_image", "succeeded"),
        ("animate_image", "succeeded"),
        ("animate_image", "canceled"),
    ]
    assert lines[-1].startswith("3 started, ")
    with av.open(str(tmp_path / "out" / "demo.mp4")) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        assert 3 <= video.duration / av.time_base <= 5


def interrupted(command, cwd, line, **options):
    """Start a program, and interrupt it once it has printed a line; give its exit code, and what followed."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    ) as process:
        assert any(line in printed for printed in process.stdout)
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)  # nothing of it runs any more
    return process.returncode, [one for one in rest.splitlines() if one.strip()]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
@pytest.mark.parametrize("line", ["Loading", "user: What is 19", "animate_image(image="])
def test_ctrl_c_ends_the_demo_with_one_line(tmp_path, line):
    """While it imports, while an answer streams, while a video is made: no traceback, exit code 130."""
    code, rest = interrupted([sys.executable, "-m", "demo"], tmp_path, line)
    assert code == 130
    assert rest[-1].startswith("Stopped.")
    assert "Traceback" not in "".join(rest)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
def test_ctrl_c_ends_an_installation_with_one_line(tmp_path):
    """What installs says how far it is; it is ended too, and what it says about that is not shown."""
    installer = "print('Collecting numpy', flush=True); input()"
    program = (
        "import sys, tasks; from pathlib import Path\n"
        f"installer = [sys.executable, '-c', {installer!r}]\n"
        "tasks.VERBS['x'] = tasks.Verb(lambda: tasks.watched(installer, Path()), '')\n"
        "tasks.main(['x'])"
    )
    command = [sys.executable, "-c", program]
    code, rest = interrupted(command, tmp_path, "Collecting numpy", stdin=subprocess.PIPE)
    assert (code, rest) == (130, ["tasks.py: stopped."])


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
