"""A toolset on a sandbox; every test holds for blocking calls and for await."""

import asyncio
import copy
import inspect
import json
import math
import pickle
import threading
import time

import pytest

from rockai_sandbox import ECHO, NEVER_ENDS, Sandbox
from rockai_transport import (
    GENERATE_IMAGE,
    AsyncClient,
    Client,
    ConfigurationError,
    HostedModel,
    Prediction,
)
from rockai_transport.jobs.admin import ToolkitAdmin
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.stores import MemoryRecords, Store
from rockai_transport.jobs.toolset import Toolset

ENDLESS = HostedModel("endless", NEVER_ENDS, "Never ends.", output="text")
SAY = HostedModel("say", ECHO, "Says it.", output="text")
PROMPT = {"prompt": "x"}


class Admin(ToolkitAdmin):
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


@pytest.mark.parametrize(
    ("output", "told"),
    [("audio", "the audio"), ("text", "the text"), ("video", "the video"), (None, "the output")],
)
def test_what_comes_out_is_told_as_it_is(caller, output, told):
    """To the agent, in the tool's description; what the developer does not say is no video."""
    described = caller.toolset(HostedModel("speak", ECHO, "Speaks.", output=output)).descriptions["speak"]
    assert f"s for {told}, then" in described


def test_a_tool_that_waits_without_limit_says_so(caller):
    """No number stands where there is none."""
    toolset = caller.toolset(SAY, max_wait=math.inf)
    assert toolset.descriptions["say"] == "Says it. Waits for the text."
    timeout = toolset.schemas["wait_for_prediction"]["properties"]["timeout"]
    assert timeout["description"] == "Seconds to wait at most; no limit if left out."


@pytest.mark.parametrize("longest", [math.inf, 1e12])
def test_a_tool_that_waits_without_limit_works(caller, longest):
    """It starts, and looks again, however long it may wait."""
    toolset = caller.toolset(SAY, max_wait=longest)
    said = caller.call(toolset, "say", PROMPT)
    assert said.result.status == "succeeded"
    again = caller.call(toolset, "get_prediction", {"prediction_id": said.result.id})
    assert again.result.status == "succeeded"


def test_an_output_that_is_not_said_is_seen(caller, tmp_path):
    """A text is told and not saved, a file is saved."""
    picture = HostedModel("picture", GENERATE_IMAGE.model, "Draws.")
    toolset = caller.toolset(HostedModel("echo", ECHO, "Says it."), picture, save_to=tmp_path)
    said = caller.call(toolset, "echo", PROMPT)
    assert "Output: " in said.text
    assert "saved" not in said.text.lower()
    assert caller.call(toolset, "picture", PROMPT).files


def test_outputs_need_a_folder(caller, tmp_path, monkeypatch):
    """Found when the tools are made: an agent would find it when the video is paid for."""
    (tmp_path / "file").touch()
    for bad in (5, "", "a\0b", tmp_path / "file", tmp_path / "file" / "deeper"):
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


TYPED = HostedModel(
    "typed",
    ECHO,
    "Takes typed inputs.",
    input_schema={
        "type": "object",
        "properties": {
            "prompt": {"type": "string"},
            "count": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["prompt"],
    },
    output="text",
)
WRITTEN = {"prompt": "16", "count": "16", "tags": '["x"]'}
MEANT = {"prompt": "16", "count": 16, "tags": ["x"]}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (WRITTEN, MEANT),
        ({"prompt": "x", "count": None, "tags": None}, {"prompt": "x"}),
        ({"prompt": "null", "tags": ["16"]}, {"prompt": "null", "tags": ["16"]}),
    ],
)
def test_arguments_are_read_as_their_schema_declares_them(caller, given, sent):
    """Null for an optional one is left out, text is the declared number or list; text stays text."""
    toolset = caller.toolset(TYPED)
    assert not caller.call(toolset, "typed", given).is_error
    start = {"model": "typed", "input": json.dumps(given)}
    assert not caller.call(toolset, "start_prediction", start).is_error
    assert [prediction.input for prediction in caller.sandbox.predictions] == [sent, sent]


def test_arguments_that_are_something_else_are_refused(caller):
    """Nothing is guessed, and nothing sent."""
    answer = caller.call(caller.toolset(TYPED), "typed", {"prompt": "x", "count": "some", "tags": "x"})
    for words in ("count must be of type integer", "tags must be of type array"):
        assert words in answer.text
    assert caller.sandbox.predictions == []


async def yes(_):
    """Say yes to whoever awaits it."""
    return True


@pytest.mark.parametrize("ids", ["abc", 5, [Prediction(id="p1")], [["p1"]], yes])
def test_allowed_ids_are_a_list_or_a_function(caller, ids):
    """A string would be a list of its letters, no id equals a prediction, and a coroutine is true."""
    with pytest.raises(ConfigurationError, match="must be a list of prediction ids"):
        caller.toolset(allowed_ids=ids)


@pytest.mark.filterwarnings("ignore:coroutine 'yes' was never awaited")
def test_a_coroutine_is_no_answer_of_the_developer_s_function(caller, caplog):
    """It counted as a yes to every id, and as another conversation, with its own limits, in each call."""
    toolset = caller.toolset(allowed_ids=lambda one: yes([one]), scope=lambda place: yes([place]))
    asked = caller.call(toolset, "get_prediction", {"prediction_id": "p1"})
    assert asked.is_error
    assert "allowed_ids= must be a function that needs no await" in caplog.text
    assert caller.sandbox.requests == []
    with pytest.raises(ConfigurationError, match="scope= must be a function that needs no await"):
        toolset.scope_of(None, None)


@pytest.mark.parametrize("there", [True, False])
def test_a_lost_answer_is_resolved_by_the_developer(caller, there):
    """With the prediction's id, or None: then the same call starts."""
    toolset, same = caller.toolset(SAY), {"call": ("task", "call-1")}
    caller.sandbox.answer_next(502, "bad", content_type="text/html", method="POST")
    lost = caller.call(toolset, "say", PROMPT, **same)
    admin = Admin(toolset)
    (unknown,) = admin.receipt().unknown
    assert unknown.key in lost.text
    assert "unknown" in str(admin.receipt())
    with Client(caller.sandbox.api_token, caller.sandbox.base_url) as client:
        found = client.predictions.create(model=ECHO, input=PROMPT).id if there else None
    if caller.asynchronous:
        asyncio.run(admin.aresolve(unknown.key, prediction_id=found))
    else:
        admin.resolve(unknown.key, prediction_id=found)
    answer = caller.call(toolset, "say", PROMPT, **same)
    assert "succeeded" in answer.text
    assert found in (None, started_id(answer))
    with pytest.raises(ConfigurationError, match="No record"):
        admin.resolve("nonsense", prediction_id=None)


def test_a_store_is_known_however_often_others_are_used(caller):
    """A lost start is resolved without naming the store that its conversation brought."""
    toolset, theirs, others = caller.toolset(SAY), {}, {}
    caller.sandbox.answer_next(502, "bad", content_type="text/html", method="POST")
    caller.call(toolset, "say", PROMPT, store=theirs)
    for _ in range(20):
        caller.call(toolset, "list_predictions", scope="others", store=others)
    admin = Admin(toolset)
    (unknown,) = admin.receipt().unknown
    admin.resolve(unknown.key, prediction_id=None)
    assert [json.loads(text)["state"] for text in theirs.values()] == ["cleared"]


def test_a_start_without_a_thread_to_be_had(sandbox, caplog):
    """It is sent in the thread of its caller, and answered as ever."""
    toolset = Toolset([SAY], api_token=sandbox.api_token, base_url=sandbox.base_url)
    usual = threading.stack_size(2**46)  # which no machine can give a new thread
    try:
        with pytest.raises(RuntimeError):
            threading.Thread(target=print).start()
        answer = toolset.call("say", PROMPT, CallContext("here", ("task", "1")))
    finally:
        threading.stack_size(usual)
    assert "succeeded" in answer.text
    assert not caplog.records
    again = toolset.call("say", PROMPT, CallContext("here", ("task", "1")))
    assert started_id(again) == started_id(answer)
    toolset.close()


def test_a_tool_that_fails_inside_is_an_answer(caller):
    """Whatever it is: no tool call may crash an agent; a framework's own interruption passes."""

    def breaks(*_):
        raise LookupError("a mistake of the program's")

    answer = caller.call(caller.toolset(SAY), "say", PROMPT, approve=breaks)
    assert answer.is_error
    assert "say failed inside (LookupError)" in answer.text
    toolset = caller.toolset(SAY)
    context = CallContext("here", approve=breaks)
    interrupted = toolset.acall("say", PROMPT, context, interruptions=(LookupError,))
    with pytest.raises(LookupError):
        asyncio.run(interrupted)


def test_a_client_of_one_kind_is_enough(sandbox):
    """The other is made with its settings."""
    given = {"api_token": sandbox.api_token, "base_url": sandbox.base_url}
    with_blocking = Toolset([SAY], client=Client(**given))
    with_await = Toolset([SAY], async_client=AsyncClient(**given))
    for toolset in (with_blocking, with_await):
        assert "succeeded" in toolset.call("say", PROMPT, CallContext("here")).text
        assert "succeeded" in asyncio.run(toolset.acall("say", PROMPT, CallContext("here"))).text
        toolset.close()


def test_a_receipt(caller, tmp_path):
    """What was started, its status, its seconds and its file."""
    toolset = caller.toolset(save_to=tmp_path)
    answer = caller.call(toolset, "generate_image", PROMPT)
    admin = Admin(toolset)
    (record,) = admin.receipt().started
    assert (record.model, record.status, record.prediction_id) == (
        "generate_image",
        "succeeded",
        started_id(answer),
    )
    assert admin.receipt().predict_seconds > 0
    assert str(answer.files[0]) in str(admin.receipt())
    assert asyncio.run(admin.areceipt()) == admin.receipt()


def test_a_receipt_that_asks_the_service(caller):
    """What was running when it was last looked at is looked at again."""
    toolset = caller.toolset(ENDLESS)
    start = caller.call(toolset, "start_prediction", {"model": "endless", "input": PROMPT})
    with Client(caller.sandbox.api_token, caller.sandbox.base_url) as client:
        client.predictions.cancel(started_id(start))
    admin = Admin(toolset)
    assert admin.receipt().started[0].is_running
    assert admin.receipt(refresh=True).started[0].status == "canceled"


def test_every_method_for_the_developer_has_an_async_twin():
    """With the same parameters."""
    names = [name for name in vars(ToolkitAdmin) if not name.startswith("_")]
    blocking = [name for name in names if f"a{name}" in names]
    assert blocking == ["receipt", "resolve", "cancel_running", "sweep", "close"]
    for name in blocking:
        one, other = (inspect.signature(getattr(ToolkitAdmin, each)) for each in (name, f"a{name}"))
        assert list(one.parameters.values()) == list(other.parameters.values())


def test_a_copy_of_the_tools_shares_their_limits(caller):
    """It is no separate budget."""
    toolset = caller.toolset(SAY, max_starts=1)
    assert "succeeded" in caller.call(toolset, "say", PROMPT).text
    assert "used all its 1 starts" in caller.call(copy.deepcopy(toolset), "say", PROMPT).text


def test_tools_that_are_pickled(caller):
    """The error says what to do; another process would have a separate budget."""
    with pytest.raises(TypeError, match=r"make the toolkit in each process.*store="):
        pickle.dumps(caller.toolset(SAY))


def test_calls_side_by_side_stay_below_the_limit(sandbox, caller):
    """However they come, no more run than may run."""
    toolset = caller.toolset(ENDLESS, max_wait=0.1, max_running=3)
    answers = []
    contexts = [CallContext("here", ("task", str(number))) for number in range(8)]

    async def together():
        calls = (toolset.acall("endless", PROMPT, context) for context in contexts)
        answers.extend(await asyncio.gather(*calls))

    if caller.asynchronous:
        asyncio.run(together())
    else:
        threads = [
            threading.Thread(target=lambda at=at: answers.append(toolset.call("endless", PROMPT, at)))
            for at in contexts
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
        context = CallContext("here", ("task", "1"))

        async def both():
            return await asyncio.gather(*(toolset.acall("say", PROMPT, context) for _ in range(2)))

        answers = asyncio.run(both())
    assert len(sandbox.predictions) == 1
    assert any("is being carried out already" in answer.text for answer in answers)


def test_equal_calls_at_once_are_two_starts(sandbox):
    """Also if the later one is recorded before the earlier one has read the records, as from a file."""
    is_first, is_recorded = iter([True]), asyncio.Event()

    class Late(MemoryRecords):
        async def all(self, scope):
            if next(is_first, False):
                await is_recorded.wait()
            return await super().all(scope)

        async def claim(self, *record):
            is_claimed = await super().claim(*record)
            is_recorded.set()
            return is_claimed

    with Client(sandbox.api_token, sandbox.base_url) as client:
        toolset = Toolset([SAY], client=client)
        toolset._own = Store(Late(), None)

        async def both():
            contexts = [CallContext("here", ("task", call), turn="1") for call in "12"]
            return await asyncio.gather(*(toolset.acall("say", PROMPT, one) for one in contexts))

        assert not any(answer.is_error for answer in asyncio.run(both()))
    assert len(sandbox.predictions) == 2


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


def test_a_picture_that_is_gone_is_not_the_agent_s_to_correct(caller, tmp_path):
    """It is the developer's default: the agent neither sees nor changes it."""
    animate = HostedModel("animate", ECHO, "Animates.", defaults={"image": tmp_path / "gone.png"})
    refused = caller.call(caller.toolset(animate), "animate", PROMPT)
    assert "nothing was started" in refused.text
    assert "gone.png" in refused.text
    assert refused.text.endswith("Tell the user.")
    assert not caller.sandbox.requests


LOOP = {"properties": {"prompt": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}}
HALVES = {"properties": {"prompt": {"multipleOf": 0.5}}}


@pytest.mark.parametrize(("schema", "given"), [(LOOP, "x"), (HALVES, 10**400)])
def test_arguments_that_cannot_be_checked_are_refused(caller, schema, given):
    """References in a loop, or a number of 400 digits: nothing is sent."""
    draw = HostedModel("draw", ECHO, "Draws.", schema)
    answer = caller.call(caller.toolset(draw), "draw", {"prompt": given})
    assert answer.text.startswith("draw: this cannot be checked against the JSON schema")
    assert not caller.sandbox.requests
