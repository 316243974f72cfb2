import re
from dataclasses import replace

import pytest

from rockai_transport.errors import ConfigurationError
from rockai_transport.prompting.messages import Message, ToolCall, unsupported_content
from rockai_transport.prompting.reply.reader import ReplyReader
from rockai_transport.prompting.reply.structured import ResponseFormat
from rockai_transport.prompting.request.build import ChatCall, ModelSettings, completion_request
from rockai_transport.prompting.request.dialects import Dialect
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

MISTRAL = "mistralai/mistral-7b-instruct-v0.1"
LLAMA_2 = "meta/llama-2-7b-chat"
LLAMA_3 = "meta/meta-llama-3-70b-instruct"
CHATML = "someone/hermes-2-pro"
ANIMATE = "5821a338d00033abaaba89080a17eb8783d9a17ed710a6b4246a18e0900ccad4"
TOOLS = set_up_tools([ToolSpec("now", "The time")])


def system(text):
    return Message("system", text)


def user(text, *images):
    return Message("user", text, images)


def assistant(text):
    return Message("assistant", text)


def inputs(model, *messages, **settings):
    return ChatCall(ModelSettings(model, **settings), messages).request().input


@pytest.mark.parametrize("model", [MISTRAL, LLAMA_2, LLAMA_3, CHATML, "who/knows"])
def test_one_user_turn_is_left_to_the_server(model):
    """The server applies its own template, to the text as it is."""
    assert inputs(model, user(" Hi\n ")) == {"prompt": " Hi\n "}


def test_a_system_message_goes_to_the_models_key_or_is_formatted_here():
    """Only a model with ``system_prompt`` is left the formatting of a system message."""
    assert inputs(LLAMA_2, system("Be brief."), user("Hi")) == {"prompt": "Hi", "system_prompt": "Be brief."}
    assert inputs(MISTRAL, system("Be brief."), user("Hi")) == {
        "prompt": "[INST] Be brief.\n\nHi [/INST]",
        "prompt_template": "{prompt}",
    }


@pytest.mark.parametrize(
    ("messages", "prompt"),
    [
        (
            [system("a"), system("b"), user("c"), user("d"), assistant("e"), assistant("f"), user("g")],
            "[INST] a\n\nb\n\nc\n\nd [/INST]e\n\nf</s> [INST] g [/INST]",
        ),
        ([user("a"), assistant("b")], "[INST] a [/INST]b</s> [INST]  [/INST]"),
        ([assistant("a"), user("b")], "[INST]  [/INST]a</s> [INST] b [/INST]"),
        ([system("a")], "[INST] a\n\n [/INST]"),
        (
            [user("a"), system("b"), assistant("c"), system("d")],
            "[INST] a\n\nb [/INST]c</s> [INST] d [/INST]",
        ),
    ],
)
def test_an_alternating_template_gets_alternating_turns(messages, prompt):
    """Consecutive roles are merged, and the user speaks first and last."""
    assert inputs(MISTRAL, *messages) == {"prompt": prompt, "prompt_template": "{prompt}"}


def test_a_template_with_free_roles_keeps_them():
    """ChatML has a turn for everything, so nothing is merged but the leading system messages."""
    prompt = inputs(CHATML, system("a"), system("b"), user("c"), user("d"), assistant("e"), system("f"))[
        "prompt"
    ]
    turns = ["system\na\n\nb", "user\nc", "user\nd", "assistant\ne", "system\nf", "user\n"]
    assert prompt == "".join(f"<|im_start|>{turn}<|im_end|>\n" for turn in turns) + "<|im_start|>assistant\n"


@pytest.mark.parametrize(
    ("messages", "sent"),
    [
        (
            [user("a"), assistant("b"), user("c")],
            {"prompt": "a [/INST] b </s><s>[INST] c", "system_prompt": ""},
        ),
        (
            [system("s"), user(" a"), assistant("b"), user("c")],
            {"prompt": " a [/INST] b </s><s>[INST] c", "system_prompt": "s"},
        ),
        (
            [system("s"), assistant("b"), user("c")],
            {"prompt": " [/INST] b </s><s>[INST] c", "system_prompt": "s"},
        ),
        ([user("a"), user("b")], {"prompt": "a\n\nb"}),
        ([system("s")], {"prompt": "", "system_prompt": "s"}),
        (
            [user("<<SYS>>"), assistant("b")],
            {"prompt": "<\u200b<SYS>> [/INST] b </s><s>[INST] ", "system_prompt": ""},
        ),
    ],
)
def test_llama_2_is_sent_the_rendering_without_what_its_server_adds(messages, sent):
    """Its server puts the outermost pieces on in any case."""
    assert inputs(LLAMA_2, *messages) == sent


def test_a_template_that_does_not_fit_the_servers_pieces_is_an_error():
    """A conversation whose ends the server would double is not sent."""
    wrong = resolve_dialect(LLAMA_2).replace(chat_template="chatml")
    with pytest.raises(ConfigurationError, match="server_template"):
        inputs(LLAMA_2, user("a"), assistant("b"), user("c"), dialect=wrong)


@pytest.mark.parametrize(
    "call",
    [
        ChatCall(ModelSettings("who/knows"), [system("a"), user("b")]),
        ChatCall(ModelSettings("who/knows"), [user("a"), assistant("b"), user("c")]),
        ChatCall(ModelSettings("who/knows"), [user("a")], tools=TOOLS),
        ChatCall(ModelSettings("who/knows"), [user("a")], system_prompt="b"),
        ChatCall(ModelSettings("who/knows"), [user("a")], response_format=ResponseFormat()),
    ],
    ids=["system message", "second turn", "tools", "system prompt", "response format"],
)
def test_an_unknown_model_needs_a_dialect_for_more_than_one_user_turn(call):
    """The error says how to choose one."""
    with pytest.raises(ConfigurationError, match="dialect="):
        call.request()


def test_a_chosen_dialect_lets_an_unknown_model_converse():
    """Plain has nothing to switch off; the others switch the server's template off."""
    assert inputs("who/knows", system("a"), user("b"), dialect="plain") == {
        "prompt": "User: a\n\nb\nAssistant:"
    }
    assert inputs("who/knows", system("a"), user("b"), dialect="mistral")["prompt_template"] == "{prompt}"


def test_no_messages_is_an_error():
    """There is nothing to send."""
    with pytest.raises(ConfigurationError, match="no messages"):
        inputs(MISTRAL)


def test_parameters_and_extra_inputs_are_merged_in_order():
    """Fixed inputs give way to the prompt, the prompt to parameters, all to what is sent unchecked."""
    dialect = resolve_dialect(MISTRAL).replace(
        fixed_inputs={"a": 1, "top_k": 1, "prompt": "no"}, stop_key="stop"
    )
    settings = ModelSettings(
        MISTRAL,
        dialect,
        parameters={"top_k": 2, "temperature": 1},
        stop=["X"],
        extra={"temperature": 3, "z": None},
    )
    request = ChatCall(settings, [user("Hi")]).request()
    assert request.input == {"a": 1, "prompt": "Hi", "top_k": 2, "temperature": 3, "stop": ["X"], "z": None}
    assert request.reading.stop == ("X",)


def test_stop_sequences_are_not_sent_to_a_model_that_knows_none():
    """They are cut here in any case."""
    request = ChatCall(ModelSettings(MISTRAL, stop=["X"]), [user("Hi")]).request()
    assert request.input == {"prompt": "Hi"}
    assert ReplyReader(request.reading).feed("aXb")[0].text == "a"


def test_an_image_goes_to_the_models_key():
    """One image is a string; a key that takes several gets a list."""
    assert inputs(ANIMATE, user("Move", "https://x/1.png")) == {"prompt": "Move", "image": "https://x/1.png"}
    several = resolve_dialect(ANIMATE).replace(max_images=2)
    assert inputs(ANIMATE, user("", "a", "b"), dialect=several)["image"] == ["a", "b"]


def test_an_image_is_given_once():
    """A parameter would replace the image in the messages without a word; what is unchecked may."""
    message = user("Move", "https://x/1.png")
    with pytest.raises(ConfigurationError, match="'image' would replace the messages' image"):
        ChatCall(ModelSettings(ANIMATE, parameters={"image": "https://x/2.png"}), [message]).request()
    unchecked = ModelSettings(ANIMATE, extra={"image": "https://x/2.png"})
    assert ChatCall(unchecked, [message]).request().input["image"] == "https://x/2.png"


def test_an_image_that_cannot_be_sent_is_an_error():
    """Neither an image too many nor one for a text model is dropped."""
    with pytest.raises(ConfigurationError, match=r"takes 1 image\(s\) in 'image', but the messages hold 2"):
        inputs(ANIMATE, user("Move", "a", "b"))
    with pytest.raises(ConfigurationError, match=re.escape('replace(image_key="image")')):
        inputs(MISTRAL, user("Look", "a"))
    with pytest.raises(ConfigurationError, match="takes no images"):
        inputs(MISTRAL, Message("system", "", ("a",)), user("Look"))


def test_other_content_has_one_wording():
    """Whoever converts messages raises it with these words."""
    assert unsupported_content("audio", "a/b").startswith("a/b cannot be sent audio content")


def test_tool_calls_and_results_are_told_in_the_dialects_form():
    """A tool turn where the template has one, else the user's; the tool's name is found by the call's id."""
    history = [
        user("When?"),
        Message("assistant", "Let me see.", tool_calls=(ToolCall("c1", "now", {"zone": "UTC"}),)),
        Message("tool", "12:00", tool_call_id="c1"),
    ]
    call = '<tool_call>{"name": "now", "arguments": {"zone": "UTC"}}</tool_call>'
    result = '<tool_response>{"name": "now", "content": "12:00"}</tool_response>'
    assert inputs(MISTRAL, *history)["prompt"] == (
        f"[INST] When? [/INST]Let me see.\n{call}</s> [INST] {result} [/INST]"
    )
    assert f"<|im_start|>tool\n{result}<|im_end|>" in inputs(CHATML, *history)["prompt"]
    assert f"ipython<|end_header_id|>\n\n{result}" in inputs("m/llama-3.1-8b-instruct", *history)["prompt"]
    assert f"user<|end_header_id|>\n\n{result}" in inputs(LLAMA_3, *history)["prompt"]


def test_the_results_of_one_answer_are_in_one_turn_where_the_template_has_them_so():
    """As the templates of Hermes 2 Pro, Hermes 3 and Qwen put them; Kimi's has a turn for each."""
    calls = (ToolCall("1", "now"), ToolCall("2", "where"))
    results = (Message("tool", "noon", tool_call_id="1"), Message("tool", "home", tool_call_id="2"))
    history = [user("When and where?"), Message("assistant", tool_calls=calls), *results]
    told = [
        '<tool_response>{"name": "now", "content": "noon"}</tool_response>',
        '<tool_response>{"name": "where", "content": "home"}</tool_response>',
    ]
    together = "<|im_start|>tool\n" + "\n".join(told) + "<|im_end|>\n<|im_start|>assistant\n"
    assert inputs(CHATML, *history)["prompt"].endswith(together)
    each = "".join(f"<|im_system|>tool<|im_middle|>{one}<|im_end|>" for one in told)
    assert each in inputs("moonshotai/kimi-k2-instruct", *history)["prompt"]


@pytest.mark.parametrize("model", [MISTRAL, CHATML, LLAMA_2, LLAMA_3])
def test_results_are_told_in_the_order_of_their_calls(model):
    """The prompt has no ids, and LlamaIndex's agents pass on the results of parallel calls as they came."""
    history = [user("What do they cost?")]
    for turn in "12":
        history.append(
            Message("assistant", tool_calls=(ToolCall("a", "price", {}), ToolCall("b", "price", {})))
        )
        came = [("b", "5"), ("of another", "7"), ("a", "100")]
        history += [Message("tool", f"{one}, {turn}", tool_call_id=call) for call, one in came]
    prompt = inputs(model, *history)["prompt"]
    told = re.findall(r'"content": "(\d+), (\d)"', prompt)
    assert told == [(one, turn) for turn in "12" for one in ("100", "5", "7")]


@pytest.mark.parametrize("same", ["", "call_0"])
def test_results_of_calls_with_one_id_are_told_in_order(same):
    """Servers that give no ids, or the same in each message: each result has its own call's name."""
    history = [user("When and where?")]
    for names in (("now", "here"), ("there",)):
        history.append(Message("assistant", tool_calls=tuple(ToolCall(same, name, {}) for name in names)))
        history += [Message("tool", f"{name}!", tool_call_id=same) for name in names]
    prompt = inputs(MISTRAL, *history)["prompt"]
    told = re.findall(r'<tool_response>{"name": "(\w+)", "content": "(\w+)!"', prompt)
    assert told == [("now", "now"), ("here", "here"), ("there", "there")]


def test_a_tools_error_is_told_as_one():
    """The model sees that a call failed."""
    history = [user("When?"), Message("tool", "no clock", name="now", is_error=True)]
    assert '{"name": "now", "error": "no clock"}' in inputs(MISTRAL, *history)["prompt"]


def test_the_system_prompt_is_said_once():
    """It stands before the conversation's own system text, unless that begins with it."""
    call = ChatCall(ModelSettings(LLAMA_2), [system("own"), user("Hi")], system_prompt="mine")
    assert call.request().input["system_prompt"] == "mine\n\nown"
    again = replace(call, messages=[system("mine"), system("own"), user("Hi")])
    assert again.request().input["system_prompt"] == "mine\n\nown"


@pytest.mark.parametrize("name", ["parameters", "extra"])
@pytest.mark.parametrize("given", ["mine", "own"])
def test_system_text_given_as_an_input_replaces_nothing(name, given):
    """The key that LLAMA_2 has for it also holds the conversation's, and the tools' instructions."""
    settings = replace(ModelSettings(LLAMA_2), **{name: {"system_prompt": given}})
    sent = ChatCall(settings, [system("own"), user("Hi")], tools=TOOLS).request().input["system_prompt"]
    assert sent.startswith(f"{given}\n\nown\n\nYou can call these functions")
    assert ChatCall(settings, [user("Hi")]).request().input["system_prompt"] == given


@pytest.mark.parametrize("given", ["", None])
def test_an_empty_system_text_as_an_input_is_none(given):
    """The conversation's stays, with its lone surrogates replaced."""
    settings = ModelSettings(LLAMA_2, extra={"system_prompt": given})
    assert ChatCall(settings, [system("s\ud800"), user("Hi")]).request().input["system_prompt"] == "s\ufffd"


@pytest.mark.parametrize("given", [3, ["own"]])
def test_what_is_no_system_text_is_left_to_the_service(given):
    """It refuses that before the model runs; turned into text, it would be a part of the prompt."""
    settings = ModelSettings(LLAMA_2, extra={"system_prompt": given})
    assert ChatCall(settings, [system("s"), user("Hi")]).request().input["system_prompt"] == given


def test_instructions_stand_in_one_first_system_message():
    """System prompt, own system text, tools and response format, in this order."""
    seen = []

    def format_messages(messages):
        seen.extend(messages)
        return "PROMPT"

    call = ChatCall(
        ModelSettings(MISTRAL),
        [system("own"), user("Hi")],
        tools=TOOLS,
        system_prompt="mine",
        response_format=ResponseFormat({"type": "object"}),
        format_messages=format_messages,
    )
    assert call.request().input == {"prompt": "PROMPT", "prompt_template": "{prompt}"}
    assert [message.role for message in seen] == ["system", "user"]
    places = [seen[0].text.index(part) for part in ("mine", "own", '"name": "now"', '{"type": "object"}')]
    assert places == sorted(places)


@pytest.mark.parametrize("model", [LLAMA_2, "who/knows"])
def test_a_formatted_prompt_is_an_error_where_the_server_formats(model):
    """Without ``prompt_template`` it would get a second template."""
    call = ChatCall(ModelSettings(model), [user("Hi")], format_messages=lambda messages: "PROMPT")
    with pytest.raises(ConfigurationError, match="prompt_template"):
        call.request()
    with pytest.raises(ConfigurationError, match="dialect="):
        completion_request(ModelSettings(model), "Hi", formatted=True)


def test_a_completions_prompt_is_the_callers_own():
    """It is sent as it is, control tokens and all."""
    request = completion_request(ModelSettings(LLAMA_2, parameters={"max_tokens": 3}), "[INST] <s>")
    assert request.input == {"prompt": "[INST] <s>", "max_new_tokens": 3}


def test_a_completions_system_prompt_goes_to_the_key_or_into_the_template():
    """A model without the key gets both in its own template."""
    assert completion_request(ModelSettings(LLAMA_2), "Hi", system_prompt="S").input == {
        "prompt": "Hi",
        "system_prompt": "S",
    }
    assert completion_request(ModelSettings(MISTRAL), "Hi", system_prompt="S").input == {
        "prompt": "[INST] S\n\nHi [/INST]",
        "prompt_template": "{prompt}",
    }
    with pytest.raises(ConfigurationError, match="dialect="):
        completion_request(ModelSettings("who/knows"), "Hi", system_prompt="S")


def test_a_formatted_completion_keeps_its_system_prompt():
    """It goes to the model's own key, else stands before the formatted prompt."""
    mine = Dialect("mine", "chatml", system_prompt_key="system", prompt_template_key="template")
    request = completion_request(ModelSettings("a/b", mine), "P", system_prompt="S", formatted=True)
    assert request.input == {"prompt": "P", "template": "{prompt}", "system": "S"}
    request = completion_request(ModelSettings(MISTRAL), "P", system_prompt="S", formatted=True)
    assert request.input == {"prompt": "S\n\nP", "prompt_template": "{prompt}"}


def test_image_and_video_models_complete():
    """A text-in model whose output is a file takes a prompt, and an image where it has a key."""
    assert completion_request(ModelSettings("incomingflyingbrick/flux-1-schnell"), "A cat").input == {
        "prompt": "A cat"
    }
    request = completion_request(ModelSettings(ANIMATE, parameters={"max_frames": 8, "image": "u"}), "Move")
    assert request.input == {"prompt": "Move", "image": "u", "max_frames": 8}


def test_a_request_leaves_the_callers_values_alone():
    """Building one changes nothing that was handed in."""
    messages = [system("a"), user("b")]
    extra = {"k": [1]}
    ChatCall(ModelSettings(MISTRAL, extra=extra), messages, tools=TOOLS).request()
    assert messages == [system("a"), user("b")]
    assert extra == {"k": [1]}


def test_half_a_surrogate_pair_is_never_sent():
    """It is U+FFFD, wherever it stands; a whole pair is its character."""
    call = ToolCall("c", "note", {"text": "\ud83d"})
    messages = [
        Message("user", "a\ud83d\ude00b\udc00"),
        Message("assistant", tool_calls=(call,)),
        Message("tool", "\udfff", tool_call_id="c"),
    ]
    prompt = ChatCall(ModelSettings(CHATML), messages, TOOLS).request().input["prompt"]
    prompt.encode()
    assert "a\U0001f600b\ufffd" in prompt
    assert prompt.count("\ufffd") == 3


def test_recursive_schemas_are_shown_with_their_definitions():
    """As a tool's and as a form's: what a reference leads to stands beside it."""
    schema = {
        "$ref": "#/$defs/Tree",
        "$defs": {
            "Tree": {
                "type": "object",
                "properties": {"kids": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
            }
        },
    }
    tools = set_up_tools([ToolSpec("plant", "", schema)])
    form = ResponseFormat(schema)
    call = ChatCall(ModelSettings(CHATML), [user("Hi")], tools, response_format=form)
    assert call.request().input["prompt"].count('"$defs": {"Tree": {') == 2
