"""Saving output files: from safe addresses only, whole or not at all, under names of our own."""

import asyncio
import base64
import socket
import threading
import time
from itertools import repeat
from os import umask

import pytest
from support.drivers import AsyncVirtualClient
from support.virtual_io import FOREVER, ScriptedAnswer, reply
from support.wire_server import WireServer, answer, reset, trickle

from rockai_transport import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    Client,
    ConfigurationError,
    InvalidResponseError,
    NotFoundError,
    Prediction,
)
from rockai_transport.protocol.io import BrokenError, NotSentError

PNG = b"\x89PNG\r\n\x1a\n-and-so-on"
PUBLIC = "https://api.rockai.example/v1"  # a base URL that is not on this machine


@pytest.fixture
def client(in_memory, io):
    """A client in memory, of a public service, and of files that are public too."""
    io.always(reply(200, PNG, media_type="image/png"))
    return in_memory()


@pytest.fixture
def files():
    """The server that files come from."""
    with WireServer() as running:
        running.script = answer(200, PNG, media_type="image/png")
        yield running


def done(*addresses, **fields):
    output = list(addresses) if len(addresses) != 1 else addresses[0]
    return Prediction(**{"id": "p1", "status": "succeeded", "output": output, **fields})


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_file_is_saved_under_id_and_type(client, io, tmp_path):
    """The name is made of the prediction's id and the file's type, never of the URL."""
    folder = tmp_path / "new" / "folder"
    (path,) = client.download(done("https://files.example/..%2f..%2fetc/passwd.exe?x=1"), folder)
    assert path == folder / "p1.png"
    assert path.read_bytes() == PNG
    assert names(folder) == ["p1.png"]


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_who_may_read_a_file_is_the_user_s_own_setting(client, io, tmp_path, mask, mode):
    """A saved file has the permissions of every other new file: the umask is kept."""
    before = umask(mask)
    try:
        (path,) = client.download(done("https://files.example/a"), tmp_path)
    finally:
        umask(before)
    assert path.stat().st_mode & 0o777 == mode


def test_several_files_are_numbered_in_order(client, io, tmp_path):
    """Lists and objects of addresses are saved in their order; what is no address is passed over."""
    io.route(
        "GET https://files.example/b",
        reply(200, b"\x00\x00\x00\x18ftypmp42", media_type="application/octet-stream"),
    )
    io.route("GET https://files.example/c", reply(200, b"?", media_type="application/x-unheard-of"))
    output = {
        "frames": ["https://files.example/a", "no address"],
        "video": "https://files.example/b",
        "n": 5,
        "c": "https://files.example/c",
    }
    paths = client.download(done(output), str(tmp_path))
    assert [path.name for path in paths] == ["p1-1.png", "p1-2.mp4", "p1-3.bin"]


@pytest.mark.parametrize(
    ("media_type", "start", "ending"),
    [
        ("audio/wav", b"", ".wav"),
        ("audio/wave", b"RIFF\x24\x00\x00\x00WAVEfmt ", ".wav"),
        ("application/octet-stream", b"RIFF\x24\x00\x00\x00WAVEfmt ", ".wav"),
        ("audio/mp3", b"ID3\x04", ".mp3"),
        ("audio/x-flac", b"fLaC", ".flac"),
        ("", b"\x00\x00\x00\x18ftypheic", ".heic"),
        ("", b"\x00\x00\x00\x20ftypavif", ".avif"),
        ("", b"\x00\x00\x00\x1cftypM4A ", ".m4a"),
        ("image/webp", b"", ".webp"),
        ("image/jpg", b"", ".jpg"),
        ("text/plain", b"%PDF-", ".txt"),
    ],
)
def test_a_file_has_the_ending_of_its_kind(client, io, tmp_path, media_type, start, ending):
    """The type decides in each spelling that is in use; where it is not known, the first bytes do."""
    io.route("GET https://files.example/b", reply(200, start, media_type=media_type))
    (path,) = client.download(done("https://files.example/b"), tmp_path)
    assert path.suffix == ending


@pytest.mark.parametrize(
    "output", [None, "text", ["a", "b"], {"a": 1}, 5, [], "ftp://x/y", "file:///etc/passwd", "//x/y"]
)
def test_an_output_without_files_saves_nothing(client, tmp_path, output):
    """Text is no file."""
    assert client.download(done(output), tmp_path / "x") == []
    assert names(tmp_path) == []


def test_odd_ids_make_plain_names(client, io, tmp_path):
    """An id that could climb paths cannot; a hash keeps files apart, of the address if there is no id."""
    odds = ("../../x", "a/b", "a:b", "..", "x" * 300, "x" * 301, None)
    for odd in odds:
        (path,) = client.download(done("https://files.example/a", id=odd), tmp_path)
        assert path.parent == tmp_path
        assert len(path.name) < 120
        assert set(path.name[:-4]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")
    assert len(names(tmp_path)) == len(odds)


@pytest.mark.parametrize("status", ["starting", "failed", "canceled", "unknown"])
def test_only_what_succeeded_is_saved(client, io, tmp_path, status):
    """A prediction that has not succeeded has no files yet."""
    with pytest.raises(ConfigurationError, match=rf"p1 is {status}: .* has files\. predictions\.wait"):
        client.download(done("https://files.example/a", status=status), tmp_path)
    assert not io.requests


def test_an_id_is_no_prediction(client, tmp_path):
    """The error says how to come from the one to the other."""
    with pytest.raises(ConfigurationError, match=r"predictions\.get"):
        client.download("p1", tmp_path)


@pytest.mark.parametrize(
    ("uri", "name", "content"),
    [
        ("data:image/png;base64," + base64.b64encode(PNG).decode(), "p1.png", PNG),
        ("data:text/plain,hello%20you", "p1.txt", b"hello you"),
        ("data:text/plain;charset=utf-8;base64,aGk=", "p1.txt", b"hi"),
        ("data:;base64,iVBORw0KGgo=", "p1.png", b"\x89PNG\r\n\x1a\n"),
        ("data:;base64,iVBORw0KGgo", "p1.png", b"\x89PNG\r\n\x1a\n"),
        ("data:text/plain;base64,-_-%5F", "p1.txt", b"\xfb\xff\xbf"),
        ("data:text/plain;BASE64,aG\r\n k%3D", "p1.txt", b"hi"),
        ("data:text/plain; base64 ,aGk=", "p1.txt", b"hi"),
        ("data:,", "p1.bin", b""),
    ],
)
def test_data_uris_are_saved(client, tmp_path, uri, name, content):
    """A data: URI is a file that the output holds itself."""
    (path,) = client.download(done(uri), tmp_path)
    assert (path.name, path.read_bytes()) == (name, content)


@pytest.mark.parametrize(
    "uri",
    [
        "data:image/png;base64",
        "data:image/png;base64,a",
        "data:",
        "data:;base64,hello, world",
        "data:;base64,aGk=aGk=",
        "data:;base64,aG\u00e9=",
        "data:;base64,aGk+_%ff",
    ],
)
def test_bad_data_uris_are_refused(client, tmp_path, uri):
    """One that cannot be read is an InvalidResponseError, and leaves nothing."""
    with pytest.raises(InvalidResponseError):
        client.download(done(uri), tmp_path / "x")
    assert names(tmp_path / "x") == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001", "[::1]", "[::ffff:127.0.0.1]",  # noqa: E501
        "[::ffff:7f00:1]", "0.0.0.0", "[::]", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "100.64.0.1",  # noqa: E501, S104
        "[fe80::1]", "[fc00::1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1", "localhost.", "a.localhost",  # noqa: E501
        "255.255.255.255", "[fec0::1]", "[64:ff9b:1::1]", "[64:ff9b::a00:1]", "[::10.0.0.1]", "[100::1]",
        "[5f00::1]", "192.0.0.8", "10\u30020\uff0e0\uff611", "localhost\u3002", "a\uff0elocalhost",
        "[4000::1]", "[1::1]", "[2001:db8::1]", "[3fff::1]", "192.0.2.1", "192.88.99.1", "[ff0e::1]", "198.18.0.1", "240.0.0.1",  # noqa: E501
    ],
)  # fmt: skip
def test_private_addresses_are_refused(client, io, tmp_path, host):
    """Private, loopback and link-local addresses are refused in every spelling; nothing is sent there."""
    with pytest.raises(InvalidResponseError):
        client.download(done(f"http://{host}:8000/a"), tmp_path)
    assert not io.requests
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "host", ["8.8.8.8", "[2606:4700::1]", "[64:ff9b::808:808]", "[2002:808:808::1]", "a.example"]
)
def test_public_addresses_are_fetched(client, io, tmp_path, host):
    """Names, and what the internet routes, of either version."""
    client.download(done(f"http://{host}:8000/a"), tmp_path)
    assert io.requests[-1].public_only


def test_a_folder_that_cannot_be_written(client, io, tmp_path):
    """It is a ConfigurationError that says why, if a file has this name."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"cannot be written: it is no folder$"):
        client.download(done("https://files.example/a"), tmp_path / "file")


@pytest.mark.parametrize("folder", [None, 5, b"x", ["a"], "~nobody-of-this-name/x"])
def test_a_folder_that_is_none(client, io, folder):
    """Nothing is fetched for a place that cannot be."""
    with pytest.raises(ConfigurationError, match="folder="):
        client.download(done("https://files.example/a.png"), folder)
    assert not io.requests


async def test_a_download_that_is_dropped_leaves_no_part_of_a_file(io, tmp_path):
    """A coroutine that nobody finishes is closed: what was written of it is removed all the same."""
    head = {"content-type": "image/png"}
    io.always(ScriptedAnswer(200, [PNG, asyncio.Event()], head, 0))
    saving = AsyncVirtualClient(io).download(done("https://files.example/a.png"), tmp_path)
    saving.send(None)
    saving.close()
    assert names(tmp_path) == []


@pytest.mark.parametrize("status", [202, 204, 205, 206])
def test_a_part_of_a_file_is_none(client, io, tmp_path, status):
    """Nobody has asked for a range: what comes of one is not the file; nor is one that is not ready yet."""
    io.always(reply(status, PNG, media_type="image/png"))
    with pytest.raises(InvalidResponseError, match=str(status)):
        client.download(done("https://files.example/a.png"), tmp_path)
    assert names(tmp_path) == []


@pytest.mark.parametrize("address", ["HTTPS://files.example/a.png", "Data:image/png;base64,aGk="])
def test_a_scheme_in_capitals_is_the_same(client, tmp_path, address):
    """A file is not overlooked for how its address is written."""
    assert [path.name for path in client.download(done(address), tmp_path)] == ["p1.png"]


def test_an_address_of_any_length_is_told_in_part(client, io, tmp_path):
    """A message is for people."""
    io.always(reply(404, b""))
    with pytest.raises(NotFoundError) as caught:
        client.download(done("https://files.example/" + "a" * 50_000), tmp_path)
    assert len(str(caught.value)) < 1000


def test_private_addresses_may_be_allowed(client, in_memory, io, tmp_path):
    """The user may allow them; and a base URL that is on such an address allows them too."""
    for download in (
        lambda: client.download(done("http://10.0.0.1/a"), tmp_path, allow_private=True),
        lambda: in_memory(base_url="http://127.0.0.1:8000").download(done("http://10.0.0.1/a"), tmp_path),
    ):
        assert download()
        assert not io.requests[-1].public_only
    client.download(done("https://files.example/a"), tmp_path)
    assert io.requests[-1].public_only
    with pytest.raises(ConfigurationError, match="allow_private='false' must be True or False"):
        client.download(done("http://10.0.0.1/a"), tmp_path, allow_private="false")


def test_redirects_are_followed_and_looked_at(client, io, tmp_path):
    """A redirect leads to the file, wherever it is allowed; to an address that is not, it leads nowhere."""
    a, b, c = (f"https://files.example/{name}" for name in "abc")
    io.route(f"GET {a}", reply(302, b"", location="/b"))
    io.route(f"GET {b}", reply(307, b"", location=c))
    (path,) = client.download(done(a), tmp_path)
    assert path.read_bytes() == PNG
    assert io.lines == [f"GET {address}" for address in (a, b, c)]
    io.requests.clear()
    for bad in (
        "file:///etc/passwd",
        "ftp://x/y",
        "data:text/plain,x",
        "http://",
        "gopher://127.0.0.1",
        "http://10.0.0.1/",
    ):
        io.route(f"GET {a}", reply(302, b"", location=bad))
        with pytest.raises(InvalidResponseError):
            client.download(done(a), tmp_path)
    assert set(io.lines) == {f"GET {a}"}
    io.route(f"GET {a}", reply(302, b"", location="/a"))
    with pytest.raises(InvalidResponseError, match="5 redirects"):
        client.download(done(a), tmp_path)


def test_the_size_limit(client, io, tmp_path):
    """A file that is larger than allowed is given up and leaves nothing."""
    io.always(ScriptedAnswer(200, [b"x" * 1_000_000] * 3, {"content-type": "image/png"}, 0))
    with pytest.raises(InvalidResponseError, match="max_bytes"):
        client.download(done("https://files.example/a"), tmp_path, max_bytes=2_999_999)
    assert not io.is_open
    with pytest.raises(InvalidResponseError, match="max_bytes"):
        client.download(done("data:text/plain,hello"), tmp_path, max_bytes=4)
    assert names(tmp_path) == []
    client.download(done("https://files.example/a"), tmp_path, max_bytes=3_000_000)
    for bad in (0, -1, 1e9, True, None):
        with pytest.raises(ConfigurationError, match="must be a whole number, 1 or more"):
            client.download(done("https://files.example/a"), tmp_path, max_bytes=bad)


CUT = ScriptedAnswer(200, [b"x" * 1_500_000, BrokenError("cut")], {"content-type": "image/png"}, 0)


def test_a_cut_body_leaves_no_file_and_is_fetched_again(client, io, tmp_path):
    """A body cut short is fetched again from the start; if it stays so, nothing is left."""
    io.always(CUT, reply(500, {}), reply(200, PNG, media_type="image/png"))
    (path,) = client.download(done("https://files.example/a"), tmp_path)
    assert path.read_bytes() == PNG
    assert io.sleeps == [0.5, 1]
    path.unlink()
    for failure in (CUT, BrokenError("reset"), NotSentError("refused")):
        io.always(failure)
        with pytest.raises(APIConnectionError) as caught:
            client.download(done("https://files.example/a"), tmp_path)
        assert not caught.value.may_have_started
    assert len(io.requests) == 3 * 4
    assert names(tmp_path) == []


def test_the_limits_of_a_download(client, io, tmp_path):
    """`timeout` is a total over all files, bodies that trickle included; silence has its own limit."""
    trickled = (part for pair in repeat((7, b"x" * 600_000)) for part in pair)
    io.route("GET https://files.example/b", ScriptedAnswer(200, trickled, {"content-type": "image/png"}, 0))
    io.route("GET https://files.example/a", reply(200, PNG, after=20, media_type="image/png"))
    with pytest.raises(APITimeoutError):
        client.download(done("https://files.example/a", "https://files.example/b"), tmp_path, timeout=50)
    assert io.moment == 1050
    assert names(tmp_path) == ["p1-1.png"]
    io.always(ScriptedAnswer(200, [b"x", FOREVER], {"content-type": "image/png"}, 0))
    with pytest.raises(APITimeoutError):
        client.download(done("https://files.example/c"), tmp_path)
    assert io.moment == 1050 + 3 * 300 + 0.5 + 1
    assert names(tmp_path) == ["p1-1.png"]


def test_a_missing_file_is_told(client, io, tmp_path):
    """A 404 of the file server is a NotFoundError; nothing may have started by it."""
    io.always(reply(404, b"gone", media_type="text/plain"))
    with pytest.raises(NotFoundError) as caught:
        client.download(done("https://files.example/a?signature=secret-words"), tmp_path)
    assert not caught.value.may_have_started
    assert "secret-words" not in str(caught.value)
    assert "The file may be gone" in str(caught.value)
    assert "model's name" not in str(caught.value)


def test_an_existing_file_is_replaced_when_the_new_one_is_whole(in_memory, io, tmp_path):
    """A second download replaces the file; one that fails leaves the first as it was."""
    (tmp_path / "p1.png").write_bytes(b"old")
    client = in_memory(max_retries=0)
    io.always(CUT, reply(200, PNG, media_type="image/png"))
    with pytest.raises(APIConnectionError):
        client.download(done("https://files.example/a"), tmp_path)
    assert (tmp_path / "p1.png").read_bytes() == b"old"
    client.download(done("https://files.example/a"), tmp_path)
    assert (tmp_path / "p1.png").read_bytes() == PNG


# Over sockets.


def cut(exchange):
    exchange.head(200, {"Content-Type": "image/png", "Content-Length": "2000000"})
    exchange.send(b"x" * 1_500_000)
    exchange.close()


def test_a_file_over_a_socket(connect, files, quick, tmp_path):
    """Cut, fetched again, redirected, and saved; one that trickles ends with the total, leaving nothing."""
    client = connect(files.base_url)
    files.route("GET /a", cut, answer(302, b"", {"Location": f"{files.origin}/b"}))
    (path,) = client.download(done(f"{files.origin}/a"), tmp_path)
    assert path.read_bytes() == PNG
    assert files.lines == ["GET /a", "GET /a", "GET /b"]
    path.unlink()
    files.route("GET /a", reset)
    with pytest.raises(APIConnectionError):
        client.download(done(f"{files.origin}/a"), tmp_path)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9000000\r\n\r\n"
    files.route("GET /a", trickle(head, b"x", 0.03))
    began = time.monotonic()
    with pytest.raises(APITimeoutError):
        client.download(done(f"{files.origin}/a"), tmp_path, timeout=0.2)
    assert time.monotonic() - began < 1.2
    assert names(tmp_path) == []


def test_a_name_that_resolves_to_loopback_is_refused(connect, files, tmp_path, monkeypatch):
    """The address that is really connected to is looked at: a name is refused before anything is sent."""
    real = socket.getaddrinfo

    def resolve(host, *rest, **more):
        return real("127.0.0.1" if host in {"cdn.example.com", b"cdn.example.com"} else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = connect(PUBLIC, max_retries=0)
    address = f"http://cdn.example.com:{files.port}/a"
    with pytest.raises(InvalidResponseError, match="allow_private"):
        client.download(done(address), tmp_path)
    assert not files.requests
    client.download(
        done(address), tmp_path, allow_private=True
    )  # and a connection made so is not used for others
    with pytest.raises(InvalidResponseError, match="allow_private"):
        client.download(done(address), tmp_path)
    assert len(files.requests) == 1


def test_a_redirect_to_a_private_address_is_refused(connect, files, tmp_path, monkeypatch):
    """A public address that redirects to a private one is refused there; nothing is sent to it."""
    from rockai_transport.io import transports
    from rockai_transport.protocol import downloads

    # One loopback address stands for a public one: a test machine has no other.
    real = downloads.is_private
    for module in (downloads, transports):
        monkeypatch.setattr(module, "is_private", lambda host: host != "127.0.0.2" and real(host))
    with WireServer() as private, socket.create_server(("127.0.0.2", 0)) as public:

        def redirect():
            peer, _ = public.accept()
            with peer:
                peer.recv(65536)
                head = f"HTTP/1.1 302 Found\r\nLocation: {private.origin}/secret\r\nContent-Length: 0\r\n\r\n"
                peer.sendall(head.encode())

        thread = threading.Thread(target=redirect)
        thread.start()
        with pytest.raises(InvalidResponseError, match="private address"):
            connect(PUBLIC).download(done(f"http://127.0.0.2:{public.getsockname()[1]}/a"), tmp_path)
        thread.join()
        assert not private.requests


@pytest.mark.parametrize("bad", ["http://[::1", "http://x:99999/", "https://", "http:///a", "http://a\x00b/"])
def test_odd_addresses_are_refused(connect, tmp_path, bad):
    """What is no address is an InvalidResponseError, not some other library's."""
    with pytest.raises((InvalidResponseError, APIConnectionError)):
        connect(PUBLIC).download(done(bad), tmp_path)


async def test_a_cancelled_download_leaves_nothing(files, tmp_path):
    """Task cancellation in the middle of a file removes what was written."""

    def half(exchange):
        exchange.head(200, {"Content-Type": "image/png", "Content-Length": "9000000"})
        exchange.send(b"x" * 3_000_000)
        exchange.wait_left()

    files.script = half
    async with AsyncClient("t", files.base_url) as client:
        task = asyncio.ensure_future(client.download(done(f"{files.origin}/a"), tmp_path))
        for _ in range(500):
            if names(tmp_path):
                break
            await asyncio.sleep(0.01)
        assert names(tmp_path)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["blocking", "asynchronous"])
async def test_a_client_that_is_closed_during_a_download(files, tmp_path, kind):
    """What came is no whole file, though a body of unknown length ends with its connection; it is deleted."""

    def half(exchange):
        exchange.head(200, {"Content-Type": "image/png"})
        exchange.send(b"x" * 3_000_000)
        exchange.wait_left()

    files.script = half
    client = {"blocking": Client, "asynchronous": AsyncClient}[kind]("t", files.base_url, max_retries=0)
    wanted = done(f"{files.origin}/a"), tmp_path
    here = asyncio.to_thread(client.download, *wanted) if kind == "blocking" else client.download(*wanted)
    task = asyncio.ensure_future(here)
    for _ in range(500):
        if names(tmp_path) or task.done():
            break
        await asyncio.sleep(0.01)
    if kind == "blocking":
        client.close()
    else:
        await client.aclose()
    with pytest.raises(APIConnectionError, match="the client was closed meanwhile"):
        await task
    assert names(tmp_path) == []
