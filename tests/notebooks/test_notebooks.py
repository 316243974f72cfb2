"""The notebooks, run from top to bottom on the sandbox, and what is stored in them."""

from __future__ import annotations

import base64
import io
import json
import os
import re
from pathlib import Path

import av
import nbformat
import pytest
from notebooks.run import NOTEBOOKS, execute

from tests.support import warm

NAMES = [path.stem for path in NOTEBOOKS]
# On the sandbox nothing is secret, but a stored token teaches the wrong thing, and a path tells of a person.
PRIVATE = {
    "an absolute path": r"(?<![\w:/.<])/(?:home|root|tmp|Users|var|work|opt|usr|mnt|data)/|[A-Z]:\\\\",
    "an address of this machine": r"127\.0\.0\.1|localhost",
    "a token": r"\bsandbox-[0-9a-f]{16}|\br8_\w+|Bearer ",
    "a trace": r"Traceback",
}
MOST = {"01_langchain": 40_000, "02_llama_index": 40_000, "03_video_agent": 250_000}  # bytes


def read(name):
    [path] = (path for path in NOTEBOOKS if path.stem == name)
    return nbformat.read(path, as_version=4)


def outputs(notebook):
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def said(notebook):
    """What each cell has shown, but for ids, times, files and bars, which differ from run to run."""
    shown = [
        [output.get("text") or output.get("data", {}).get("text/plain") for output in cell.get("outputs", [])]
        for cell in notebook.cells
    ]
    return [[re.sub(r"[0-9a-f]{24}| *[\d.]+ s\b", "", text) for text in texts] for texts in shown]


def headings(notebook):
    texts = (cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    return [match for text in texts for match in re.findall(r"^## (.+)", text, re.MULTILINE)]


def printed(notebook, text):
    return any(text in json.dumps(output, ensure_ascii=False) for output in outputs(notebook))


@pytest.fixture(scope="module", params=NAMES)
def executed(request, tmp_path_factory):
    """A notebook's name, and what comes out when it is run now, without a token."""
    [path] = (path for path in NOTEBOOKS if path.stem == request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ROCKAI_API_TOKEN", raising=False)
        return request.param, execute(path, tmp_path_factory.mktemp("nb"), *warm.PYTHON)


def test_all_three_are_here():
    """There are three notebooks: one for each framework, one for the agent that makes videos."""
    assert MOST.keys() == set(NAMES)


def test_it_runs_and_gives_what_is_stored(executed):
    """No cell fails; outputs say what is stored, none on stderr; the third shows a video."""
    name, notebook = executed
    assert said(notebook) == said(read(name))
    assert [cell.get("execution_count") for cell in notebook.cells] == [
        cell.get("execution_count") for cell in read(name).cells
    ]
    assert not [output for output in outputs(notebook) if output.get("name") == "stderr"]
    if name == "03_video_agent":
        check_the_video(notebook)


def check_the_video(notebook):
    """There are an image, a video that plays, full and half-full bars, and a canceled prediction."""
    html = [output.data["text/html"] for output in outputs(notebook) if "text/html" in output.get("data", {})]
    assert any("<progress value=1.00>" in text for text in html)
    assert any(re.search(r"<progress value=0\.[3-6]", text) for text in html)
    [video] = (text for text in html if "<video" in text)
    content = base64.b64decode(re.search(r"base64,([\w+/=]+)", video)[1])
    with av.open(io.BytesIO(content)) as file:
        assert sum(1 for _ in file.decode(video=0)) > 1
    assert any("image/png" in output.get("data", {}) for output in outputs(notebook))
    assert printed(notebook, "canceled")


@pytest.mark.parametrize("name", NAMES)
def test_the_first_cell_says_whose_words_these_are(name):
    """The first cell says that the answers come from a sandbox, not a model; one cell switches to live."""
    notebook = read(name)
    assert "come from a sandbox, not from a model" in notebook.cells[0].source
    switches = [cell for cell in notebook.cells if re.search(r"^LIVE = False", cell.source, re.MULTILINE)]
    assert len(switches) == 1
    assert "getpass(" in switches[0].source


@pytest.mark.parametrize("name", NAMES)
def test_stored_outputs_are_small_and_tell_nothing_private(name):
    """The file is small; no stored output holds a path, address, token, or trace."""
    [path] = (path for path in NOTEBOOKS if path.stem == name)
    assert path.stat().st_size < MOST[name]
    notebook = read(name)
    for output in outputs(notebook):
        text = re.sub(r"[\w+/=\\]{200,}", "", json.dumps(output, ensure_ascii=False))  # base64 is no text
        for what, pattern in PRIVATE.items():
            assert not re.search(pattern, text), f"{what} in {text[:300]}"
    assert [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"] == list(
        range(1, sum(cell.cell_type == "code" for cell in notebook.cells) + 1)
    )
    assert os.sep + "site-packages" not in json.dumps(notebook)


@pytest.mark.parametrize(
    ("name", "order"),
    [
        (
            "01_langchain",
            ["Overview", "Setup", "Instantiation", "Invocation", "Chaining", "Tool calling", "API reference"],
        ),
        ("02_llama_index", ["Setup", "Basic usage", "Streaming", "Async", "Configure the model", "Agents"]),
        (
            "03_video_agent",
            ["Setup", "Instantiation", "Tools", "Invocation", "Use within an agent", "API reference"],
        ),
    ],
)
def test_sections_stand_in_the_frameworks_own_order(name, order):
    """The sections follow those of the frameworks' integration pages; what is RockAI's own stands between."""
    found = headings(read(name))
    assert [heading for heading in found if heading in order] == order


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_in_five_minutes(name):
    """Prose and code together are below 1,200 words."""
    words = sum(len(cell.source.split()) for cell in read(name).cells)
    assert words < 1200
    assert max(len(cell.source.splitlines()) for cell in read(name).cells) <= 45


def test_links_lead_somewhere():
    """Every relative link of a notebook names a file of the repository."""
    for path in NOTEBOOKS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
            assert Path(target).suffix
