import os
from collections.abc import Iterator

import httpx
import pytest

from rockai_sandbox import Protocol, Sandbox


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tuple(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(video_seconds=0.2, protocol=Protocol(stream_needs_token=True)) as running:
        yield running


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with connect(sandbox) as client:
        yield client


def connect(sandbox: Sandbox) -> httpx.Client:
    headers = {"Authorization": f"Bearer {sandbox.api_token}"}
    return httpx.Client(base_url=sandbox.base_url, headers=headers, timeout=20)


@pytest.fixture(name="connect")
def connect_fixture():
    return connect
