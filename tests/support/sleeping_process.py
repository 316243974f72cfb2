"""Runs agents that sleep and are killed: reads jobs, one JSON line each, and forks for each.

It is a separate program, so that slow imports happen once, and no thread runs when it forks.
"""

import asyncio
import gc
import json
import os
import signal
import sys
import threading
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from langchain.agents import create_agent
from langchain_core.messages import AIMessage
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.utils import get_tokenizer
from scripted import ScriptedModel, call, results
from scripted_llm import calling

from langchain_rockai import RockAIToolkit, resume_graph
from llama_index_rockai import RockAIToolSpec, resume_workflow, run_until_asleep
from rockai_transport import Client, HostedModel
from rockai_transport.jobs.webhooks import WebhookReceiver

VIDEO = HostedModel("video", "you/slow", "Makes a video.", output="text")
ORDER = ("video", {"prompt": "a"})
CONFIG = {"configurable": {"thread_id": "t"}}


class Folder(MutableMapping):
    """A mapping of strings that outlives its process, and kills it at a given point."""

    def __init__(self, path, point=""):
        self.path, self.point = Path(path), point
        self.path.mkdir(exist_ok=True)

    def __getitem__(self, name):
        try:
            return (self.path / quote(name, safe="")).read_text(encoding="utf-8")
        except FileNotFoundError:
            raise KeyError(name) from None

    def __setitem__(self, name, text):
        record = json.loads(text)
        is_start = "@" not in record.get("key", "")
        if self.point == "unwritten" or (self.point == "sent" and record.get("state") == "started"):
            die()
        written = self.path / f".{os.getpid()}.{threading.get_ident()}"
        written.write_text(text, encoding="utf-8")
        written.rename(self.path / quote(name, safe=""))
        if (
            self.point == "written"
            or (self.point == "asleep" and record.get("asleep"))
            or (self.point == "claimed" and not is_start)
            or (self.point == "seen" and is_start and record.get("status") == "succeeded")
        ):
            die()

    async def resolved(self):
        """Wait until the response to every start is known."""
        for _ in range(1000):
            if not any('"state": "unknown"' in text for text in self.values()):
                return
            await asyncio.sleep(0.01)

    def __delitem__(self, name):
        (self.path / quote(name, safe="")).unlink()

    def __iter__(self):
        return (unquote(one.name) for one in self.path.iterdir() if not one.name.startswith("."))

    def __len__(self):
        return len(list(iter(self)))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


async def langgraph(job, store, work):
    """A program with LangGraph: start or continue it, and resume it; return the last answer."""
    settings = {"api_token": job["token"], "base_url": job["url"], "webhook_url": "https://my.app/rockai"}
    tools = RockAIToolkit([VIDEO], max_wait=0.1, store=store, **settings).get_tools()

    def script(messages):
        return AIMessage(results(messages)[-1].text) if results(messages) else call(ORDER)

    async with AsyncSqliteSaver.from_conn_string(f"{job['folder']}/checkpoints.db") as saver:
        agent = create_agent(ScriptedModel(script=script), tools, checkpointer=saver)

        async def go_on():
            state = await agent.aget_state(CONFIG)
            if not state.values or (state.next and not state.interrupts):
                given = None if state.next else {"messages": [("user", "a video")]}
                await agent.ainvoke(given, CONFIG, durability="sync")
            return False

        await work(go_on, resume_graph(agent))
        state = await agent.aget_state(CONFIG)
        return "" if state.next else state.values["messages"][-1].text


async def llama_index(job, store, work):
    """The same with LlamaIndex, where the Context is stored next to the records."""
    settings = {"api_token": job["token"], "base_url": job["url"], "webhook_url": "https://my.app/rockai"}
    toolkit = RockAIToolSpec([VIDEO], max_wait=0.1, store=store, scope="t", **settings)
    agent = FunctionAgent(
        tools=toolkit.to_tool_list(), llm=calling(lambda said: said[-1] if said else [ORDER])
    )
    contexts, ends = Folder(f"{job['folder']}/contexts"), Folder(f"{job['folder']}/ends")

    def end(record, result):
        ends["end"] = json.dumps({"text": str(result)})

    async def go_on():
        if not contexts and not ends:
            result = await run_until_asleep(agent.run("a video"), toolkit, contexts)
            if result is not None:
                end(None, result)
            return result is not None
        return False

    await work(go_on, resume_workflow(agent, toolkit, contexts, end))
    return json.loads(ends["end"])["text"] if ends else ""


async def run(job):
    store = Folder(f"{job['folder']}/store", job["point"])

    async def work(go_on, resume):
        if job["phase"] == "begin":
            await go_on()
            die()
        receiver = WebhookReceiver(Client(job["token"], job["url"]), store, resume, stale=job["stale"])
        if job["webhook"]:
            delivery = asyncio.create_task(deliver(receiver, job))
            await store.resolved()
            if await go_on():
                delivery.cancel()  # nothing is saved that it could resume: it would try for a minute
            await asyncio.wait([delivery])
        else:
            await go_on()
        await receiver.sweep(older_than=0)

    return await {"langgraph": langgraph, "llama_index": llama_index}[job["framework"]](job, store, work)


async def deliver(receiver, job):
    async def receive():
        return {"type": "http.request", "body": json.dumps({"id": job["id"]}).encode()}

    async def send(message):
        assert message.get("status", 200) == 200

    query = urlsplit(job["webhook"]).query.encode()
    await receiver({"type": "http", "method": "POST", "query_string": query}, receive, send)


def get_ready():
    """Load what a job loads late; keep the collector from writing to shared memory, which would copy it."""
    get_tokenizer()
    for kind in (RockAIToolkit, RockAIToolSpec):
        kind([VIDEO], client=Client("token-of-nobody", "http://127.0.0.1:9")).close()
    gc.freeze()


def main():
    get_ready()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            job = json.loads(line)
            Path(job["folder"], "answer.txt").write_text(asyncio.run(run(job)), encoding="utf-8")
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
