"""``python -m rockai_transport doctor``, in a process of its own."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys

import pytest

from rockai_sandbox import Protocol, Sandbox
from rockai_transport import Service
from rockai_transport.__main__ import main
from rockai_transport.config import DEFAULT_BASE_URL
from rockai_transport.doctor import CHECKS, Finding, Plan, Report, Verdict, command
from tests.support import warm

MODEL = "meta/llama-2-7b-chat"


def doctor(sandbox, *arguments, python=None, stdin="", **variables):
    environment = {**os.environ, **(sandbox.environ() if sandbox else {}), "PYTHONUTF8": "1", **variables}
    return subprocess.run(
        [*(python or warm.PYTHON), "-m", "rockai_transport", "doctor", *arguments],
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


def test_without_a_model(sandbox, tmp_path):
    """The checks that need one are one sentence in the terminal, and one in the file."""
    report = tmp_path / "report.md"
    done = doctor(sandbox, "--output", str(report))
    assert done.returncode == 2
    told = "23 checks need a run: make them with --model owner/name."
    for part in (" ".join(done.stdout.split()), report.read_text("utf-8")):
        assert part.count(told) == 1
        assert "not reached" not in part
        assert "stream-end" not in part


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_output_without_a_tick(sandbox, monkeypatch, options):
    """A file in GBK has no ✓: it gets a question mark; the doctor ended in a trace, also behind paid runs."""
    for name, value in sandbox.environ().items():
        monkeypatch.setenv(name, value)
    file = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(file, "gbk"))
    assert main(["doctor", *options]) == 2
    assert b'"reach"' in file.getvalue() if options else b"? reach: " in file.getvalue()


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


def test_with_yes(sandbox, tmp_path):
    """Everything is checked; the terminal holds the lines, the file the raw responses too, and no token."""
    report = tmp_path / "report.md"
    done = doctor(sandbox, "--model", MODEL, "--yes", "--output", str(report))
    assert (done.returncode, len(sandbox.predictions)) == (0, 4)
    assert done.stdout.count("  ✓ ") == len(CHECKS)
    written = report.read_text("utf-8")
    assert "| ✓ | run-sse-newlines |" in written
    assert "> POST /run_sse\n< 200\n" in written
    assert sandbox.api_token not in done.stdout + done.stderr + written
    assert done.stderr.count(str(report)) == 1
    assert "| ✓ |" not in done.stdout


def sentences(printed):
    """What the terminal says of checks, each without its name and label."""
    told = re.findall(
        r"(?m)^  . [\w-]+: (.+(?:\n      (?!seen:).+)*)|^      seen: (.+(?:\n      .+)*)", printed
    )
    texts = (" ".join("".join(each).split()) for each in told)
    return [text for text in texts if not text.startswith("as ")]


WORDS = Protocol(prediction_json=lambda known: {**known, "status": f"is {known['status']}"})


@pytest.mark.parametrize("protocol", [{}, {"generation": "new"}, {"generation": "old"}, {"protocol": WORDS}])
@pytest.mark.parametrize("model", [(), ("--model", MODEL, "--yes")])
def test_each_fact_once(protocol, model):
    """No assumption and nothing seen is told twice in the terminal, which has 80 columns; no charges."""
    with Sandbox(**protocol) as sandbox:
        done = doctor(sandbox, *model)
    told = sentences(done.stdout)
    assert len(told) == len(set(told)) > 10
    progress, _, summary = done.stdout.rpartition(" planned")
    assert not any(text in summary for text in told)
    assert "as stream-end" in progress or not model or protocol
    assert max(map(len, (done.stdout + done.stderr).splitlines())) <= 80
    assert not re.search(r"paid|charge|cost", done.stdout + done.stderr, re.IGNORECASE)


def test_a_wrong_token_is_told_once(sandbox):
    """The sentence that teaches is said once, and the checks that were not reached are counted."""
    done = doctor(sandbox, ROCKAI_API_TOKEN="wrong-token-of-somebody")  # noqa: S106
    assert done.returncode == 2
    assert done.stdout.count("The token is not accepted.") == 1
    assert done.stdout.count("https://www.rockai.online/setting/token") == 1
    assert "32 further checks were not reached." in " ".join(done.stdout.split())


@pytest.mark.parametrize("name", [".", "no-such-folder/report.md"])
def test_a_file_that_cannot_be_written(sandbox, tmp_path, name):
    """It is refused before anything is sent."""
    done = doctor(sandbox, "--model", MODEL, "--yes", "--output", str(tmp_path / name))
    assert done.returncode == 2
    assert "cannot be written" in " ".join(done.stderr.split())
    assert sandbox.requests == []


def test_a_file_of_an_earlier_report(sandbox, tmp_path):
    """It stays where nothing is examined, and is written anew where something is."""
    report = tmp_path / "report.md"
    report.write_text("earlier")
    assert doctor(sandbox, "--output", str(report), "--model", "no name").returncode == 2
    assert report.read_text() == "earlier"
    assert doctor(sandbox, "--output", str(report)).returncode == 2
    assert "earlier" not in report.read_text("utf-8")
    missing = tmp_path / "missing.md"
    assert doctor(sandbox, "--output", str(missing), "--model", "no name").returncode == 2
    assert not missing.exists()


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
    """The error says where to get one and how to try without; api_token= is for Python; exit status 2."""
    done = doctor(None, python=[sys.executable])  # as a user's shell starts it
    assert done.returncode == 2
    assert "or in Python pass api_token=" in " ".join(done.stderr.split())
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
    command = [*warm.PYTHON, "-m", "rockai_transport", "doctor", "--model", MODEL]
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
    assert f"Runs: 4 planned, {runs} approved, {runs} made.".encode() in printed[0]


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


@pytest.mark.parametrize(
    ("base_url", "is_paid"),
    [
        (DEFAULT_BASE_URL, True),
        ("https://rockai.online:443", True),
        ("https://api.rockai.online.example/v1", False),
        ("https://proxy.example/api.rockai.online/v1", False),
        ("http://127.0.0.1:8100/v1", False),
    ],
)
def test_only_the_live_service_charges(capsys, base_url, is_paid):
    """The plan, the counts and the reasons speak of paid runs there, and nowhere else."""
    plan = Plan(base_url, MODEL, {"prompt": "Hello"}, (("Run", 1), ("Stream", 1)))
    command.confirm(plan, approved=True)
    planned = capsys.readouterr().err
    assert ("charges" in planned) is is_paid
    report = Report("", base_url, MODEL, ("prompt",), "auto", Service(), announced=2)
    report.findings = [Finding("run", "", "", "", Verdict.UNKNOWN, "", skipped="no_model")]
    for text in (planned, report.summary(), report.markdown()):
        assert ("paid" in text.lower()) is is_paid
