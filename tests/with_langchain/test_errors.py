"""Errors are both: the transport's and core's; what could pay twice is never retryable."""

import pickle
import re
import traceback

import pytest
from langchain_core.exceptions import (
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
)
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import RetryPolicy
from pydantic import ValidationError
from support.drivers import TOKEN

import rockai_transport
from langchain_rockai import RETRYABLE, ChatRockAI, RetryableModelError, RockAILLM, should_retry
from langchain_rockai.errors import as_model_error, translate_errors
from rockai_sandbox import FAILS_HALF_WAY
from rockai_transport import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ConfigurationError,
    InternalServerError,
    NotFoundError,
    PaymentRequiredError,
    PredictionFailedError,
    RateLimitError,
    RockAIError,
    StreamInterruptedError,
)

MODEL = "my/hermes"
RETRYABLE_BY_TYPE = (ModelConnectionError, ModelTimeoutError, ModelAPIError, ModelRateLimitError)


def pickled(value):
    return pickle.loads(pickle.dumps(value))  # noqa: S301 - our own


KINDS = [
    kind
    for kind in vars(rockai_transport).values()
    if isinstance(kind, type) and issubclass(kind, RockAIError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("may_have_started", [False, True])
def test_every_error_of_the_transport_is_as_model_error(kind, may_have_started):
    """Its class, its words and attributes stay; a pickle brings the same back."""
    error = kind("what happened", may_have_started=may_have_started)
    error.partial_text = "so far"
    made = as_model_error(error)
    again = pickled(made)
    for one in (made, again):
        assert isinstance(one, kind)
        assert isinstance(one, ModelError)
        assert type(one).__name__.endswith(kind.__name__)
        assert str(one) == str(error)
        assert (one.may_have_started, one.partial_text) == (may_have_started, "so far")
        assert one.response is None
        assert one.request_id is None


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_what_may_have_started_is_never_retryable(kind):
    """Neither for RETRYABLE nor for a with_retry on core's own types, nor by `is_retryable`."""
    made = as_model_error(kind("x", may_have_started=True))
    assert not isinstance(made, (*RETRYABLE, *RETRYABLE_BY_TYPE))
    assert not made.is_retryable


@pytest.mark.parametrize(
    ("kind", "core"),
    [
        (APIConnectionError, ModelConnectionError),
        (APITimeoutError, ModelTimeoutError),
        (RateLimitError, ModelRateLimitError),
        (InternalServerError, ModelAPIError),
    ],
)
def test_what_is_transient_and_cannot_have_started_is_retryable(kind, core):
    """These four, and no other."""
    made = as_model_error(kind("x", may_have_started=False))
    assert isinstance(made, (RetryableModelError, core))
    assert isinstance(made, RETRYABLE)
    assert made.is_retryable


def test_only_transient_errors_are_retryable():
    """Sent again, the others would fail again."""
    retryable = {kind for kind in KINDS if as_model_error(kind("x", may_have_started=False)).is_retryable}
    assert retryable == {APIConnectionError, APITimeoutError, RateLimitError, InternalServerError}


def test_an_error_that_is_both_already_stays_itself():
    """A model may be called inside another's call."""
    made = as_model_error(APIConnectionError("x"))
    with pytest.raises(APIConnectionError) as caught, translate_errors():
        raise made
    assert caught.value is made


def test_a_subclass_that_a_user_made_is_both_too():
    """It is at least what it derives from."""

    class OwnError(RateLimitError):
        pass

    assert isinstance(as_model_error(OwnError("x")), (RateLimitError, RetryableModelError))


def test_the_cause_stays_and_the_trace_shows_the_error_once():
    """The error that was replaced is not shown beside the one that replaced it."""
    with pytest.raises(APIConnectionError) as caught, translate_errors():
        raise APIConnectionError("no answer") from OSError("unplugged")
    assert isinstance(caught.value.__cause__, OSError)
    shown = "".join(traceback.format_exception(caught.value))
    assert shown.count("Error: no answer") == 1


CASES = [
    (400, '{"detail": "no"}', BadRequestError, ModelInvalidRequestError),
    (401, '{"detail": "invalid token"}', AuthenticationError, ModelAuthenticationError),
    (402, "{}", PaymentRequiredError, ModelPermissionDeniedError),
    (404, '{"detail": "no such model"}', NotFoundError, ModelNotFoundError),
    (429, "{}", RateLimitError, ModelRateLimitError),
    (500, "Internal Server Error", InternalServerError, ModelError),
    (418, "{}", APIStatusError, ModelError),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[0]))
@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
async def test_all_ways_of_calling_raise_errors_that_are_as_model_error(sandbox, cls, case):
    """invoke, ainvoke, stream, astream: with the status, the answer and its request id; never the token."""
    status, body, kind, core = case
    sandbox.answer_next(status, body, headers={"X-Request-Id": "r1"}, times=None)
    llm = cls(model=MODEL, max_retries=0)
    raised = []
    for call in (lambda: llm.invoke("Hi"), lambda: list(llm.stream("Hi"))):
        with pytest.raises(kind) as caught:
            call()
        raised.append(caught.value)
    with pytest.raises(kind) as caught:
        await llm.ainvoke("Hi")
    raised.append(caught.value)
    with pytest.raises(kind) as caught:
        _ = [chunk async for chunk in llm.astream("Hi")]
    raised.append(caught.value)
    for error in (*raised, *map(pickled, raised)):
        assert isinstance(error, core)
        assert (error.status_code, error.request_id) == (status, "r1")
        assert error.response.status_code == status
        assert sandbox.api_token not in repr(vars(error)) + str(error)


def test_a_trace_shows_the_answer_and_its_request_id(sandbox, llm, tokens):
    """Core copies them from the error (`_generate_response_from_error`)."""
    sandbox.answer_next(400, '{"detail": "no"}', headers={"X-Request-Id": "r1"})
    with pytest.raises(BadRequestError):
        list(llm.stream("Hi", {"callbacks": [tokens]}))
    ((generation,),) = tokens.error_responses[0].generations
    assert generation.message.response_metadata["request_id"] == "r1"
    assert generation.message.response_metadata["status_code"] == 400
    assert generation.message.response_metadata["body"] == {"detail": "no"}


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_with_retry_tries_again_what_was_refused(sandbox, scripted, cls):
    """A 429 started nothing."""
    scripted("at last")
    sandbox.answer_next(429, "{}", times=2)
    llm = cls(model=MODEL, max_retries=0).with_retry(
        retry_if_exception_type=RETRYABLE, wait_exponential_jitter=False
    )
    answer = llm.invoke("Hi")
    assert getattr(answer, "content", answer) == "at last"
    assert len(sandbox.predictions) == 1


@pytest.mark.parametrize("types", [RETRYABLE, RETRYABLE_BY_TYPE], ids=["ours", "core's"])
def test_with_retry_does_not_pay_twice(sandbox, types):
    """A model that failed had started; a 500 of the gateway may have."""

    @sandbox.model(MODEL)
    def fail(input):
        raise RuntimeError("out of memory")

    llm = ChatRockAI(model=MODEL, max_retries=0).with_retry(
        retry_if_exception_type=types, wait_exponential_jitter=False
    )
    with pytest.raises(ModelError):
        llm.invoke("Hi")
    assert len(sandbox.predictions) == 1


def graph_of(node):
    """A graph of one node, under LangGraph's default retry policy without its waiting."""
    graph = StateGraph(MessagesState)
    graph.add_node("node", node, retry_policy=RetryPolicy(initial_interval=0.001))
    graph.add_edge(START, "node")
    return graph.compile()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("may_have_started", [False, True])
def test_langgraph_s_default_policy_runs_again_what_is_retryable_and_nothing_else(kind, may_have_started):
    """By its base `RuntimeError`; `should_retry` decides alike for the transport's errors."""
    plain = kind("x", may_have_started=may_have_started)
    made = as_model_error(plain)
    assert isinstance(made, RuntimeError) != made.is_retryable
    tries = []

    def node(state):
        tries.append(1)
        raise made

    with pytest.raises(kind):
        graph_of(node).invoke({"messages": "x"})
    assert len(tries) == (3 if made.is_retryable else 1)
    assert should_retry(plain) is should_retry(made) is made.is_retryable


def test_should_retry_leaves_other_errors_to_langgraph():
    """Its default tries a broken connection again, and no ValueError."""
    assert should_retry(ConnectionError("reset"))
    assert not should_retry(ValueError("no"))


def test_a_run_that_failed_half_way_is_paid_once_in_a_graph(rockai_sandbox):
    """The model was charged for the first run; LangGraph's default policy does not start another."""
    llm = ChatRockAI(model=FAILS_HALF_WAY)
    with pytest.raises(ModelError):
        graph_of(lambda state: {"messages": [llm.invoke(state["messages"])]}).invoke({"messages": "x"})
    assert len(rockai_sandbox.predictions) == 1


def test_a_request_that_was_refused_is_tried_again_in_a_graph(rockai_sandbox):
    """A 429 started nothing."""
    rockai_sandbox.model(MODEL)(lambda input: "at last")
    rockai_sandbox.answer_next(429, "{}", times=2)
    llm = ChatRockAI(model=MODEL, max_retries=0)
    graph_of(lambda state: {"messages": [llm.invoke(state["messages"])]}).invoke({"messages": "Say: hello"})
    assert len(rockai_sandbox.predictions) == 1


def test_a_model_that_cannot_be_made_says_so_and_is_made_once_in_a_graph():
    """What cannot be right raises `ConfigurationError`, not pydantic's error, and is not tried again."""
    tries = []

    def node(state):
        tries.append(1)
        return {"messages": [ChatRockAI(model=MODEL, temperature=float("nan")).invoke("x")]}

    with pytest.raises(ConfigurationError):
        graph_of(node).invoke({"messages": "x"})
    assert len(tries) == 1


def test_with_fallbacks_goes_on_to_the_next_model(sandbox, scripted):
    """On core's class, which knows nothing of RockAI."""
    scripted("I am here.")
    sandbox.answer_next(404, '{"detail": "no such model"}')
    llm = ChatRockAI(model="my/missing").with_fallbacks(
        [ChatRockAI(model=MODEL)], exceptions_to_handle=(ModelError,)
    )
    assert llm.invoke("Hi").content == "I am here."


def test_a_stream_that_breaks_off_says_so(sandbox, llm, tokens):
    """What was said stays said, and is in the error."""

    @sandbox.model(MODEL)
    def talk(input):
        yield "half"
        raise RuntimeError("broken")

    heard = []
    with pytest.raises(StreamInterruptedError) as caught:
        heard.extend(chunk.content for chunk in llm.stream("Hi", {"callbacks": [tokens]}))
    assert heard == ["half"] == [caught.value.partial_text]
    assert tokens.errors == [caught.value]


def test_a_failed_prediction_is_a_model_error(sandbox):
    """With the model's own words."""

    @sandbox.model(MODEL)
    def fail(input):
        raise RuntimeError("out of memory")

    with pytest.raises(PredictionFailedError, match="out of memory") as caught:
        ChatRockAI(model=MODEL, route="predictions").invoke("Hi")
    assert isinstance(caught.value, ModelError)
    assert caught.value.prediction.status == "failed"


@pytest.mark.parametrize(
    "given",
    [
        {"base_url": "http://example.com/v1"},
        {"timeout": -1},
        {"max_retries": -1},
        {"model": "no reference"},
        {"dialect": "lama-2"},
        {"temprature": 0.5},
        {"default_headers": {"X": "a\nb"}},
        {"api_token": ""},
        {"api_token": 5},
        {"allow_http": True},
        {"timeouts": None},
    ],
    ids=lambda given: next(iter(given)),
)
@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_the_constructor_raises_errors_that_are_as_model_error(cls, given):
    """Nothing was sent; pydantic wraps none of them."""
    with pytest.raises(ConfigurationError) as caught:
        cls(**{"model": MODEL, **given})
    assert isinstance(caught.value, ModelInvalidRequestError)
    assert isinstance(pickled(caught.value), ConfigurationError)


@pytest.mark.parametrize("given", [{}, {"model": MODEL, "client": TOKEN}])
@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_no_error_of_the_constructor_tells_the_token(cls, given):
    """Pydantic's own errors would print all that was given."""
    with pytest.raises((ConfigurationError, ValidationError)) as caught:
        cls(api_token=TOKEN, **given)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("cls", [ChatRockAI, RockAILLM])
def test_what_only_a_client_takes_is_said_to_be_its(cls):
    """The error shows how to hand one in."""
    with pytest.raises(ConfigurationError, match=r"client=Client\(allow_http=…\)"):
        cls(model=MODEL, allow_http=True)
    with pytest.raises(ConfigurationError, match="model is missing"):
        cls()


def test_without_a_token_the_first_call_says_how_to_get_one():
    """The constructor does not need it: a token may be set later."""
    llm = ChatRockAI(model=MODEL)
    with pytest.raises(
        ConfigurationError, match=re.escape("https://www.rockai.online/setting/token")
    ) as caught:
        llm.invoke("Hi")
    assert isinstance(caught.value, ModelError)
