"""The service's own quick start runs against the sandbox."""

import json
import re
from pathlib import Path

import pytest

requests = pytest.importorskip("requests")

QUICKSTART = (Path(__file__).parents[1] / "samples" / "http-api-quickstart.zh.md").read_text("utf-8")
SNIPPETS = re.findall(r"```python\n(import requests.*?)```", QUICKSTART, re.DOTALL)
CREATE, GET, CANCEL, RUN, RUN_SSE = SNIPPETS


def execute(snippet, sandbox, capsys, prediction_id=""):
    """Run a snippet with address, token and id filled in, and the header added that one of them forgot."""
    address = sandbox.base_url.removesuffix("/v1")
    filled = snippet.replace("api.rockai.online", address)
    filled = re.sub(r"Bearer <[^>]+>", f"Bearer {sandbox.api_token}", filled)
    filled = filled.replace("headers = {}", f"headers = {{'Authorization': 'Bearer {sandbox.api_token}'}}")
    filled = re.sub(r"(?<=/predictions/)[a-z0-9]{26}", prediction_id, filled)
    names: dict = {}
    exec(compile(filled, "quickstart", "exec"), names)  # noqa: S102 - running it is the test
    return names["response"], capsys.readouterr().out


def test_the_quick_start_has_five_snippets():
    """All five calls are there to be run."""
    assert len(SNIPPETS) == 5


def test_create_then_get(sandbox, capsys):
    """A prediction is created; asked for later, it has succeeded and its output is a video's address."""
    response, out = execute(CREATE, sandbox, capsys)
    prediction_id = json.loads(out)["id"]
    assert response.status_code == 201
    sandbox.wait_for("succeeded")

    response, out = execute(GET, sandbox, capsys, prediction_id)

    assert response.status_code == 200
    prediction = json.loads(out)
    assert prediction["status"] == "succeeded"
    assert requests.get(prediction["output"], timeout=10).headers["content-type"] == "video/mp4"


def test_cancel(sandbox, capsys):
    """A prediction under way is canceled."""
    gate = sandbox.hold()

    @sandbox.model("5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4")
    def animate(given):
        gate.wait()

    _, out = execute(CREATE, sandbox, capsys)
    gate.wait_until_reached()

    response, out = execute(CANCEL, sandbox, capsys, json.loads(out)["id"])

    assert response.status_code == 200
    assert json.loads(out)["status"] == "canceled"
    assert sandbox.predictions[0].status == "canceled"


def test_the_cancel_snippet_as_printed_is_refused(sandbox, capsys):
    """Without the header that the quick start forgot, the answer is the recorded 401."""
    response = requests.post(f"{sandbox.base_url}/predictions/any/cancel", timeout=10)
    assert (response.status_code, response.json()) == (401, {"detail": "not authenticated"})


def test_run(sandbox, capsys):
    """The poem comes back directly, in pieces that keep its line breaks."""
    response, out = execute(RUN, sandbox, capsys)
    assert response.status_code == 200
    assert "".join(json.loads(out)).count("\n") > 5
    assert "steamed hams" in "".join(json.loads(out)).lower()


def test_run_sse(sandbox, capsys):
    """The plan for San Francisco is streamed, up to the end event."""
    response, out = execute(RUN_SSE, sandbox, capsys)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert out.startswith("event: output\ndata: ")
    assert out.rstrip("\n").endswith("event: done\ndata: {}")
    assert "San" in out
    assert "Francisco" in out
