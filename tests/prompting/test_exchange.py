"""A call read piece by piece, run by run."""

import pytest

from rockai_transport import InvalidResponseError, Prediction
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.messages import Message
from rockai_transport.prompting.reply.reader import gather
from rockai_transport.prompting.request.build import ChatCall, ModelSettings, completion_request
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

CALL = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
SETTINGS = ModelSettings("someone/hermes-2-pro", stop=("STOP",))


def call(choice=None):
    return ChatCall(SETTINGS, [Message("user", "When?")], tools=set_up_tools([ToolSpec("now")], choice))


def texts(parts):
    return [part.text for part in parts]


def test_pieces_are_handed_on_as_they_come():
    """And the exchange has ended with the first run that was accepted."""
    exchange = Dialogue(call())
    assert texts(exchange.feed("At ")) == ["At "]
    assert texts(exchange.feed("noon.")) == ["noon."]
    assert (exchange.end(), exchange.request) == ([], None)


def test_a_forced_call_is_asked_for_once_more():
    """Nothing of the first reply comes out."""
    exchange = Dialogue(call("any"))
    first = exchange.request
    assert exchange.feed("At noon.") == []
    assert exchange.end() == []
    assert exchange.request is not first
    assert "At noon." in exchange.request.input["prompt"]
    [called] = [*exchange.feed(CALL), *exchange.end()]
    assert (called.name, exchange.request) == ("now", None)


@pytest.mark.parametrize(
    "known", [None, Prediction(id="p1", status="starting"), Prediction(status="succeeded")]
)
def test_the_second_reply_is_the_last(known):
    """Whatever was wrong with it."""
    exchange = Dialogue(call("any"))
    exchange.feed("At noon.")
    exchange.end()
    exchange.feed("At one.")
    with pytest.raises(InvalidResponseError) as caught:
        exchange.end(known)
    assert caught.value.body == "At one."
    assert caught.value.prediction is known
    assert caught.value.by_model
    # It was asked twice, both runs are paid for, and nothing is left to wait for.
    assert str(caught.value).endswith("must be called, in a <tool_call> line.")


def test_a_check_holds_everything_until_the_end():
    """What it complains of never comes out."""
    exchange = Dialogue(call(), lambda reply: None if reply.text == "noon" else "say noon")
    assert exchange.feed("At one.") == exchange.end() == []
    assert "say noon" in exchange.request.input["prompt"]
    assert exchange.feed("noon") == []
    assert gather(exchange.end()).text == "noon"


def test_it_says_when_to_leave():
    """At a stop sequence, in each run anew."""
    exchange = Dialogue(completion_request(SETTINGS, "When?"))
    assert texts(exchange.feed("noon STOP one")) == ["noon "]
    assert exchange.cut
    assert (exchange.end(), exchange.request) == ([], None)
