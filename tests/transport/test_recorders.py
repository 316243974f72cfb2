"""Recorders, mocks and tracers that patch httpx or httpcore see every request, and can hold it back."""

import httpx
import pytest
import respx
import vcr
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.replies import MODEL, prediction
from support.wire_server import answer, frames, stream
from vcr.errors import CannotOverwriteExistingCassetteException

from rockai_transport import PaymentRequiredError

BASE = "https://api.rockai.example/v1"
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


@pytest.fixture
def early(connect):
    """A client that was made before anything was patched."""
    return connect(BASE)


def test_pytest_httpx_answers_in_the_service_s_place(early, connect, httpx_mock):
    """For a client made before its patch, and one made after."""
    for client in (early, connect(BASE)):
        httpx_mock.add_response(url=f"{BASE}/run", method="POST", json="mocked")
        httpx_mock.add_response(
            url=f"{BASE}/run_sse", headers={"content-type": "text/event-stream"}, content=frames("a", "b")
        )
        assert client.run(MODEL, {}).output == "mocked"
        assert list(client.stream(MODEL, {})) == ["a", "b"]


def test_opentelemetry_sees_one_span_for_each_request(early, connect, service):
    """Its instrumentation of httpx: runs, streams and refusals, by clients made before it and after."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    service.route(CREATE, answer(402, {"detail": "no balance"}))
    client = connect()
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    try:
        for one in (client, connect()):
            exporter.clear()
            one.run(MODEL, {})
            list(one.stream(MODEL, {}))
            with pytest.raises(PaymentRequiredError):
                one.create(model=MODEL, input={})
            spans = [
                (span.attributes["http.url"], span.attributes["http.status_code"])
                for span in exporter.get_finished_spans()
            ]
            assert spans == [
                (f"{service.base_url}/run", 200),
                (f"{service.base_url}/run_sse", 200),
                (f"{service.base_url}/predictions", 402),
            ]
    finally:
        HTTPXClientInstrumentor().uninstrument()
