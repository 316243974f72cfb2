"""Webhooks: one secret for each start, told to nobody; and of all deliveries of one end, one resumes."""

import asyncio
import json
import logging
import pickle
import threading
from urllib.parse import parse_qs, urlsplit

import pytest

from rockai_sandbox import ECHO, Sandbox
from rockai_transport import Client, ConfigurationError, HostedModel, InternalServerError
from rockai_transport.__main__ import main
from rockai_transport.jobs.admin import ToolkitAdmin
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.records import REFUSED, STARTED, UNANSWERED, Record
from rockai_transport.jobs.stores import Records, Store, as_store
from rockai_transport.jobs.toolset import Toolset
from rockai_transport.jobs.webhooks import WebhookReceiver
from rockai_transport.protocol.webhooks import redacted

SAY = HostedModel("say", ECHO, "Says it.", output="text")
START = {"model": "say", "input": {"prompt": "x"}}
OURS = "https://my.app/rockai"


class Admin(ToolkitAdmin):
    def __init__(self, toolset):
        self._toolset = toolset


MADE = []
"""Toolsets, for a fixture to close."""


class App:
    """A toolset whose starts carry a webhook, a receiver, and what was resumed."""

    def __init__(self, sandbox, url=OURS, **settings):
        self.sandbox = sandbox
        self.store = {}
        self.resumed = []
        self.answers = []
        self.toolset = Toolset(
            [SAY],
            api_token=sandbox.api_token,
            base_url=sandbox.base_url,
            store=self.store,
            webhook_url=url,
            **settings,
        )
        self.receiver = WebhookReceiver(self.toolset.client, self.store, self.resume)
        MADE.append(self.toolset)

    def resume(self, record, prediction):
        self.resumed.append((record.prediction_id, prediction.status))
        return self.answers.pop(0) if self.answers else None

    def start(self, *, asleep=True):
        """Start a prediction; give it as the service was asked for it.

        Nobody looks for its end, as where an agent sleeps: one that is awake has two seconds to do so.
        """
        self.toolset.call("start_prediction", START, CallContext("here"))
        if asleep:
            self.fall_asleep()
        return self.sandbox.predictions[-1]

    def fall_asleep(self):
        for name, text in self.store.items():
            record = json.loads(text)
            if record["digest"]:
                self.store[name] = json.dumps({**record, "asleep": record["created"]})

    def deliver(self, address, body=b"", *, times=1, method="POST"):
        """Call the receiver as the service does, so many times at once; give the statuses."""
        return asyncio.run(self.adeliver(address, body, times=times, method=method))

    async def adeliver(self, address, body=b"", *, times=1, method="POST"):
        calls = [call(self.receiver, address, body, method) for _ in range(times)]
        return [status for (status,) in await asyncio.gather(*calls)]

    def record(self):
        (found,) = [one for one in map(Record.from_json, map(json.loads, self.store.values())) if one.digest]
        return found


async def call(receiver, address, body, method):
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    query = urlsplit(address).query.encode()
    await receiver({"type": "http", "method": method, "query_string": query}, receive, send)
    return [message["status"] for message in sent if "status" in message]


@pytest.fixture
def app(sandbox):
    return App(sandbox)


@pytest.fixture(autouse=True)
def _closed():
    yield
    while MADE:
        MADE.pop().close()


def secret_of(prediction):
    return parse_qs(urlsplit(prediction.webhook).query)["rockai_secret"][0]


def test_a_start_carries_a_webhook_with_a_secret_of_its_own(app):
    """The event is "completed"; two starts have two secrets; the record holds a hash, and no secret."""
    first, second = app.start(), app.start()
    assert first.webhook.startswith(f"{OURS}?")
    assert first.webhook_events_filter == ["completed"]
    assert secret_of(first) != secret_of(second)
    assert app.sandbox.api_token not in first.webhook
    assert not any(secret_of(first) in text for text in app.store.values())


def test_a_query_of_the_address_stays(sandbox):
    """What the developer's own query says is said to the receiver too."""
    app = App(sandbox, "https://my.app/rockai?tenant=a%20b&tenant=c")
    asked = parse_qs(urlsplit(app.start().webhook).query)
    assert asked["tenant"] == ["a b", "c"]
    assert {"rockai_record", "rockai_secret"} < set(asked)


@pytest.mark.parametrize("url", ["http://localhost:8000/a", "http://127.0.0.1/", "http://[::1]/x", OURS])
def test_addresses_that_may_be_called(sandbox, url):
    """Those with https, and at loopback with http."""
    App(sandbox, url)


@pytest.mark.parametrize(
    "url",
    [
        "http://my.app/rockai",
        "http://127.0.0.1.my.app/",
        "http://localhost@my.app/",
        "ftp://my.app/",
        "my.app/rockai",
        "https://",
        "https:// my.app/",
        "https://my.app/#a",
        "https://my.app:port/",
        "https://my.app/?rockai_secret=mine",
        "",
        5,
    ],
)
def test_addresses_that_may_not_be_called(sandbox, url):
    """Refused when the toolkit is made."""
    with pytest.raises(ConfigurationError, match="webhook_url"):
        App(sandbox, url)


@pytest.mark.parametrize("shape", ["flat", "enveloped"])
def test_the_secret_is_told_to_nobody(shape, caplog, app):
    """The service sends the address back: it is in no prediction, answer, error, receipt or log."""
    caplog.set_level(logging.DEBUG)
    with Sandbox(shape=shape) as sandbox:
        app = App(sandbox)
        answer = app.toolset.call("start_prediction", START, CallContext("here"))
        secret = secret_of(sandbox.predictions[-1])
        listed = app.toolset.call("list_predictions", {}, CallContext("here"))
        looked = app.toolset.client.predictions.get(answer.result.id)
        sandbox.answer_next(path="/predictions", status=503, body={"detail": sandbox.predictions[-1].webhook})
        with (
            Client(sandbox.api_token, sandbox.base_url, max_retries=0) as other,
            pytest.raises(InternalServerError) as failed,
        ):
            other.predictions.create(model=ECHO, input={})
        told = [
            answer,
            listed,
            looked,
            looked.raw,
            failed.value,
            vars(failed.value),
            failed.value.response.body,
        ]
        told += [Admin(app.toolset).receipt(), pickle.dumps([answer.result, looked, failed.value.body])]
        told += [*caplog.messages, *(record.args for record in caplog.records)]
        assert not any(secret in repr(one) or secret in str(one) for one in told)
        assert "sha256" in json.dumps(looked.raw)
        app.toolset.close()


@pytest.mark.parametrize("sign", ["=", "%3D", "%3d", "%253D", r"\u003d", r"\\u003D"])
def test_a_secret_is_found_however_it_is_written(sign):
    """As in an address, in one that is a part of another, or in JSON."""
    body = f"https://my.app/?rockai_secret{sign}{'s' * 43}&x=1".encode()
    assert b"sss" not in redacted(body)
    assert redacted(body).endswith(b"&x=1")


def test_a_delivery_resumes_once_however_often_it_comes(app):
    """Five at once, two more later, and sweeps in between: one call, with what the service says."""
    started = app.start()
    app.sandbox.wait_for("succeeded")

    async def all_at_once():
        sweeps = [app.receiver.sweep(older_than=0) for _ in range(2)]
        return await asyncio.gather(app.adeliver(started.webhook, times=5), *sweeps)

    statuses, *_ = asyncio.run(all_at_once())
    assert statuses == [200] * 5
    assert app.deliver(started.webhook, times=2) == [200, 200]
    assert asyncio.run(app.receiver.sweep(older_than=0)) == []
    assert app.resumed == [(started.id, "succeeded")]


@pytest.mark.parametrize(
    "forge",
    [
        lambda query: query.replace("rockai_secret=", "rockai_secret=x"),
        lambda query: query.partition("&rockai_secret")[0],
        lambda query: query.partition("&")[2],
        lambda query: f"{query}&rockai_secret=twice",
        lambda query: query.replace("rockai_record=", "rockai_record=x"),
        lambda query: "rockai_record=..%2F..&rockai_secret=x",
        lambda query: "%ff=\xff",
        lambda query: "",
    ],
)
def test_a_forged_delivery_resumes_nothing(app, forge):
    """Without the secret it is refused, and the service is not even asked."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    asked = len(app.sandbox.requests)
    query = forge(urlsplit(started.webhook).query)
    assert app.deliver(f"{OURS}?{query}", json.dumps({"id": started.id}).encode()) == [403]
    assert app.resumed == []
    assert len(app.sandbox.requests) == asked


def test_the_body_is_a_hint(sandbox):
    """What says "succeeded" while the service says "starting" resumes nothing; the end does."""
    gate = sandbox.hold()
    sandbox.model(ECHO, cold_start=gate)(lambda given: given["prompt"])
    app = App(sandbox)
    started = app.start(asleep=False)
    claim = json.dumps({"id": started.id, "status": "succeeded", "output": "forged"}).encode()
    assert app.deliver(started.webhook, claim) == [200]
    assert app.resumed == []
    gate.set()
    sandbox.wait_for("succeeded")
    assert app.deliver(started.webhook, b"\x00 no JSON") == [200]
    assert app.resumed == [(started.id, "succeeded")]


@pytest.mark.parametrize(
    "bad", [{"resume": None}, {"client": "a token"}, {"store": 5}, {"stale": "ten minutes"}]
)
def test_a_receiver_of_something_else_is_refused_at_once(bad):
    """Later, its agents would sleep forever."""
    with Client("t") as client, pytest.raises(ConfigurationError):
        WebhookReceiver(**{"client": client, "store": {}, "resume": print, **bad})


@pytest.mark.parametrize("limit", ["soon", -1, float("nan")])
def test_a_sweep_after_no_time_is_refused(app, limit):
    """With NaN it would find nothing, ever."""
    for sweep in (app.receiver.sweep, Admin(app.toolset).asweep):
        with pytest.raises(ConfigurationError, match="older_than="):
            asyncio.run(sweep(older_than=limit))


def test_only_post_is_a_delivery(app):
    """A browser that finds the address does nothing."""
    started = app.start()
    assert app.deliver(started.webhook, method="GET") == [405]
    assert app.resumed == []


def test_a_service_that_cannot_be_asked_is_no_end(app):
    """The delivery is answered 503, so that it may be made again; the next one resumes."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    app.sandbox.answer_next(method="GET", status=422, body="broken")
    assert app.deliver(started.webhook) == [503]
    assert app.resumed == []
    assert app.deliver(started.webhook) == [200]
    assert app.resumed == [(started.id, "succeeded")]


def test_a_service_that_does_not_wait_for_the_response_resumes(app):
    """A server may tell that its client has left by an OSError."""
    started = app.start()
    app.sandbox.wait_for("succeeded")

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        raise BrokenPipeError

    scope = {"type": "http", "method": "POST", "query_string": urlsplit(started.webhook).query.encode()}
    asyncio.run(app.receiver(scope, receive, send))
    assert app.resumed == [(started.id, "succeeded")]


def test_a_delivery_before_there_is_anything_to_resume_is_kept(app):
    """``False`` means: not saved yet. It is tried again, and then it is done."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    app.answers = [False, False]
    assert app.deliver(started.webhook) == [200]
    assert len(app.resumed) == 3
    assert app.deliver(started.webhook) == [200]
    assert len(app.resumed) == 3


@pytest.mark.parametrize("look", ["delivery", "sweep"])
@pytest.mark.parametrize("error", [ZeroDivisionError, StopIteration, asyncio.CancelledError])
def test_what_fails_to_resume_is_resumed_by_the_next(app, caplog, error, look):
    """An exception of the developer's function is logged, also if it cancels; the delivery is not lost."""
    started = app.start()
    app.sandbox.wait_for("succeeded")

    def fail(record, prediction):
        raise error

    async def in_time():
        failing = WebhookReceiver(app.toolset.client, app.store, fail)
        async with asyncio.timeout(5):
            if look == "sweep":
                return await failing.sweep(older_than=0)
            return await call(failing, started.webhook, b"", "POST")

    assert asyncio.run(in_time()) == ([] if look == "sweep" else [200])
    assert "could not be resumed" in caplog.text
    assert app.deliver(started.webhook) == [200]
    assert app.resumed == [(started.id, "succeeded")]


def test_an_end_that_the_agent_has_seen_resumes_nothing(app):
    """A tool that has waited itself has told of it."""
    app.toolset.call("say", {"prompt": "x"}, CallContext("here"))
    assert app.deliver(app.sandbox.predictions[-1].webhook) == [200]
    assert app.resumed == []


def lost(app):
    """A start of which the answer is lost."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    ((name, text),) = app.store.items()
    app.store[name] = json.dumps({**json.loads(text), "state": UNANSWERED, "prediction_id": None})
    return started


@pytest.mark.parametrize("body", [lambda one: {"id": one.id}, lambda one: {"data": {"id": one.id}}])
def test_a_delivery_resolves_a_start_whose_answer_was_lost(app, body):
    """The id is the body's, once the service shows that it is this start; then it is resumed, once."""
    started = lost(app)
    assert app.deliver(started.webhook, json.dumps(body(started)).encode(), times=3) == [200] * 3
    assert (app.record().state, app.record().prediction_id) == (STARTED, started.id)
    assert app.resumed == [(started.id, "succeeded")]


@pytest.mark.parametrize("told", [{"id": "a/b"}, {"id": 7}, [], {}, None, {"data": 5}])
def test_a_lost_start_is_not_resolved_by_nonsense(app, told):
    """Neither by a body without an id."""
    started = lost(app)
    assert app.deliver(started.webhook, json.dumps(told).encode()) == [200]
    assert app.record().state == UNANSWERED


def test_a_lost_start_is_not_resolved_by_another_prediction(app):
    """The service shows another address for it: it stays unknown."""
    started = lost(app)
    other = app.toolset.client.predictions.create(model=ECHO, input={"prompt": "y"}, webhook=OURS)
    assert app.deliver(started.webhook, json.dumps({"id": other.id}).encode()) == [200]
    assert app.record().state == UNANSWERED
    assert app.resumed == []


@pytest.mark.parametrize(("prompt", "state"), [("x", STARTED), ("y", UNANSWERED)])
def test_a_service_that_tells_no_webhook_shows_the_input(app, prompt, state):
    """A lost start is resolved by a prediction of the same model and input, and by no other."""
    started = lost(app)
    shown = {"id": started.id, "status": "succeeded", "model": ECHO, "input": {"prompt": prompt}}
    app.sandbox.answer_next(200, shown)
    assert app.deliver(started.webhook, json.dumps({"id": started.id}).encode()) == [200]
    assert app.record().state == state


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ((404, {"detail": "not found"}), 404),
        ((404, "<html>no backend</html>"), 503),
        ((401, "no"), 503),
        ((200, "{"), 503),
    ],
)
def test_a_delivery_that_cannot_be_checked_resumes_nothing(app, answer, status):
    """The service knows nothing of it, refuses the token or answers nonsense: a later delivery resumes."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    app.sandbox.answer_next(*answer)
    assert app.deliver(started.webhook) == [status]
    assert app.resumed == []
    assert app.deliver(started.webhook) == [200]
    assert app.resumed == [(started.id, "succeeded")]


def test_a_store_that_cannot_be_read_is_our_failure(app, caplog):
    """The service may call again; the log says why."""
    started = app.start()
    app.store[next(iter(app.store))] = "{"
    assert app.deliver(started.webhook) == [500]
    assert "could not be processed" in caplog.text


def test_a_sweep_finds_what_no_webhook_has_told_of(app):
    """What is younger than the limit is left; what has ended is resumed, once."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    admin = Admin(app.toolset)
    assert admin.sweep(app.resume, older_than=60) == []
    assert [record.prediction_id for record in admin.sweep(older_than=0)] == [started.id]  # only looks
    assert app.resumed == []


def test_a_sweep_resumes(app):
    """With the developer's function; the delivery that comes after all does nothing."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    assert [one.prediction_id for one in Admin(app.toolset).sweep(app.resume, older_than=0)] == [started.id]
    app.deliver(started.webhook)
    assert app.resumed == [(started.id, "succeeded")]


def test_a_sweep_resumes_what_waits_for_a_prediction_that_is_gone(app):
    """Its end will never be seen: the agent is told, once. A gateway without the route says nothing."""
    started = app.start()
    admin = Admin(app.toolset)
    app.sandbox.answer_next(404, "<html>no backend</html>", content_type="text/html", method="GET")
    assert admin.sweep(app.resume, older_than=0) == []
    app.sandbox.answer_next(404, {"detail": "id not found"}, method="GET", times=2)
    assert [one.prediction_id for one in admin.sweep(app.resume, older_than=0)] == [started.id]
    assert admin.sweep(app.resume, older_than=0) == []
    assert app.resumed == [(started.id, "gone")]


def test_a_sweep_takes_over_from_a_worker_that_has_died(app):
    """A claim that is old and not done is nobody's: what it was for is resumed."""
    started = app.start()
    app.sandbox.wait_for("succeeded")

    async def die_while_resuming():
        begun = asyncio.Event()

        async def never(record, prediction):
            begun.set()
            await asyncio.Event().wait()

        worker = WebhookReceiver(app.toolset.client, app.store, never)
        dying = asyncio.create_task(call(worker, started.webhook, b"", "POST"))
        await begun.wait()
        kept = dict(app.store)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        app.store.update(kept)  # as it was when the process was gone

    asyncio.run(die_while_resuming())
    assert app.deliver(started.webhook) == [200]
    assert app.resumed == []  # it may be alive
    patient = WebhookReceiver(app.toolset.client, app.store, app.resume, stale=0.0)
    assert [one.prediction_id for one in asyncio.run(patient.sweep())] == [started.id]
    assert app.resumed == [(started.id, "succeeded")]


@pytest.mark.parametrize("claim", ["@", "resuming"])
def test_a_delivery_that_is_canceled_keeps_no_claim(app, claim):
    """Not even one that is written after the cancellation: the next look resumes at once."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    is_written, may_go_on = threading.Event(), threading.Event()

    class Slow(dict):
        """A store in which one claim takes its time."""

        def __setitem__(self, place, text):
            super().__setitem__(place, text)
            if claim in json.loads(text)["key"] and not is_written.is_set():
                is_written.set()
                may_go_on.wait(10)

    store = Slow(app.store)
    receiver = WebhookReceiver(app.toolset.client, store, app.resume)

    async def cancel_while_claiming():
        delivery = asyncio.create_task(call(receiver, started.webhook, b"", "POST"))
        await asyncio.to_thread(is_written.wait, 10)
        delivery.cancel()
        asyncio.get_running_loop().call_soon(may_go_on.set)
        await asyncio.gather(delivery, return_exceptions=True)
        return await receiver.sweep(older_than=0)

    assert [one.prediction_id for one in asyncio.run(cancel_while_claiming())] == [started.id]
    assert app.resumed == [(started.id, "succeeded")]


def test_a_delivery_that_ends_with_its_loop_keeps_no_claim(app):
    """The end of `asyncio.run` cancels a delivery that is being canceled already: its claims are released."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    fast = as_store(app.store).awaited

    class Slow(Records):
        async def put(self, record, **how):
            for _ in range(9):
                await asyncio.sleep(0)
            return await fast.put(record, **how)

        async def all(self, scope):
            return await fast.all(scope)

    async def end_while_resuming():
        begun = asyncio.Event()

        async def never(record, prediction):
            begun.set()
            await asyncio.Event().wait()

        receiver = WebhookReceiver(app.toolset.client, Store(Slow(), None), never)
        delivery = asyncio.create_task(call(receiver, started.webhook, b"", "POST"))
        await begun.wait()
        delivery.cancel()
        await asyncio.sleep(0)
        return delivery

    assert asyncio.run(end_while_resuming()).cancelled()
    claims = [one for one in map(json.loads, app.store.values()) if not one["digest"]]
    assert [one["state"] for one in claims] == [REFUSED] * 2


def test_a_delivery_that_is_canceled_waits_for_its_thread(app):
    """A function that blocks cannot be stopped: what it resumes is resumed once, by one worker at a time."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    is_resuming, may_end = threading.Event(), threading.Event()

    def resume(record, prediction):
        app.resume(record, prediction)
        is_resuming.set()
        assert may_end.wait(10)

    async def cancel_while_resuming():
        receiver = WebhookReceiver(app.toolset.client, app.store, resume)
        delivery = asyncio.create_task(call(receiver, started.webhook, b"", "POST"))
        await asyncio.to_thread(is_resuming.wait, 10)
        delivery.cancel()
        assert await app.receiver.sweep(older_than=0) == []  # it still runs
        may_end.set()
        await asyncio.wait({delivery})
        assert delivery.cancelled()
        return await app.receiver.sweep(older_than=0)

    assert asyncio.run(cancel_while_resuming()) == []
    assert app.resumed == [(started.id, "succeeded")]


def test_the_command_sweeps(app, tmp_path, monkeypatch, capsys):
    """``sweep MODULE:NAME`` says what it has resumed; what cannot be loaded is said in words."""
    started = app.start()
    app.sandbox.wait_for("succeeded")
    (tmp_path / "swept_app.py").write_text("receiver, other = None, 5\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "swept_app:other"]) == 2
    assert main(["sweep", "swept_app:missing"]) == 2
    assert main(["sweep", "no_such_app"]) == 2
    import swept_app

    swept_app.receiver = app.receiver
    assert main(["sweep", "swept_app:receiver", "--older-than", "nan"]) == 2
    assert main(["sweep", "swept_app:receiver", "--older-than", "0"]) == 0
    assert f"say {started.id}: resumed" in capsys.readouterr().out
    assert app.resumed == [(started.id, "succeeded")]


def test_a_file_is_a_store_for_several_workers(sandbox, tmp_path):
    """Two receivers over one SQLite file resume once; threads of other conversations do not wait for it."""
    path = tmp_path / "records.db"
    app = App(sandbox)
    tools = Toolset(
        [SAY], api_token=sandbox.api_token, base_url=sandbox.base_url, store=path, webhook_url=OURS
    )
    for scope in ("here", "there"):
        tools.call("start_prediction", START, CallContext(scope))
    sandbox.wait_for(lambda it: all(one.is_terminal for one in it.predictions))
    workers = [WebhookReceiver(tools.client, path, app.resume) for _ in range(2)]

    async def deliver():
        calls = [
            call(one, started.webhook, b"", "POST") for one in workers for started in sandbox.predictions
        ]
        return await asyncio.gather(*calls, *(one.sweep(older_than=0) for one in workers))

    asyncio.run(deliver())
    assert sorted(app.resumed) == sorted((one.id, "succeeded") for one in sandbox.predictions)
    assert len(app.resumed) == 2
    tools.close()


@pytest.mark.parametrize(("threads", "most"), [("ab", 2), ("aa", 1)])
def test_one_worker_at_a_time_resumes_a_thread(app, threads, most):
    """Another thread does not wait for it, in the same scope either."""
    for thread in threads:
        app.toolset.call("start_prediction", START, CallContext("here", thread=thread))
    app.fall_asleep()
    app.sandbox.wait_for(lambda it: all(one.is_terminal for one in it.predictions))
    resuming, at_once = set(), []

    async def resume(record, prediction):
        resuming.add(record.prediction_id)
        at_once.append(len(resuming))
        await asyncio.sleep(0.2)
        resuming.remove(record.prediction_id)

    receiver = WebhookReceiver(app.toolset.client, app.store, resume)

    async def deliver():
        await asyncio.gather(*(call(receiver, one.webhook, b"", "POST") for one in app.sandbox.predictions))

    asyncio.run(deliver())
    assert len(at_once) == 2
    assert max(at_once) == most


def test_a_server_can_start_and_stop_it():
    """As an app of its own it answers the lifespan messages."""
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message["type"])

    receiver = WebhookReceiver(Client("token-of-nobody", "http://127.0.0.1:9"), {}, print)
    asyncio.run(receiver({"type": "lifespan"}, receive, send))
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
