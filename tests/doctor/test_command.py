"""``python -m rockai_transport doctor``, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

import pytest

from rockai_sandbox import Sandbox
from rockai_transport.doctor import CHECKS

MODEL = "meta/llama-2-7b-chat"


def doctor(sandbox, *arguments, stdin="", **variables):
    environment = {**os.environ, **(sandbox.environ() if sandbox else {}), "PYTHONUTF8": "1", **variables}
    return subprocess.run(
        [sys.executable, "-m", "rockai_transport", "doctor", *arguments],
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        check=False,
        env=environment,
        timeout=30,
    )


def test_without_a_terminal(sandbox):
    """Nothing paid is sent without --yes, whatever stands in standard input; exit status 2."""
    done = doctor(sandbox, "--model", MODEL, stdin="y\n")
    assert done.returncode == 2
    assert sandbox.predictions == []
    assert "4 runs of meta/llama-2-7b-chat" in done.stderr
    assert "--yes" in done.stderr


def test_without_a_model(sandbox):
    """The checks that need one are one sentence in what it says, and one in the section for an issue."""
    done = doctor(sandbox)
    assert done.returncode == 2
    progress, section = done.stdout.split("copy from here to the end")
    told = "23 checks need a paid run: make them with --model owner/name."
    for part in (" ".join(progress.split()), section):
        assert part.count(told) == 1
        assert "not reached" not in part
        assert "stream-end" not in part


def test_plain_http_to_another_host():
    """The error names the option that allows it; with the option it is tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        # This machine, by an address that is not known to be its own.
        port = taken.getsockname()[1]
        given = {"ROCKAI_API_TOKEN": "rockai-sandbox", "ROCKAI_BASE_URL": f"http://0.0.0.0:{port}/v1"}
        refused, tried = (doctor(None, *options, **given) for options in ((), ("--allow-http",)))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "Here that is --allow-http." in refused.stderr
    assert "No answer from http://0.0.0.0" in tried.stdout


def test_with_yes(sandbox):
    """Everything is checked; standard output holds the lines and the section for an issue, and no token."""
    done = doctor(sandbox, "--model", MODEL, "--yes")
    assert (done.returncode, len(sandbox.predictions)) == (0, 4)
    assert done.stdout.count("  ✓ ") == len(CHECKS)
    assert "| ✓ | run-sse-newlines |" in done.stdout
    assert sandbox.api_token not in done.stdout + done.stderr


def test_json():
    """Standard output is one JSON object; differences give exit status 1."""
    with Sandbox(generation="new") as sandbox:
        done = doctor(sandbox, "--model", MODEL, "--yes", "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit_code"]) == (1, 1)
    assert report["runs"] == {"announced": 2, "agreed": 2, "started": 2, "left": []}
    different = [check for check in report["checks"] if check["verdict"] == "differs"]
    assert {"of": "Client", "field": "route", "code": "Client(route='predictions')"} in different[0][
        "settings"
    ]


def test_no_token():
    """The error says where to get one and how to try without; exit status 2."""
    done = doctor(None)
    assert done.returncode == 2
    assert "https://www.rockai.online/setting/token" in done.stderr
    assert "rockai_sandbox" in done.stderr


@pytest.mark.parametrize("given", ["{", "[]"])
def test_an_input_that_is_none(sandbox, given):
    """It is refused before anything is sent."""
    done = doctor(sandbox, "--model", MODEL, "--yes", "--input", given)
    assert done.returncode == 2
    assert "input" in done.stderr
    assert sandbox.requests == []


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is a thing of Unix")
@pytest.mark.parametrize(("answer", "runs"), [(b"y\n", 4), (b"\n", 0)])
def test_at_a_terminal(sandbox, answer, runs):
    """It asks, and takes anything but a yes for a no."""
    import pty

    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "rockai_transport", "doctor", "--model", MODEL]
    environment = {**os.environ, **sandbox.environ(), "PYTHONUTF8": "1"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.write(ours, answer)
        printed = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert b"Send them? [y/N]" in printed[1]
    assert len(sandbox.predictions) == runs
    assert f"Paid runs: 4 planned, {runs} approved, {runs} made.".encode() in printed[0]


def test_the_package_does_not_wait_for_it():
    """`import rockai_transport` does not import the doctor."""
    code = "import sys, rockai_transport; print(any('doctor' in name for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "False"


def test_the_table(request):
    """Each check has an id of its own, and a section of the wire page."""
    page = (request.config.rootpath / "docs" / "http-api.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"(?m)^##+ (.+)$", page))
    marks = set(re.findall(r"(?m)^- \*\*\[([\w-]+)\]\*\*", page))
    ids = [check.id for check in CHECKS]
    assert len(set(ids)) == len(ids)
    for check in CHECKS:
        section, mark = re.fullmatch(r"«(.+)» \[([\w-]+)\]", check.source).groups()
        assert section in sections
        assert mark in marks
