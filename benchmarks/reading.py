"""``python -m benchmarks.reading``: the cost of reading a long reply, whole and in pieces of one character.

Reading is linear in the text: each figure, nanoseconds of CPU time per character, stays the same when the
text grows tenfold. ``tests/prompting/test_linear.py`` checks that the *steps* are linear.
"""

from __future__ import annotations

import sys
import time

from rockai_transport.prompting.messages import Message
from rockai_transport.prompting.reply.reader import ReplyReader
from rockai_transport.prompting.request.build import ChatCall, ModelSettings
from rockai_transport.prompting.request.tool_choice import ToolSpec, set_up_tools

LENGTHS = (10_000, 100_000)
NOTE = ToolSpec("note", "", {"properties": {"text": {"type": "string"}}})
TEXTS = {
    "prose": ("", "Some words, and more. "),
    "JSON data": ("[", '{"id": 1, "title": "x"},'),
    "brackets": ("", "{ "),
    "brackets in a call": ("<tool_call>", "{"),
    "quotes and backslashes in a call": ('<tool_call>{"name": "note", "arguments": {"text": ', '"\\'),
    "blanks": ("", " "),
    "one long argument": ("<function=note><parameter=text>", "<p"),
}


def nanoseconds(begin: str, more: str, length: int, piece: int) -> float:
    """Read a reply once; return the CPU time per character."""
    text = (begin + more * length)[:length]
    messages = [Message("user", "Hi")]
    call = ChatCall(ModelSettings("you/model", "chatml", stop=("####",)), messages, set_up_tools([NOTE]))
    reader = ReplyReader(call.request().reading)
    began = time.process_time_ns()
    for at in range(0, length, piece):
        reader.feed(text[at : at + piece])
    reader.flush()
    return (time.process_time_ns() - began) / length


def main() -> None:
    """Print a table."""
    heads = [f"{length:,} {how}" for how in ("whole", "by ones") for length in LENGTHS]
    lines = [f"{'ns for a character':<34}" + "".join(f"{head:>18}" for head in heads)]
    for name, (begin, more) in TEXTS.items():
        cells = [
            min(nanoseconds(begin, more, length, piece or length) for _ in range(3))
            for piece in (0, 1)
            for length in LENGTHS
        ]
        lines.append(f"{name:<34}" + "".join(f"{cell:>18.0f}" for cell in cells))
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
