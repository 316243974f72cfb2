"""The table of what open models write, ``tests/samples/replies/``, read at every cut of the pieces."""

import json
from pathlib import Path

import pytest

from rockai_transport import InvalidResponseError
from rockai_transport.prompting.dialogue import Dialogue
from rockai_transport.prompting.messages import Message
from rockai_transport.prompting.reply.reader import ModelReply, gather
from rockai_transport.prompting.reply.structured import structured_reply
from rockai_transport.prompting.request.build import ChatCall, ModelSettings
from rockai_transport.prompting.request.models import resolve_dialect
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

FOLDER = Path(__file__).parents[1] / "samples" / "replies"
TOOLS = {
    name: ToolSpec(name, tool.get("description", ""), tool["parameters"])
    for name, tool in json.loads((FOLDER / "tools.json").read_text("utf-8")).items()
}
USUAL = ("get_weather", "get_time", "now", "add", "note", "store", "typed")


def rows(folder=FOLDER):
    for path in sorted(folder.glob("*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            row = json.loads(line)
            yield pytest.param(row, id=f"{path.stem}: {row['about']}")


def call_of(row):
    dialect = resolve_dialect(row.get("model", ""), None if "model" in row else row.get("dialect", "chatml"))
    dialect = dialect.replace(opens_reasoning=row.get("opens_reasoning", False))
    messages = [Message(role, text) for role, text in row.get("messages", [["user", "Hi"]])]
    tools = set_up_tools([TOOLS[name] for name in row.get("tools", USUAL)], row.get("choice"))
    return ChatCall(ModelSettings("you/model", dialect), messages, tools)


def read(request, pieces):
    """What a row says of a reply."""
    dialogue = Dialogue(request)
    parts = []
    for piece in pieces:
        parts += dialogue.feed(piece)
        if dialogue.cut:
            break
    waiting = False
    try:
        parts += dialogue.end()
    except InvalidResponseError:
        waiting = True
    reply = gather(parts)
    return {
        "calls": [[call.name, call.arguments] for call in reply.tool_calls],
        "invalid": [[call.name, call.arguments] for call in reply.invalid_tool_calls],
        "text": reply.text,
        "reasoning": reply.reasoning,
        "end": dialogue.stop_token,
        "waiting": waiting,
    }


def cuts(text):
    """As a whole, in pieces of one and three characters, and in two: everywhere but within a word."""
    yield [text]
    yield list(text)
    for at in range(1, len(text)):
        if not text[at - 1 : at + 1].isalnum():
            yield [text[:at], text[at:]]
    yield [text[at : at + 3] for at in range(0, len(text), 3)]


@pytest.mark.parametrize("row", list(rows()))
def test_a_reply_is_read_as_people_expect(row):
    """Its calls, its text, its reasoning and where it ends, however it comes in pieces."""
    expected = {"invalid": [], "reasoning": "", "end": None, "waiting": False}
    expected |= {key: row[key] for key in ("calls", "text", *expected) if key in row}
    request = call_of(row).request()
    for pieces in cuts(row["reply"]):
        assert read(request, pieces) == expected, pieces


@pytest.mark.parametrize("row", list(rows(FOLDER / "objects")))
def test_an_object_is_read_as_people_expect(row):
    """Of a reply without calls: the value that was asked for, or an error to ask again with."""
    if "value" in row:
        assert structured_reply(ModelReply(row["reply"]), row["schema"]) == row["value"]
        return
    with pytest.raises(ValueError, match=r"."):
        structured_reply(ModelReply(row["reply"]), row["schema"])
