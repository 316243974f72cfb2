"""The tools in a workflow of one's own, called by its steps."""

import pytest
from llama_index.core.workflow import Context, StartEvent, StopEvent, Workflow, step
from pydantic import BaseModel
from scripted_llm import jobs, make_spec
from workflows.events import HumanResponseEvent, InputRequiredEvent

pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")


def tool_of(spec):
    return next(tool for tool in spec.to_tool_list() if tool.metadata.name == "generate_image")


class Typed(BaseModel):
    title: str = ""


async def test_a_step_that_runs_again_starts_once(sandbox):
    """After wait_for_event a step begins anew; the start before it is found again in the Context."""
    tool = tool_of(make_spec(sandbox))

    class Film(Workflow):
        @step
        async def draw(self, ctx: Context, ev: StartEvent) -> StopEvent:
            output = await tool.acall(prompt="x")
            await ctx.wait_for_event(HumanResponseEvent, waiter_event=InputRequiredEvent(prefix="Good?"))
            return StopEvent(result=output.content)

    handler = Film(timeout=20).run()
    async for event in handler.stream_events():
        if isinstance(event, InputRequiredEvent):
            handler.ctx.send_event(HumanResponseEvent(response="yes"))
    assert "succeeded" in await handler
    assert len(jobs(sandbox)) == 1


async def test_a_typed_state_has_no_room_for_records(sandbox, caplog):
    """The tool works; a warning says that starts are remembered in the process only."""
    spec = make_spec(sandbox)
    tool = tool_of(spec)

    class Film(Workflow):
        @step
        async def draw(self, ctx: Context[Typed], ev: StartEvent) -> StopEvent:
            output = await tool.acall(prompt="x")
            return StopEvent(result=output.content)

    assert "succeeded" in await Film(timeout=20).run()
    assert "Pass store=" in caplog.text
    assert len(spec.receipt().started) == 1


async def test_a_receipt_without_the_context(sandbox):
    """What this process has started is on it, whatever Context keeps the records."""
    spec = make_spec(sandbox)
    tool = tool_of(spec)

    class Film(Workflow):
        @step
        async def draw(self, ctx: Context, ev: StartEvent) -> StopEvent:
            return StopEvent(result=(await tool.acall(prompt="x")).content)

    await Film(timeout=20).run()
    assert [record.status for record in spec.receipt().started] == ["succeeded"]


async def test_a_mapping_keeps_the_records_of_each_context_apart(sandbox):
    """With store= they are in the mapping, and one Context does not see another's."""
    kept = {}
    spec = make_spec(sandbox, store=kept, max_starts=1)
    tool = tool_of(spec)

    class Film(Workflow):
        @step
        async def draw(self, ctx: Context, ev: StartEvent) -> StopEvent:
            return StopEvent(result=(await tool.acall(prompt="x")).content)

    film = Film(timeout=20)
    assert "succeeded" in await film.run()
    assert "succeeded" in await film.run()
    assert len(kept) == 2
    assert len(spec.receipt().started) == 2
