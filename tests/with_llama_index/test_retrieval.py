"""Query and chat engines over a few documents, on the sandbox; no network, not for the embeddings either."""

import asyncio
import hashlib
import re
from pathlib import Path

import pytest
from llama_index.core import Document, MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.embeddings import BaseEmbedding
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import BaseModel

from llama_index_rockai import RockAI

DOCUMENTS = Path(__file__).parent / "documents"
SIZE = 256
MODELS = ["meta/llama-2-7b-chat", "meta/meta-llama-3-70b-instruct", "mistralai/mistral-7b-instruct-v0.1"]


class HashingEmbedding(BaseEmbedding):
    """Counts words, each at the place its hash gives it."""

    def _embed(self, text):
        counts = [0.0] * SIZE
        for word in re.findall(r"\w+", text.lower()):
            counts[int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big") % SIZE] += 1
        return counts

    def _get_text_embedding(self, text):
        return self._embed(text)

    def _get_query_embedding(self, query):
        return self._embed(query)

    async def _aget_query_embedding(self, query):
        return self._embed(query)


@pytest.fixture(params=MODELS)
def llm(sandbox, request, monkeypatch):
    """As an application has it: in the settings."""
    llm = RockAI(model=request.param, api_token=sandbox.api_token, base_url=sandbox.base_url)
    for name, value in (("_llm", llm), ("_embed_model", HashingEmbedding())):
        monkeypatch.setattr(Settings, name, value)
    return llm


@pytest.fixture
def index(llm):
    documents = [Document(text=path.read_text()) for path in sorted(DOCUMENTS.glob("*.txt"))]
    return VectorStoreIndex.from_documents(documents)


def memory():
    return ChatMemoryBuffer.from_defaults(token_limit=3000)


def test_settings_take_it(sandbox):
    """``Settings.llm = RockAI(...)``, and it is the one that is used."""
    before = Settings._llm
    try:
        Settings.llm = RockAI(model=MODELS[0], api_token=sandbox.api_token, base_url=sandbox.base_url)
        index = VectorStoreIndex.from_documents(
            [Document(text="The ferry leaves at seven.")], embed_model=MockEmbedding(8)
        )
        assert (
            str(index.as_query_engine().query("When does the ferry leave?")) == "The ferry leaves at seven."
        )
    finally:
        Settings._llm = before


async def test_a_query_engine_answers(index):
    """From the nearest document."""
    engine = index.as_query_engine(similarity_top_k=1)
    answer = "The lighthouse of the island is 42 metres tall and was built in 1873."
    assert str(engine.query("How tall is the lighthouse?")) == answer
    assert str(await engine.aquery("How tall is the lighthouse?")) == answer


async def test_a_query_engine_streams(index):
    """Token by token, the same answer."""
    engine = index.as_query_engine(similarity_top_k=1, streaming=True)
    tokens = list(engine.query("Where does the heron nest?").response_gen)
    assert "".join(tokens) == "The grey heron nests on the northern island, high in the old pines."
    assert len(tokens) > 3
    response = await engine.aquery("Where does the heron nest?")
    assert "".join([token async for token in response.async_response_gen()]) == "".join(tokens)


@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
def test_every_way_of_answering_works(index, mode):
    """One document needs no refining."""
    engine = index.as_query_engine(similarity_top_k=1, response_mode=mode)
    assert "at seven" in str(engine.query("When does the ferry leave?"))


def test_a_query_engine_answers_with_an_object(index):
    """``output_cls`` goes through the shared tool calling."""

    class Lighthouse(BaseModel):
        """A lighthouse."""

        metres: int

    engine = index.as_query_engine(similarity_top_k=1, output_cls=Lighthouse)
    assert engine.query("How tall is the lighthouse of 42 metres?").response == Lighthouse(metres=42)


@pytest.mark.parametrize("mode", ["context", "condense_plus_context"])
def test_a_chat_engine_answers_from_the_documents(index, sandbox, mode):
    """In a later turn too; what was said before is in the prompt."""
    engine = index.as_chat_engine(chat_mode=mode, memory=memory(), similarity_top_k=1)
    engine.chat("When does the ferry leave?")
    assert "42 metres" in str(engine.chat("How tall is the lighthouse?"))
    assert "When does the ferry leave?" in sandbox.predictions[-1].input["prompt"]
    assert len(engine.chat_history) == 4


def test_a_chat_engine_remembers(llm):
    """What the user said, in turns of the model's own template."""
    engine = SimpleChatEngine.from_defaults(llm=llm, memory=memory())
    engine.chat("My name is Ada.")
    assert str(engine.chat("What is my name?")) == "Your name is Ada."
    response = engine.stream_chat("And what did I say so far?")
    assert "user: My name is Ada." in "".join(response.response_gen)


async def test_a_chat_engine_streams(index):
    """With ``await``; the last turn is remembered too."""
    engine = index.as_chat_engine(chat_mode="context", memory=memory(), similarity_top_k=1)
    response = await engine.astream_chat("When does the ferry leave the harbour?")
    tokens = [token async for token in response.async_response_gen()]
    assert "".join(tokens) == "The ferry leaves the harbour every morning at seven."
    assert engine.chat_history[-1].content == "".join(tokens)


async def test_a_chat_engine_s_stream_is_left_by_its_task(sandbox):
    """Core reads it in a task of its own, which it awaits; canceling that one cancels the prediction."""
    gate = sandbox.hold()

    @sandbox.model(MODELS[0])
    def talk(_input):
        yield "A word"
        gate.wait()

    settings = {"api_token": sandbox.api_token, "base_url": sandbox.base_url, "route": "predictions"}
    engine = SimpleChatEngine.from_defaults(llm=RockAI(model=MODELS[0], **settings), memory=memory())
    response = await engine.astream_chat("Say something.")
    async for _ in response.async_response_gen():
        response.awrite_response_to_history_task.cancel()
        break
    assert (await asyncio.to_thread(sandbox.wait_for, "canceled")).output == ["A word"]
