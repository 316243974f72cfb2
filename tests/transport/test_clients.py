"""Clients as objects: made cheaply, shared, copied, used in several loops, threads and processes."""

import asyncio
import contextlib
import copy
import enum
import gc
import inspect
import io
import logging
import math
import multiprocessing
import os
import pickle
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpcore
import httpx
import pytest
from support.drivers import TOKEN
from support.replies import MODEL, prediction
from support.virtual_io import ScriptedAnswer, VirtualIO, operations, reply, run_request
from support.wire_server import answer, frames, silence, stream

import rockai_transport
from rockai_transport import (
    APIConnectionError,
    APIStatusError,
    AsyncClient,
    Client,
    ConfigurationError,
    HostedModel,
    Prediction,
    PredictionFailedError,
    RockAIError,
    Service,
    StreamInterruptedError,
    Timeouts,
    Update,
    errors,
)
from rockai_transport.async_client import AsyncPredictions
from rockai_transport.client import Predictions
from rockai_transport.io.async_streams import AsyncStream
from rockai_transport.io.streams import Stream
from rockai_transport.protocol.streams import StreamState

RUN, SSE, GET = "POST /v1/run", "POST /v1/run_sse", "GET /v1/predictions/p1"
CLASSES = {"sync": Client, "async": AsyncClient}
COPIES = [lambda x: pickle.loads(pickle.dumps(x)), copy.deepcopy, copy.copy]  # noqa: S301


# Parity.


def methods(cls):
    names = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__", "__aiter__": "__iter__"}
    names["__anext__"] = "__next__"
    found = {}
    for name, member in inspect.getmembers(cls):
        public = not name.startswith("_") or name in names or name in names.values() or name == "__init__"
        if public and (inspect.isfunction(member) or isinstance(member, property)):
            found[names.get(name, name)] = member
    return found


@pytest.mark.parametrize(
    ("sync", "other"), [(Client, AsyncClient), (Predictions, AsyncPredictions), (Stream, AsyncStream)]
)
def test_parity(sync, other):
    """Both clients have the same methods, with the same parameters and the same defaults."""
    ours, theirs = methods(sync), methods(other)
    assert ours.keys() == theirs.keys()
    for name in ours:
        if isinstance(ours[name], property):
            assert isinstance(theirs[name], property)
            continue

        def parameters(function):
            return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

        assert parameters(ours[name]) == parameters(theirs[name]), name
        returned = [
            str(inspect.signature(f).return_annotation).replace("Async", "").replace("async_", "")
            for f in (ours[name], theirs[name])
        ]
        assert returned[0] == returned[1], name
        if name not in {"preview", "stream", "take_ready", "__init__", "__iter__"}:
            assert inspect.iscoroutinefunction(theirs[name]), name
        else:
            assert not inspect.iscoroutinefunction(theirs[name]), name


def test_all_names_of_the_root():
    """`__all__` is the documented names, and each can be imported."""
    documented = {
        "Client", "AsyncClient", "Prediction", "Service", "Dialect", "HostedModel", "RockAIError",
        "ConfigurationError", "APIConnectionError", "APITimeoutError", "APIStatusError", "BadRequestError",
        "AuthenticationError", "PermissionDeniedError", "PaymentRequiredError", "NotFoundError", "ConflictError",  # noqa: E501
        "RateLimitError", "InternalServerError", "PredictionError", "PredictionFailedError",
        "PredictionCanceledError", "PredictionTimeoutError", "StreamInterruptedError", "InvalidResponseError",
        "GENERATE_IMAGE", "ANIMATE_IMAGE",
    }  # fmt: skip
    more = {"Stream", "AsyncStream", "Timeouts", "Update", "__version__"}
    assert set(rockai_transport.__all__) == documented | more
    for name in rockai_transport.__all__:
        assert getattr(rockai_transport, name) is not None
    assert set(dir(rockai_transport)) >= documented
    with pytest.raises(AttributeError, match="nonsense"):
        rockai_transport.nonsense  # noqa: B018


def test_the_tree_of_exceptions():
    """Every exception hangs where the contract says."""
    tree = {
        name: kind.__mro__[1].__name__
        for name, kind in vars(rockai_transport).items()
        if inspect.isclass(kind) and issubclass(kind, RockAIError)
    }
    assert tree == {
        "RockAIError": "Exception",
        "ConfigurationError": "RockAIError",
        "APIConnectionError": "RockAIError",
        "APITimeoutError": "APIConnectionError",
        "APIStatusError": "RockAIError",
        "BadRequestError": "APIStatusError",
        "AuthenticationError": "APIStatusError",
        "PermissionDeniedError": "APIStatusError",
        "PaymentRequiredError": "PermissionDeniedError",
        "NotFoundError": "APIStatusError",
        "ConflictError": "APIStatusError",
        "RateLimitError": "APIStatusError",
        "InternalServerError": "APIStatusError",
        "PredictionError": "RockAIError",
        "PredictionFailedError": "PredictionError",
        "PredictionCanceledError": "PredictionError",
        "PredictionTimeoutError": "PredictionError",
        "StreamInterruptedError": "RockAIError",
        "InvalidResponseError": "RockAIError",
    }


KINDS_OF_ERROR = list(
    dict.fromkeys(
        kind
        for module in (rockai_transport, errors.base, errors.status)
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, RockAIError)
    )
)


@pytest.mark.parametrize("kind", KINDS_OF_ERROR)
def test_a_traceback_names_what_can_be_imported(kind):
    """Its last line begins with ``rockai_transport.RateLimitError:``, wherever the class is defined."""
    assert getattr(sys.modules[kind.__module__], kind.__name__) is kind
    assert kind.__module__ == "rockai_transport"


@pytest.mark.parametrize("kind", KINDS_OF_ERROR)
@pytest.mark.parametrize("copied", COPIES)
def test_every_exception_can_be_pickled(kind, copied):
    """A copy says the same and carries the same; what cannot be pickled is dropped."""
    error = kind(
        "words", prediction=Prediction(id="p1", raw={"a": 1}), partial_text="said", may_have_started=True
    )
    if isinstance(error, APIStatusError):
        error.status_code, error.body, error.request_id, error.retry_after = 429, {"a": [1]}, "r", 2.5
    error.response = threading.Lock()
    again = copied(error)
    assert type(again) is kind
    assert (str(again), again.args, again.partial_text, again.may_have_started) == (
        str(error),
        ("words",),
        "said",
        True,
    )
    assert again.prediction == error.prediction
    assert again.response is None
    if isinstance(error, APIStatusError):
        assert (again.status_code, again.body, again.request_id, again.retry_after) == (
            429,
            {"a": [1]},
            "r",
            2.5,
        )


@pytest.mark.parametrize("kind", KINDS_OF_ERROR)
def test_another_exception_may_be_the_message(kind):
    """As with every exception of Python: what code of one's own raises is not an AttributeError."""
    assert kind(OSError("no route")).message == "no route"


@pytest.mark.parametrize(
    "made",
    [
        lambda: Prediction(id="p1", input={"a": 1}, output=["x"], metrics={"b": 2}, urls={"get": "u"}),
        lambda: Update(Prediction(id="p1", output={"a": []}), "log", 0.5),
        lambda: HostedModel("draw", MODEL, "Draws.", {"type": "object"}, {"seed": [1]}),
        lambda: Service(statuses={"ok": "succeeded"}),
        Timeouts,
    ],
)
def test_values_can_be_keys(made):
    """Frozen values are counted in a set and looked up in a dict, whatever JSON they hold."""
    one, other = made(), made()
    assert one is not other
    assert {one: "found"}[other] == "found"
    assert len({one, *(copied(other) for copied in COPIES)}) == 1


def test_exceptions_of_real_failures_can_be_pickled(connect, server):
    """What is really raised can be pickled, response, cause and all."""
    server.route(GET, answer(404, {"detail": "id not found"}, {"x-request-id": "r1"}))
    server.route(SSE, stream(frames("a", end=False)))
    server.route(RUN, lambda exchange: exchange.close())
    client = connect(max_retries=0)
    for call in (
        lambda: client.get("p1"),
        lambda: list(client.stream(MODEL, {})),
        lambda: client.run(MODEL, {}),
    ):
        with pytest.raises(RockAIError) as caught:
            call()
        again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
        assert str(again) == str(caught.value)
        assert again.__dict__.keys() == caught.value.__dict__.keys()


# Settings.


def test_the_token_comes_from_the_first_variable_that_is_set(monkeypatch):
    """The argument, else the first non-empty of three variables, else an error that says what to do."""
    with pytest.raises(ConfigurationError, match=r"(?s)rockai\.online/setting/token.*ROCKAI_API_TOKEN"):
        Client()
    for name in ("ROCK_API_TOKEN", "ROCKAI_API_KEY", "ROCKAI_API_TOKEN"):
        monkeypatch.setenv(name, f" {name} ")
        assert Client()._settings.api_token == name
    monkeypatch.setenv("ROCKAI_API_TOKEN", " ")
    assert Client()._settings.api_token == "ROCKAI_API_KEY"  # noqa: S105
    assert Client(api_token="mine")._settings.api_token == "mine"  # noqa: S105, S106


@pytest.mark.parametrize(
    "bad",
    [
        "",
        " ",
        "a b",
        "a\n",
        "a\r\nX: y",
        "ü",
        "\x00",
        5,
        b"x",
        "a\u2028",
        "\ud800",
        '"quoted"',
        "'t",
        "http://x",
    ],
    ids=ascii,
)
@pytest.mark.parametrize("kind", CLASSES)
def test_a_token_that_no_header_can_hold(kind, bad, monkeypatch):
    """It is refused, and not recited; another type is named instead."""
    with pytest.raises(ConfigurationError) as caught:
        CLASSES[kind](api_token=bad)
    assert isinstance(bad, str) == ("api_token must be a text, not " not in str(caught.value))
    assert isinstance(bad, int | bytes) or len(bad.strip()) < 2 or bad not in str(caught.value)
    if isinstance(bad, str) and bad.strip() and "\x00" not in bad and bad != "\ud800" and bad.strip() == bad:
        monkeypatch.setenv("ROCKAI_API_TOKEN", bad)
        with pytest.raises(ConfigurationError, match="ROCKAI_API_TOKEN"):
            CLASSES[kind]()


def test_a_token_in_the_place_of_the_address_is_not_recited():
    """Nor asked for as a host: with the arguments exchanged, the token is an address, and refused first."""
    with pytest.raises(ConfigurationError, match="api_token is empty, an address") as caught:
        Client("https://api.rockai.online/v1", "rk:secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, "https://api.rockai.online/v1"),
        ("api.rockai.online/v1", "https://api.rockai.online/v1"),
        ("https://x.example/v1/", "https://x.example/v1"),
        ("http://127.0.0.1:8100/v1", "http://127.0.0.1:8100/v1"),
        ("http://localhost:8100", "http://localhost:8100"),
        ("http://[::1]:8100/v1", "http://[::1]:8100/v1"),
    ],
)
def test_base_url(given, read, monkeypatch):
    """The argument, else ROCKAI_BASE_URL, else the service; without a scheme it is https."""
    assert Client("t", given).base_url == read
    if given:
        monkeypatch.setenv("ROCKAI_BASE_URL", given)
        assert Client("t").base_url == read


@pytest.mark.parametrize(
    "bad",
    [
        "", " ", 5, "http://x.example/v1", "ftp://x.example", "https://", "https://u:p@x.example", "https://x.example?a",
        "https://x.example#a", "https://x.example/v1?", "https://x.example/v1#", "https://x.example:99999", "https://x.example:a", "https://[::1", "https://a b", "https://x\x00y",  # noqa: E501
        "http://127.0.0.1.evil.example", "http://2130706433", "https://xn--/v1", "https://xn--a/v1", "https://\ud800/v1",
        "https:/x.example/v1", "http:/x.example/v1",
    ],
)  # fmt: skip
def test_bad_base_urls(bad):
    """What is no https address, or plain http to another machine, is refused."""
    with pytest.raises(ConfigurationError):
        Client("t", bad)
    if isinstance(bad, str) and bad.startswith("http://x"):
        assert Client("t", bad, allow_http=True).base_url == bad


@pytest.mark.parametrize(
    "bad", ['"https://x.example"', "https://[::1", "https://u@x.example", "http://x.example"]
)
def test_the_error_names_the_variable(bad, monkeypatch):
    """From where the address comes; a file for Docker's ``--env-file`` keeps its quotation marks."""
    monkeypatch.setenv("ROCKAI_BASE_URL", bad)
    with pytest.raises(ConfigurationError, match=r"^base_url \(ROCKAI_BASE_URL\) "):
        Client("t")
    with pytest.raises(ConfigurationError, match=r"^base_url "):
        Client("t", bad)


@pytest.mark.parametrize(
    "bad",
    [
        {"route": "fast"}, {"max_retries": -1}, {"max_retries": True}, {"max_retries": 1.5}, {"service": {}},
        {"timeouts": 5}, {"default_headers": {"a b": "c"}}, {"default_headers": {"a": "b\r\nc: d"}},
        {"default_headers": {"a": 5}}, {"default_headers": "a: b"}, {"http_client": object()},
        {"http_client": httpx.AsyncClient}, {"default_headers": {"Content-Length": "5"}},
        {"default_headers": {"transfer-encoding": "chunked"}}, {"default_headers": {"a": " b "}},
        {"allow_http": "false"}, {"allow_http": None},
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", CLASSES)
def test_bad_settings(kind, bad):
    """A setting that cannot be right is a ConfigurationError when the client is made."""
    with pytest.raises(ConfigurationError):
        CLASSES[kind]("t", **bad)


def test_numbers_of_numpy_are_numbers():
    """They are accepted as a number of seconds or of retries; an array is no choice."""
    import numpy as np

    settings = Client("t", timeout=np.float32(5), max_retries=np.int64(3))._settings
    assert (settings.timeout, settings.max_retries) == (5, 3)
    assert type(settings.max_retries) is int
    assert Timeouts(idle=np.int64(9)).idle == 9
    with pytest.raises(ConfigurationError, match="route="):
        Client("t", route=np.array(["auto", "run"]))


def test_a_token_in_an_enum(server):
    """Its value is sent, not the member's name, which ``format`` returns."""
    secrets = enum.Enum("Secrets", {"TOKEN": "from-an-enum"}, type=str)
    server.route(RUN, answer(200, "x"))
    Client(secrets.TOKEN, server.base_url).run(MODEL, {})
    assert server.requests[0].headers["authorization"] == "Bearer from-an-enum"


async def hook_with_await(data):
    return data


BAD_BELIEFS = {
    "create_path": (None, "predictions"), "run_path": ("", "/a b", "https://x.example/run"),
    "run_stream_path": (None, 5), "get_path": (None, "", "/predictions", "predictions/{id}"),
    "cancel_path": ("/predictions/cancel",), "stream_path": ("", "/stream"), "auth_header": ("", "a b"),
    "auth_scheme": (None, "a\nb"), "output_event": (None,), "end_marker": (5,), "requires_end_event": (None,),
    "stream_content_type": (None, "text", "Text/Plain", "text/plain; charset=utf-8"),
    "end_events": (None, "done", (5,)), "error_events": (None, "error"),
    "statuses": (None, {"aborted": "cancelled"}, {"aborted": []}, {5: "failed"}),
    "missing_route_statuses": (404, ("404",)),
    "read_prediction": ({}, hook_with_await),
}  # fmt: skip


@pytest.mark.parametrize(("name", "bad"), [(name, bad) for name in BAD_BELIEFS for bad in BAD_BELIEFS[name]])
def test_a_belief_that_cannot_be_right(name, bad):
    """It is refused when the client is made: a run would be paid for, and waited for in vain."""
    with pytest.raises(ConfigurationError, match=rf"Service\({name}="):
        Client("t", service=Service(**{name: bad}))


def test_every_belief_is_checked():
    """A new setting without a rule would fail at the first response, when the run is paid for."""
    assert BAD_BELIEFS.keys() == Service.__dataclass_fields__.keys()


def test_default_headers_are_sent(connect, server):
    """default_headers go to the service, and cannot take the token's place."""
    server.route(RUN, answer(200, "x"))
    connect(default_headers={"X-Team": "a", "authorization": "Bearer other"}).run(MODEL, {})
    assert server.requests[0].headers["x-team"] == "a"
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    connect(default_headers={"accept": "*/*", "Content-Type": "application/json; v=2"}).run(MODEL, {})
    assert [server.requests[1].headers[name] for name in ("accept", "content-type")] == [
        "*/*",
        "application/json; v=2",
    ]


# Copies.


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("copied", COPIES)
def test_clients_are_copied_by_their_settings(kind, copied, server, monkeypatch):
    """A copy has the settings and no connection; a token of the environment is read again there."""
    service = Service(run_path="/go")
    client = CLASSES[kind](
        TOKEN, server.base_url, 5.0, 1, "run", service, {"A": "b"}, timeouts=Timeouts(idle=3)
    )
    again = copied(client)
    assert type(again) is CLASSES[kind]
    assert again._settings == client._settings
    monkeypatch.setenv("ROCKAI_API_TOKEN", "from-the-environment")
    client = CLASSES[kind]()
    assert b"from-the-environment" not in pickle.dumps(client)
    monkeypatch.setenv("ROCKAI_API_TOKEN", "another")
    assert copied(client)._settings.api_token == "another"  # noqa: S105


class OfTenant(Client):
    """A user's client with a constructor of its own."""

    def __init__(self, tenant, **settings):
        super().__init__(TOKEN, default_headers={"X-Tenant": tenant}, **settings)
        self.tenant = tenant


@pytest.mark.parametrize("copied", COPIES)
def test_a_subclass_with_its_own_constructor_is_copied(copied):
    """With its own attributes; its constructor, which takes other arguments, is not called again."""
    client = OfTenant("acme", timeout=5)
    assert client.predictions is client.predictions
    again = copied(client)
    assert (type(again), again.tenant, again._settings) == (OfTenant, "acme", client._settings)
    assert again.predictions._session is again._session is not client._session
    assert AsyncClient.like(client)._settings == client._settings


def test_a_used_client_can_be_copied(client, server):
    """After calls too, in the middle of whatever it does."""
    server.route(RUN, answer(200, "x"))
    client.run(MODEL, {})
    again = pickle.loads(pickle.dumps(client.client))  # noqa: S301
    assert again.base_url == server.base_url
    assert copy.deepcopy({"client": client.client})["client"].base_url == server.base_url


# Connections.


@pytest.mark.parametrize("kind", CLASSES)
def test_making_a_warm_client_takes_a_millisecond_at_most(kind):
    """CPU time, best of many: nothing but settings is made."""
    CLASSES[kind](TOKEN)
    spent = []
    for _ in range(50):
        started = time.process_time()
        CLASSES[kind](TOKEN)
        spent.append(time.process_time() - started)
    assert min(spent) < 0.001


def test_fifty_parallel_calls_use_their_connections_again(kind, connect, server):
    """Rounds of 50 calls at once open 50 connections, not 50 for each round."""
    server.script = answer(200, prediction("succeeded", output="x"))
    client = connect()

    def round_of_calls():
        if kind == "async":

            async def gather():
                return await asyncio.gather(*[client.client.predictions.get(f"p{n}") for n in range(50)])

            client.do(gather())
            return
        gate = threading.Barrier(50)

        def call(n):
            gate.wait()
            client.get(f"p{n}")

        threads = [threading.Thread(target=call, args=(n,)) for n in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for _ in range(2):
        round_of_calls()
    assert len(server.requests) == 100
    assert server.connections <= 60


def test_one_client_serves_many_threads(server):
    """Calls and streams of one client in many threads do not get in each other's way."""
    server.route(RUN, answer(200, "x"))
    server.route(SSE, stream(frames(*"abc")))
    got = []
    with Client(TOKEN, server.base_url) as client:

        def work():
            for _ in range(5):
                got.append(client.run(MODEL, {}).text + "".join(client.stream(MODEL, {})))  # noqa: PERF401

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == ["xabc"] * 40


def test_an_async_client_works_in_several_loops(server):
    """Several asyncio.run calls, with and without closing, leave no ResourceWarning (warnings are errors here)."""  # noqa: E501
    server.route(RUN, answer(200, "x"))
    server.route(SSE, stream(frames("a", "b")))
    client = AsyncClient(TOKEN, server.base_url)

    async def use(close):
        assert (await client.run(MODEL, {})).text == "x"
        assert [piece async for piece in client.stream(MODEL, {})] == ["a", "b"]
        await asyncio.gather(*[client.run(MODEL, {}) for _ in range(5)])
        if close:
            await client.aclose()
            assert (await client.run(MODEL, {})).text == "x"  # it can be used again

    for close in (False, True, False, False):
        asyncio.run(use(close))
        gc.collect()
    threads = [threading.Thread(target=lambda: asyncio.run(use(close=False))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()


def test_an_async_client_dropped_with_its_loop_leaves_no_warning(server):
    """One that the loop's last frame held closes all its connections, several of them too."""
    server.route(RUN, answer(200, "x"))

    async def main():
        client = AsyncClient(TOKEN, server.base_url)
        await asyncio.gather(*[client.run(MODEL, {}) for _ in range(5)])

    for _ in range(3):
        asyncio.run(main())
        gc.collect()
    for request in server.requests:
        request.wait_left()


async def test_an_async_client_that_nobody_holds_is_closed_while_the_loop_goes_on(server):
    """A program that forgets to close the client it makes for each request does not run out of sockets."""
    server.route(RUN, answer(200, "x"))

    async def handle():
        client = AsyncClient(TOKEN, server.base_url)
        await asyncio.gather(*[client.run(MODEL, {}) for _ in range(5)])

    await handle()
    gc.collect()
    for request in server.requests:
        await asyncio.to_thread(request.wait_left)


def test_clients_that_nobody_closes_leave_no_warning(server):
    """A client that is dropped without being closed closes its sockets."""
    server.route(RUN, answer(200, "x"))
    Client(TOKEN, server.base_url).run(MODEL, {})

    async def use():
        await AsyncClient(TOKEN, server.base_url).run(MODEL, {})
        gc.collect()
        await asyncio.sleep(0.01)

    asyncio.run(use())
    gc.collect()
    for request in server.requests:
        request.wait_left()


def test_a_closed_client_can_be_used_again(client, server):
    """close() closes the connections; the next call makes new ones."""
    server.route(RUN, answer(200, "x"))
    for number in (1, 2):
        client.run(MODEL, {})
        client.close()
        client.close()
        assert server.connections == number


def _child(client, queue):
    try:
        queue.put(client.run(MODEL, {}).text)
    except BaseException as error:  # noqa: BLE001
        queue.put(repr(error))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_makes_its_own_connections(server):
    """After a fork parent and child do not write into each other's connections."""
    server.route(RUN, answer(200, "x"))
    with Client(TOKEN, server.base_url) as client:
        client.run(MODEL, {})
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        child = context.Process(target=_child, args=(client, queue))
        child.start()
        assert queue.get() == "x"
        child.join()
        assert client.run(MODEL, {}).text == "x"
    assert server.connections == 2
    assert server.requests[1].connection != server.requests[0].connection == server.requests[2].connection


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_wait_for_its_parents_threads(server):
    """One of them may be opening its first connection at the fork: in the child, nobody ends that."""
    server.route(RUN, answer(200, "x"))
    client = Client(TOKEN, server.base_url)
    with client._session.connections._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(5)  # kills it
            with contextlib.suppress(BaseException):
                client.close()
                os._exit(client.run(MODEL, {}).text != "x")
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def _keepalive_timers(port):
    found = set()
    for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]:
        fields = line.split()
        if fields[2].endswith(f":{port:04X}") and fields[3] == "01":
            found.add(fields[5].partition(":")[0])
    return found


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at Linux's own table")
def test_tcp_keep_alive_is_on(client, server):
    """The kernel runs a keep-alive timer (2) on the client's connection."""
    server.route(RUN, answer(200, "x"))
    client.run(MODEL, {})
    assert _keepalive_timers(server.port) == {"02"}


def test_a_pool_that_is_full_is_left(kind, connect, server):
    """Where no connection comes free in time, nothing was sent; and the total holds while waiting for one."""
    limits = httpx.Limits(max_connections=1)
    mine = httpx.AsyncClient(limits=limits) if kind == "async" else httpx.Client(limits=limits)
    server.route(
        SSE, silence(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + frames("a", end=False))
    )
    server.route(RUN, answer(200, "x"))
    client = connect(http_client=mine, timeout=1.0, max_retries=0)  # the pool gives up 0.1 s before that
    reading = client.stream(MODEL, {}, timeout=30)
    assert next(reading) == "a"
    started = time.monotonic()
    with pytest.raises(APIConnectionError) as caught:
        client.run(MODEL, {})
    assert time.monotonic() - started < 2
    assert not caught.value.may_have_started
    assert "All connections are in use" in str(caught.value)
    reading.close()
    assert client.run(MODEL, {}).text == "x"
    client.do(mine.aclose()) if kind == "async" else mine.close()


def test_a_client_of_the_successor(kind, connect, server):
    """An httpx2 client may be handed in; its errors mean the same."""
    httpx2 = pytest.importorskip("httpx2")
    mine = httpx2.AsyncClient() if kind == "async" else httpx2.Client()
    server.route(RUN, answer(200, "x"), lambda exchange: exchange.close())
    server.route(SSE, stream(frames("a")))
    client = connect(http_client=mine)
    assert client.run(MODEL, {}).text == "x"
    assert list(client.stream(MODEL, {})) == ["a"]
    with pytest.raises(APIConnectionError) as caught:
        client.run(MODEL, {})
    assert caught.value.may_have_started
    assert server.requests[0].headers["authorization"] == f"Bearer {TOKEN}"
    client.do(mine.aclose()) if kind == "async" else mine.close()


# Programs.


def in_a_fresh_process(code, **env):
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_takes_little_longer_than_httpx():
    """The import takes 1.25 times the CPU time of httpx's at most, in fresh processes; a median."""

    def seconds(name):
        return float(
            in_a_fresh_process(
                f"import time; t = time.process_time(); import {name}; print(time.process_time() - t)"
            )
        )

    seconds("httpx"), seconds("rockai_transport")
    ratio, spent = math.inf, {"httpx": [], "rockai_transport": []}
    while len(spent["httpx"]) < 30 and ratio > 1.25:  # the machine may be busy; the code is the same
        for name in list(spent) * 3:
            spent[name].append(seconds(name))
        ratio = statistics.median(spent["rockai_transport"]) / statistics.median(spent["httpx"])
    assert ratio <= 1.25, spent


def test_import_brings_no_framework_and_sets_no_logging():
    """Importing imports neither framework nor sandbox, and leaves the root logger alone."""
    out = in_a_fresh_process(
        "import sys, logging, rockai_transport; rockai_transport.Client('t')\n"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in "
        "{'langchain_core', 'llama_index', 'rockai_sandbox', 'starlette', 'asyncio', 'httpcore', 'pydantic'}))\n"  # noqa: E501
        "print(logging.getLogger().handlers, logging.getLogger('rockai').level)"
    )
    assert out.splitlines() == ["[]", "[] 0"]


def test_logging_goes_to_the_rockai_logger(client, server, caplog):
    """What this package says in the log, it says as `rockai`; never the token, never an input."""
    caplog.set_level(logging.DEBUG)
    server.route(RUN, answer(200, "x"))
    client.run(MODEL, {"prompt": "private-words"})
    ours = [
        record
        for record in caplog.records
        if "rockai" in record.pathname and "site-packages" not in record.pathname
    ]
    assert ours
    assert {record.name for record in ours} == {"rockai"}
    assert TOKEN not in caplog.text
    assert "private-words" not in caplog.text


class Pause:
    """What a coroutine that has to wait gives its event loop."""

    def __await__(self):
        yield


class SuspendingIO(VirtualIO):
    """Suspends at every await, as the asynchronous one may."""

    async def open(self, *args):
        await Pause()
        return await super().open(*args)

    async def read(self, *args):
        await Pause()
        return await super().read(*args)

    async def close(self):
        await Pause()


def test_an_operation_that_is_dropped_half_way_ends_in_silence():
    """Whatever an operation is waiting for, closing its coroutine, as a dropped loop does, raises nothing."""
    events = ScriptedAnswer(200, [frames("a", end=False)] * 3, {"content-type": "text/event-stream"}, 0.0)
    for steps in range(1, 12):
        paused, state = SuspendingIO(reply(201, prediction(urls={"stream": "/s"})), events), StreamState()
        stream = operations(route="predictions").stream(paused, run_request(MODEL), None, state)

        async def read(stream=stream):
            while await stream.next_batch():
                pass

        reading = read()
        with contextlib.suppress(StopIteration, StreamInterruptedError):
            for _ in range(steps):
                reading.send(None)
        reading.close()


def test_errors_carry_what_a_handler_needs():
    """Attributes, not only text."""
    error = StreamInterruptedError("cut", partial_text="abc")
    assert (error.partial_text, error.prediction, error.may_have_started) == ("abc", None, True)
    error = PredictionFailedError("boom", Prediction(id="p1", status="failed"), "abc")
    assert (str(error), error.partial_text, error.prediction.id) == ("boom", "abc", "p1")


# Previews.


def test_a_preview_is_the_body_that_is_sent(connect, server, tmp_path):
    """As the route spells it, files as data URIs; nothing is sent for it."""
    (tmp_path / "a.txt").write_text("hi")
    given = {"prompt": "Hello", "file": tmp_path / "a.txt"}
    direct, created = connect(), connect(route="predictions")
    shown = [one.client.preview(f"{MODEL}:{'5f' * 32}", given) for one in (direct, created)]
    assert server.requests == []
    server.route(RUN, answer(200, prediction("succeeded")))
    server.route("POST /v1/predictions", answer(201, prediction("succeeded")))
    for one in (direct, created):
        one.run(f"{MODEL}:{'5f' * 32}", given)
    assert [request.json for request in server.requests] == shown
    assert shown[0]["input"]["file"] == "data:text/plain;base64,aGk="
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        direct.client.preview(MODEL, {"prompt": object()})


def test_an_open_file_is_sent_as_often_as_it_is_given(connect, server):
    """A preview, or a first run, does not leave an empty file to the next one."""
    server.route(RUN, answer(200, "x"))
    client, file = connect(), io.BytesIO(b"__hello")
    file.seek(2)
    shown = client.client.preview(MODEL, {"file": file})["input"]["file"]
    for _ in range(2):
        client.run(MODEL, {"file": file})
    assert {request.json["input"]["file"] for request in server.requests} == {shown}
    assert file.tell() == 2


def test_a_file_that_cannot_be_put_back_is_sent_as_it_comes(connect, server):
    """A pipe is read once, to its end."""
    server.route(RUN, answer(200, "x"))
    read, write = os.pipe()
    with os.fdopen(write, "wb") as file:
        file.write(b"hi")
    with os.fdopen(read, "rb") as file:
        connect().run(MODEL, {"file": file})
    assert server.requests[0].json["input"]["file"].endswith(";base64,aGk=")


def test_a_closed_http_client_is_told(connect, server):
    """Its owner has closed it: nothing is sent, and the error says so."""
    mine = httpx.AsyncClient() if connect().kind == "async" else httpx.Client()
    if isinstance(mine, httpx.Client):
        mine.close()
    else:
        asyncio.run(mine.aclose())
    with pytest.raises(ConfigurationError, match="http_client is closed"):
        connect(http_client=mine).run(MODEL, {})
    assert not server.requests


@pytest.mark.parametrize("call", ["run", "stream", "get"])
def test_without_asyncio_an_async_client_says_what_it_needs(call):
    """Under trio and the like there is no loop of asyncio: an error of ours, through ``async with`` too."""

    async def use():
        async with AsyncClient(TOKEN, "http://127.0.0.1:9/v1") as client:
            match call:
                case "run":
                    await client.run(MODEL, {})
                case "stream":
                    await anext(client.stream(MODEL, {}))
                case "get":
                    await client.predictions.get("p1")

    with pytest.raises(ConfigurationError, match="asyncio"):
        use().send(None)


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_request_and_its_body_are_sent_together(connect, server, monkeypatch, size):
    """One write, unless the body is large: each costs a system call, and a segment on the wire."""
    sent = []

    def noting(backend, write):
        connect_tcp = backend.connect_tcp

        def opened(stream):
            monkeypatch.setattr(type(stream), "write", write(type(stream).write))
            return stream

        if inspect.iscoroutinefunction(connect_tcp):

            async def connecting(*args):
                return opened(await connect_tcp(*args))
        else:

            def connecting(*args):
                return opened(connect_tcp(*args))

        monkeypatch.setattr(backend, "connect_tcp", connecting)

    def write(original):
        def noted(self, buffer, timeout=None):
            sent.append(len(buffer))
            return original(self, buffer, timeout)

        return noted

    noting(httpcore.SyncBackend, write)
    noting(httpcore.AnyIOBackend, write)
    server.route("POST /v1/run", answer(200, "x"))
    connect().run(MODEL, {"prompt": "x" * size})
    assert len(sent) == 1 or (size > 10 and connect().kind == "sync")
    assert sum(sent) > size
