"""The conformance suite on `RockAI` for three dialects, and what shows that the suite itself is right."""

from typing import ClassVar

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.mock import MockFunctionCallingLLM
from with_llama_index.backends import TOKEN, MockBackend, RockAIBackend
from with_llama_index.conformance import (
    CallConformance,
    CancellationConformance,
    Conformance,
    EventConformance,
    LLMConformance,
    SerializationConformance,
    ToolConformance,
)
from with_llama_index.conformance_kit import STREAMED

from llama_index_rockai import RockAI
from rockai_transport.adapters import Chunks


class OnRockAI(LLMConformance):
    model: str

    @pytest.fixture
    def backend(self, sandbox):
        return RockAIBackend(sandbox, self.model)


class TestLlama2(OnRockAI):
    model = "meta/llama-2-7b-chat"


class TestLlama3(OnRockAI):
    model = "meta/meta-llama-3-70b-instruct"


class TestMistral(OnRockAI):
    model = "mistralai/mistral-7b-instruct-v0.1"


NO_RAW = "streams of the mock carry no raw (core/llms/mock.py:412)"
NESTED = "the mock's achat calls its decorated chat (core/llms/mock.py:463)"
COUNTING = (
    "test_one_start_and_one_end",
    "test_tokens_are_counted_once",
    "test_a_rate_limiter_is_asked_once",
)


class TestCoresMock(CallConformance, EventConformance, ToolConformance):
    """The mock has no secrets, cannot hang, and no service runs it; the rest it keeps, but for this."""

    known_faults: ClassVar = {
        **{("test_the_last_chunk_has_the_metadata", way): NO_RAW for way in STREAMED},
        **{(test, "achat"): NESTED for test in COUNTING},
    }
    # It makes every call that it was told to make, and knows no choice.
    test_one_call_where_several_are_not_allowed = None
    test_no_call_is_an_error_if_wanted = None

    @pytest.fixture
    def backend(self):
        return MockBackend()


class CumulativeDeltas(MockFunctionCallingLLM):
    """Broken: a delta repeats what was said before."""

    @llm_chat_callback()
    def stream_chat(self, messages, **kwargs):
        def chunks():
            text = self.response_generator(messages).content
            for end in range(1, len(text) + 1):
                said = ChatMessage(role="assistant", content=text[:end])
                yield ChatResponse(message=said, delta=text[:end])

        return chunks()


class Deaf(MockFunctionCallingLLM):
    """Broken: no events at all, as core's decorators are missing."""

    def chat(self, messages, **kwargs):
        return ChatResponse(message=self.response_generator(messages))


class Talkative(RockAI):
    """Broken: its key is a field like any other."""

    key: str = TOKEN


class Unguarded(RockAI):
    """Broken: core's decorator alone, which leaves the inner generator to the garbage collector."""

    @llm_chat_callback()
    def stream_chat(self, messages, **kwargs):
        return Chunks(self._chat(messages, kwargs), self._sync_client())


class Greedy(MockFunctionCallingLLM):
    """Broken: it writes into the caller's history."""

    def _prepare_chat_with_tools(self, tools, user_msg=None, chat_history=None, **kwargs):
        chat_history.append(ChatMessage(content=user_msg))
        return {"messages": chat_history}


class TestTheSuiteSeesFaults(Conformance):
    """Each of these LLMs is broken in one way, and the test for it fails."""

    @pytest.fixture
    def backend(self, sandbox):
        return RockAIBackend(sandbox, "meta/llama-2-7b-chat")

    async def test_cumulative_deltas(self):
        with pytest.raises(AssertionError):
            await CallConformance().test_deltas_are_new_and_texts_cumulative(
                MockBackend(CumulativeDeltas), "stream_chat"
            )

    async def test_missing_events(self):
        with pytest.raises(ValueError, match="not enough values"):
            await EventConformance().test_tokens_are_counted_once(MockBackend(Deaf), "chat")

    async def test_a_key_in_the_serialized_form(self, backend, events):
        backend.kind = Talkative
        with pytest.raises(AssertionError):
            await SerializationConformance().test_secrets_stay_secret(backend, events, "chat")

    def test_a_stream_that_goes_on(self, backend, events):
        backend.kind = Unguarded
        with pytest.raises(TimeoutError):
            CancellationConformance().test_close_leaves(backend, events, "stream_chat")

    def test_a_changed_history(self):
        with pytest.raises(AssertionError):
            ToolConformance().test_the_history_is_not_changed(MockBackend(Greedy))
