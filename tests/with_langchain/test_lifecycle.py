"""A model as an object: clients, tokens, copies, pickles, traces, and LangChain's wrappers."""

import asyncio
import copy
import gc
import io
import json
import logging
import pickle
import time
import weakref

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.prompts import ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableBinding, RunnableSequence

from langchain_rockai import ChatRockAI, Dialect, RockAILLM
from rockai_sandbox import Sandbox
from rockai_transport import APITimeoutError, AsyncClient, AuthenticationError, Client, ConfigurationError
from rockai_transport.prompting.request.jinja import JinjaTemplate
from rockai_transport.prompting.request.templates import TEMPLATES

MODEL = "my/hermes"
WRONG = "wrong"
BOTH = pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])


def text(answer):
    return getattr(answer, "content", answer)


@BOTH
def test_an_argument_beats_the_environment(sandbox, cls):
    """And it is wrong here."""
    with pytest.raises(AuthenticationError):
        cls(model=MODEL, api_token=WRONG).invoke("Hi")


@BOTH
@pytest.mark.parametrize("variable", ["ROCKAI_API_TOKEN", "ROCKAI_API_KEY", "ROCK_API_TOKEN"])
def test_a_token_of_the_environment_is_read_at_the_first_call(cls, variable, monkeypatch):
    """Not by the constructor: the field stays None, before and after."""
    with Sandbox() as sandbox:
        llm = cls(model="sandbox/echo", base_url=sandbox.base_url)
        monkeypatch.setenv(variable, sandbox.api_token)
        assert llm.api_token is None
        assert text(llm.invoke("Hi")) == "Hi"
        assert llm.api_token is None


@BOTH
def test_a_pickle_holds_the_token_only_if_it_was_passed(sandbox, cls):
    """Also after a call was made with it; what is unpickled works."""
    llm = cls(model="sandbox/echo")
    llm.invoke("Hi")
    held = pickle.dumps(llm)
    assert sandbox.api_token.encode() not in held
    assert text(pickle.loads(held).invoke("Hi")) == "Hi"  # noqa: S301 - our own
    given = cls(model="sandbox/echo", api_token=sandbox.api_token)
    again = pickle.loads(pickle.dumps(given))  # noqa: S301 - our own
    assert again.api_token.get_secret_value() == sandbox.api_token
    assert text(again.invoke("Hi")) == "Hi"


@BOTH
async def test_copies_work(sandbox, cls):
    """Shallow, deep and pydantic's; one with another address goes there."""
    llm = cls(model="sandbox/echo")
    llm.invoke("Hi")
    for again in (copy.copy(llm), copy.deepcopy(llm), llm.model_copy()):
        assert text(again.invoke("Hi")) == "Hi"
        assert text(await again.ainvoke("Hi")) == "Hi"
    with Sandbox(api_token=sandbox.api_token) as other:
        moved = llm.model_copy(update={"base_url": other.base_url})
        assert text(moved.invoke("Hi")) == "Hi"
        assert len(other.predictions) == 1


@BOTH
def test_the_token_is_in_nothing_that_is_shown(cls):
    """repr, str, dumps, traces, logs."""
    hidden = "s3cret-token"
    llm = cls(model=MODEL, api_token=hidden, default_headers={"X-Key": hidden})
    shown = [
        repr(llm),
        str(llm),
        dumps(llm),
        str(dumpd(llm)),
        str(llm._identifying_params),
        str(llm.asdict()),
    ]
    assert not [where for where in shown if hidden in where]
    assert dumpd(llm)["kwargs"]["api_token"] == {"lc": 1, "type": "secret", "id": ["ROCKAI_API_TOKEN"]}


@BOTH
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")  # load
def test_a_serialised_model_can_be_loaded(sandbox, cls):
    """With its class in `allowed_objects`: core's "all" means the classes that core knows."""
    llm = cls(model="sandbox/echo", temperature=0.0, stop=["x"], api_token=sandbox.api_token)
    trust = {"allowed_objects": [cls], "valid_namespaces": ["langchain_rockai"]}
    secrets = {"ROCKAI_API_TOKEN": sandbox.api_token}
    for again in (
        loads(dumps(llm), **trust, secrets_map=secrets),
        load(dumpd(llm), **trust, secrets_map=secrets),
    ):
        assert (again.model, again.temperature, again.stop) == ("sandbox/echo", 0.0, ["x"])
        assert text(again.invoke("Hi")) == "Hi"


@BOTH
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")  # load
@pytest.mark.parametrize(
    "dialect",
    [
        Dialect.of("meta/llama-2-7b-chat").replace(max_tokens_key="length", fixed_inputs={"a": [1]}),
        Dialect("mine", chat_template=TEMPLATES["chatml"], max_tokens_key="length"),
        Dialect("mine", chat_template=JinjaTemplate("{{ messages[0].content }}")),
    ],
    ids=["changed", "with a template", "with Jinja"],
)
def test_a_model_with_a_dialect_of_its_own_can_be_saved_and_loaded(cls, dialect):
    """As JSON, through core's own `dumpd` and `load`."""
    llm = cls(model="me/mine", dialect=dialect, max_tokens=5)
    saved = json.loads(json.dumps(dumpd(llm)))
    again = load(saved, allowed_objects=[cls], valid_namespaces=["langchain_rockai"])
    template = getattr(dialect.chat_template, "source", dialect.chat_template)
    assert again.dialect == dialect.replace(chat_template=template)
    assert again.preview("Hi") == llm.preview("Hi")


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")  # load
def test_a_chain_with_tools_can_be_saved_and_loaded(sandbox):
    """With what is bound, and what stands around the model."""
    tool = {"title": "t", "description": "A tool.", "type": "object", "properties": {}}
    llm = ChatRockAI(model=MODEL, dialect=Dialect.of(MODEL).replace(context_window=9000))
    chain = ChatPromptTemplate.from_messages([("human", "Say: {x}")]) | llm.bind_tools([tool])
    saved = json.loads(json.dumps(dumpd(chain)))
    core = [RunnableSequence, RunnableBinding, ChatPromptTemplate, HumanMessagePromptTemplate, PromptTemplate]
    again = load(saved, allowed_objects=[ChatRockAI, *core], valid_namespaces=["langchain_rockai"])
    assert dumpd(again) == dumpd(chain)
    assert again.last.bound.preview("x", **again.last.kwargs) == llm.preview("x", tools=[tool])


@BOTH
async def test_a_client_of_the_user_s_own_is_used(sandbox, cls):
    """Its settings hold, and it is not closed."""
    client = Client(sandbox.api_token, sandbox.base_url, default_headers={"X-Mine": "yes"})
    async_client = AsyncClient(sandbox.api_token, sandbox.base_url, default_headers={"X-Mine": "yes"})
    llm = cls(model="sandbox/echo", client=client, async_client=async_client, base_url="https://x.invalid")
    for _ in range(2):
        assert text(llm.invoke("Hi")) == "Hi"
        assert text(await llm.ainvoke("Hi")) == "Hi"
    assert [request.headers["x-mine"] for request in sandbox.requests] == ["yes"] * 4
    client.close()
    await async_client.aclose()


@BOTH
async def test_calls_share_one_client(sandbox, cls):
    """Built at the first call; the connection is kept."""
    llm = cls(model="sandbox/echo")
    assert llm._sync_client() is llm._sync_client()
    assert llm._async_client() is llm._async_client()
    assert llm._sync_client() is not cls(model="sandbox/echo")._sync_client()


@BOTH
def test_a_dropped_model_closes_its_connections(sandbox, cls):
    """Nothing is left to the garbage collector's warnings, which are errors here."""
    llm = cls(model="sandbox/echo")
    llm.invoke("Hi")
    gone = weakref.ref(llm)
    del llm
    gc.collect()
    assert gone() is None


@BOTH
def test_one_model_serves_one_event_loop_after_another(sandbox, cls):
    """Notebooks and scripts call asyncio.run more than once."""
    llm = cls(model="sandbox/echo")
    for _ in range(2):
        assert text(asyncio.run(llm.ainvoke("Hi"))) == "Hi"


@BOTH
def test_a_setting_that_is_assigned_later_counts(sandbox, cls):
    """The next call has a client of its own."""
    llm = cls(model="sandbox/echo", api_token=WRONG)
    with pytest.raises(AuthenticationError):
        llm.invoke("Hi")
    llm.api_token = sandbox.api_token
    assert sandbox.api_token not in repr(llm)
    assert text(llm.invoke("Hi")) == "Hi"


@BOTH
def test_fields_can_be_configurable(sandbox, scripted, cls):
    """At run time; streaming stays streaming."""
    asked = scripted("a", "b", ["c", "d"])
    llm = cls(model=MODEL, temperature=0.1).configurable_fields(
        temperature=ConfigurableField(id="heat"), model=ConfigurableField(id="which")
    )
    llm.invoke("Hi")
    llm.with_config(configurable={"heat": 0.9}).invoke("Hi")
    assert [one["temperature"] for one in asked.inputs] == [0.1, 0.9]
    pieces = list(llm.with_config(configurable={"heat": 0.5}).stream("Hi"))
    assert [text(piece) for piece in pieces] == ["c", "d", ""]


def test_streaming_can_be_switched_off(scripted, sandbox):
    """By core's rule: where `streaming=False` was given, stream is one invoke."""
    scripted(["a", "b"])
    assert [chunk.content for chunk in ChatRockAI(model=MODEL, streaming=False).stream("Hi")] == ["ab"]
    assert sandbox.requests[0].path == "/v1/run"


def test_a_rate_limiter_is_waited_for(sandbox):
    """Core acquires it before each call, streamed too."""
    limiter = InMemoryRateLimiter(requests_per_second=20, check_every_n_seconds=0.01, max_bucket_size=1)
    llm = ChatRockAI(model="sandbox/echo", rate_limiter=limiter)
    began = time.monotonic()
    llm.invoke("Hi")
    llm.invoke("Hi")
    list(llm.stream("Hi"))
    assert time.monotonic() - began > 0.1


def test_a_cache_answers_for_the_service(scripted, sandbox):
    """Other settings, tools or messages are another call."""
    scripted("one", "two", "three", "four")
    cache = InMemoryCache()
    f = {"name": "f", "description": "", "parameters": {"type": "object", "properties": {}}}

    def ask(**settings):
        return ChatRockAI(model=MODEL, cache=cache, **settings)

    for _ in range(2):
        assert ask().invoke("Hi").content == "one"
        assert ask(temperature=0.0).invoke("Hi").content == "two"
        assert ask().bind_tools([f]).invoke("Hi").content == "three"
        assert ask(model_kwargs={"seed": 1}).invoke("Hi").content == "four"
    assert len(sandbox.predictions) == 4


def test_a_cache_knows_settings_that_were_changed(sandbox):
    """Core makes its key of those at the first call, also for a copy."""
    sandbox.model("my/unknown")(lambda input: str(input.get("temperature")))
    llm = ChatRockAI(model="my/unknown", cache=InMemoryCache(), temperature=0.1)
    assert llm.invoke("Hi").content == "0.1"
    assert llm.model_copy(update={"temperature": 0.2}).invoke("Hi").content == "0.2"
    llm.temperature = 0.3
    assert llm.invoke("Hi").content == "0.3"
    assert len(sandbox.predictions) == 3


@BOTH
def test_a_cache_tells_services_apart(sandbox, cls, monkeypatch):
    """An answer of the sandbox is none of the live service, whichever way its address is given."""
    sandbox.model(MODEL)(lambda input: "here")
    cache = InMemoryCache()
    assert text(cls(model=MODEL, cache=cache).invoke("Hi")) == "here"
    with Sandbox() as other:
        other.model(MODEL)(lambda input: "there")
        client = Client(api_token=other.api_token, base_url=other.base_url)
        assert text(cls(model=MODEL, cache=cache, client=client).invoke("Hi")) == "there"
        for name, value in other.environ().items():
            monkeypatch.setenv(name, value)
        assert text(cls(model=MODEL, cache=cache).invoke("Hi")) == "there"
        assert len(other.predictions) == 1


@BOTH
def test_a_cache_that_is_false_while_it_is_empty_is_one(scripted, cls):
    """As one that has a length."""

    class Sized(InMemoryCache):
        def __len__(self):
            return len(self._cache)

    asked = scripted("one", "two")
    llm = cls(model=MODEL, cache=Sized())
    assert [text(llm.invoke("Hi")) for _ in range(2)] == ["one", "one"]
    assert len(asked.inputs) == 1


def test_a_cache_tells_template_objects_apart(scripted):
    """A dump has only their source, if they have one."""

    class Shouting(JinjaTemplate):
        def render(self, system, turns):
            return super().render(system, turns).upper()

    asked = scripted("one", "two")
    cache = InMemoryCache()
    for kind, answer in ((JinjaTemplate, "one"), (Shouting, "two"), (JinjaTemplate, "one")):
        llm = ChatRockAI(model=MODEL, cache=cache, chat_template=kind("{{ messages[0].content }}"))
        assert llm.invoke("Hi").content == answer
    assert [given["prompt"] for given in asked.inputs] == ["Hi", "HI"]


def test_a_timeout_is_the_call_s_or_the_model_s(sandbox):
    """A call's own is shorter here."""
    gate = sandbox.hold()

    @sandbox.model(MODEL)
    def talk(input):
        gate.wait()

    for call in (
        lambda: ChatRockAI(model=MODEL, timeout=0.2).invoke("Hi"),
        lambda: ChatRockAI(model=MODEL).invoke("Hi", timeout=0.2),
        lambda: list(ChatRockAI(model=MODEL).stream("Hi", timeout=0.2)),
        lambda: list(RockAILLM(model=MODEL).stream("Hi", timeout=0.2)),
    ):
        with pytest.raises(APITimeoutError) as caught:
            call()
        assert caught.value.may_have_started
    gate.set()


def test_logs_hold_no_token(sandbox, caplog):
    """At the most talkative level."""
    caplog.set_level(logging.DEBUG)
    stream = io.StringIO()
    logging.getLogger().addHandler(handler := logging.StreamHandler(stream))
    ChatRockAI(model="sandbox/echo").invoke("Hi")
    logging.getLogger().removeHandler(handler)
    assert sandbox.api_token not in stream.getvalue()


def test_a_wrong_type_is_pydantic_s_business():
    """As with every other model of LangChain."""
    with pytest.raises(ValueError, match="temperature"):
        ChatRockAI(model=MODEL, temperature="hot")
    with pytest.raises(ConfigurationError):
        ChatRockAI(model=MODEL, timeout=-1)
