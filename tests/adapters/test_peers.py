"""Beside the packages that users come from: the same question, and the same form of answer.

The peers are the real ones; what they ask is answered as OpenAI's service answers.
"""

import json
import re
from collections.abc import Iterator
from itertools import pairwise

import pytest
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai import OpenAI, OpenAIResponses
from pydantic import BaseModel
from support.openai_server import IMAGE, USAGE, openai_service
from support.wire_server import WireServer

from langchain_rockai import ChatRockAI, RockAILLM
from llama_index_rockai import RockAI
from rockai_sandbox import Protocol, Sandbox
from rockai_transport import ConfigurationError, Dialect
from rockai_transport.adapters import ALIASES
from rockai_transport.prompting.request.parameters import accepted_names

MODEL, LLAMA_3, FLUX = "my/hermes", "meta/meta-llama-3-70b-instruct", "incomingflyingbrick/flux-1-schnell"
CAT = "https://example.com/cat.png"
COUNTS = ("input_tokens", "output_tokens", "total_tokens")
HINT = re.compile(r"did you mean|_kwargs=\{|structured_predict|bind_tools|Dialect\.of|Client\(|ChatRockAI\(")


class Journey(BaseModel):
    """A journey."""

    name: str
    stops: list[str]


VALUE = {"name": "Grand Tour", "stops": ["Paris", "Rome", "Athens"]}
CALL = f'<tool_call>{{"name": "Journey", "arguments": {json.dumps(VALUE)}}}</tool_call>'


@pytest.fixture
def service() -> Iterator[WireServer]:
    """OpenAI's, as far as the peers ask."""
    with WireServer() as running:
        running.script = openai_service(json.dumps(VALUE))
        yield running


@pytest.fixture
def chat_openai(service):
    return ChatOpenAI(model="gpt-4o", api_key="x", base_url=service.base_url, stream_usage=True)


@pytest.fixture
def openai(service):
    usage = {"stream_options": {"include_usage": True}}
    return OpenAI(model="gpt-4", api_key="x", api_base=service.base_url, additional_kwargs=usage)


def says(sandbox, text, size=5):
    @sandbox.model(MODEL)
    def talk(input):
        yield from (text[at : at + size] for at in range(0, len(text), size))


def is_prefix(before, after):
    """Whether an object may become another one by more of it; None stands for what has not come."""
    if before is None or not isinstance(before, dict | list | str):
        return before in (None, after)
    if isinstance(before, dict):
        return all(is_prefix(item, after[key]) for key, item in before.items())
    if isinstance(before, list):
        return len(before) <= len(after) and all(map(is_prefix, before, after))
    return after.startswith(before)


class TestPartialObjects:
    @pytest.mark.parametrize("schema", [Journey, Journey.model_json_schema()], ids=["class", "schema"])
    def test_langchain(self, sandbox, chat_openai, schema):
        """Several, each a prefix of the next, of one type; the last is whole. Ours are as many."""
        says(sandbox, CALL)
        streams = {}
        for llm in (chat_openai, ChatRockAI(model=MODEL)):
            chain = llm.with_structured_output(schema, method="function_calling")
            *partial, last = streams[type(llm)] = list(chain.stream("x"))
            values = [one if isinstance(one, dict) else one.model_dump() for one in (*partial, last)]
            assert len(partial) > 2
            assert all(is_prefix(before, after) for before, after in pairwise(values))
            assert last == (Journey(**VALUE) if schema is Journey else VALUE)
            assert all(isinstance(one, type(last)) for one in partial)
        assert len(streams[ChatRockAI]) >= len(streams[ChatOpenAI]) - 1  # theirs begins with an empty object

    def test_with_the_message_beside(self, sandbox, chat_openai):
        """``include_raw``: nothing fills in; what the pieces add up to has the same keys, and the object."""
        says(sandbox, CALL)
        for llm in (chat_openai, ChatRockAI(model=MODEL)):
            chain = llm.with_structured_output(Journey, method="function_calling", include_raw=True)
            whole = {}
            for piece in chain.stream("x"):
                assert not whole.keys() & piece.keys()
                whole |= piece
            assert (whole["parsed"], whole["parsing_error"]) == (Journey(**VALUE), None)
            assert [call["args"] for call in whole["raw"].tool_calls] == [VALUE]

    @pytest.mark.filterwarnings("ignore:The `json` method is deprecated")  # core's own call
    def test_llama_index(self, sandbox, openai):
        """The same there, by both names."""
        says(sandbox, CALL)
        for llm in (openai, RockAI(model=MODEL, context_window=4096)):
            objects = list(llm.stream_structured_predict(Journey, PromptTemplate("x")))
            streamed = [
                one.raw for one in llm.as_structured_llm(Journey).stream_chat([ChatMessage("x")]) if one.raw
            ]
            for found in (objects, streamed):
                values = [one.model_dump() for one in found]
                assert len(values) > 3
                assert all(is_prefix(before, after) for before, after in pairwise(values))
                assert values[-1] == VALUE


class TestTheEndOfAStream:
    @pytest.fixture
    def sandbox(self, monkeypatch):
        """A service that reports token counts."""
        counts = {
            "input_token_count": USAGE["prompt_tokens"],
            "output_token_count": USAGE["completion_tokens"],
        }
        with Sandbox(protocol=Protocol(metrics=lambda *_: counts)) as running:
            for name, value in running.environ().items():
                monkeypatch.setenv(name, value)
            yield running

    def test_langchain(self, sandbox, chat_openai):
        """Added up, the chunks have the tokens and the reason under the same names, with the same values."""
        says(sandbox, "Hello.")
        ends = []
        for llm in (chat_openai, ChatRockAI(model=MODEL, route="predictions")):
            chunks = list(llm.stream("x"))
            whole = sum(chunks[1:], chunks[0])
            counts = {name: whole.usage_metadata[name] for name in COUNTS}
            ends.append((counts, whole.response_metadata["finish_reason"], chunks[-1].chunk_position))
        assert ends[0] == ends[1]

    def test_llama_index(self, sandbox, openai):
        """The last response's ``raw`` has the tokens, under the names that core counts by."""
        says(sandbox, "Hello.")
        theirs = list(openai.stream_chat([ChatMessage("x")]))[-1].raw.usage.model_dump()
        llm = RockAI(model=MODEL, context_window=4096, route="predictions")
        ours = list(llm.stream_chat([ChatMessage("x")]))[-1].raw["usage"]
        assert ours == {name: theirs[name] for name in ours} == USAGE


class TestPictures:
    def test_drawn_in_langchain(self, sandbox, service):
        """A standard block of the type ``image``; ours holds the address that the model gave."""
        peer = ChatOpenAI(model="gpt-4o", api_key="x", base_url=service.base_url, use_responses_api=True)
        (theirs,) = [one for one in peer.invoke("Draw.").content_blocks if one["type"] == "image"]
        (ours,) = [
            one for one in ChatRockAI(model=FLUX).invoke("Draw.").content_blocks if one["type"] == "image"
        ]
        assert theirs["base64"] == IMAGE
        assert ours["url"].endswith(".png")

    def test_drawn_in_llama_index(self, sandbox, service):
        """A block of the same class."""
        peer = OpenAIResponses(model="gpt-4o", api_key="x", api_base=service.base_url)
        for llm in (peer, RockAI(model=FLUX, context_window=4096)):
            assert any(isinstance(one, ImageBlock) for one in llm.chat([ChatMessage("Draw.")]).message.blocks)

    @pytest.mark.parametrize(
        "block",
        [
            {"type": "image", "url": CAT},
            {"type": "image_url", "image_url": {"url": CAT}},
            {"type": "image", "base64": IMAGE, "mime_type": "image/png"},
            {"type": "image", "source_type": "url", "url": CAT},
        ],
    )
    def test_shown_in_langchain(self, service, chat_openai, block):
        """Each form of a block that the peer sends on, ours sends on too, with the same address."""
        message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, block]}
        list(chat_openai.stream([message]))
        theirs = service.requests[0].json["messages"][0]["content"][1]["image_url"]["url"]
        dialect = Dialect.of(MODEL).replace(image_key="image")
        assert ChatRockAI(model=MODEL, dialect=dialect).preview([message])["input"]["image"] == theirs

    def test_shown_in_llama_index(self, service, openai):
        """An `ImageBlock`."""
        message = ChatMessage(role="user", blocks=[TextBlock(text="What is this?"), ImageBlock(url=CAT)])
        list(openai.stream_chat([message]))
        theirs = service.requests[0].json["messages"][0]["content"][1]["image_url"]["url"]
        dialect = Dialect.of(MODEL).replace(image_key="image")
        llm = RockAI(model=MODEL, context_window=4096, dialect=dialect)
        assert llm.preview([message])["input"]["image"] == theirs


def arguments_of(peer):
    """What a peer's constructor takes."""
    fields = peer.model_fields.items()
    return sorted({name for given, field in fields for name in (given, field.alias) if name})


class TestArgumentNames:
    @pytest.mark.parametrize("ours", [ChatRockAI, RockAILLM])
    def test_the_usual_ones_are_the_same_in_langchain(self, ours):
        """They mean the same; under all of them the token, the address and the model are found."""
        usual = {"model": LLAMA_3, "api_key": "x", "base_url": "http://127.0.0.1:1/v1", "temperature": 0.5}
        usual |= {"max_tokens": 9, "top_p": 0.5, "timeout": 5.0, "max_retries": 1, "streaming": True}
        usual |= {"stop": ["."], "default_headers": {"X-A": "b"}, "stream_usage": True, "model_kwargs": {}}
        theirs, made = ChatOpenAI(**usual), ours(**usual)
        for name in (
            "temperature",
            "max_tokens",
            "top_p",
            "max_retries",
            "streaming",
            "stop",
            "stream_usage",
        ):
            assert getattr(made, name) == getattr(theirs, name)
        assert made.api_token.get_secret_value() == theirs.openai_api_key.get_secret_value()

    def test_the_usual_ones_are_the_same_in_llama_index(self):
        """There the address is ``api_base``."""
        usual = {"model": LLAMA_3, "api_key": "x", "api_base": "http://127.0.0.1:1/v1", "temperature": 0.5}
        usual |= {"max_tokens": 9, "timeout": 5.0, "max_retries": 1, "additional_kwargs": {"a": 1}}
        usual |= {"system_prompt": "Be brief.", "default_headers": {"X-A": "b"}}
        theirs, made = OpenAI(**usual), RockAI(**usual)
        for name in usual.keys() - {"api_key", "api_base", "model"}:
            assert getattr(made, name) == getattr(theirs, name)
        assert (made.base_url, made.api_token.get_secret_value()) == (theirs.api_base, theirs.api_key)

    @pytest.mark.parametrize("peer", [ChatOpenAI, ChatOllama, OpenAI])
    @pytest.mark.parametrize("ours", [ChatRockAI, RockAILLM, RockAI])
    def test_every_other_one_is_answered(self, ours, peer):
        """With our own error, which says the name here, the way here, or where an input of the model goes."""
        others = [name for name in arguments_of(peer) if name not in {*ours.model_fields, *ALIASES}]
        assert len(others) > 5
        known = accepted_names(Dialect.of(LLAMA_3))
        for name in others:
            if name in known:
                assert ours(model=LLAMA_3, **{name: 1})
                continue
            with pytest.raises(ConfigurationError, match=f"^{name!r} is ") as caught:
                ours(model=LLAMA_3, **{name: "x"})
            assert HINT.search(str(caught.value)), name

    @pytest.mark.parametrize(
        ("peer", "name", "ours"),
        [
            (ChatOpenAI, "openai_api_key", "api_token"),
            (ChatOpenAI, "openai_api_base", "base_url"),
            (ChatOpenAI, "max_completion_tokens", "max_tokens"),
            (ChatOpenAI, "request_timeout", "timeout"),
            (ChatOpenAI, "stop_sequences", "stop"),
            (ChatOllama, "num_predict", "max_tokens"),
        ],
    )
    def test_the_name_here_is_told(self, peer, name, ours):
        """For what has one."""
        assert name in arguments_of(peer)
        with pytest.raises(ConfigurationError, match=f"did you mean '{ours}'"):
            ChatRockAI(model=LLAMA_3, **{name: "x"})
