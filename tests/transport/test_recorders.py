"""Recorders, mocks and tracers that patch httpx or httpcore see every request, and can hold it back."""

import httpx
import pytest
import respx
import vcr
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, stream
from vcr.errors import CannotOverwriteExistingCassetteException

RUN, SSE, CREATE = "POST /v1/run", "POST /v1/run_sse", "POST /v1/predictions"


@pytest.fixture
def service(server):
    server.route(RUN, answer(200, "whole"))
    server.route(SSE, stream(frames("piece", " by piece")))
    return server


def test_a_cassette_that_records_nothing_new_lets_nothing_out(connect, service, tmp_path):
    """Under record_mode="none" no paid run leaves, streamed or not; the error is the recorder's."""
    client = connect()
    with vcr.use_cassette(str(tmp_path / "empty.yaml"), record_mode="none"):
        with pytest.raises(CannotOverwriteExistingCassetteException):
            client.run(MODEL, {})
        with pytest.raises(CannotOverwriteExistingCassetteException):
            list(client.stream(MODEL, {}))
    assert service.requests == []


def test_a_cassette_gives_what_it_has_recorded(connect, service, tmp_path):
    """What vcrpy has recorded comes out again, exactly, without any request."""
    client, cassette = connect(), str(tmp_path / "recorded.yaml")
    for mode in ("once", "none"):
        with vcr.use_cassette(cassette, record_mode=mode):
            assert client.run(MODEL, {}).output == "whole"
            assert list(client.stream(MODEL, {})) == ["piece", " by piece"]
    assert service.lines == [RUN, SSE]


def test_respx_sees_every_request(connect, service):
    """respx, which patches httpcore's connections, answers in the service's place."""
    client = connect(route="predictions")
    with respx.mock(assert_all_called=False) as mock:
        created = mock.post(f"{service.base_url}/predictions")
        created.mock(httpx.Response(201, json=prediction("succeeded", output="mocked")))
        assert client.run(MODEL, {}).output == "mocked"
    assert created.call_count == 1
    assert service.requests == []


def test_a_tracer_of_httpx_sees_every_request(kind, connect, service, monkeypatch):
    """What wraps `handle_request` of httpx's own transports, as OpenTelemetry does, sees runs and streams."""
    seen = []
    sync, asynchronous = httpx.HTTPTransport.handle_request, httpx.AsyncHTTPTransport.handle_async_request

    def traced(transport, request):
        seen.append(str(request.url))
        return sync(transport, request)

    async def atraced(transport, request):
        seen.append(str(request.url))
        return await asynchronous(transport, request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", traced)
    monkeypatch.setattr(httpx.AsyncHTTPTransport, "handle_async_request", atraced)
    client = connect()
    client.run(MODEL, {})
    list(client.stream(MODEL, {}))
    assert seen == [f"{service.base_url}/run", f"{service.base_url}/run_sse"]
