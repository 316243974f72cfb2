from collections.abc import Iterator

import pytest
from with_llama_index.backends import TOKEN, RockAIBackend
from with_llama_index.conformance_kit import EventKeeper, keeping_events

from rockai_sandbox import Protocol, Sandbox

LLAMA_2 = "meta/llama-2-7b-chat"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(api_token=TOKEN, protocol=Protocol(stream_needs_token=True)) as running:
        yield running


@pytest.fixture
def backend(sandbox: Sandbox) -> RockAIBackend:
    return RockAIBackend(sandbox, LLAMA_2)


@pytest.fixture
def events() -> Iterator[EventKeeper]:
    with keeping_events() as keeper:
        yield keeper
