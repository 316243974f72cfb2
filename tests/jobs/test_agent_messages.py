import pytest

from rockai_transport import ANIMATE_IMAGE, APIConnectionError, BadRequestError, HostedModel, Prediction
from rockai_transport.jobs.agent_messages import (
    PredictionView,
    describe_canceled,
    describe_list,
    describe_not_started,
    describe_prediction,
    duration,
    fitted,
)
from rockai_transport.jobs.records import UNANSWERED, Record

BAR = " 40%|████      | 20/50 [00:12<00:18,  1.66it/s]"
LONG = HostedModel("x" * 64, "a/b", "Films.")
TEXT = HostedModel("say", "a/b", "Says.", output="text")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3700, "1 h 1 min")]
)
def test_a_duration(seconds, said):
    """As people say it."""
    assert duration(seconds) == said


def test_a_cold_model():
    """How long it has been starting, and how long that usually takes, however the developer wrote it."""
    for model in (ANIMATE_IMAGE, HostedModel("film", "a/b", "Films.", usual_cold_start="1200")):
        view = PredictionView(Prediction(id="p1", status="starting"), model, 200.0)
        assert "starting for 3 min 20 s, usually under 20 min" in describe_prediction(view).text


def test_a_model_at_work():
    """Progress, elapsed, id, and what can be done."""
    text = describe_prediction(
        PredictionView(Prediction(id="p1", status="processing", logs=BAR), ANIMATE_IMAGE, 61.0)
    ).text
    assert text.startswith("Prediction p1 (animate_image) is still processing, 40 %, for 1 min 1 s.")
    assert "wait_for_prediction" in text
    assert "cancel_prediction" in text


def test_a_file():
    """Its address alone on its line, without a full stop that would be copied with it."""
    prediction = Prediction(
        id="p1",
        status="succeeded",
        output=["https://files.example/1.mp4"],
        created_at="2024-08-15T02:54:06",
        completed_at="2024-08-15T02:54:19",
    )
    assert describe_prediction(PredictionView(prediction, ANIMATE_IMAGE)).text.splitlines() == [
        "Prediction p1 (animate_image) succeeded after 13 s.",
        "Output: https://files.example/1.mp4",
    ]


@pytest.mark.parametrize("scheme", ["data:", "DATA:"])
def test_a_file_inside_the_answer_is_not_shown(scheme):
    """A data: URI is a wall of letters, however its scheme is written."""
    prediction = Prediction(id="p1", status="succeeded", output=f"{scheme}image/png;base64," + "A" * 10**6)
    view = PredictionView(prediction, ANIMATE_IMAGE)
    assert len(describe_prediction(view).text) < 200
    assert len(describe_list([view], []).text) < 200


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("canceled", "is canceled. It is no longer running."),
        ("succeeded", "It was too late to cancel."),
        ("processing", "was asked to stop; the service still says processing. Look once more"),
    ],
)
def test_what_became_of_a_cancel(status, said):
    """The agent reads how it stands, whatever the service answers."""
    assert said in describe_canceled(PredictionView(Prediction(id="p1", status=status), ANIMATE_IMAGE)).text


def test_of_a_long_list_the_files_are_left_out():
    """The ids and statuses are what the agent needs."""
    output = "https://files.example/" + "a" * 100
    views = [
        PredictionView(Prediction(id=f"p{number}", status="succeeded", output=output), ANIMATE_IMAGE)
        for number in range(20)
    ]
    assert output in describe_list(views[:1], []).text
    text = describe_list(views, []).text
    assert output not in text
    assert all(f"p{number}" in text for number in range(20))


def test_a_list_that_is_cut_begins_with_what_runs_or_may_run():
    """The agent can still wait for it and cancel it: the newest stood last, and were cut."""
    ended = [PredictionView(Prediction(id=f"{one:024d}", status="succeeded"), LONG) for one in range(40)]
    running = PredictionView(Prediction(id="runs", status="processing"), LONG)
    lost = Record("key", "here", "film", "", 0.0, UNANSWERED)
    text = fitted(describe_list([*ended, running], [lost])).text
    assert text.splitlines()[1].startswith("- Prediction runs (")
    assert "record key" in text.splitlines()[0]
    assert f"{39:024d}" in text  # the newest of those that have ended
    assert f"{0:024d}" not in text


def test_text():
    """As the model said it, up to a length."""
    said = describe_prediction(
        PredictionView(Prediction(id="p1", status="succeeded", output=["Hello", " world"]), TEXT)
    ).text
    assert said.endswith("Output: Hello world")
    long = Prediction(id="p1", status="succeeded", output="x" * 10**6)
    assert len(describe_prediction(PredictionView(long, TEXT)).text) < 5000


def test_an_unknown_status_is_told_as_it_is():
    """A word that only the service knows is no end."""
    assert (
        "is still aborted" in describe_prediction(PredictionView(Prediction(id="p1", status="aborted"))).text
    )


def test_whether_a_prediction_may_exist():
    """A refusal says that nothing is charged; a lost answer, that something may be."""
    refused = describe_not_started(TEXT, "k", BadRequestError("bad input", status_code=422))
    assert "nothing was started and nothing is charged. bad input Correct the input" in refused.text
    lost = describe_not_started(TEXT, "k", APIConnectionError("it broke", may_have_started=True))
    assert "unknown whether this started. it broke" in lost.text
    assert "record k must be resolved" in lost.text
    assert refused.is_error
    assert lost.is_error
