"""What a user has at hand becomes a model's input, whole, or is refused before anything is sent."""

import base64
import os
import threading
from io import BytesIO, FileIO

import httpx
import pytest
from support.replies import MODEL
from support.virtual_io import reply

from rockai_transport import ConfigurationError


def test_an_unbuffered_pipe_is_read_to_its_end(in_memory, io):
    """Each read of one gives what has come so far: no file is cut there."""
    io.always(reply(200, "x"))
    read, write = os.pipe()
    first_is_read = threading.Event()

    class Pipe(FileIO):
        def readinto(self, buffer):
            count = super().readinto(buffer)
            first_is_read.set()
            return count

    def write_twice():
        with os.fdopen(write, "wb", buffering=0) as file:
            file.write(b"one ")
            assert first_is_read.wait(10)
            file.write(b"two")

    writer = threading.Thread(target=write_twice)
    writer.start()
    with Pipe(read) as file:
        in_memory().run(MODEL, {"file": file})
    writer.join()
    assert base64.b64decode(io.bodies[0]["input"]["file"].partition(",")[2]) == b"one two"


class FileThatRaises:
    def read(self, size):
        raise EOFError


class FileWithAwait:
    async def read(self, size):
        return b""


@pytest.mark.parametrize(
    "file", [FileThatRaises(), FileWithAwait(), httpx.Response(200, content=b"x"), BytesIO], ids=type
)
def test_a_file_that_cannot_be_read(in_memory, io, file):
    """Whatever it raises, or is in truth: the error names its place, and nothing is sent."""
    with pytest.raises(ConfigurationError, match=r"input\['a'\]\[0\]"):
        in_memory().run(MODEL, {"a": [file]})
    assert io.requests == []
