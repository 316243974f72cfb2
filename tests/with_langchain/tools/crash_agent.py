"""Runs agents that are killed: reads jobs from its input, a line of JSON each, and forks its workers.

It is a program of its own, so that the slow imports are paid for once, and no thread runs when it forks.
"""

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx
from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.store.sqlite import SqliteStore
from langgraph.store.sqlite.aio import AsyncSqliteStore
from scripted import ScriptedModel, call, results

from langchain_rockai.toolkit import RockAIToolkit
from rockai_transport import ANIMATE_IMAGE, AsyncClient, Client

PROMPT = "the statue talks"
IMAGE = "https://example.com/statue.png"


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Fate:
    """Kills this process at one of the points of a start."""

    def __init__(self, point):
        self.point = point
        self.written = self.read = 0

    def before_put(self):
        if (self.point, self.written) in (("before-record", 0), ("answered", 1)):
            die()

    def after_put(self):
        self.written += 1
        if (self.point, self.written) == ("recorded", 1):
            die()

    def after_get(self):
        self.read += 1
        if (self.point, self.read) == ("claimed", 2):  # it looks, writes, and reads back
            die()

    def before_request(self, request):
        if self.point == "waiting" and request.method == "GET":
            die()
        if self.point == "sent" and request.method == "POST":
            send_and_die(request)


def send_and_die(request):
    """Put the request on the wire, and die before its answer can be read."""
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    with socket.create_connection((request.url.host, request.url.port)) as connection:
        line = f"{request.method} {request.url.raw_path.decode()} HTTP/1.1\r\n"
        connection.sendall(f"{line}{head}\r\n".encode() + request.content)
        die()


class Store(SqliteStore):
    fate: Fate

    def put(self, *args, **kwargs):
        self.fate.before_put()
        super().put(*args, **kwargs)
        self.fate.after_put()

    def get(self, *args, **kwargs):
        found = super().get(*args, **kwargs)
        self.fate.after_get()
        return found


class AsyncStore(AsyncSqliteStore):
    fate: Fate

    async def aput(self, *args, **kwargs):
        self.fate.before_put()
        await super().aput(*args, **kwargs)
        self.fate.after_put()

    async def aget(self, *args, **kwargs):
        found = await super().aget(*args, **kwargs)
        self.fate.after_get()
        return found


def script(messages):
    """Ask for one video, then say how it went."""
    if done := results(messages):
        return AIMessage(done[-1].text)
    return call(("animate_image", {"image": IMAGE, "prompt": PROMPT, "max_frames": 4}))


def given(job):
    """The input of a first run; a resumed one gets none."""
    return None if job["resume"] else {"messages": [("user", "a talking statue, please")]}


def run(job, fate):
    http = httpx.Client(event_hooks={"request": [fate.before_request]}, timeout=20)
    client = Client(job["token"], job["url"], http_client=http)
    with (
        SqliteSaver.from_conn_string(job["checkpoints"]) as saver,
        Store.from_conn_string(job["store"]) as store,
    ):
        store.setup()
        store.fate = fate
        tools = RockAIToolkit([ANIMATE_IMAGE], client=client).get_tools()
        agent = create_agent(ScriptedModel(script=script), tools, checkpointer=saver, store=store)
        config = {"configurable": {"thread_id": job["thread"]}}
        return agent.invoke(given(job), config, durability="sync")["messages"][-1].text


async def arun(job, fate):
    async def before_request(request):
        fate.before_request(request)

    http = httpx.AsyncClient(event_hooks={"request": [before_request]}, timeout=20)
    client = AsyncClient(job["token"], job["url"], http_client=http)
    async with (
        http,
        AsyncSqliteSaver.from_conn_string(job["checkpoints"]) as saver,
        AsyncStore.from_conn_string(job["store"]) as store,
    ):
        await store.setup()
        store.fate = fate
        tools = RockAIToolkit([ANIMATE_IMAGE], async_client=client).get_tools()
        agent = create_agent(ScriptedModel(script=script), tools, checkpointer=saver, store=store)
        config = {"configurable": {"thread_id": job["thread"]}}
        return (await agent.ainvoke(given(job), config, durability="sync"))["messages"][-1].text


def work(job, worker):
    fate = Fate(job["point"])
    text = asyncio.run(arun(job, fate)) if job["asynchronous"] else run(job, fate)
    Path(f"{job['answer']}{worker}").write_text(text, encoding="utf-8")


def fork_worker(job, worker, ready, go):
    """A process that begins when all have been made."""
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(ready, 1)
        work(job, worker)
        os._exit(0)
    return child


def get_ready():
    """Import what a job imports late; keep the collector from touching what is shared, which copies it."""
    RockAIToolkit([ANIMATE_IMAGE], client=Client("token-of-nobody", "http://127.0.0.1:9")).close()
    gc.freeze()


def main():
    get_ready()
    for line in sys.stdin:
        job = json.loads(line)
        ready, go = os.pipe()
        children = [fork_worker(job, worker, ready, go) for worker in range(job["workers"])]
        os.close(go)
        os.close(ready)
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        sys.stdout.write(f"{min(ends)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
