"""Against the sandbox: bent, it is still understood, by settings alone; and every way through it works."""

import pytest
from support.drivers import KINDS, Driven
from support.replies import MODEL

from rockai_sandbox import Sandbox
from rockai_sandbox.protocol import Event, Protocol
from rockai_transport import (
    AuthenticationError,
    PredictionCanceledError,
    PredictionFailedError,
    RockAIError,
    Service,
    StreamInterruptedError,
)

POEM = ["Roses\n", "are\n\nred", ",\n    indented", "", "."]


def scripted(sandbox):
    @sandbox.model(MODEL)
    def talk(input):
        yield from POEM

    @sandbox.model("owner/broken")
    def breaks(input):
        yield "half "
        raise ValueError("out of memory")

    return sandbox


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def use(kind, sandbox, **settings):
    return Driven(kind, sandbox.base_url, **{"api_token": sandbox.api_token, **settings})


@pytest.mark.parametrize("generation", ["both", "old", "new"])
@pytest.mark.parametrize("shape", ["flat", "enveloped"])
@pytest.mark.parametrize("route", ["auto", "predictions"])
def test_every_generation_and_shape(kind, generation, shape, route):
    """run, stream and on_text give the model's exact words in every generation, shape and route."""
    with scripted(Sandbox(generation=generation, shape=shape, run_answer="prediction")) as sandbox:
        client = use(kind, sandbox, route=route)
        told = []
        assert client.run(MODEL, {}).text == "".join(POEM)
        assert client.run(MODEL, {}, on_text=told.append).text == "".join(POEM)
        reading = client.stream(MODEL, {})
        assert "".join(reading) == "".join(POEM) == "".join(told)
        assert reading.prediction.status == "succeeded"
        assert "" not in told
        client.end()


@pytest.mark.parametrize("route", ["auto", "predictions"])
def test_a_model_that_fails_half_way(kind, route):
    """A failure half-way is never a short answer."""
    with scripted(Sandbox(run_answer="prediction")) as sandbox:
        client = use(kind, sandbox, route=route)
        with pytest.raises(RockAIError) as caught:
            list(client.stream("owner/broken", {}))
        assert isinstance(caught.value, StreamInterruptedError | PredictionFailedError)
        assert caught.value.partial_text == "half "
        with pytest.raises(PredictionFailedError, match="out of memory"):
            client.run("owner/broken", {})
        client.end()


BENT = {
    "other paths": (
        Protocol(
            create_path="/jobs", get_path="/jobs/{id}/state", cancel_path="/stop/{id}", run_path="/go",
            run_sse_path="/go/live", stream_path="/live/{id}",
        ),
        Service(
            create_path="/jobs", get_path="/jobs/{id}/state", cancel_path="/stop/{id}", run_path="/go",
            run_stream_path="/go/live",
        ),
    ),
    "another auth header": (
        Protocol(auth_header="X-Api-Key", auth_scheme=""),
        Service(auth_header="X-Api-Key", auth_scheme=""),
    ),
    "another content type of streams": (
        Protocol(stream_content_type="text/plain; charset=utf-8"),
        Service(stream_content_type="text/plain"),
    ),
    "other event names": (
        Protocol(output_event="token", done=Event("finished", "")),
        Service(output_event="token", end_events=("finished",)),
    ),
    "no end event": (Protocol(done=None), Service(requires_end_event=False)),
    "an error event": (
        Protocol(error=lambda words: Event("failure", words)),
        Service(error_events=("failure",)),
    ),
    "another shape": (
        Protocol(
            prediction_json=lambda told: {"job": {**told, "state": told["status"], "status": 0}},
            run_json=lambda told: {"job": {**told, "state": told["status"], "status": 0}},
        ),
        Service(
            read_prediction=lambda told: {**told["job"], "status": told["job"]["state"]}
            if isinstance(told, dict) and "job" in told
            else told
        ),
    ),
    "other words for a status": (
        Protocol(prediction_json=lambda told: {**told, "status": told["status"].upper()}),
        Service(statuses={word.upper(): word for word in ("starting", "processing", "succeeded", "failed", "canceled")}),  # noqa: E501
    ),
    "another answer for a missing route": (
        None,  # made below: it needs a sandbox of the new generation
        Service(missing_route_statuses=(405, 410, 501)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BENT)
@pytest.mark.parametrize("route", ["auto", "predictions"])
def test_a_bent_service_is_met_by_settings_alone(kind, case, route):
    """Other paths, event names, ends, shapes, words or headers: `Service` adapts, no code does."""
    protocol, service = BENT[case]
    with scripted(Sandbox(protocol=protocol, generation="both")) as sandbox:
        if case == "another answer for a missing route":
            for path in ("/run", "/run_sse"):
                sandbox.answer_next(501, "{}", path=path, times=None)
        client = use(kind, sandbox, route=route, service=service)
        assert client.run(MODEL, {}).text == "".join(POEM)
        assert "".join(client.stream(MODEL, {})) == "".join(POEM)
        made = client.create(model=MODEL, input={}, stream=True)
        assert client.wait(made).text == "".join(POEM)
        assert client.get(made.id).status == "succeeded"
        if case == "an error event":
            with pytest.raises(PredictionFailedError, match="out of memory"):
                list(client.stream("owner/broken", {}))
        client.end()


@pytest.mark.parametrize("on_disconnect", ["continue", "stop"])
def test_leaving_cancels_at_the_sandbox(kind, on_disconnect):
    """A stream left early is canceled at the service, and waiting for it says so."""
    with Sandbox(on_disconnect=on_disconnect) as sandbox:

        @sandbox.model(MODEL)
        def talk(input, run):
            yield "a"
            run.pause(30)

        client = use(kind, sandbox, route="predictions")
        reading = client.stream(MODEL, {})
        assert next(reading) == "a"
        reading.close()
        assert sandbox.wait_for("canceled").id == reading.prediction.id
        with pytest.raises(PredictionCanceledError):
            client.wait(reading.prediction.id)
        client.end()


def test_a_wrong_token(kind):
    """401 is an AuthenticationError that says where to get a token."""
    with Sandbox() as sandbox:
        client = use(kind, sandbox, api_token="wrong-token")  # noqa: S106
        with pytest.raises(AuthenticationError, match="setting/token"):
            client.run(MODEL, {})
        client.end()
