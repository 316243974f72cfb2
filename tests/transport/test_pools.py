"""Which pool of connections a request is given to, and when one is given up."""

import asyncio
import socket
import threading
from types import SimpleNamespace

import httpcore
import pytest

from rockai_transport.io.pools import Pools
from rockai_transport.io.transports import _AsyncPool, _Pool, _Stream


class Small(Pools):
    """Pools of three connections, which are made without sockets."""

    _size = 3


@pytest.fixture
def pools():
    return Small(lambda **_: Pool(), None, None)


class Pool(SimpleNamespace):
    """As much of a pool as is looked at: its requests."""

    def __init__(self):
        super().__init__(_requests=[])

    __hash__ = object.__hash__


def begin(pools, now, count=1):
    """Give requests to the pools; the pools they went to, and those that were given up."""
    went, given_up = [], []
    for _ in range(count):
        given_up += pools.unused(now)
        went.append(pools.choose(now))
        went[-1]._requests.append(object())
    return went, given_up


def test_a_full_pool_is_followed_by_a_new_one(pools):
    """No pool has more requests than its size."""
    went, _ = begin(pools, 0.0, 7)
    assert [went.count(pool) for pool in pools.pools] == [3, 3, 1]


def test_the_least_busy_pool_comes_before_a_new_one(pools):
    """A pool whose requests have ended has connections that are still open."""
    (first, *_), _ = begin(pools, 0.0, 6)
    first._requests.clear()
    went, _ = begin(pools, 1.0, 2)
    assert went == [first, first]
    assert len(pools.pools) == 2


def test_pools_that_were_used_a_moment_ago_are_kept(pools):
    """The next wave of requests finds the connections of the last one."""
    went, _ = begin(pools, 0.0, 6)
    for pool in pools.pools:
        pool._requests.clear()
    again, given_up = begin(pools, 4.0, 6)
    assert set(again) == set(went)
    assert given_up == []


def test_a_pool_without_anything_to_do_is_given_up(pools):
    """Once its connections would be closed anyway; never one that has requests."""
    (first, *_, last), _ = begin(pools, 0.0, 6)
    last._requests.clear()
    assert begin(pools, 60.0)[1] == []
    first._requests.clear()
    assert begin(pools, 61.0)[1] == [first]
    assert list(pools.pools) == [last]


def test_what_a_wave_has_left_is_given_up_by_the_next_requests(pools):
    """Ten pools each: a single request does not wait until all of them are closed."""
    begin(pools, 0.0, 25 * 3)
    for pool in pools.pools:
        pool._requests.clear()
    assert [len(begin(pools, 60.0)[1]) for _ in range(3)] == [10, 10, 4]
    assert len(pools.pools) == 1


def test_pools_that_are_busy_keep_no_others_open(pools):
    """Behind more long streams than pools that one request closes, those that a wave has left are found."""
    begin(pools, 0.0, 12 * 3)
    begin(pools, 1.0, 3 * 3)
    for pool in list(pools.pools)[12:]:
        pool._requests.clear()
    assert len(begin(pools, 60.0)[1]) == 2
    assert len(pools.pools) == 13


def test_of_two_equally_busy_pools_the_one_used_last_is_taken(pools):
    """So that what a large wave has opened is not kept open by a few requests in turn."""
    (first, *_), _ = begin(pools, 0.0, 9)
    last = next(reversed(pools.pools))
    for pool in pools.pools:
        pool._requests.clear()
    went, _ = begin(pools, 1.0, 6)
    assert first not in went
    assert last in went


def test_there_is_an_end_to_pools(pools):
    """From 2,000 connections on, the least busy pool takes more than its size: it queues them."""
    went, _ = begin(pools, 0.0, 334 * 3 + 334)
    assert len(set(went)) == 334
    assert {len(pool._requests) for pool in pools.pools} == {4}


class Slow(Pool):
    """A pool that takes a while to be closed, and to answer."""

    is_closed = False
    most = 0

    async def aclose(self):
        await asyncio.sleep(0)
        self.is_closed = True

    async def handle_async_request(self, _):
        self._requests.append(object())
        self.most = max(self.most, len(self._requests))
        await asyncio.sleep(0)
        self._requests.pop()
        return httpcore.Response(200)


@pytest.fixture
def idle():
    """Asynchronous pools that a large wave has left, and all of its pools."""
    waited = _AsyncPool(lambda **_: Slow(), None, None)
    waited.pools = {Slow(): -1000.0 for _ in range(30)}
    return waited, list(waited.pools)


async def test_a_request_that_closes_pools_has_no_place_in_its_own_yet(idle):
    """While it waited, all others chose the same pool, and then waited for its few connections."""
    pools, _ = idle
    await asyncio.gather(*(pools.handle_async_request(SimpleNamespace(extensions={})) for _ in range(40)))
    assert {pool.most for pool in pools.pools} == {2}


async def test_a_canceled_request_closes_what_it_gave_up(idle):
    """Nobody else would: it is in no list any more, and the event loop holds its sockets."""
    pools, old = idle
    task = asyncio.create_task(pools.handle_async_request(SimpleNamespace(extensions={})))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [pool.is_closed for pool in old] == [pool not in pools.pools for pool in old]


class Late(Pool):
    """A pool in which a request becomes visible only when all threads have chosen."""

    def handle_request(self, request):
        request.wait(5.0)
        self._requests.append(request)
        return httpcore.Response(200)


def test_threads_that_choose_at_once_fill_no_pool_beyond_its_size():
    """Their requests are not to be seen yet; a hundred waited for the connections of one pool."""
    pools = _Pool(lambda **_: Late(), None, None)
    together = threading.Barrier(25)
    threads = [threading.Thread(target=pools.handle_request, args=(together,)) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(pool._requests) for pool in pools.pools] == [10, 10, 5]
    assert not pools._given


async def test_requests_to_three_origins_in_turn_use_their_connections_again():
    """Httpcore closes an idle one if there are more connections than may be idle."""
    answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"] * 6
    pools = _AsyncPool(httpcore.AsyncConnectionPool, httpcore.AsyncMockBackend(answers), None)
    (pool,) = pools.pools
    opened = []
    for host in "abcabc":
        await pool.request("GET", f"http://{host}")
        opened += [one for one in pool.connections if one not in opened]
    assert len(opened) == 3
    await pools.aclose()


class ClosedMeanwhile(httpcore.MockBackend):
    """A connection during whose opening the pools are closed."""

    def connect_tcp(self, *_, **__):
        self.opened = httpcore.MockStream([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"])
        self.pools.close()
        return self.opened


class AsyncClosedMeanwhile(httpcore.AsyncMockBackend):
    """As above, with `await`."""

    async def connect_tcp(self, *_, **__):
        self.opened = httpcore.AsyncMockStream([b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"])
        await self.pools.aclose()
        return self.opened


def test_a_connection_that_opens_while_the_pools_are_closed_is_closed_behind_its_response():
    """No pool knows it: it was open until the garbage collection."""
    backend = ClosedMeanwhile([])
    backend.pools = pools = _Pool(httpcore.ConnectionPool, backend, None)
    response = pools.handle_request(httpcore.Request("GET", "http://a", headers={"Host": "a"}))
    assert response.read() == b"hi"
    response.close()
    assert backend.opened._closed


async def test_such_a_connection_of_an_asynchronous_client_too():
    """As above, with `await`."""
    backend = AsyncClosedMeanwhile([])
    backend.pools = pools = _AsyncPool(httpcore.AsyncConnectionPool, backend, None)
    response = await pools.handle_async_request(httpcore.Request("GET", "http://a", headers={"Host": "a"}))
    assert await response.aread() == b"hi"
    await response.aclose()
    assert backend.opened._closed


class ClosedInUse(httpcore.NetworkStream):
    """A socket whose client is closed by another thread, while this one waits for the socket."""

    def __init__(self, sock):
        self.sock, self.log = sock, []
        self.mine = _Stream(self)

    def get_extra_info(self, info):
        return self.sock

    def read(self, max_bytes, timeout=None):
        self.mine.close()
        self.log.append("read")
        raise httpcore.ReadError("Bad file descriptor")

    def write(self, buffer, timeout=None):
        self.mine.close()
        self.log.append("written")

    def close(self):
        self.log.append("closed")


def test_a_socket_is_closed_by_the_thread_that_waits_for_it():
    """A new connection could get its number before this thread wakes: it would then wait for the new one."""
    one, other = socket.socketpair()
    with one, other:
        reading = ClosedInUse(one)
        with pytest.raises(httpcore.ReadError, match="closed meanwhile"):
            reading.mine.read(1)
        assert reading.log == ["read", "closed"]
        writing = ClosedInUse(other)
        with pytest.raises(httpcore.WriteError, match="closed meanwhile"):
            writing.mine.write(b"x" * 2**20)
        assert writing.log == ["written", "closed"]
