"""Saving output files: from safe addresses only, whole or not at all, under names of our own."""

import base64
import socket
import threading
import time

import pytest
from support.wire_server import WireServer, answer, reset, trickle

from rockai_transport import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    InvalidResponseError,
    NotFoundError,
    Prediction,
)

PNG = b"\x89PNG\r\n\x1a\n-and-so-on"
PUBLIC = "https://api.rockai.example/v1"  # a base URL that is not on this machine


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


def test_a_file_is_saved_under_id_and_type(client, files, tmp_path):
    """The name is made of the prediction's id and the file's type, never of the URL."""
    folder = tmp_path / "new" / "folder"
    (path,) = client.download(done(f"{files.origin}/..%2f..%2fetc/passwd.exe?x=1"), folder)
    assert path == folder / "p1.png"
    assert path.read_bytes() == PNG
    assert names(folder) == ["p1.png"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_several_files_are_numbered_in_order(client, files, tmp_path):
    """Lists and objects of addresses are saved in their order; what is no address is passed over."""
    files.route("GET /b", answer(200, b"\x00\x00\x00\x18ftypmp42", media_type="application/octet-stream"))
    files.route("GET /c", answer(200, b"?", media_type="application/x-unheard-of"))
    output = {
        "frames": [f"{files.origin}/a", "no address"],
        "video": f"{files.origin}/b",
        "n": 5,
        "c": f"{files.origin}/c",
    }
    paths = client.download(done(output), str(tmp_path))
    assert [path.name for path in paths] == ["p1-1.png", "p1-2.mp4", "p1-3.bin"]


@pytest.mark.parametrize(
    "output", [None, "text", ["a", "b"], {"a": 1}, 5, [], "ftp://x/y", "file:///etc/passwd", "//x/y"]
)
def test_an_output_without_files_saves_nothing(client, tmp_path, output):
    """Text is no file."""
    assert client.download(done(output), tmp_path / "x") == []
    assert names(tmp_path) == []


def test_odd_ids_make_plain_names(client, files, tmp_path):
    """An id that could climb paths cannot; without an id the address's hash keeps files apart."""
    for odd in ("../../x", "a/b", "..", "x" * 300, None, ""):
        (path,) = client.download(done(f"{files.origin}/a", id=odd), tmp_path)
        assert path.parent == tmp_path
        assert len(path.name) < 120
        assert set(path.name[:-4]) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@pytest.mark.parametrize("status", ["starting", "failed", "canceled", "unknown"])
def test_only_what_succeeded_is_saved(client, files, tmp_path, status):
    """A prediction that has not succeeded has no files yet."""
    with pytest.raises(ConfigurationError, match=r"predictions\.wait"):
        client.download(done(f"{files.origin}/a", status=status), tmp_path)
    assert not files.requests


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
        ("data:,", "p1.bin", b""),
    ],
)
def test_data_uris_are_saved(client, tmp_path, uri, name, content):
    """A data: URI is a file that the output holds itself."""
    (path,) = client.download(done(uri), tmp_path)
    assert (path.name, path.read_bytes()) == (name, content)


@pytest.mark.parametrize("uri", ["data:image/png;base64", "data:image/png;base64,a", "data:"])
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
        "255.255.255.255",
    ],
)  # fmt: skip
def test_private_addresses_are_refused(connect, files, tmp_path, host):
    """Private, loopback and link-local addresses are refused in every spelling; nothing is sent there."""
    with pytest.raises(InvalidResponseError):
        connect(PUBLIC).download(done(f"http://{host}:{files.port}/a"), tmp_path)
    assert not files.requests
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


def test_private_addresses_may_be_allowed(connect, files, tmp_path):
    """The user may allow them; and a base URL that is on such an address allows them too."""
    assert connect(PUBLIC).download(done(f"{files.origin}/a"), tmp_path, allow_private=True)
    assert connect(files.base_url).download(done(f"{files.origin}/a"), tmp_path)


def test_redirects_are_followed_and_looked_at(connect, files, tmp_path):
    """A redirect leads to the file, wherever it is allowed; to an address that is not, it leads nowhere."""
    files.route("GET /a", answer(302, b"", {"Location": "/b"}))
    files.route("GET /b", answer(307, b"", {"Location": f"{files.origin}/c"}))
    (path,) = connect(files.base_url).download(done(f"{files.origin}/a"), tmp_path)
    assert path.read_bytes() == PNG
    for bad in ("file:///etc/passwd", "ftp://x/y", "data:text/plain,x", "http://", "gopher://127.0.0.1"):
        files.route("GET /a", answer(302, b"", {"Location": bad}))
        with pytest.raises((InvalidResponseError, APIConnectionError)):
            connect(files.base_url, max_retries=0).download(done(f"{files.origin}/a"), tmp_path)
    files.route("GET /a", answer(302, b"", {"Location": "/a"}))
    with pytest.raises(InvalidResponseError, match="redirects"):
        connect(files.base_url).download(done(f"{files.origin}/a"), tmp_path)


def test_a_redirect_to_a_private_address_is_refused(connect, files, tmp_path, monkeypatch):
    """A public address that redirects to a private one is refused there; nothing is sent to it."""
    from rockai_transport import network  # noqa: PLC0415
    from rockai_transport.protocol import downloads  # noqa: PLC0415

    # One loopback address stands for a public one: a test machine has no other.
    real = downloads.is_private
    for module in (downloads, network):
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


def test_the_size_limit(client, files, tmp_path):
    """A file that is larger than allowed is given up and leaves nothing."""
    files.script = answer(200, b"x" * 3_000_000, media_type="image/png")
    with pytest.raises(InvalidResponseError, match="max_bytes"):
        client.download(done(f"{files.origin}/a"), tmp_path, max_bytes=2_999_999)
    with pytest.raises(InvalidResponseError, match="max_bytes"):
        client.download(done("data:text/plain,hello"), tmp_path, max_bytes=4)
    assert names(tmp_path) == []
    client.download(done(f"{files.origin}/a"), tmp_path, max_bytes=3_000_000)
    for bad in (0, -1, 1.5, None):
        with pytest.raises(ConfigurationError):
            client.download(done(f"{files.origin}/a"), tmp_path, max_bytes=bad)


def cut(exchange):
    exchange.head(200, {"Content-Type": "image/png", "Content-Length": "2000000"})
    exchange.send(b"x" * 1_500_000)
    exchange.close()


def test_a_cut_body_leaves_no_file_and_is_fetched_again(connect, files, tmp_path):
    """A body cut short is fetched again from the start; if it stays so, nothing is left."""
    files.route("GET /a", cut, answer(200, PNG, media_type="image/png"))
    (path,) = connect(files.base_url).download(done(f"{files.origin}/a"), tmp_path)
    assert path.read_bytes() == PNG
    path.unlink()
    files.route("GET /a", cut)
    with pytest.raises(APIConnectionError):
        connect(files.base_url, max_retries=0).download(done(f"{files.origin}/a"), tmp_path)
    files.route("GET /a", reset)
    with pytest.raises(APIConnectionError):
        connect(files.base_url, max_retries=0).download(done(f"{files.origin}/a"), tmp_path)
    assert names(tmp_path) == []


def test_a_download_ends_at_its_own_timeout(client, files, tmp_path):
    """`timeout` is a total over all files, bodies that trickle included; what was half saved is removed."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 9000000\r\n\r\n"
    files.script = trickle(head, b"x", 0.05)
    began = time.monotonic()
    with pytest.raises(APITimeoutError):
        client.download(done(f"{files.origin}/a"), tmp_path, timeout=0.5)
    assert time.monotonic() - began < 1.5
    assert names(tmp_path) == []


def test_a_missing_file_is_told(client, files, tmp_path):
    """A 404 of the file server is a NotFoundError; nothing may have started by it."""
    files.script = answer(404, b"gone", media_type="text/plain")
    with pytest.raises(NotFoundError) as caught:
        client.download(done(f"{files.origin}/a?signature=secret-words"), tmp_path)
    assert not caught.value.may_have_started
    assert "secret-words" not in str(caught.value)


def test_an_existing_file_is_replaced_when_the_new_one_is_whole(connect, files, tmp_path):
    """A second download replaces the file; one that fails leaves the first as it was."""
    (tmp_path / "p1.png").write_bytes(b"old")
    client = connect(files.base_url, max_retries=0)
    files.route("GET /a", cut, answer(200, PNG, media_type="image/png"))
    with pytest.raises(APIConnectionError):
        client.download(done(f"{files.origin}/a"), tmp_path)
    assert (tmp_path / "p1.png").read_bytes() == b"old"
    client.download(done(f"{files.origin}/a"), tmp_path)
    assert (tmp_path / "p1.png").read_bytes() == PNG


def test_a_folder_that_cannot_be_written(client, files, tmp_path):
    """It is a ConfigurationError."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        client.download(done(f"{files.origin}/a"), tmp_path / "file")


@pytest.mark.parametrize("bad", ["http://[::1", "http://x:99999/", "https://", "http:///a", "http://a\x00b/"])
def test_odd_addresses_are_refused(client, tmp_path, bad):
    """What is no address is an InvalidResponseError, not some other library's."""
    with pytest.raises((InvalidResponseError, APIConnectionError)):
        client.download(done(bad), tmp_path)


async def test_a_cancelled_download_leaves_nothing(files, tmp_path):
    """Task cancellation in the middle of a file removes what was written."""
    import asyncio  # noqa: PLC0415

    from rockai_transport import AsyncClient  # noqa: PLC0415

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
