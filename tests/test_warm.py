"""Programs that are forked for tests: like new ones, but that everything is imported."""

import json
import os
import signal
import subprocess

import pytest

from tests.support import warm

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked")

ABOUT = """
import json, os, sys
print(json.dumps([sys.argv, os.getcwd(), dict(os.environ), sys.stdin.read()]))
sys.exit(3)
"""
ENDLESS = "import time; print('begun', flush=True); time.sleep(60)"


def test_it_has_its_own_arguments_folder_environment_and_files(tmp_path):
    """And nothing of the test's; its exit code arrives."""
    done = subprocess.run(
        [*warm.PYTHON, "-c", ABOUT, "one", "two words"],
        input="given",
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"ONLY": "this=that"},
    )
    assert (done.returncode, done.stderr) == (3, "")
    argv, folder, environ, given = json.loads(done.stdout)
    assert (argv, folder, given) == (["-c", "one", "two words"], str(tmp_path), "given")
    assert environ.items() >= {"ONLY": "this=that"}.items()
    assert "HOME" not in environ


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL"])
def test_a_signal_reaches_it(name):
    """What ends the process that a test has started ends the program."""
    number = getattr(signal, name)
    with subprocess.Popen([*warm.PYTHON, "-c", ENDLESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait(20) == -number
        assert process.stdout.read() == ""  # the program's own end of the pipe is closed: it has ended
