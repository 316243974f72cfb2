"""The sandbox calls webhooks: at this machine alone, and in the way that it was told to."""

import json

import pytest

from rockai_sandbox import ECHO, Sandbox
from rockai_transport import Client
from tests.support.webhook_server import served


class Receiver:
    """Notes what it was told."""

    def __init__(self):
        self.told = []
        self.status = 200

    async def __call__(self, scope, receive, send):
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.told.append((scope["query_string"].decode(), json.loads(body)))
        await send(
            {"type": "http.response.start", "status": self.status, "headers": [(b"content-length", b"0")]}
        )
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def receiver():
    made = Receiver()
    with served([made]) as url:
        made.url = url
        yield made


def run(receiver, *, deliveries, url=None, events=("start", "completed"), **options):
    """Run a model; give the calls of its webhook, and the prediction, once there are so many."""
    with Sandbox(**options) as sandbox, Client(sandbox.api_token, sandbox.base_url) as client:
        hook = {"webhook": url or f"{receiver.url}?a=b", "webhook_events_filter": list(events)}
        started = client.predictions.create(model=ECHO, input={"prompt": "Hello"}, **hook)
        client.predictions.wait(started)
        sandbox.wait_for(lambda it: len(it.deliveries) >= deliveries)
        return sandbox.deliveries, started


def test_in_order(receiver):
    """The start, then the end; each is the whole prediction, sent to the address as it was given."""
    deliveries, started = run(receiver, deliveries=2)
    assert [(one.prediction_id, one.event, one.status) for one in deliveries] == [
        (started.id, "start", 200),
        (started.id, "completed", 200),
    ]
    assert [query for query, _ in receiver.told] == ["a=b", "a=b"]
    assert receiver.told[-1][1]["output"] == ["Hello"]


@pytest.mark.parametrize("events", [["completed"], ["start"], ["output", "completed"]])
def test_only_the_events_that_were_asked_for(receiver, events):
    """The filter is followed."""
    deliveries, _ = run(receiver, deliveries=len(events), events=events)
    assert {one.event for one in deliveries} == set(events)


def test_twice(receiver):
    """Each event comes two times."""
    deliveries, _ = run(receiver, deliveries=2, events=["completed"], webhooks="twice")
    assert [one.event for one in deliveries] == ["completed"] * 2


def test_out_of_order(receiver):
    """The end comes before the start."""
    deliveries, _ = run(receiver, deliveries=2, webhooks="out of order")
    assert [one.event for one in deliveries] == ["completed", "start"]


def test_forged(receiver):
    """A claim without the secret comes first, then the truth."""
    deliveries, _ = run(receiver, deliveries=2, events=["completed"], webhooks="forged")
    assert [one.event for one in deliveries] == ["forged", "completed"]
    assert receiver.told[0][0] == "rockai_secret=forged"
    assert receiver.told[0][1]["output"] == "forged"


def test_a_receiver_that_fails_changes_nothing(receiver):
    """What it answers is noted."""
    receiver.status = 500
    deliveries, _ = run(receiver, deliveries=1, events=["completed"])
    assert [one.status for one in deliveries] == [500]


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("https://example.com/hook", {}),
        ("http://example.com/hook", {}),
        ("http://127.0.0.1.example.com/hook", {}),
        ("http://localhost@example.com/", {}),
        (None, {"webhooks": "never"}),
    ],
)
def test_nobody_else_is_called(receiver, url, options):
    """Nor is anybody where webhooks never come."""
    assert run(receiver, deliveries=0, url=url, **options)[0] == []
    assert receiver.told == []


def test_an_unknown_way_is_refused():
    """When the sandbox is made."""
    with pytest.raises(ValueError, match="webhooks is one of"):
        Sandbox(webhooks="sometimes")
