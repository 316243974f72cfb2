"""What holds for any text: hypothesis makes the texts, of the fragments that readers look for."""

import contextlib
import json
import re

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rockai_transport import InvalidResponseError
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.messages import Message
from rockai_transport.prompting.reply import call_formats
from rockai_transport.prompting.reply.json_values import extract_json
from rockai_transport.prompting.reply.reader import ModelReply, ReplyReader, TextDelta, gather
from rockai_transport.prompting.reply.structured import structured_reply
from rockai_transport.prompting.request.build import ChatCall, ModelSettings, completion_request
from rockai_transport.prompting.request.chat import template_of
from rockai_transport.prompting.request.dialects import DIALECTS
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

BOUNDED = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TOOLS = [
    ToolSpec("note", "", {"properties": {"text": {"type": "string"}, "n": {"type": "integer"}}}),
    ToolSpec("now"),
]
WORDS = (
    r"``` ` <think> </think> <s> </s> [INST] [/INST] <|im_end|> <|im_start|> <|eot_id|> User: STOP "
    r"""{ } [ ] ( ) " ' \ : , ; // /* */ null 1 = "name" "arguments" "parameters" note now text true nan """
    r"""note(text="a") functions.note {"name":"now"} {"name":"note","arguments":{"text":"x"}} """
    r"""[note(text="a"),now()] é 中"""
)
FRAGMENTS = [
    *(call_formats.OPENING + call_formats.BETWEEN + call_formats.CLOSING + call_formats.TAGGED_ARGUMENTS),
    *WORDS.split(),
    *("```json\n", "\nUser: ", "\n", "\r\n", " ", "\t", "\ufeff", "\ud83d", "\ude00", "\x00", "hello world"),
]
texts = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=24).map("".join)
DIALECT_NAMES = sorted(DIALECTS)


@st.composite
def cut_texts(draw):
    """A text, and the same text in pieces; empty ones too."""
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=12)))
    return text, [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def request_of(dialect, choice, stop):
    tools = set_up_tools([] if choice == "no tools" else TOOLS, None if choice == "no tools" else choice)
    return ChatCall(ModelSettings("you/model", dialect, stop=stop), [Message("user", "Hi")], tools).request()


def read(request, pieces, *, batch=False):
    """What comes out, with the ids of calls left out."""
    dialogue = Dialogue(request)
    parts = []
    for piece in [pieces] if batch else pieces:
        parts += dialogue.feed(piece)
        if dialogue.cut:
            break
    error = None
    try:
        parts += dialogue.end()
    except InvalidResponseError as refused:
        error = str(refused)
    assert all(part.text for part in parts if isinstance(part, TextDelta))
    reply = gather(parts)
    calls = [(call.name, json.dumps(call.arguments)) for call in reply.tool_calls]
    invalid = [(call.name, call.arguments, call.error, call.text) for call in reply.invalid_tool_calls]
    shown = "".join(part.text for part in parts if isinstance(part, TextDelta))
    return calls, invalid, reply.text, reply.reasoning, dialogue.stop_token, error, shown


@BOUNDED
@given(
    cut_texts(),
    st.sampled_from(DIALECT_NAMES),
    st.sampled_from(["no tools", None, "any", "note"]),
    st.booleans(),
)
def test_a_chat_reply_does_not_depend_on_its_pieces(cut, dialect, choice, has_stop):
    """Text, reasoning, calls and the end are the same for the whole text, for pieces, and for batches."""
    text, pieces = cut
    request = request_of(dialect, choice, ("STOP",) if has_stop else ())
    whole = read(request, [text])
    assert read(request, pieces) == whole
    assert read(request, list(text)) == whole
    assert read(request, pieces, batch=True) == whole


@BOUNDED
@given(cut_texts(), st.sampled_from(DIALECT_NAMES))
def test_a_completion_comes_out_exactly(cut, dialect):
    """Pieces in, text out: every character, but for a surrogate without its other half."""
    text, pieces = cut
    assume(not re.search(r"think>|<\|channel\|>", text))  # reasoning stands apart, in a completion too
    reader = ReplyReader(completion_request(ModelSettings("you/model", dialect), "Hi").reading)
    parts = [part for piece in pieces for part in reader.feed(piece)] + reader.flush()
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert gather(parts).text == expected


@BOUNDED
@given(
    texts,
    st.sampled_from(
        [
            {"type": "object", "properties": {"a": {"type": "integer"}}},
            {"type": "array"},
            {"type": "string"},
            {},
            True,
        ]
    ),
)
def test_an_object_is_read_or_refused_with_a_value_error(text, schema):
    """Whatever a model writes, a value is found in it, or there is an error to ask again with."""
    for find in (lambda: extract_json(text), lambda: structured_reply(ModelReply(text), schema)):
        with contextlib.suppress(ValueError):
            find()


def marks(dialect, prompt):
    """How often each token of the template stands in a prompt, and each label at a line's beginning."""
    template = template_of(dialect)
    found = {token: prompt.count(token) for token in template.control_tokens}
    return found | {
        label: len(re.findall(rf"^\s*{re.escape(label)}", prompt, re.MULTILINE))
        for label in template.turn_labels
    }


def rendered(dialect, messages):
    request = ChatCall(ModelSettings("you/model", dialect), messages).request()
    return request.input[dialect.prompt_key]


@BOUNDED
@given(
    st.lists(st.tuples(st.sampled_from(["user", "assistant"]), texts), min_size=1, max_size=4),
    st.sampled_from([name for name in DIALECT_NAMES if template_of(DIALECTS[name])]),
    texts,
)
def test_no_text_opens_or_ends_a_turn(turns, name, system):
    """A prompt of any texts has the turns that it has with harmless ones: no token and no label more."""
    dialect = DIALECTS[name].replace(always_format=True)
    turns = [("user", "x"), *((role, text or "x") for role, text in turns), ("user", "x")]
    messages = [Message("system", system or "x"), *(Message(role, text) for role, text in turns)]
    harmless = [Message(one.role, "x") for one in messages]
    assert marks(dialect, rendered(dialect, messages)) == marks(dialect, rendered(dialect, harmless))
