"""The lifecycle on a sandbox; every test holds for blocking calls and for await."""

import asyncio
import copy
import inspect
import json
import threading
import time

import pytest

from rockai_sandbox import ECHO, FAILS_HALF_WAY, NEVER_ENDS, Sandbox
from rockai_transport import Client, ConfigurationError, HostedModel, Prediction
from rockai_transport.jobs.admin import ToolkitAdmin
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.toolset import Toolset

ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text")
SAY = HostedModel("say", ECHO, "Says it.", output="text")
PROMPT = {"prompt": "x"}


class Books(ToolkitAdmin):
    def __init__(self, toolset):
        self._toolset = toolset


def started_id(answer):
    return answer.result.id


def test_a_model_s_own_tool(caller, tmp_path):
    """Starts, waits, saves, and answers with the file."""
    toolset = caller.toolset(save_to=tmp_path / "out")
    answer = caller.call(toolset, "generate_image", PROMPT)
    (path,) = answer.files
    assert path.suffix == ".png"
    assert f"Saved as: {path}" in answer.text
    assert isinstance(answer.result, Prediction)


def test_a_file_is_saved_once(caller, tmp_path):
    """Asked for again, it is named and not fetched again."""
    toolset = caller.toolset(save_to=tmp_path)
    first = caller.call(toolset, "generate_image", PROMPT)
    again = caller.call(toolset, "get_prediction", {"prediction_id": started_id(first)})
    assert again.files == first.files
    assert len(caller.sandbox.file_requests) == 1


def test_a_file_that_cannot_be_saved_is_told(caller, tmp_path):
    """The answer still has the address."""
    toolset = caller.toolset(save_to=tmp_path / "file")
    (tmp_path / "file").touch()  # what could be found before is found when the tools are made
    answer = caller.call(toolset, "generate_image", PROMPT)
    assert "Output: http" in answer.text
    assert "could not be saved" in answer.text


def test_outputs_need_a_folder(caller, tmp_path, monkeypatch):
    """Found when the tools are made: an agent would find it when the video is paid for."""
    (tmp_path / "file").touch()
    for bad in (5, "", tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(ConfigurationError, match="save_to="):
            caller.toolset(save_to=bad)
    monkeypatch.setenv("HOME", str(tmp_path))
    answer = caller.call(caller.toolset(save_to="~/new/deeper"), "generate_image", PROMPT)
    assert answer.files[0].is_relative_to(tmp_path / "new" / "deeper")


def test_the_five_tools(caller):
    """Start, get, wait up to the bound, cancel, list."""
    toolset = caller.toolset(ENDLESS, max_wait=0.3)
    start = caller.call(toolset, "start_prediction", {"model": "endless", "input": PROMPT})
    by_id = {"prediction_id": started_id(start)}
    assert "is starting" in start.text or "is processing" in start.text
    assert "processing" in caller.call(toolset, "get_prediction", by_id).text
    began = time.monotonic()
    waited = caller.call(toolset, "wait_for_prediction", {**by_id, "timeout": 900})
    assert 0.25 < time.monotonic() - began < 3
    assert "is still processing" in waited.text
    assert "is canceled" in caller.call(toolset, "cancel_prediction", by_id).text
    listed = caller.call(toolset, "list_predictions")
    assert [prediction.status for prediction in listed.result] == ["canceled"]


def test_an_output_that_was_not_seen_at_its_end_is_looked_up(caller):
    """A later wait gives the output, not only the status that the record knows."""
    toolset = caller.toolset(SAY)
    first = caller.call(toolset, "say", PROMPT)
    again = caller.call(toolset, "wait_for_prediction", {"prediction_id": started_id(first)})
    assert again.text.endswith("Output: x")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
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
def test_wrong_arguments_send_nothing(caller, tool, arguments, words):
    """They are answered in words."""
    answer = caller.call(caller.toolset(), tool, arguments)
    assert words in answer.text
    assert answer.is_error
    assert not caller.sandbox.requests


def test_a_failed_prediction_is_an_answer(caller):
    """In the model's own words, with the prediction for the program."""
    broken = HostedModel("broken", FAILS_HALF_WAY, "Fails.", output="text")
    answer = caller.call(caller.toolset(broken), "broken", PROMPT)
    assert answer.is_error
    assert answer.result.status == "failed"
    assert caller.sandbox.predictions[0].error in answer.text


def test_defaults_are_sent(caller):
    """Those that the agent may change, and those it cannot see."""
    seen = []

    @caller.sandbox.model("a/b")
    def look(input):
        seen.append(input)
        return "ok"

    schema = {
        "properties": {"prompt": {"type": "string"}, "size": {"type": "integer"}},
        "required": ["prompt"],
    }
    model = HostedModel("look", "a/b", "Looks.", schema, {"size": 3, "secret": "s"}, "text")
    toolset = caller.toolset(model)
    caller.call(toolset, "look", PROMPT)
    caller.call(toolset, "look", {**PROMPT, "size": 4})
    assert seen == [{"prompt": "x", "size": 3, "secret": "s"}, {"prompt": "x", "size": 4, "secret": "s"}]


def test_the_same_call_again_gets_what_it_had_started(caller):
    """In the middle of its way, and after its end; another input is another call."""
    toolset = caller.toolset(SAY, ENDLESS, max_wait=0.1)
    same = {"call": ("task", "call-1")}
    first = caller.call(toolset, "endless", PROMPT, **same)
    again = caller.call(toolset, "endless", PROMPT, **same)
    assert started_id(first) == started_id(again)
    other = caller.call(toolset, "endless", {"prompt": "y"}, **same)
    assert started_id(other) != started_id(first)
    assert len(caller.sandbox.predictions) == 2
    Books(toolset).cancel_running()
    assert "was canceled" in caller.call(toolset, "endless", PROMPT, **same).text
    assert len(caller.sandbox.predictions) == 2


def test_the_same_start_again_tells_how_it_stands(caller):
    """With its output, which the record does not hold."""
    toolset, same = caller.toolset(SAY), {"call": ("task", "call-1")}
    start = {"model": "say", "input": PROMPT}
    first = caller.call(toolset, "start_prediction", start, **same)
    caller.call(toolset, "wait_for_prediction", {"prediction_id": started_id(first)})
    again = caller.call(toolset, "start_prediction", start, **same)
    assert again.text.endswith("Output: x")
    assert len(caller.sandbox.predictions) == 1


def test_a_lost_answer_is_unknown_until_the_developer_resolves_it(caller):
    """Nothing is sent again by itself; cleared, the same call starts."""
    toolset, same = caller.toolset(SAY), {"call": ("task", "call-1")}
    caller.sandbox.answer_next(502, "bad", content_type="text/html", method="POST")
    lost = caller.call(toolset, "say", PROMPT, **same)
    again = caller.call(toolset, "say", PROMPT, **same)
    assert "unknown whether this started" in lost.text
    assert "unknown whether this started" in again.text
    assert len([request for request in caller.sandbox.requests if request.method == "POST"]) == 1

    books = Books(toolset)
    (unknown,) = books.receipt().unknown
    assert unknown.key in lost.text
    assert "unknown" in str(books.receipt())
    assert f"record {unknown.key}" in caller.call(toolset, "list_predictions").text
    books.resolve(unknown.key, prediction_id=None)
    assert "succeeded" in caller.call(toolset, "say", PROMPT, **same).text
    with pytest.raises(ConfigurationError, match="not unknown"):
        books.resolve(unknown.key, prediction_id=None)
    with pytest.raises(ConfigurationError, match="No record"):
        books.resolve("nonsense", prediction_id=None)


def test_a_resolved_id_is_what_the_call_had_started(caller):
    """The same call then answers with it."""
    toolset, same = caller.toolset(SAY), {"call": ("task", "call-1")}
    caller.sandbox.answer_next(502, "bad", content_type="text/html", method="POST")
    caller.call(toolset, "say", PROMPT, **same)
    with Client(caller.sandbox.api_token, caller.sandbox.base_url) as client:
        there = client.predictions.create(model=ECHO, input=PROMPT)
    books = Books(toolset)
    resolved = books.resolve(books.receipt().unknown[0].key, prediction_id=there.id)
    assert resolved.note == ""
    assert there.id in caller.call(toolset, "say", PROMPT, **same).text


def test_an_id_is_one_records_own(caller):
    """A prediction that one start is known to have made is not another's: it would be counted twice."""
    toolset = caller.toolset(SAY)
    ours = started_id(caller.call(toolset, "start_prediction", {"model": "say", "input": PROMPT}))
    caller.sandbox.drop_next(method="POST")
    lost = caller.call(toolset, "say", PROMPT, call=("task", "call-1"))
    assert "response. A prediction may be running" in lost.text
    books = Books(toolset)
    with pytest.raises(ConfigurationError, match="that of record"):
        books.resolve(books.receipt().unknown[0].key, prediction_id=ours)


@pytest.mark.parametrize("ids", ["abc", 5])
def test_allowed_ids_are_a_list_or_a_function(caller, ids):
    """A string would be taken for a list of its letters."""
    with pytest.raises(ConfigurationError, match="must be a list of prediction ids"):
        caller.toolset(allowed_ids=ids)


def test_a_refused_start_may_be_tried_again(caller):
    """Nothing exists, the answer says so, and it uses up no start."""
    toolset, same = caller.toolset(SAY, max_starts=1), {"call": ("task", "call-1")}
    caller.sandbox.answer_next(422, json.dumps({"detail": "prompt is rude"}), method="POST")
    refused = caller.call(toolset, "say", PROMPT, **same)
    assert "nothing was started and nothing is charged" in refused.text
    assert "prompt is rude" in refused.text
    assert "succeeded" in caller.call(toolset, "say", PROMPT, **same).text
    assert "used all its 1 starts" in caller.call(toolset, "say", {"prompt": "y"}).text


def test_max_running_counts_what_still_runs(caller):
    """At the limit the running ones are looked at first, then named."""
    toolset = caller.toolset(ENDLESS, SAY, max_running=1)
    start = {"model": "endless", "input": PROMPT}
    first = caller.call(toolset, "start_prediction", start)
    refused = caller.call(toolset, "start_prediction", start)
    assert f"1 predictions are running ({started_id(first)})" in refused.text
    assert "succeeded" in caller.call(toolset, "say", PROMPT, scope="elsewhere").text
    with Client(caller.sandbox.api_token, caller.sandbox.base_url) as client:
        client.predictions.cancel(started_id(first))
    assert "succeeded" in caller.call(toolset, "say", PROMPT).text


def test_ids_of_other_scopes_are_refused_unless_allowed(caller):
    """For get, wait and cancel; the answer names those that there are."""
    mine = caller.call(caller.toolset(SAY), "say", PROMPT)
    other = caller.toolset(SAY)
    own = caller.call(other, "say", PROMPT)
    for tool in ("get_prediction", "wait_for_prediction", "cancel_prediction"):
        refused = caller.call(other, tool, {"prediction_id": started_id(mine)})
        assert "is not a prediction of this conversation" in refused.text
        assert started_id(own) in refused.text
    allowing = caller.toolset(SAY, allowed_ids=[started_id(mine)])
    got = caller.call(allowing, "get_prediction", {"prediction_id": started_id(mine)})
    assert got.result.status == "succeeded"


def test_a_service_that_cannot_be_reached_is_an_answer(caller):
    """It says that nothing was started, or that what was started may go on."""
    toolset = caller.toolset(ENDLESS, max_retries=0, max_wait=0.2)
    first = caller.call(toolset, "endless", PROMPT)
    caller.sandbox.stop()
    down = caller.call(toolset, "get_prediction", {"prediction_id": started_id(first)})
    assert "could not be asked about" in down.text
    assert down.result.id == started_id(first)
    assert "nothing was started" in caller.call(toolset, "generate_image", PROMPT).text


def test_a_store_that_fails_starts_nothing(caller):
    """What cannot be remembered is not sent."""

    class Full(dict):
        def __setitem__(self, key, value):
            raise OSError("the disk is full")

    answer = caller.call(caller.toolset(SAY, store=Full()), "say", PROMPT)
    assert "could not be remembered, so nothing was sent" in answer.text
    assert not caller.sandbox.requests


def test_a_store_that_fails_after_the_start(caller):
    """What was started is told all the same, with its output."""

    class Filling(dict):
        def __setitem__(self, key, value):
            if self:
                raise OSError("the disk is full")
            super().__setitem__(key, value)

    answer = caller.call(caller.toolset(SAY, store=Filling()), "say", PROMPT)
    assert answer.text.endswith("Output: x")
    assert not answer.is_error


def test_a_person_may_decline(caller):
    """Nothing is started, and the record does not say that it was."""
    toolset = caller.toolset(SAY)
    answer = caller.call(toolset, "say", PROMPT, approve=lambda *_: False)
    assert "a person declined" in answer.text
    assert not caller.sandbox.requests
    assert Books(toolset).receipt() == ((), ())


def test_a_receipt(caller, tmp_path):
    """What was started, its status, its seconds and its file."""
    toolset = caller.toolset(save_to=tmp_path)
    answer = caller.call(toolset, "generate_image", PROMPT)
    books = Books(toolset)
    (record,) = books.receipt().started
    assert (record.model, record.status, record.prediction_id) == (
        "generate_image",
        "succeeded",
        started_id(answer),
    )
    assert books.receipt().predict_seconds > 0
    assert str(answer.files[0]) in str(books.receipt())
    assert asyncio.run(books.areceipt()) == books.receipt()


def test_a_receipt_that_asks_the_service(caller):
    """What was running when it was last looked at is looked at again."""
    toolset = caller.toolset(ENDLESS)
    start = caller.call(toolset, "start_prediction", {"model": "endless", "input": PROMPT})
    with Client(caller.sandbox.api_token, caller.sandbox.base_url) as client:
        client.predictions.cancel(started_id(start))
    books = Books(toolset)
    assert books.receipt().started[0].is_running
    assert books.receipt(refresh=True).started[0].status == "canceled"


def test_every_method_for_the_developer_has_an_async_twin():
    """With the same parameters."""
    names = [name for name in vars(ToolkitAdmin) if not name.startswith("_")]
    blocking = [name for name in names if f"a{name}" in names]
    assert blocking == ["receipt", "resolve", "cancel_running", "close"]
    for name in blocking:
        one, other = (inspect.signature(getattr(ToolkitAdmin, each)) for each in (name, f"a{name}"))
        assert list(one.parameters.values()) == list(other.parameters.values())


def test_a_copy_of_the_tools_shares_their_limits(caller):
    """It is no second purse."""
    toolset = caller.toolset(SAY, max_starts=1)
    assert "succeeded" in caller.call(toolset, "say", PROMPT).text
    assert "used all its 1 starts" in caller.call(copy.deepcopy(toolset), "say", PROMPT).text


def test_calls_side_by_side_stay_below_the_limit(sandbox, caller):
    """However they come, no more run than may run."""
    toolset = caller.toolset(ENDLESS, max_wait=0.1, max_running=3)
    answers = []
    sites = [CallContext("here", ("task", str(number))) for number in range(8)]

    async def together():
        answers.extend(await asyncio.gather(*(toolset.acall("endless", PROMPT, site) for site in sites)))

    if caller.asynchronous:
        asyncio.run(together())
    else:
        threads = [
            threading.Thread(target=lambda site=site: answers.append(toolset.call("endless", PROMPT, site)))
            for site in sites
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(sandbox.predictions) == 3
    assert len([answer for answer in answers if "are allowed at once" in answer.text]) == 5


def test_the_same_call_twice_at_once_starts_once(sandbox):
    """The second is told that the first is on its way."""
    with Client(sandbox.api_token, sandbox.base_url) as client:
        toolset = Toolset([SAY], client=client)
        site = CallContext("here", ("task", "1"))

        async def both():
            return await asyncio.gather(*(toolset.acall("say", PROMPT, site) for _ in range(2)))

        answers = asyncio.run(both())
    assert len(sandbox.predictions) == 1
    assert any("is being carried out already" in answer.text for answer in answers)


def test_a_start_that_hangs_ends_with_the_toolset_s_timeout(caller):
    """The tool does not wait longer, and says that a prediction may exist."""
    with Sandbox() as slow:
        slow.answer_next(503, "", method="POST", headers={"Retry-After": "30"}, times=None)
        caller.sandbox = slow
        toolset = caller.toolset(SAY, timeout=0.5)
        began = time.monotonic()
        answer = caller.call(toolset, "say", PROMPT)
        assert time.monotonic() - began < 5
        assert answer.is_error
