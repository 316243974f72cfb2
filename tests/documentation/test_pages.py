"""The pages of the documentation: their code runs, their outputs are true, their tables can be typed in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage, ImageBlock
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from langchain_rockai import ChatRockAI, RockAILLM
from llama_index_rockai import RockAI
from rockai_transport import Client, ConfigurationError, Dialect

DOCS = Path(__file__).resolve().parents[2] / "docs"
# Their blocks are signatures and bytes, or are run by test_docstrings.py.
NOT_RUN = {"public-api.md", "http-api.md", "http-api-quickstart.zh.md", "reference"}
PAGES = [path.relative_to(DOCS).as_posix() for path in sorted(DOCS.rglob("*.md"))]
PAGES = [page for page in PAGES if page.partition("/")[0] not in NOT_RUN]
# Chinese page → the English one that has the same code and output, to the letter but for comments.
CHINESE = {
    "zh/index.md": "index.md",
    "zh/quick-start.md": "quick-start.md",
    "zh/video-agents.md": "how-to/video-agents.md",
}
MODEL = "meta/meta-llama-3-70b-instruct"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

# LlamaIndex looks at all members of its pydantic classes, deprecated ones too (workflows/utils.py).
# A chat engine's memory is a database that it never closes (core/storage/chat_store/sql.py).
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:inspect",
    "ignore:<aiosqlite.core.Connection.*before being closed:ResourceWarning",
)


class Block(NamedTuple):
    line: int
    code: str
    output: str | None
    """What the page says it prints, where it says anything."""


def blocks(page: str) -> list[Block]:
    text = (DOCS / page).read_text("utf-8")
    found = list(FENCE.finditer(text))
    pairs = zip(found, [*found[1:], None], strict=False)
    return [
        Block(
            text[: one.start()].count("\n") + 2,
            one[2],
            after[2] if after is not None and after[1] == "text" else None,
        )
        for one, after in pairs
        if one[1] == "python"
    ]


@pytest.fixture
def own_logging():
    """What a page sets up for the log ends with it."""
    logger = logging.getLogger("rockai")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in CHINESE])
@pytest.mark.usefixtures("own_logging")
@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")  # LlamaIndex's own
def test_every_block_of_a_page_runs(page, rockai_sandbox, tmp_path, monkeypatch):
    """The blocks of a page run in turn, in an empty folder; a `text` block behind one is its exact output."""
    monkeypatch.chdir(tmp_path)
    asyncio.set_event_loop(None)  # otherwise a sync call of LlamaIndex makes a loop that it never closes
    names = {"__name__": "page"}
    for block in blocks(page):
        printed = io.StringIO()
        code = compile("\n" * (block.line - 1) + block.code, str(DOCS / page), "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        if block.output is not None:
            assert printed.getvalue().rstrip() == block.output.rstrip(), f"{page}, line {block.line}"
    names.clear()
    gc.collect()


def test_the_test_on_the_page_of_testing_passes(pytester):
    """The test that how-to/testing.md shows passes as a file of its own."""
    pytester.makepyfile(blocks("how-to/testing.md")[0].code)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


@pytest.mark.parametrize(("chinese", "english"), CHINESE.items())
def test_a_chinese_page_says_the_same(chinese, english):
    """It has the sections and code of the English page, but for comments; links to English pages say so."""

    def shape(page: str) -> tuple[list[str], list[str]]:
        text = (DOCS / page).read_text("utf-8")
        code = [re.sub(r" *#.*", "", found[2]) for found in FENCE.finditer(text)]
        return re.findall(r"^#+ ", FENCE.sub("", text), re.MULTILINE), code

    assert shape(chinese) == shape(english)
    text = (DOCS / chinese).read_text("utf-8")
    for line in text.splitlines():
        assert "英文" in line or not re.search(r"\]\(\.\./(?!http-api-quickstart\.zh)", line), line


def rows(page: str, table: int = 0) -> list[list[str]]:
    """The rows of one of a page's tables, without its head."""
    text = (DOCS / page).read_text("utf-8")
    lines = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)[table].splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


class Order(BaseModel):
    """An order in a restaurant."""

    dish: str
    quantity: int


def test_every_new_line_of_the_table_runs(rockai_sandbox):
    """Each line in the last column of "coming from" runs as it stands; a stream gives something."""
    found = rows("how-to/coming-from.md")
    assert len(found) >= 20
    weather = {"title": "get_weather", "description": "Get the weather.", "type": "object", "properties": {}}
    url = "http://h/cat.png"
    rockai_sandbox.model("someone/vision")(lambda input: f"A picture at {input['image']}")
    with Client() as client:
        names = {
            "client": client,
            "MODEL": MODEL,
            "FLUX": "incomingflyingbrick/flux-1-schnell",
            "VISION": "someone/vision",
            "vision": Dialect("vision", chat_template="chatml", image_key="image", context_window=4096),
            "URL": url,
            "blocks": [{"type": "image", "url": url}],
            "messages": [{"role": "user", "content": "The weather in Paris? An order for 3 'soups'."}],
            "prompt": PromptTemplate("An order for 3 'soups'."),
            "tools": [weather],
            **{cls.__name__: cls for cls in (ChatRockAI, RockAILLM, RockAI, Order, ChatMessage, ImageBlock)},
        }
        names["VERSION"] = client.predictions.create(model="sandbox/echo", input={}).version
        for _, old, new in found:
            assert re.fullmatch(r"`[^`]+`", old)
            names["input"] = {"prompt": "Hello"}
            names["prediction"] = client.predictions.create(model="sandbox/echo", input=names["input"])
            exec(f"result = {new.strip('`')}" if not new.startswith("`for ") else new.strip("`"), names)
            if isinstance(names.get("result"), Iterator):
                assert list(names["result"])
    assert all(one.status != "failed" for one in rockai_sandbox.predictions)


def test_every_argument_of_the_other_table_can_be_given():
    """The real peer has the name in the middle; the last column can be typed in, our error leads to it."""
    of = ""
    for peer, there, here in rows("how-to/coming-from.md", 1):
        of = peer.strip("`") or of
        name, own = (cell.strip("`").partition("=")[0] for cell in (there, here))
        fields = {"ChatOpenAI": ChatOpenAI, "ChatOllama": ChatOllama}[of].model_fields
        assert name in {one for field in fields for one in (field, fields[field].alias)}
        with pytest.raises(ConfigurationError) as caught:
            ChatRockAI(model=MODEL, **{name: "x"})
        assert {"api_key": "api_token"}.get(own, own) in str(caught.value).lower()
        with httpx.Client() as http:
            names = {
                "URL": "http://127.0.0.1:1",
                "MODEL": MODEL,
                "Dialect": Dialect,
                "http": http,
                "llm": ChatRockAI,
            }
            names["Client"] = partial(Client, "token")
            exec(f"llm(model=MODEL, {here.strip('`')})", names)


def test_links_lead_somewhere():
    """Every relative link of a page names a file of the documentation, or of the repository."""
    for path in DOCS.rglob("*.md"):
        text = FENCE.sub("", path.read_text("utf-8"))
        for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
            assert (path.parent / target).exists(), f"{path.name}: {target}"
