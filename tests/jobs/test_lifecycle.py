"""What the lifecycle decides, in memory: the same code runs with blocking calls and with await."""

import contextlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_backends import (
    LOST,
    PROMPT,
    SAME,
    SAY,
    SCHEMA,
    START,
    Breaking,
    MemoryBackends,
    call,
    do,
    lifecycle,
    records_of,
)

from rockai_transport import (
    APIConnectionError,
    BadRequestError,
    ConfigurationError,
    HostedModel,
    NotFoundError,
    Prediction,
    PredictionFailedError,
)
from rockai_transport.jobs.admin import cancel_running, list_records, resolve
from rockai_transport.jobs.policy import Policy
from rockai_transport.jobs.records import CLEARED, REFUSED, STARTED, UNANSWERED, receipt
from rockai_transport.jobs.running import AgentRun
from rockai_transport.jobs.stores import MemoryRecords
from rockai_transport.jobs.toolset import Lifecycle
from rockai_transport.protocol.messages import Response


@pytest.fixture
def backends():
    return MemoryBackends()


@pytest.mark.parametrize(
    ("tool", "arguments", "text"),
    [
        ("generate_image", {}, "'prompt' is missing"),
        ("start_prediction", {"model": "rm -rf", "input": {}}, "must be one of generate_image"),
        ("start_prediction", {"model": "generate_image", "input": {"promt": "x"}}, "do you mean 'prompt'"),
        ("get_prediction", {}, "'prediction_id' is missing"),
        ("get_prediction", {"prediction_id": 7}, "must be of type string"),
        ("get_prediction", {"prediction_id": "../../etc"}, "is not a prediction of this conversation"),
        ("wait_for_prediction", {"prediction_id": "p", "timeout": -1}, "outside its limit"),
        ("list_predictions", {"all": True}, "'all' is not an argument"),
    ],
)
def test_wrong_arguments_send_nothing(backends, tool, arguments, text):
    """They are answered in words."""
    answer = call(backends, tool, arguments)
    assert text in answer.text
    assert answer.is_error
    assert not backends.predictions.calls


def test_defaults_are_sent(backends):
    """Those that the agent may change, and those it cannot see."""
    call(backends, "look", PROMPT)
    call(backends, "look", {**PROMPT, "size": 4})
    assert backends.predictions.named("create") == [
        ("a/look", {"prompt": "x", "size": 3, "secret": "s"}),
        ("a/look", {"prompt": "x", "size": 4, "secret": "s"}),
    ]


def test_a_wait_is_bounded(backends):
    """By max_wait, whatever the agent asks for; one without time is a look."""
    tools = lifecycle(max_wait=30.0)
    started = call(backends, "start_prediction", START, tools)
    by_id = {"prediction_id": started.result.id}
    backends.predictions.ends = {}
    for asked in ({}, {"timeout": 900}, {"timeout": 5}, {"timeout": 0}):
        call(backends, "wait_for_prediction", {**by_id, **asked}, tools)
    assert backends.predictions.named("wait") == [("p1", 30.0), ("p1", 30.0), ("p1", 5)]
    assert backends.predictions.named("get") == ["p1"]


def test_a_wait_is_not_bounded_by_the_time_of_day(backends):
    """The time of day may be set during a call, for example after a laptop has slept: it waits no less."""
    service = backends.predictions
    create, backends.during = service.create, lambda: backends

    async def slowly(**request):
        backends.moment += 3600
        return await create(**request)

    service.create = slowly
    call(backends, "say", PROMPT)
    assert service.named("wait") == [("p1", 60.0)]


def test_progress_is_told(backends):
    """With the model's name and the seconds since the start."""
    told = []
    call(backends, "say", PROMPT, report=told.append)
    assert [(one.model, one.status, one.progress, one.elapsed) for one in told] == [
        ("say", "succeeded", 1.0, 0.0)
    ]


def test_a_report_that_fails_is_only_logged(backends):
    """In a plain function or a coroutine function: the prediction is paid for, and its answer is given."""

    def refuse(progress):
        raise ValueError(progress)

    async def refuse_later(progress):
        refuse(progress)

    for report in (refuse, refuse_later):
        assert not call(backends, "say", PROMPT, report=report).is_error


def test_a_file_is_saved_once(backends, tmp_path):
    """Asked for again, it is named and not fetched again."""
    tools = lifecycle(save_to=tmp_path)
    first = call(backends, "generate_image", PROMPT, tools)
    again = call(backends, "get_prediction", {"prediction_id": first.result.id}, tools)
    assert again.files == first.files == (tmp_path / "p1.png",)
    assert len(backends.downloads) == 1
    first.files[0].unlink()
    call(backends, "get_prediction", {"prediction_id": first.result.id}, tools)
    assert len(backends.downloads) == 2


def test_a_text_is_not_saved(backends, tmp_path):
    """There is no file of it."""
    assert call(backends, "say", PROMPT, lifecycle(save_to=tmp_path)).files == ()
    assert not backends.downloads


def test_a_file_that_cannot_be_saved_is_told(backends, tmp_path):
    """The answer still has the address."""
    backends.predictions.ends["output"] = "https://files.example/1.png"
    answer = call(backends, "generate_image", PROMPT, lifecycle(save_to=tmp_path / "nowhere"))
    assert "Output: https://files.example/1.png" in answer.text
    assert "could not be saved: it is no folder" in answer.text


def test_an_output_that_was_not_seen_at_its_end_is_looked_up(backends):
    """A later wait gives the output, not only the status that the record knows."""
    first = call(backends, "say", PROMPT)
    again = call(backends, "wait_for_prediction", {"prediction_id": first.result.id})
    assert again.text.endswith("Output: x")


def test_a_failed_prediction_is_an_answer(backends):
    """In the model's own words, with the prediction for the program."""
    backends.predictions.ends = {"status": "failed", "error": "no cats today"}
    answer = call(backends, "say", PROMPT)
    assert answer.is_error
    assert answer.result.status == "failed"
    assert "no cats today" in answer.text


def test_the_same_call_again_gets_what_it_had_started(backends):
    """In the middle of its way, and after its end; another input is another call."""
    backends.predictions.ends = {}
    first = call(backends, "say", PROMPT, call=SAME)
    assert call(backends, "say", PROMPT, call=SAME).result.id == first.result.id
    assert call(backends, "say", {"prompt": "y"}, call=SAME).result.id != first.result.id
    assert len(backends.predictions.predictions) == 2
    do(cancel_running([backends], "here"))
    assert "was canceled" in call(backends, "say", PROMPT, call=SAME).text
    assert len(backends.predictions.predictions) == 2


@pytest.mark.parametrize(
    "changed",
    [
        HostedModel("say", "a/say:v2", "Says it.", output="text"),
        HostedModel("say", "a/say", "Says it.", defaults={"size": 3}, output="text"),
    ],
)
def test_the_same_call_is_the_same_after_the_developer_has_changed_its_model(backends, changed):
    """A process that starts again with another version or other defaults does not pay a second time."""
    first = call(backends, "say", PROMPT, call=SAME)
    again = call(backends, "say", PROMPT, Lifecycle([changed], Policy()), call=SAME)
    assert again.result.id == first.result.id
    assert len(backends.predictions.named("create")) == 1
    program = {"call": ("task", "")}  # it compares two models, with two toolkits
    first = call(backends, "say", PROMPT, **program)
    assert (
        call(backends, "say", PROMPT, Lifecycle([changed], Policy()), **program).result.id != first.result.id
    )


def test_the_same_call_is_the_same_after_a_type_has_changed(backends):
    """What the model wrote is the call, not how it was adapted to the schema of that day."""
    for kind in ("integer", "string"):
        schema = {"properties": {"prompt": {"type": "string"}, "size": {"type": kind}}}
        tools = Lifecycle([HostedModel("draw", "a/draw", "Draws.", schema, output="text")], Policy())
        assert not call(backends, "draw", {**PROMPT, "size": "3"}, tools, call=SAME).is_error
    assert len(backends.predictions.named("create")) == 1


def test_a_number_written_differently_is_the_same_order(backends):
    """While one runs, and while one is unknown: 3.0 is 3."""
    backends.predictions.ends = {}
    size = Lifecycle([HostedModel("draw", "a/draw", "Draws.", SCHEMA, output="text")], Policy())
    first = call(backends, "draw", {**PROMPT, "size": 3}, size, call=SAME, turn="1").result
    again = call(backends, "draw", {**PROMPT, "size": 3.0}, size, call=("t", "2"), turn="2")
    assert again.result.id == first.id
    assert len(backends.predictions.named("create")) == 1


def test_the_same_start_again_tells_how_it_stands(backends):
    """With its output, which the record does not hold."""
    first = call(backends, "start_prediction", START, call=SAME)
    call(backends, "wait_for_prediction", {"prediction_id": first.result.id})
    again = call(backends, "start_prediction", START, call=SAME)
    assert again.text.endswith("Output: x")
    assert len(backends.predictions.predictions) == 1


def test_an_output_without_an_id_is_not_said_to_be_none(backends):
    """Such a prediction cannot be looked at again: the same call says where its output was."""

    async def create(**_):
        return Prediction(status="succeeded", output="x", raw={})

    backends.predictions.create = create
    assert call(backends, "say", PROMPT, call=SAME).text.endswith("Output: x")
    assert "Output: not kept: only the first answer had it" in call(backends, "say", PROMPT, call=SAME).text


def test_a_lost_answer_is_unknown_until_the_developer_resolves_it(backends):
    """Nothing is sent again by itself; cleared, the same call starts."""
    backends.predictions.failures = [LOST]
    lost = call(backends, "say", PROMPT, call=SAME)
    again = call(backends, "say", PROMPT, call=SAME)
    assert "unknown whether this started. the answer was lost" in lost.text
    assert "unknown whether this started" in again.text
    assert len(backends.predictions.named("create")) == 1

    (unknown,) = receipt(records_of(backends)).unknown
    assert unknown.key in lost.text
    assert f"record {unknown.key}" in call(backends, "list_predictions", {}).text
    assert do(resolve([backends], unknown.key, None)).state == CLEARED
    assert "succeeded" in call(backends, "say", PROMPT, call=SAME).text
    with pytest.raises(ConfigurationError, match="not unknown"):
        do(resolve([backends], unknown.key, None))
    with pytest.raises(ConfigurationError, match="No record"):
        do(resolve([backends], "nonsense", None))


def test_a_start_whose_answer_broke_off_behind_the_id_goes_on(backends):
    """The record has the id, and the call waits for it."""
    service = backends.predictions
    service.predictions["p1"] = begun = Prediction(id="p1", status="starting", raw={})
    service.failures = [APIConnectionError("cut", prediction=begun, may_have_started=True)]
    assert "p1 (say) succeeded" in call(backends, "say", PROMPT).text
    assert [one.prediction_id for one in records_of(backends)] == ["p1"]


def test_the_same_order_is_refused_while_one_is_unknown(backends):
    """In a later turn, whose call has another id, and by any tool; with the key of what is unknown."""
    backends.predictions.failures = [LOST]
    call(backends, "say", PROMPT, call=SAME, turn="1")
    (unknown,) = records_of(backends)
    for tool, arguments in (("say", PROMPT), ("start_prediction", START)):
        refused = call(backends, tool, arguments, call=("task", "call-2"), turn="2")
        assert unknown.key in refused.text
        assert refused.is_error
    assert len(backends.predictions.named("create")) == 1
    assert "succeeded" in call(backends, "say", {"prompt": "y"}, turn="2").text
    assert "succeeded" in call(backends, "say", PROMPT, scope="elsewhere").text
    do(resolve([backends], unknown.key, None))
    assert "succeeded" in call(backends, "say", PROMPT, call=("task", "call-2")).text


def test_unknown_starts_that_fill_the_limit_are_the_developer_s(backends):
    """Nobody can wait for them: the answer says who can do what about it."""
    backends.predictions.failures = [LOST, LOST]
    for prompt in ("a", "b"):
        call(backends, "say", {"prompt": prompt})
    refused = call(backends, "say", {"prompt": "c"}).text
    assert "Wait for one" not in refused
    assert "the developer must resolve" in refused
    for record in records_of(backends):
        assert record.key in refused
    do(resolve([backends], records_of(backends)[0].key, None))
    call(backends, "start_prediction", START)
    assert "Wait for one or cancel one" in call(backends, "say", {"prompt": "c"}).text


def test_a_start_that_is_resolved_before_its_answer_is_lost_is_known(backends, monkeypatch):
    """By its webhook, while the response is still on its way: the call waits for that prediction."""
    create = backends.predictions.create

    async def resolved_and_lost(**given):
        made = await create(**given)
        await resolve([backends], records_of(backends)[0].key, made.id)
        raise LOST

    monkeypatch.setattr(backends.predictions, "create", resolved_and_lost)
    assert "Prediction p1 (say) succeeded" in call(backends, "say", PROMPT, call=SAME).text
    assert "nothing new was started" in call(backends, "say", PROMPT, call=SAME).text
    assert [(one.state, one.prediction_id) for one in records_of(backends)] == [(STARTED, "p1")]


@pytest.mark.parametrize("wrong", ["", "a/b", "..", 7, "a b", "\x00"])
def test_an_unknown_start_is_resolved_by_an_id_alone(backends, wrong):
    """What is none is refused, and the record can still be resolved."""
    backends.predictions.failures = [LOST]
    call(backends, "say", PROMPT)
    (unknown,) = records_of(backends)
    with pytest.raises(ConfigurationError, match="is not a prediction id"):
        do(resolve([backends], unknown.key, wrong))
    assert do(resolve([backends], unknown.key, None)).state == CLEARED


@pytest.mark.parametrize(("tool", "arguments"), [("say", PROMPT), ("start_prediction", START)])
def test_the_same_order_in_a_later_turn_is_joined(backends, tool, arguments):
    """While the first runs: with its id, and without a second start."""
    backends.predictions.ends = {}
    first = call(backends, "start_prediction", START, call=("t", "1"), turn="1").result
    again = call(backends, tool, arguments, call=("t", "2"), turn="2")
    assert again.result.id == first.id
    assert "already running" in again.text
    assert not again.is_error
    do(backends.predictions.cancel(first))
    assert call(backends, tool, arguments, call=("t", "3"), turn="3").result.id != first.id


@pytest.mark.parametrize(
    ("ends", "said"),
    [
        ({"status": "succeeded", "output": "x"}, "Output: x"),
        ({"status": "failed", "error": "no cats"}, "no cats"),
    ],
)
def test_an_order_whose_result_was_never_told_is_joined(backends, ends, said):
    """It ended between two turns. Once the agent has seen it, the same order is a new one."""
    backends.predictions.ends = ends
    first = call(backends, "start_prediction", START, call=("t", "1"), turn="1").result
    with contextlib.suppress(PredictionFailedError):
        do(backends.predictions.wait(first, timeout=1, on_update=None))
    again = call(backends, "say", PROMPT, call=("t", "2"), turn="2")
    assert again.result.id == first.id
    assert said in again.text
    assert call(backends, "say", PROMPT, call=("t", "3"), turn="3").result.id != first.id


def test_a_call_that_has_joined_gets_the_same_again(backends):
    """Also after the end: one that slept for it, or is repeated after a crash, does not pay for another."""
    backends.predictions.ends = {}
    first = call(backends, "start_prediction", START, call=("t", "1"), turn="1").result
    call(backends, "say", PROMPT, call=("t", "2"), turn="2")
    backends.predictions.ends = {"status": "succeeded", "output": "x"}
    call(backends, "wait_for_prediction", {"prediction_id": first.id})
    again = call(backends, "say", PROMPT, call=("t", "2"), turn="2")
    assert again.result.id == first.id
    assert again.text.endswith("Output: x")
    assert len(backends.predictions.named("create")) == 1
    assert call(backends, "say", PROMPT, call=("t", "3"), turn="3").result.id != first.id
    assert len(receipt(records_of(backends)).started) == 2


@pytest.mark.parametrize(
    ("changed", "settings"),
    [
        ({"turn": "1"}, {}),
        ({"turn": ""}, {}),
        ({"scope": "elsewhere"}, {}),
        ({"is_shared": True}, {}),
        ({}, {"duplicates": "allow"}),
    ],
)
def test_what_is_meant_to_be_another_is_another(backends, changed, settings):
    """Parallel calls of one turn, calls of a program's own, other conversations, or by the setting."""
    tools = lifecycle(**settings)
    first = call(backends, "start_prediction", START, tools, call=("t", "1"), turn="1").result
    later = {"call": ("t", "2"), "turn": "2", **changed}
    assert call(backends, "start_prediction", START, tools, **later).result.id != first.id


def test_the_start_of_a_program_is_not_joined(backends):
    """A call without a known turn comes from a program, which means each of its starts."""
    first = call(backends, "start_prediction", START, call=("t", "1"), turn="").result
    assert call(backends, "start_prediction", START, call=("t", "2"), turn="2").result.id != first.id


def test_a_run_joins_its_own_order_in_a_shared_scope(backends):
    """Where the scope is that of several conversations, the run tells what is its own."""
    run = AgentRun()
    first = call(backends, "start_prediction", START, turn="1", is_shared=True, runs=(run,)).result
    again = call(backends, "start_prediction", START, turn="2", is_shared=True, runs=(run,)).result
    assert again.id == first.id


def test_a_start_that_another_worker_has_claimed_is_not_sent():
    """The answer says so."""

    class Taken(MemoryRecords):
        async def claim(self, record):
            return False

    backends = MemoryBackends(records=Taken())
    assert "another worker" in call(backends, "say", PROMPT).text
    assert not backends.predictions.calls


def test_an_allowed_id_that_the_service_does_not_know(backends):
    """Does not go on."""
    for tool in ("get_prediction", "wait_for_prediction"):
        backends.predictions.failures = [NotFoundError("no such prediction", status_code=404)]
        answer = call(backends, tool, {"prediction_id": "z"}, lifecycle(is_allowed=lambda _: True))
        assert "knows no such prediction" in answer.text
        assert "go on" not in answer.text


@pytest.mark.parametrize("tool", ["get_prediction", "wait_for_prediction", "cancel_prediction"])
def test_a_gateway_without_the_route_says_nothing_about_a_prediction(backends, tool):
    """It may go on, and the agent may ask again: a page of a restarting gateway is not the service's word."""
    started = call(backends, "start_prediction", START).result
    page = Response(404, {"content-type": "text/html"}, 0.0, b"<html>no backend</html>")
    backends.predictions.failures = [NotFoundError("404", status_code=404, response=page)]
    answer = call(backends, tool, {"prediction_id": started.id})
    assert "It may go on: try again later" in answer.text
    assert answer.is_error


WRITTEN = st.text(st.characters(codec=None), max_size=4).map(lambda text: text * 1500)
"""What a model may write, at length."""


@given(tool=st.sampled_from([*lifecycle().schemas]), name=WRITTEN, value=WRITTEN, key=WRITTEN)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_an_answer_is_short_whatever_an_agent_writes(tool, name, value, key):
    """Less than 2,000 characters: ids, names of models, keys and values; and nothing is sent."""
    backends = MemoryBackends()
    for arguments in (
        {"prediction_id": value},
        {"model": name, "input": {key: value}},
        {"model": "say", "input": {key: value, name: value}},
        {key: value},
    ):
        answer = call(backends, tool, arguments)
        assert len(answer.text) < 2000


def test_an_answer_is_short_however_much_there_is(backends):
    """A list of many keeps every id; many files end in a line that says how many more there are."""
    tools = lifecycle(max_running=99, max_starts=99)
    for number in range(20):
        backends.predictions.ends["output"] = f"https://files.example/{number}{'x' * 200}.png"
        call(backends, "generate_image", {"prompt": str(number)}, tools)
    listed = call(backends, "list_predictions", {}, tools)
    assert len(listed.text) < 2000
    assert all(f"Prediction p{number} " in listed.text for number in range(1, 21))
    backends.predictions.ends["output"] = [
        f"https://files.example/{number}{'x' * 200}" for number in range(20)
    ]
    files = call(backends, "generate_image", PROMPT, tools)
    assert len(files.text) < 2000
    *shown, more = files.text.splitlines()
    assert sum("x" * 200 in line for line in shown) == 8
    assert shown[-1].endswith("x" * 200)
    assert more == "… and 12 more lines."


def test_the_same_call_again_says_that_it_started_nothing(backends):
    """Three calls with nothing to tell them apart get one prediction, and not in silence."""
    answers = [call(backends, "say", PROMPT, call=("task", "")) for _ in range(3)]
    assert [answer.result.id for answer in answers] == ["p1"] * 3
    assert ["nothing new was started" in answer.text for answer in answers] == [False, True, True]


def test_a_resolved_id_is_what_the_call_had_started(backends):
    """The same call then answers with it."""
    backends.predictions.failures = [LOST]
    call(backends, "say", PROMPT, call=SAME)
    backends.predictions.predictions["there"] = Prediction(id="there", status="processing")
    (unknown,) = records_of(backends)
    resolved = do(resolve([backends], unknown.key, "there"))
    assert (resolved.state, resolved.note) == (STARTED, "")
    assert call(backends, "say", PROMPT, call=SAME).result.id == "there"


def test_an_id_is_one_record_s_own(backends):
    """A prediction that one start is known to have made is not another's: it would be counted twice."""
    ours = call(backends, "start_prediction", START).result.id
    backends.predictions.failures = [LOST]
    call(backends, "say", PROMPT)
    (unknown,) = receipt(records_of(backends)).unknown
    with pytest.raises(ConfigurationError, match="already belongs to record"):
        do(resolve([backends], unknown.key, ours))


def test_a_refused_start_may_be_tried_again(backends):
    """Nothing exists, the answer says so, and it uses up no start."""
    tools = lifecycle(max_starts=1)
    backends.predictions.failures = [BadRequestError("prompt is rude", status_code=422)]
    refused = call(backends, "say", PROMPT, tools, call=SAME)
    assert "nothing was started and nothing is charged. prompt is rude Correct the input" in refused.text
    assert "succeeded" in call(backends, "say", PROMPT, tools, call=SAME).text
    assert "used all its 1 starts" in call(backends, "say", {"prompt": "y"}, tools).text


def test_max_running_counts_what_still_runs(backends):
    """At the limit the running ones are looked at first, then named."""
    tools = lifecycle(max_running=1)
    first = call(backends, "start_prediction", START, tools).result
    refused = call(backends, "start_prediction", START, tools)
    assert f"1 predictions are running ({first.id})" in refused.text
    assert "succeeded" in call(backends, "say", PROMPT, tools, scope="elsewhere").text
    do(backends.predictions.cancel(first))
    assert "succeeded" in call(backends, "say", PROMPT, tools).text


def test_what_cannot_be_looked_at_counts_as_running(backends):
    """It stays as it was last seen."""
    tools = lifecycle(max_running=1)
    first = call(backends, "start_prediction", START, tools).result
    do(backends.predictions.cancel(first))
    backends.predictions.failures = [APIConnectionError("it is down")]
    assert f"1 predictions are running ({first.id})" in call(backends, "say", PROMPT, tools).text


def test_what_the_service_does_not_know_any_more_is_not_running(backends):
    """A conversation that goes on after weeks may start again; the receipt keeps what was started."""
    tools = lifecycle(max_running=1)
    first = call(backends, "start_prediction", START, tools, call=("t", "1"), turn="1").result
    backends.predictions.predictions = {"another": first}
    assert "does not know it any more" in call(backends, "list_predictions", {}, tools).text
    assert call(backends, "say", PROMPT, tools, call=("t", "2"), turn="2").result.status == "succeeded"
    assert len(backends.predictions.named("create")) == 2
    assert [one.prediction_id for one in receipt(records_of(backends)).started][:1] == [first.id]
    assert records_of(backends)[0].status == "starting"  # the next look may find it again


def test_a_list_is_of_what_stands_now(backends):
    """All that this conversation has started, looked at again where it was running."""
    first = call(backends, "start_prediction", START).result
    call(backends, "start_prediction", START, scope="elsewhere")
    do(backends.predictions.cancel(first))
    listed = call(backends, "list_predictions", {})
    assert [(one.id, one.status) for one in listed.result] == [(first.id, "canceled")]
    assert "p1 (say): canceled" in listed.text


def test_ids_of_other_scopes_are_refused_unless_allowed(backends):
    """For get, wait and cancel; the answer names those that there are. An allowed one gets no record here."""
    other = call(backends, "say", PROMPT, scope="elsewhere").result.id
    own = call(backends, "say", PROMPT).result.id
    for tool in ("get_prediction", "wait_for_prediction", "cancel_prediction"):
        refused = call(backends, tool, {"prediction_id": other})
        assert "is not a prediction of this conversation" in refused.text
        assert own in refused.text
    allowing, records = lifecycle(is_allowed={other}.__contains__), records_of(backends)
    assert call(backends, "get_prediction", {"prediction_id": other}, allowing).result.status == "succeeded"
    assert call(backends, "cancel_prediction", {"prediction_id": other}, allowing).result.id == other
    assert records_of(backends) == records


def test_a_service_that_cannot_be_reached_is_an_answer(backends):
    """It says that nothing was started, or that what was started may go on."""
    first = call(backends, "start_prediction", START).result
    down = APIConnectionError("it is down")
    for tool in ("get_prediction", "wait_for_prediction", "cancel_prediction"):
        backends.predictions.failures = [down]
        answer = call(backends, tool, {"prediction_id": first.id})
        assert "could not be asked about. it is down" in answer.text
        assert answer.result.id == first.id
    backends.predictions.failures = [down]
    assert "nothing was started" in call(backends, "say", PROMPT).text


def test_what_is_running_is_canceled_for_the_developer(backends):
    """Of one scope or of all; what cannot be canceled is left out, and told in the log."""
    first = call(backends, "start_prediction", START).result
    second = call(backends, "start_prediction", START, scope="elsewhere").result
    call(backends, "say", PROMPT)
    assert [one.prediction_id for one in do(cancel_running([backends], "here"))] == [first.id]
    backends.predictions.failures = [APIConnectionError("it is down")]
    assert do(cancel_running([backends], None)) == []
    assert [one.prediction_id for one in do(cancel_running([backends], None))] == [second.id]


def test_records_are_looked_at_again_on_demand(backends):
    """Those that were running, and only if they are to be."""
    first = call(backends, "start_prediction", START).result
    do(backends.predictions.cancel(first))
    (record,) = do(list_records([backends], "here", fresh=False))
    assert record.is_running
    (record,) = do(list_records([backends], None, fresh=True))
    assert record.status == "canceled"


def test_a_store_that_fails_starts_nothing():
    """What cannot be remembered is not sent."""
    backends = MemoryBackends(records=Breaking(0))
    answer = call(backends, "say", PROMPT)
    assert "could not be remembered, so nothing was sent" in answer.text
    assert not backends.predictions.calls


def test_a_store_that_fails_after_the_start():
    """What was started is told all the same, with its output."""
    answer = call(MemoryBackends(records=Breaking(1)), "say", PROMPT)
    assert answer.text.endswith("Output: x")
    assert not answer.is_error


@pytest.mark.parametrize("tool", ["wait_for_prediction", "get_prediction", "cancel_prediction"])
def test_an_id_that_the_store_could_not_write_is_known_all_the_same(tool):
    """The agent has read it. The next tool that writes puts it into the store."""
    records, tools = Breaking(1), lifecycle()
    backends = MemoryBackends(records=records)
    started = call(backends, "start_prediction", START, tools, call=SAME).result
    assert [one.state for one in records_of(backends)] == [UNANSWERED]
    assert started.id in call(backends, "list_predictions", {}, tools).text
    records.writes = 1
    assert call(backends, tool, {"prediction_id": started.id}, tools).result.id == started.id
    assert [one.prediction_id for one in records_of(backends)] == [started.id]


def test_a_call_whose_id_the_store_could_not_write_is_not_sent_again():
    """The same call gets its prediction; the record in the store says only that it may have started."""
    tools = lifecycle()
    backends = MemoryBackends(records=Breaking(1))
    started = call(backends, "start_prediction", START, tools, call=SAME).result
    assert call(backends, "start_prediction", START, tools, call=SAME).result.id == started.id
    assert len(backends.predictions.named("create")) == 1


def test_a_write_that_succeeded_though_it_failed_holds_nothing():
    """A database may have committed before its answer was lost. Nothing was sent, so the same call may be."""

    class Late(MemoryRecords):
        async def claim(self, record, max_cost=None):
            await super().claim(record, max_cost)
            raise OSError("no answer")

    backends = MemoryBackends(records=Late())
    assert "nothing was sent" in call(backends, "say", PROMPT, call=SAME).text
    assert [one.state for one in records_of(backends)] == [REFUSED]


def test_the_time_that_a_person_takes_is_not_the_call_s(backends):
    """After an approval that came late, the call still waits as long as it may."""

    def late(*about):
        backends.predictions.clock += 500
        return True

    call(backends, "say", PROMPT, approve=late)
    assert backends.predictions.named("wait") == [("p1", 60.0)]


def test_a_person_may_decline(backends):
    """Nothing is started, and there is no record of it; the person is told what it is about."""
    asked = []
    answer = call(backends, "say", PROMPT, approve=lambda *about: asked.append(about))
    assert "a person declined" in answer.text
    assert not backends.predictions.calls
    assert not records_of(backends)
    assert asked[0][:2] == (SAY, PROMPT)
