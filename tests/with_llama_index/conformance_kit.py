"""What the conformance suite is made of: the `Backend` it asks, what watches events, and the tests' base."""

from __future__ import annotations

import contextlib
import inspect
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from llama_index.core.callbacks import CBEventType
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation import get_dispatcher
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms import LLM, ChatMessage, ChatResponse
from llama_index.core.prompts import PromptTemplate
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator

PLAIN = ("chat", "complete", "achat", "acomplete")
STREAMED = ("stream_chat", "stream_complete", "astream_chat", "astream_complete")
WAYS = PLAIN + STREAMED


class Backend(ABC):
    """One LLM class, as the suite needs it. What a class cannot do need not be overridden.

    Attributes:
        secrets: What must never be seen of an LLM that `llm` made.
        runs: How often the model was asked.
    """

    secrets: tuple[str, ...] = ()
    runs: int = 0

    @abstractmethod
    def llm(self, **arguments: Any) -> LLM:
        """Make an LLM, with further arguments of the constructor."""

    @abstractmethod
    def says(self, *pieces: str) -> str:
        """Let the model answer so from now on; give the whole answer."""

    def calls(self, *calls: tuple[str, dict[str, Any]]) -> None:
        """Let the model call these tools from now on."""
        raise NotImplementedError

    def hangs(self, piece: str) -> None:
        """Let the model say a piece and then nothing any more."""
        raise NotImplementedError

    def wait_until_running(self) -> None:
        """Return when the model has been asked."""
        raise NotImplementedError

    def wait_until_left(self, seconds: float) -> None:
        """Return when the hanging run's caller has left it, else raise `TimeoutError`."""
        raise NotImplementedError

    def meets(self, number: int, answer: str) -> None:
        """Let the model answer once so many runs are under way at the same time, and not before."""
        raise NotImplementedError


class Person(BaseModel):
    """A person."""

    name: str
    age: int


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello {name}"


TOOLS = [FunctionTool.from_defaults(add), FunctionTool.from_defaults(greet)]
WHO = PromptTemplate("Who is {who}?")


def start(llm: LLM, way: str, prompt: str = "Hello", **kwargs: Any) -> Any:
    """Call one of the eight methods."""
    asked: Any = prompt if "complete" in way else [ChatMessage(role="user", content=prompt)]
    return getattr(llm, way)(asked, **kwargs)


async def collect(llm: LLM, way: str, prompt: str = "Hello", **kwargs: Any) -> list[Any]:
    """Call one of the eight methods and give all its responses; only a stream has more than one."""
    result = start(llm, way, prompt, **kwargs)
    if inspect.isawaitable(result):
        result = await result
    if way.startswith("astream"):
        return [response async for response in result]
    return list(result) if way.startswith("stream") else [result]


def text_of(response: Any) -> str | None:
    """What a response says so far."""
    return response.message.content if isinstance(response, ChatResponse) else response.text


class EventKeeper(BaseEventHandler):
    """Keeps every event, as a tracing exporter that sends them later does."""

    events: list[Any]

    @classmethod
    def class_name(cls) -> str:
        return "EventKeeper"

    def handle(self, event: Any, **_: Any) -> None:
        self.events.append(event)

    def of(self, *kinds: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@contextlib.contextmanager
def keeping_events() -> Iterator[EventKeeper]:
    """Keep the events of a ``with`` block, and all they hold on to."""
    keeper = EventKeeper(events=[])
    get_dispatcher().add_event_handler(keeper)
    try:
        yield keeper
    finally:
        get_dispatcher().event_handlers.remove(keeper)


class CallbackKeeper(BaseCallbackHandler):
    """Keeps the older kind of events, those of LLMs only."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.seen: list[tuple[str, str]] = []

    def on_event_start(self, event_type: Any, payload: Any = None, event_id: str = "", **_: Any) -> str:
        if event_type == CBEventType.LLM:
            self.seen.append(("start", event_id))
        return event_id

    def on_event_end(self, event_type: Any, payload: Any = None, event_id: str = "", **_: Any) -> None:
        if event_type == CBEventType.LLM:
            self.seen.append(("end", event_id))

    def start_trace(self, trace_id: Any = None) -> None: ...
    def end_trace(self, trace_id: Any = None, trace_map: Any = None) -> None: ...


class CountingLimiter(BaseRateLimiter):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.acquired = 0

    def acquire(self, num_tokens: int = 0) -> None:
        self.acquired += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        self.acquired += 1


class Conformance:
    """What all parts have in common: the fixtures, and a parameter for the eight methods."""

    known_faults: ClassVar[dict[tuple[str, str], str]] = {}
    """Test and method (or "") to the reason for which it fails."""

    def pytest_generate_tests(self, metafunc: Any) -> None:
        name = metafunc.function.__name__
        if "way" not in metafunc.fixturenames:
            return
        ways = getattr(metafunc.function, "ways", WAYS)
        metafunc.parametrize(
            "way",
            [
                pytest.param(way, marks=pytest.mark.xfail(reason=self.known_faults[name, way]))
                if (name, way) in self.known_faults
                else way
                for way in ways
            ],
        )

    @pytest.fixture
    def backend(self) -> Backend:
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def events(self):
        with keeping_events() as keeper:
            yield keeper


def only(*ways: str) -> Any:
    """Run a test for these methods only."""

    def mark(test: Any) -> Any:
        test.ways = ways
        return test

    return mark
