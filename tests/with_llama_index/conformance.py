"""A conformance suite for the LLM classes of LlamaIndex, which has none of its own.

Say in a `Backend` how your LLM is made and how what its model says is scripted, then subclass what applies::

    class TestMyLLM(LLMConformance):
        @pytest.fixture
        def backend(self):
            with MyBackend() as backend:
                yield backend

A fault that is known is named, with its reason, in ``known_faults``, and must stay one: an LLM that was
mended fails until the entry is taken out. ``test_conformance.py`` runs the suite on core's own mock, and on
LLMs that are broken on purpose, to show that it sees what it says it sees.
"""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import pickle
import threading
from typing import TYPE_CHECKING, Any

import pytest
from llama_index.core.base.llms.types import ToolCallBlock
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatInProgressEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionInProgressEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.llms import ChatMessage, ChatResponse
from with_llama_index.conformance_kit import (
    STREAMED,
    TOOLS,
    WHO,
    CallbackKeeper,
    Conformance,
    CountingLimiter,
    Person,
    collect,
    only,
    start,
    text_of,
)

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

SECONDS_TO_LEAVE = 1.0


class CallConformance(Conformance):
    """The eight methods, and what their responses hold."""

    async def test_the_answer_is_exact(self, backend, way):
        """What the model says comes out as it is, line breaks and all."""
        text = backend.says("Hello,\n", "\n", " wörld ")
        responses = await collect(backend.llm(), way, text)
        assert text_of(responses[-1]) == text

    @only(*STREAMED)
    async def test_deltas_are_new_and_texts_cumulative(self, backend, way):
        """``delta`` is the new piece, ``text`` or ``message`` all pieces so far."""
        text = backend.says("one ", "two ", "three")
        said = ""
        for response in await collect(backend.llm(), way, text):
            said += response.delta or ""
            assert (text_of(response) or "") == said
        assert said == text

    @only(*STREAMED)
    async def test_the_last_chunk_has_the_metadata(self, backend, way):
        """``raw`` is there by the last chunk, where core's agents and end events look for it."""
        responses = await collect(backend.llm(), way, backend.says("one ", "two"))
        assert isinstance(responses[-1].raw, dict)

    @only(*STREAMED)
    async def test_an_empty_answer_is_one_chunk(self, backend, way):
        """No chunk at all would break core's end event (instrumentation/events/llm.py:157)."""
        backend.says("")
        [response] = await collect(backend.llm(), way, "")
        assert (text_of(response), response.delta) == ("", "")

    def test_async_streams_are_coroutines_that_give_generators(self, backend):
        """``gen = await llm.astream_chat(...)``, as core calls them."""
        assert inspect.iscoroutinefunction(backend.llm().astream_chat)
        assert inspect.iscoroutinefunction(backend.llm().astream_complete)

    @only("chat", "achat", "stream_chat", "astream_chat")
    async def test_the_conversation_is_not_changed(self, backend, way):
        """The caller's messages are the caller's."""
        backend.says("fine")
        messages = [ChatMessage(role="system", content="Be brief."), ChatMessage(content="How are you?")]
        before = copy.deepcopy(messages)
        result = getattr(backend.llm(), way)(messages)
        result = await result if inspect.isawaitable(result) else result
        if way.endswith("stream_chat"):
            _ = [chunk async for chunk in result] if way[0] == "a" else list(result)
        assert messages == before

    def test_metadata_asks_nobody(self, backend):
        """It is read at every call, so it must be cheap."""
        llm = backend.llm()
        assert llm.metadata == llm.metadata
        assert backend.runs == 0


class EventConformance(Conformance):
    """One call is one call: for tracing, for token counts, for rate limits."""

    async def test_one_start_and_one_end(self, backend, events, way):
        """Both kinds of events come once, in order; a stream reports every chunk; the end has the answer."""
        keeper = CallbackKeeper()
        llm = backend.llm(callback_manager=CallbackManager([keeper]))
        responses = await collect(llm, way, backend.says("one ", "two"))
        starts = events.of(LLMChatStartEvent, LLMCompletionStartEvent)
        progress = events.of(LLMChatInProgressEvent, LLMCompletionInProgressEvent)
        ends = events.of(LLMChatEndEvent, LLMCompletionEndEvent)
        assert (len(starts), len(progress), len(ends)) == (1, len(responses) if way in STREAMED else 0, 1)
        assert events.events.index(starts[0]) < events.events.index(ends[0])
        assert ends[0].response == responses[-1]
        assert [kind for kind, _ in keeper.seen] == ["start", "end"]
        assert len({event_id for _, event_id in keeper.seen}) == 1

    async def test_tokens_are_counted_once(self, backend, way):
        """A second count would double what a user thinks he pays."""
        counter = TokenCountingHandler(tokenizer=str.split)
        await collect(
            backend.llm(callback_manager=CallbackManager([counter])), way, backend.says("a b ", "c")
        )
        [count] = counter.llm_token_counts
        assert count.prompt_token_count > 0
        assert count.completion_token_count > 0

    async def test_a_rate_limiter_is_asked_once(self, backend, way):
        """A second time would halve the rate."""
        limiter = CountingLimiter()
        await collect(backend.llm(rate_limiter=limiter), way, backend.says("fine"))
        assert limiter.acquired == 1


class ToolConformance(Conformance):
    """Tools, as core's agents use them."""

    @only("chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools")
    async def test_a_call_is_read(self, backend, way):
        """From the response, or from the last chunk; every chunk before can be asked too."""
        backend.calls(("add", {"a": 2, "b": 3}))
        llm = backend.llm()
        for response in await _with_tools(llm, way, "What is 2 + 3?"):
            calls = llm.get_tool_calls_from_response(response, error_on_no_tool_call=False)
        assert [(call.tool_name, call.tool_kwargs) for call in calls] == [("add", {"a": 2, "b": 3})]
        assert calls[0].tool_id
        assert [block.tool_name for block in response.message.blocks if isinstance(block, ToolCallBlock)]

    @only("chat_with_tools", "achat_with_tools", "stream_chat_with_tools", "astream_chat_with_tools")
    async def test_several_calls_have_ids_of_their_own(self, backend, way):
        """Two calls of one tool must not be mixed up."""
        backend.calls(("add", {"a": 1, "b": 1}), ("add", {"a": 2, "b": 2}))
        llm = backend.llm()
        response = (await _with_tools(llm, way, "Add.", allow_parallel_tool_calls=True))[-1]
        first, second = llm.get_tool_calls_from_response(response)
        assert (first.tool_kwargs["a"], second.tool_kwargs["a"]) == (1, 2)
        assert first.tool_id != second.tool_id

    async def test_one_call_where_several_are_not_allowed(self, backend):
        """The rest is dropped."""
        backend.calls(("add", {"a": 1, "b": 1}), ("greet", {"name": "Ada"}))
        llm = backend.llm()
        response = llm.chat_with_tools(TOOLS, "Add.", allow_parallel_tool_calls=False)
        assert len(llm.get_tool_calls_from_response(response)) == 1

    def test_the_history_is_not_changed(self, backend):
        """The caller's list is the caller's."""
        backend.says("fine")
        history = [ChatMessage(content="Hello")]
        backend.llm().chat_with_tools(TOOLS, "How are you?", chat_history=history)
        assert history == [ChatMessage(content="Hello")]

    def test_half_a_call_is_no_error(self, backend):
        """Arguments that are still being streamed are read as far as they go."""
        blocks = [
            ToolCallBlock(tool_name="add", tool_kwargs=part) for part in ("", '{"a": 2, "b', "nonsense")
        ]
        for block in blocks:
            response = ChatResponse(message=ChatMessage(role="assistant", blocks=[block]))
            [call] = backend.llm().get_tool_calls_from_response(response)
            assert isinstance(call.tool_kwargs, dict)

    def test_no_call_is_an_error_if_wanted(self, backend):
        """And an empty list if not."""
        backend.says("No.")
        llm = backend.llm()
        response = llm.chat_with_tools(TOOLS, "Hello")
        assert llm.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match="tool call"):
            llm.get_tool_calls_from_response(response, error_on_no_tool_call=True)

    @only("predict_and_call", "apredict_and_call")
    async def test_a_chosen_tool_is_run(self, backend, way):
        """Its result is the response."""
        backend.calls(("add", {"a": 2, "b": 3}))
        result = getattr(backend.llm(), way)(TOOLS, user_msg="What is 2 + 3?")
        result = await result if inspect.isawaitable(result) else result
        assert (str(result), result.sources[0].raw_output) == ("5", 5)


async def _with_tools(llm: LLM, way: str, prompt: str, **kwargs: Any) -> list[ChatResponse]:
    result: Any = getattr(llm, way)(TOOLS, prompt, **kwargs)
    result = await result if inspect.isawaitable(result) else result
    if way.startswith("astream"):
        return [response async for response in result]
    return list(result) if way.startswith("stream") else [result]


class StructuredConformance(Conformance):
    """Objects of a pydantic class."""

    async def test_an_object_is_predicted(self, backend):
        """With blocking calls and with ``await``."""
        backend.calls(("Person", {"name": "Ada", "age": 36}))
        ada = Person(name="Ada", age=36)
        assert backend.llm().structured_predict(Person, WHO, who="Ada") == ada
        assert await backend.llm().astructured_predict(Person, WHO, who="Ada") == ada

    async def test_an_object_is_streamed(self, backend):
        """The last one is whole."""
        backend.calls(("Person", {"name": "Ada", "age": 36}))
        ada = Person(name="Ada", age=36)
        assert list(backend.llm().stream_structured_predict(Person, WHO, who="Ada"))[-1] == ada
        stream = await backend.llm().astream_structured_predict(Person, WHO, who="Ada")
        assert [part async for part in stream][-1] == ada

    # Core's StructuredLLM asks pydantic by an old name (llms/structured_llm.py:90).
    @pytest.mark.filterwarnings("ignore:The `json` method is deprecated")
    async def test_a_structured_llm_answers_with_objects(self, backend):
        """``as_structured_llm`` chats, completes and streams."""
        backend.calls(("Person", {"name": "Ada", "age": 36}))
        llm, ada = backend.llm().as_structured_llm(Person), Person(name="Ada", age=36)
        asked = [ChatMessage(content="Who is Ada?")]
        assert llm.chat(asked).raw == ada
        assert (await llm.achat(asked)).raw == ada
        assert Person.model_validate_json(llm.complete("Who is Ada?").text) == ada
        assert list(llm.stream_chat(asked))[-1].raw == ada
        assert [chunk async for chunk in await llm.astream_chat(asked)][-1].raw == ada


class SerializationConformance(Conformance):
    """What is kept of an LLM, and what is never."""

    async def test_secrets_stay_secret(self, backend, events, way):
        """No token in any serialized form, nor in any event of a call."""
        keeper = CallbackKeeper()
        llm = backend.llm(callback_manager=CallbackManager([keeper]))
        await collect(llm, way, backend.says("fine"))
        seen = [llm.to_dict(), llm.to_json(), repr(llm), str(llm), llm.to_payload(), events.events]
        seen += [event.model_dump() for event in events.events]
        assert backend.secrets
        assert not [secret for secret in backend.secrets if secret in repr(seen)]

    def test_a_dict_makes_the_same_llm(self, backend):
        """``from_dict`` reads what ``to_dict`` wrote, and JSON can hold it."""
        llm = backend.llm(system_prompt="Be brief.")
        again = type(llm).from_dict(json.loads(llm.to_json()))
        assert again.to_dict() == llm.to_dict()

    @pytest.mark.parametrize(
        "copied",
        [copy.copy, copy.deepcopy, lambda llm: pickle.loads(pickle.dumps(llm))],  # noqa: S301 - our own
    )
    async def test_copies_work(self, backend, copied):
        """Also of an LLM that has been used, and both can be used on."""
        text = backend.says("fine")
        llm = backend.llm()
        await collect(llm, "chat", text)
        await collect(llm, "achat", text)
        for one in (copied(llm), llm):
            assert text_of((await collect(one, "complete", text))[-1]) == text
            assert text_of((await collect(one, "acomplete", text))[-1]) == text


class CancellationConformance(Conformance):
    """Leaving a stream leaves the work; handlers that keep every event do not keep it going."""

    @only("stream_chat", "stream_complete")
    def test_close_leaves(self, backend, events, way):
        """At once, while the generator is still held."""
        backend.hangs("Once")
        stream = start(backend.llm(), way)
        assert next(stream).delta == "Once"
        stream.close()
        backend.wait_until_left(SECONDS_TO_LEAVE)

    @only("stream_chat", "stream_complete")
    def test_break_and_drop_leave(self, backend, events, way):
        """A ``break`` out of a loop that held the only reference."""
        backend.hangs("Once")
        for response in start(backend.llm(), way):
            assert response.delta == "Once"
            break
        backend.wait_until_left(SECONDS_TO_LEAVE)

    @only("astream_chat", "astream_complete")
    async def test_aclose_leaves(self, backend, events, way):
        """At once, while the generator is still held."""
        backend.hangs("Once")
        stream = await start(backend.llm(), way)
        assert (await anext(stream)).delta == "Once"
        await stream.aclose()
        await asyncio.to_thread(backend.wait_until_left, SECONDS_TO_LEAVE)

    @only("astream_chat", "astream_complete")
    async def test_break_and_drop_leave_async(self, backend, events, way):
        """The loop closes what was dropped."""
        backend.hangs("Once")
        async for response in await start(backend.llm(), way):
            assert response.delta == "Once"
            break
        gc.collect()
        await asyncio.to_thread(backend.wait_until_left, SECONDS_TO_LEAVE)

    @only("astream_chat", "astream_complete", "achat", "acomplete")
    async def test_a_cancelled_task_leaves(self, backend, events, way):
        """Whatever it waits for."""
        backend.hangs("Once")
        task = asyncio.ensure_future(collect(backend.llm(), way))
        await asyncio.to_thread(backend.wait_until_running)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(backend.wait_until_left, SECONDS_TO_LEAVE)


class ConcurrencyConformance(Conformance):
    """Many calls at once, many loops one after another, many threads."""

    @only("achat", "acomplete", "astream_chat", "astream_complete")
    async def test_async_calls_run_at_once(self, backend, way):
        """Each is answered only when all are under way: calls that block the loop would wait for ever."""
        backend.meets(3, "fine")
        llm = backend.llm()
        answers = await asyncio.wait_for(asyncio.gather(*(collect(llm, way) for _ in range(3))), 20)
        assert [text_of(responses[-1]) for responses in answers] == ["fine"] * 3

    @only("achat", "acomplete", "astream_chat", "astream_complete")
    def test_one_llm_serves_several_loops(self, backend, way):
        """``asyncio.run`` twice, as scripts and notebooks do."""
        text, llm = backend.says("fine"), backend.llm()
        for _ in range(2):
            assert text_of(asyncio.run(collect(llm, way, text))[-1]) == text

    @only("chat", "complete", "stream_chat", "stream_complete")
    def test_one_llm_serves_several_threads(self, backend, way):
        """At the same time."""
        backend.meets(3, "fine")
        llm, answers = backend.llm(), []

        def work() -> None:
            result = start(llm, way)
            answers.append(text_of(list(result)[-1] if way in STREAMED else result))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert answers == ["fine"] * 3


class LLMConformance(
    CallConformance,
    EventConformance,
    ToolConformance,
    StructuredConformance,
    SerializationConformance,
    CancellationConformance,
    ConcurrencyConformance,
):
    """All of it."""
