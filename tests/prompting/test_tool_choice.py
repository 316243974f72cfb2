import json
import re

import pytest

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import InvalidToolCall, Message, ToolCall
from rockai_transport.prompting.request.build import ChatCall, ModelSettings
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools
from rockai_transport.prompting.request.tool_prompt import call_text, result_text, tool_instructions

ONE = [ToolSpec("now", "The time", {"type": "object", "properties": {}})]
TWO = [*ONE, ToolSpec("weather", "The weather in a city")]


@pytest.mark.parametrize(
    ("choice", "expected", "name"),
    [
        (None, "auto", None),
        (False, "auto", None),
        ("auto", "auto", None),
        ("any", "required", None),
        ("required", "required", None),
        ("none", "none", None),
        ("weather", "required", "weather"),
        ({"type": "function", "function": {"name": "weather"}}, "required", "weather"),
        ({"type": "tool", "name": "weather"}, "required", "weather"),
        ({"type": "any"}, "required", None),
    ],
)
def test_every_spelling_means_one_thing(choice, expected, name):
    """The frameworks' spellings and OpenAI's and Anthropic's come to one form."""
    setup = set_up_tools(TWO, choice)
    assert (setup.choice, setup.name) == (expected, name)
    assert setup.forced == (expected == "required")
    assert setup.active == (expected != "none")


def test_true_means_the_only_tool():
    """With several tools it does not say which."""
    assert set_up_tools(ONE, tool_choice=True).name == "now"
    with pytest.raises(ConfigurationError, match="now, weather"):
        set_up_tools(TWO, tool_choice=True)


def test_an_unknown_tool_is_an_error_naming_the_nearest():
    """Nothing is sent for a tool that is not bound."""
    with pytest.raises(ConfigurationError, match=re.escape("did you mean 'weather'?")):
        set_up_tools(TWO, "wether")


@pytest.mark.parametrize("choice", ["any", "required", True, "weather", {"type": "any"}])
def test_a_call_cannot_be_required_without_tools(choice):
    """There would be nothing to call."""
    with pytest.raises(ConfigurationError):
        set_up_tools([], choice)


@pytest.mark.parametrize("choice", [3, {}, {"type": None}, ["any"]])
def test_nonsense_is_an_error(choice):
    """What is none of the forms is not taken for one; the error shows it as it was given."""
    with pytest.raises(ConfigurationError, match=re.escape(f"tool_choice={choice!r} is none of the forms")):
        set_up_tools(ONE, choice)


def test_two_tools_of_one_name_are_an_error():
    """The model could not tell them apart."""
    with pytest.raises(ConfigurationError, match="'now'"):
        set_up_tools([*ONE, *ONE])


def test_instructions_hold_one_schema_a_line_and_the_form_of_a_call():
    """Weak models, and the sandbox's, read the schemas and copy the form."""
    lines = tool_instructions(set_up_tools(TWO)).splitlines()
    schemas = [json.loads(line) for line in lines if line.startswith("{")]
    assert [schema["name"] for schema in schemas] == ["now", "weather"]
    assert schemas[0] == {
        "name": "now",
        "description": "The time",
        "parameters": {"type": "object", "properties": {}},
    }
    assert any(line.startswith('<tool_call>{"name":') and line.endswith("</tool_call>") for line in lines)
    assert "<tool_response>" in "".join(lines)


def test_instructions_say_whether_a_call_is_required():
    """A choice is a choice, and an order an order that names its function."""
    assert "must" not in tool_instructions(set_up_tools(TWO))
    assert "You must call a function now" in tool_instructions(set_up_tools(TWO, "any"))
    assert "You must call the function weather now" in tool_instructions(set_up_tools(TWO, "weather"))


def test_instructions_say_whether_several_calls_may_come():
    """Parallel calls are offered or ruled out."""
    assert "one <tool_call> line for each" in tool_instructions(set_up_tools(TWO))
    assert "at most one" in tool_instructions(set_up_tools(TWO, parallel=False))


@pytest.mark.parametrize("setup", [set_up_tools([]), set_up_tools(TWO, "none")], ids=["no tools", "none"])
def test_no_tools_no_instructions(setup):
    """With ``"none"`` the model is told of no tools at all."""
    call = ChatCall(ModelSettings("m", "chatml"), [Message("user", "Hi")], tools=setup)
    assert call.request().input["prompt"] == "Hi"


@pytest.mark.parametrize("arguments", [{}, {"a": "</tool_call>"}, {"a": ["你好", None]}, {"when": 1.5}])
def test_a_call_is_written_as_the_model_is_told_to_write_it(arguments):
    """What is written can be read again, and cannot close its own tag."""
    text = call_text(ToolCall("c", "now", arguments))
    payload = text.removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert json.loads(payload) == {"name": "now", "arguments": arguments}
    assert text.count("</tool_call>") == 1


def test_an_invalid_call_is_written_with_what_the_model_gave():
    """The model sees its own mistake."""
    text = call_text(InvalidToolCall("c", None, "{oops", "not JSON"))
    assert text == '<tool_call>{"name": null, "arguments": "{oops"}</tool_call>'


def test_a_result_without_a_known_name_has_none():
    """No name is made up for a result whose call is not in the conversation."""
    assert result_text("", "x") == '<tool_response>{"content": "x"}</tool_response>'
