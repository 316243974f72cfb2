"""The scenes of the demo, one function each."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from llama_index.core.llms import ChatMessage
from rich.panel import Panel
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from langchain_rockai import ANIMATE_IMAGE, GENERATE_IMAGE, ChatRockAI, RockAIToolkit
from llama_index_rockai import RockAI
from rockai_transport import Prediction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rich.console import Console

__all__ = ["PAID_CALLS", "Stage", "play"]

CHAT_MODEL = "meta/meta-llama-3-70b-instruct"
TEXT_MODEL = "mistralai/mistral-7b-instruct-v0.1"
OUT = Path("out")
_HALF_WAY = 0.4
PAID_CALLS = (
    f"a poem, and the agent's own thinking: about five runs of {CHAT_MODEL}",
    f"two answers: two runs of {TEXT_MODEL}",
    f"one image: {GENERATE_IMAGE.model}",
    f"two videos, the second canceled half-way: version {ANIMATE_IMAGE.model[:12]}…",
)
_TASK = (
    "Generate an image with the prompt 'a statue made of porcelain, with golden mendings', "
    "and then animate that image with the prompt 'the eyes of the statue blink, the lips open as in talk'."
)


class Stage(NamedTuple):
    """Where the demo is shown."""

    console: Console
    on_sandbox: bool

    def title(self, number: int, text: str) -> None:
        """Announce a scene."""
        self.console.print()
        self.console.rule(f"[bold]{number}. {text}", align="left")


async def play(stage: Stage) -> None:
    """Play all scenes, one after the other."""
    if stage.on_sandbox:
        stage.console.print(
            Panel(
                "The service is a local sandbox. Its words come from rules, not from a model.", title="RockAI"
            )
        )
    stage.title(1, "LangChain: a chain streams a poem, with its line breaks")
    await poem(stage)
    stage.title(2, "LlamaIndex: an LLM answers, then streams")
    await answers(stage)
    toolkit = RockAIToolkit(models=[GENERATE_IMAGE, ANIMATE_IMAGE], save_to=OUT)
    try:
        stage.title(3, "An agent makes an image, then animates it")
        image = await video(stage, toolkit)
        stage.title(4, "A second video is started, and canceled half-way")
        await canceled(stage, toolkit, image)
        stage.console.print(_receipt(toolkit))
    finally:
        await toolkit.aclose()


async def poem(stage: Stage) -> None:
    """Stream through a LangChain chain."""
    llm = ChatRockAI(model=CHAT_MODEL, max_tokens=300)
    chain = ChatPromptTemplate.from_template("Write a poem about {subject}.") | llm | StrOutputParser()
    async for piece in chain.astream({"subject": "steamed hams"}):
        stage.console.print(Text(piece, style="cyan"), end="")
    stage.console.print()


async def answers(stage: Stage) -> None:
    """Complete, and stream a chat of several turns."""
    llm = RockAI(model=TEXT_MODEL, max_tokens=300)
    stage.console.print(Text("user: What is 19 + 23?", style="dim"))
    stage.console.print(Text(str(await llm.acomplete("What is 19 + 23?")), style="cyan"))
    stage.console.print()
    turns = [
        ChatMessage(role="user", content="My name is Ada."),
        ChatMessage(role="assistant", content="Hello, Ada."),
        ChatMessage(role="user", content="What is my name?"),
    ]
    for turn in turns:
        stage.console.print(Text(f"{turn.role.value}: {turn.content}", style="dim"))
    async for chunk in await llm.astream_chat(turns):
        stage.console.print(Text(chunk.delta or "", style="cyan"), end="")
    stage.console.print()


async def video(stage: Stage, toolkit: RockAIToolkit) -> Prediction:
    """Let an agent make an image and a video, and show how far it is; give the image's prediction."""
    agent: Any = create_agent(ChatRockAI(model=CHAT_MODEL), tools=toolkit.get_tools())
    stage.console.print(Text(f"user: {_TASK}", style="dim"))
    question = {"messages": [{"role": "user", "content": _TASK}]}
    made: dict[str, Prediction] = {}
    with _bars(stage.console) as bars:
        async for mode, part in agent.astream(question, stream_mode=["updates", "custom"]):
            if mode == "custom":
                bars.show(part)
                continue
            for message in (message for update in part.values() for message in update["messages"]):
                _show(stage.console, message)
                if isinstance(getattr(message, "artifact", None), Prediction):
                    made[message.name] = message.artifact
    if not made.keys() >= {GENERATE_IMAGE.name, ANIMATE_IMAGE.name}:
        raise SystemExit("The agent ended without a video; what it said stands above.")
    await asyncio.to_thread(_keep, made[ANIMATE_IMAGE.name])
    stage.console.print(f"Saved as [bold]{OUT / 'demo.mp4'}[/].")
    return made[GENERATE_IMAGE.name]


def _keep(prediction: Prediction) -> None:
    """Copy the video that the toolkit has saved to where the demo says it is."""
    shutil.copyfile(next(OUT.glob(f"{prediction.id}*.mp4")), OUT / "demo.mp4")


async def canceled(stage: Stage, toolkit: RockAIToolkit, image: Prediction) -> None:
    """Start a second video by hand, look at it until it is under way, and cancel it."""
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    arguments = {"image": image.text, "prompt": "the statue turns its head"}
    order = {"model": ANIMATE_IMAGE.name, "input": arguments}
    seen = await _artifact(tools["start_prediction"], order)
    with _bars(stage.console) as bars:
        while not seen.is_terminal and (seen.progress or 0) < _HALF_WAY:
            bars.show(
                {
                    **vars(seen),
                    "prediction_id": seen.id,
                    "model": ANIMATE_IMAGE.name,
                    "progress": seen.progress,
                }
            )
            await asyncio.sleep(0.1)
            seen = await _artifact(tools["get_prediction"], {"prediction_id": seen.id})
        answer = await tools["cancel_prediction"].ainvoke({"prediction_id": seen.id})
        bars.show({"prediction_id": seen.id, "status": "canceled", "progress": seen.progress})
    stage.console.print(Text(answer, style="cyan"))


async def _artifact(tool: Any, arguments: Mapping[str, Any]) -> Prediction:
    """What the program gets of a tool call; the agent gets a short text."""
    call = {"type": "tool_call", "id": "demo", "name": tool.name, "args": arguments}
    message = await tool.ainvoke(call)
    if not isinstance(message.artifact, Prediction):
        raise SystemExit(message.text)
    return message.artifact


class _Bars:
    """A bar for each prediction, fed by the events of progress."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def show(self, event: Mapping[str, Any]) -> None:
        """Draw what an event tells."""
        key = str(event["prediction_id"])
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(event["model"], total=1.0, status="")
        done = 1.0 if event["status"] == "succeeded" else event["progress"] or 0.0
        self._progress.update(self._tasks[key], completed=done, status=event["status"])


@contextmanager
def _bars(console: Console) -> Iterator[_Bars]:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[status]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


def _show(console: Console, message: Any) -> None:
    """One message of the agent's conversation, in a line."""
    for call in getattr(message, "tool_calls", ()):
        console.print(Text(f"agent → {call['name']}({', '.join(call['args'])})", style="magenta"))
    if message.type == "tool":
        console.print(Text(f"{message.name}: {message.text}", style="cyan"))
    elif not message.tool_calls:
        console.print(Text("agent: the task is done.", style="magenta"))


def _receipt(toolkit: RockAIToolkit) -> Panel:
    return Panel(str(toolkit.receipt()), title="toolkit.receipt()")
