"""A call read piece by piece, run by run."""

from uuid import UUID

import pytest

from rockai_transport import InvalidResponseError, Prediction
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.messages import InvalidToolCall, Message, ToolCall
from rockai_transport.prompting.reply import tool_reader
from rockai_transport.prompting.reply.reader import gather
from rockai_transport.prompting.reply.reasoning import ReasoningDelta, TextDelta
from rockai_transport.prompting.request.build import ChatCall, ModelSettings, completion_request
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

CALL = '<tool_call>{"name": "now", "arguments": {}}</tool_call>'
SETTINGS = ModelSettings("someone/hermes-2-pro", stop=("STOP",))


def call(choice=None):
    return ChatCall(SETTINGS, [Message("user", "When?")], tools=set_up_tools([ToolSpec("now")], choice))


def texts(parts):
    return [part.text for part in parts]


def test_pieces_are_handed_on_as_they_come():
    """And the dialogue has ended with the first run that was accepted."""
    dialogue = Dialogue(call())
    assert texts(dialogue.feed("At ")) == ["At "]
    assert texts(dialogue.feed("noon.")) == ["noon."]
    assert (dialogue.end(), dialogue.request) == ([], None)


def test_a_forced_call_is_asked_for_once_more():
    """Nothing of the first reply comes out."""
    dialogue = Dialogue(call("any"))
    first = dialogue.request
    assert dialogue.feed("At noon.") == []
    assert dialogue.end() == []
    assert dialogue.request is not first
    assert "At noon." in dialogue.request.input["prompt"]
    [called] = [*dialogue.feed(CALL), *dialogue.end()]
    assert (called.name, dialogue.request) == ("now", None)


def test_with_a_forced_choice_nothing_comes_before_the_call():
    """What was held comes out right before the call; then everything streams."""
    dialogue = Dialogue(call("any"))
    assert dialogue.feed(["<think>hm</think>Well, ", "<tool_call>{oops}</tool_call>"]) == []
    parts = dialogue.feed(CALL)
    assert [type(part) for part in parts] == [ReasoningDelta, TextDelta, InvalidToolCall, ToolCall]
    assert dialogue.feed("then") == [TextDelta("then")]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("No. <tool_call>{oops}</tool_call>", "not valid JSON"),
        ("now(city=Paris)", "must be called"),  # a name without quotes is no value, and nothing is guessed
        ('<tool_call>{"name": "then", "arguments": {}}</tool_call>', "'then' is not a function"),
    ],
)
def test_what_is_not_the_forced_call_is_not_handed_on(reply, reason):
    """The model is told what was wrong with it."""
    dialogue = Dialogue(call("now"))
    assert [*dialogue.feed(reply), *dialogue.end()] == []
    assert reason in dialogue.request.input["prompt"]


@pytest.mark.parametrize(
    "known", [None, Prediction(id="p1", status="starting"), Prediction(status="succeeded")]
)
def test_the_second_reply_is_the_last(known):
    """Whatever was wrong with it."""
    dialogue = Dialogue(call("any"))
    dialogue.feed("At noon.")
    dialogue.end()
    dialogue.feed("At one.")
    with pytest.raises(InvalidResponseError) as caught:
        dialogue.end(known)
    assert caught.value.body == "At one."
    assert caught.value.prediction is known
    assert caught.value.by_model
    # It was asked twice, both runs are paid for, and nothing is left to wait for.
    assert str(caught.value).endswith("must be called, in a <tool_call> line.")


ONE_TURN = "{% if messages | length > 1 %}{{ raise_exception('one turn only') }}{% endif %}{{ messages }}"


def test_a_template_that_refuses_a_further_turn_loses_no_answer():
    """The error has the answer that was paid for; a call that cannot be read is an invalid one, as ever."""
    settings = ModelSettings("a/b", resolve_dialect("a/b", chat_template=ONE_TURN))

    def ask(choice):
        tools = set_up_tools([ToolSpec("now")], choice)
        return Dialogue(ChatCall(settings, [Message("user", "When?")], tools=tools))

    dialogue = ask("any")
    dialogue.feed("At noon.")
    with pytest.raises(InvalidResponseError, match=r"asked once.*one turn only") as caught:
        dialogue.end()
    assert (caught.value.body, caught.value.may_have_started) == ("At noon.", True)
    dialogue = ask(None)
    [invalid] = [*dialogue.feed('<tool_call>{"name": "now", "arguments": {</tool_call>'), *dialogue.end()]
    assert (type(invalid), dialogue.request) == (InvalidToolCall, None)


@pytest.mark.parametrize(
    "begun",
    [
        "<tool_call>\n<function=now>\n<parameter=zone>\nCET\n</parameter>",
        '<|tool_call_begin|>now<|tool_call_argument_begin|>{"zone": {"is": "CET"}',
    ],
)
def test_a_call_that_the_length_limit_cut_is_not_made(begun):
    """If the service says so: the arguments that are missing may be optional ones. Else it is made."""
    for metrics, made in (
        ({"finish_reason": "length"}, []),
        ({"finish_reason": "stop"}, [ToolCall]),
        (None, [ToolCall]),
    ):
        dialogue = Dialogue(call().request())
        dialogue.feed(begun)
        [part] = dialogue.end(Prediction(status="succeeded", metrics=metrics))
        assert [type(part)] == (made or [InvalidToolCall])


def test_a_check_holds_everything_until_the_end():
    """What it refuses never comes out."""
    dialogue = Dialogue(call(), lambda reply: None if reply.text == "noon" else "say noon")
    assert dialogue.feed("At one.") == dialogue.end() == []
    assert "say noon" in dialogue.request.input["prompt"]
    assert dialogue.feed("noon") == []
    assert gather(dialogue.end()).text == "noon"


def test_it_says_when_to_leave():
    """At a stop sequence, in each run anew."""
    dialogue = Dialogue(completion_request(SETTINGS, "When?"))
    assert texts(dialogue.feed("noon STOP one")) == ["noon "]
    assert dialogue.cut
    assert (dialogue.end(), dialogue.request) == ([], None)


BROKEN = '<tool_call>{"name": "now", "arguments": {"zone": }}</tool_call>'


def run(dialogue, *replies):
    """What each run handed on while it went, and at its end."""
    return [
        (gather(part for character in reply for part in dialogue.feed(character)), gather(dialogue.end()))
        for reply in replies
    ]


def test_a_call_that_cannot_be_read_is_asked_for_again():
    """With the reason; nothing of the first reply comes out."""
    dialogue = Dialogue(call())
    first, second = run(dialogue, BROKEN, CALL)
    assert first == (gather([]), gather([]))
    assert [one.name for one in second[0].tool_calls] == ["now"]
    assert (dialogue.runs, dialogue.request) == (2, None)
    prompt = dialogue.running.input["prompt"]
    assert BROKEN in prompt
    assert "the function call cannot be read: " in prompt


def test_a_call_that_cannot_be_read_again_is_an_invalid_one():
    """With the arguments that the model wrote, and all of its text."""
    dialogue = Dialogue(call())
    _, (handed_on, held) = run(dialogue, BROKEN, BROKEN)
    assert handed_on == gather([])
    (invalid,) = held.invalid_tool_calls
    assert (invalid.name, invalid.arguments) == ("now", '{"zone": }')
    assert invalid.text == BROKEN


def test_nothing_is_asked_again_once_text_was_handed_on():
    """It could not be taken back; nor where another call of the reply can be read."""
    dialogue = Dialogue(call())
    [(handed_on, held)] = run(dialogue, f"Let me see.\n{BROKEN}")
    assert (handed_on.text, len(held.invalid_tool_calls)) == ("Let me see.\n", 1)
    assert dialogue.request is None
    for reply in (CALL + BROKEN, BROKEN + CALL):
        dialogue = Dialogue(call())
        [(handed_on, held)] = run(dialogue, reply)
        assert len(handed_on.tool_calls + held.tool_calls) == 1
        assert len(handed_on.invalid_tool_calls + held.invalid_tool_calls) == 1
        assert dialogue.request is None


def test_text_before_it_does_not_matter_where_nothing_is_streamed():
    """All is held until the reply has ended."""
    dialogue = Dialogue(call(), streamed=False)
    _, (handed_on, held) = run(dialogue, f"Let me see.\n{BROKEN}", f"Once more.\n{CALL}")
    assert handed_on == gather([])
    assert (held.text, len(held.tool_calls)) == ("Once more.\n", 1)


@pytest.mark.parametrize(("allowed", "runs"), [(0, 1), (1, 2), (3, 4)])
def test_one_setting_says_how_often_a_model_is_asked_again(allowed, runs):
    """For a call that cannot be read, for one that does not come, for a form that does not fit."""
    dialogue = Dialogue(call(), max_reasks=allowed)
    run(dialogue, *[BROKEN] * runs)
    assert (dialogue.request, dialogue.runs) == (None, runs)
    for refused in (Dialogue(call("any"), max_reasks=allowed), Dialogue(call(), str, max_reasks=allowed)):
        with pytest.raises(InvalidResponseError, match="did not return valid output"):
            run(refused, *["No."] * runs)
        assert refused.runs == runs


def test_an_answer_ends_with_its_turn():
    """What the model makes up behind it is neither handed on nor shown to it again."""
    dialogue = Dialogue(call("any"))
    run(dialogue, "At noon.<|im_end|>\n<|im_start|>user\nSure?")
    assert "At noon." in dialogue.request.input["prompt"]
    assert "Sure?" not in dialogue.request.input["prompt"]
    assert gather(dialogue.feed(CALL + "\n<tool_response>12")).tool_calls
    assert dialogue.cut
    assert dialogue.end() == []
    assert dialogue.stop_token == "<tool_response>"  # noqa: S105 - a token of a template


def test_a_dialect_can_leave_the_end_of_turns_alone():
    """Then the tokens are text."""
    settings = ModelSettings("m", resolve_dialect("m", "chatml").replace(stop_at_turn_end=False))
    dialogue = Dialogue(ChatCall(settings, [Message("user", "When?")]))
    [(handed_on, _)] = run(dialogue, "At noon.<|im_end|> x")
    assert handed_on.text == "At noon.<|im_end|> x"
    assert not dialogue.cut


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_a_completion_is_exact(system):
    """Nothing is cut from it but a stop sequence, even where it had to be written as a conversation."""
    text = "a </think> b<|im_end|>\nUser: x <tool_response>"
    for dialect in ("chatml", "plain", "mistral"):
        request = completion_request(ModelSettings("m", dialect), "When?", system_prompt=system)
        [(handed_on, held)] = run(Dialogue(request), text)
        assert handed_on.text + held.text == text


@pytest.mark.parametrize("choice", [None, "any"])
@pytest.mark.parametrize("check", [None, lambda reply: None])
def test_a_batch_is_read_as_its_pieces_one_by_one(choice, check, monkeypatch):
    """The same parts, in the same order, however the pieces are put together."""
    monkeypatch.setattr(tool_reader, "uuid4", lambda: UUID(int=0))
    reply = f"<think>hm</think>At `noon`\n\n{CALL}\n or\n ST later, {CALL} I <b>think</b>.\n" + "words " * 9
    pieces = [reply[at : at + 4] for at in range(0, len(reply), 4)]
    one = Dialogue(call(choice), check)
    single = [part for piece in pieces for part in one.feed(piece)] + one.end()
    for size in (2, 5, len(pieces)):
        many = Dialogue(call(choice), check)
        parts = [part for at in range(0, len(pieces), size) for part in many.feed(pieces[at : at + size])]
        assert parts + many.end() == single
