"""What a user has at hand becomes a model's input, whole, or is refused before anything is sent."""

import base64
import contextlib
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


def test_an_open_file_is_never_sent_empty(in_memory, io):
    """As a pipe is the second time, when a model is asked again, and a file that was read before."""
    io.always(reply(200, "x"))
    read, write = os.pipe()
    os.write(write, b"one")
    os.close(write)
    at_its_end = BytesIO(b"two")
    at_its_end.read()
    with os.fdopen(read, "rb") as pipe:
        in_memory().run(MODEL, {"file": pipe})
        for file in (pipe, at_its_end):
            with pytest.raises(ConfigurationError, match=r"input\['file'\] is empty, or was read to its end"):
                in_memory().run(MODEL, {"file": file})
    assert len(io.requests) == 1


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


def test_a_value_that_json_cannot_hold(in_memory, io):
    """The error names its class with its module: numpy's `bool` is not Python's."""
    numpy = pytest.importorskip("numpy")
    with pytest.raises(ConfigurationError, match=r"JSON: a value of type numpy\.bool"):
        in_memory().run(MODEL, {"a": numpy.True_})
    with pytest.raises(ConfigurationError, match="JSON: a value of type set"):
        in_memory().run(MODEL, {"a": {1}})
    assert io.requests == []


def test_a_file_that_two_threads_send_is_sent_whole_by_both(in_memory, io):
    """The second one begins where the file was, not where the first one is."""
    io.always(reply(200, "x"))
    both = threading.Barrier(2)

    class Slow(BytesIO):
        def read(self, *size):
            content = super().read(*size)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.05)
            return content

    file = Slow(b"all of it")
    threads = [threading.Thread(target=in_memory().run, args=(MODEL, {"file": file})) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sent = [base64.b64decode(body["input"]["file"].partition(",")[2]) for body in io.bodies]
    assert sent == [b"all of it"] * 2
