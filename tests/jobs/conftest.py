import asyncio

import pytest

from rockai_sandbox import Protocol, Sandbox
from rockai_transport import ANIMATE_IMAGE, GENERATE_IMAGE
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.toolset import Toolset


@pytest.fixture
def sandbox():
    with Sandbox(video_seconds=0.2, protocol=Protocol(stream_needs_token=True)) as running:
        yield running


class Caller:
    """Calls tools in one of the two ways, so that one test holds for both."""

    def __init__(self, sandbox, *, asynchronous):
        self.sandbox = sandbox
        self.asynchronous = asynchronous
        self.made = []

    def toolset(self, *more, **settings):
        models = [GENERATE_IMAGE, ANIMATE_IMAGE, *more]
        made = Toolset(models, api_token=self.sandbox.api_token, base_url=self.sandbox.base_url, **settings)
        self.made.append(made)
        return made

    def call(self, toolset, tool, arguments=None, *, call=None, scope="here", store=None, **more):
        """One tool call; the same ``call`` is the same call again."""
        context = CallContext(scope, call, store=store, **more)
        if self.asynchronous:
            return asyncio.run(toolset.acall(tool, arguments or {}, context))
        return toolset.call(tool, arguments or {}, context)


@pytest.fixture(params=["sync", "async"])
def caller(request, sandbox):
    calls = Caller(sandbox, asynchronous=request.param == "async")
    yield calls
    for made in calls.made:
        made.close()
