"""What a newcomer sees who has set no token: the sentence that teaches, on one screen."""

from __future__ import annotations

import re
import traceback
import types

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

IMPORTS = """\
import asyncio
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_rockai import ChatRockAI, RockAILLM, RockAIToolkit
from llama_index.core.llms import ChatMessage
from llama_index_rockai import RockAI, RockAIToolSpec
from rockai_transport import ANIMATE_IMAGE, Client
MODEL = "meta/llama-2-7b-chat"
"""
CALLS = [
    'Client().run(MODEL, {"prompt": "x"})',
    'ChatRockAI(model=MODEL).invoke("x")',
    'list(ChatRockAI(model=MODEL).stream("x"))',
    'asyncio.run(ChatRockAI(model=MODEL).ainvoke("x"))',
    '(ChatPromptTemplate.from_template("{q}") | ChatRockAI(model=MODEL) | StrOutputParser()).invoke("x")',
    'RockAILLM(model=MODEL).invoke("x")',
    'asyncio.run(RockAILLM(model=MODEL).ainvoke("x"))',
    'RockAI(model=MODEL).complete("x")',
    'RockAI(model=MODEL).chat([ChatMessage("x")])',
    'asyncio.run(RockAI(model=MODEL).achat([ChatMessage("x")]))',
    "RockAIToolkit([ANIMATE_IMAGE])",
    "RockAIToolSpec([ANIMATE_IMAGE])",
]
MOST = 40


def read(shown):
    """The lines of a traceback that say something: Python 3.13 underlines each call in each frame."""
    return [line for line in shown.splitlines() if line.strip(" ~^")]


@pytest.fixture(autouse=True)
def no_token(monkeypatch):
    for name in ("ROCKAI_API_TOKEN", "ROCKAI_API_KEY", "ROCK_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("call", CALLS)
def test_in_a_script(call):
    """Each call's traceback takes less than 40 lines, and its last one says where to get a token."""
    variables = {}
    exec(IMPORTS, variables)  # noqa: S102 - as a script does
    with pytest.raises(Exception, match="No API token") as caught:
        exec(call, variables)  # noqa: S102
    shown = read("".join(traceback.format_exception(caught.value)))
    assert len(shown) < MOST
    assert "https://www.rockai.online/setting/token" in shown[-1]


class Cells(InteractiveShell):
    """What runs a notebook's cells, without a process of its own; it keeps what a cell shows of an error."""

    shown: tuple[str, ...] | list[str] = ()

    def _showtraceback(self, kind, error, lines):
        self.shown = lines


@pytest.fixture
def cells(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False
    return Cells(config=config, user_module=types.ModuleType("cells"))


def test_in_a_notebook(cells):
    """There too, and the cell is the first frame: a notebook shows ten lines around each, of other errors."""
    assert cells.run_cell(IMPORTS).success
    for call in CALLS:
        cell = re.sub(r"^asyncio\.run\((.*)\)$", r"await \1", call)
        assert not cells.run_cell(cell).success
        shown = read("\n".join(cells.shown))
        assert len(shown) < MOST
        assert cell in shown[2]
        assert "https://www.rockai.online/setting/token" in shown[-1]
