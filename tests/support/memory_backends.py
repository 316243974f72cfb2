"""Backends in memory: a service that does at once what a test specifies, and a clock that stands still."""

import asyncio
import math
from dataclasses import replace

from rockai_transport import (
    ANIMATE_IMAGE,
    GENERATE_IMAGE,
    APIConnectionError,
    HostedModel,
    NotFoundError,
    Prediction,
    PredictionFailedError,
    RockAIError,
)
from rockai_transport.jobs.policy import CallContext, Policy
from rockai_transport.jobs.stores import MemoryRecords
from rockai_transport.jobs.toolset import Lifecycle
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.prediction import Update

SAY = HostedModel("say", "a/say", "Says it.", output="text")
SCHEMA = {
    "properties": {"prompt": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["prompt"],
}
LOOK = HostedModel("look", "a/look", "Looks.", SCHEMA, {"size": 3, "secret": "s"}, "text")
PROMPT = {"prompt": "x"}
START = {"model": "say", "input": PROMPT}
SAME = ("task", "call-1")
LOST = APIConnectionError("the answer was lost", may_have_started=True)


class MemoryService:
    """Predictions by their ids.

    Attributes:
        ends: The changes to a prediction once it has been waited for; empty: it continues.
        failures: Exceptions that the next calls raise instead of returning.
        calls: The name of each call, and its subject.
        webhooks: The webhook arguments of each start.
        clock: The clock for time limits, which stands still; it may be set.
    """

    def __init__(self):
        self.ends = {"status": "succeeded", "output": "x"}
        self.predictions = {}
        self.failures = []
        self.calls = []
        self.webhooks = []
        self.clock = 50.0

    def named(self, name):
        """Return the subjects of the calls with this name."""
        return [about for call, about in self.calls if call == name]

    def _called(self, name, about):
        self.calls.append((name, about))
        if self.failures:
            raise self.failures.pop(0)

    async def create(self, *, model, input, **webhook):
        self._called("create", (model, dict(input)))
        self.webhooks.append(webhook)
        made = Prediction(id=f"p{len(self.predictions) + 1}", status="starting", raw={})
        self.predictions[made.id] = made
        return made

    async def get(self, prediction_id):
        self._called("get", prediction_id)
        if prediction_id not in self.predictions:
            raise NotFoundError("no such prediction", status_code=404)
        return self.predictions[prediction_id]

    async def wait(self, prediction_or_id, *, timeout, on_update):
        self._called("wait", (prediction_or_id.id, timeout))
        known = self.predictions[prediction_or_id.id]
        if not known.is_terminal:
            known = self.predictions[known.id] = replace(known, **self.ends)
        if on_update is not None:
            await on_update(Update(known, "", None))
        if known.status == "failed":
            raise PredictionFailedError(known.error, known)
        return known

    async def cancel(self, prediction_id):
        self._called("cancel", prediction_id.id)
        canceled = self.predictions[prediction_id.id] = replace(prediction_id, status="canceled", raw={})
        return canceled


class MemoryBackends:
    """`Backends` whose coroutines never suspend.

    Attributes:
        canceled: Whether the caller was canceled; raised once, after detached operations.
        downloads: The saved files.
        moment: The time of day, which may be set.
    """

    def __init__(self, service=None, records=None, context=None):
        self.predictions = service or MemoryService()
        self.records = records or MemoryRecords()
        self.context = context or CallContext("here")
        self.canceled = self.told = False
        self.downloads = []
        self.moment = 1000.0

    def during(self, **changes):
        """Return the same backends for another call."""
        other = MemoryBackends(self.predictions, self.records, self.context._replace(**changes))
        other.downloads = self.downloads
        return other

    def was_canceled(self):
        return self.canceled

    def now(self):
        return self.moment

    def clock(self):
        return self.predictions.clock

    async def download(self, prediction, folder, timeout):
        if not folder.is_dir():
            raise APIConnectionError("it is no folder")
        path = folder / f"{prediction.id}.png"
        path.touch()
        self.downloads.append(path)
        return [path]

    async def sleep(self, seconds):
        pass

    async def detached(self, operation, within=math.inf):
        result = await operation
        self.tell()
        return result

    async def left_behind(self, steps, after, meanwhile):
        result = await steps.all()
        if self.canceled and not self.told:
            await meanwhile()
        self.tell()
        return result

    async def together(self, operations, within=2.0):
        return [await settled(operation) for operation in operations]

    def tell(self):
        if self.canceled and not self.told:
            self.told = True
            raise asyncio.CancelledError


async def settled(operation):
    try:
        return await operation
    except RockAIError as error:
        return error


def do(operation):
    """Run an operation over these backends."""
    return run_blocking(operation)


def lifecycle(**policy):
    return Lifecycle([GENERATE_IMAGE, ANIMATE_IMAGE, SAY, LOOK], Policy(**policy))


def call(backends, tool, arguments, tools=None, **context):
    """Make one tool call; an equal ``call`` means the same call again."""
    context = backends.context._replace(**context)
    return do((tools or lifecycle()).answer(backends.during(), context, tool, arguments))


def records_of(backends):
    return do(backends.records.all(None))


class Breaking(MemoryRecords):
    """Records that cannot be written after this number of times, and optionally cannot be listed."""

    def __init__(self, writes):
        super().__init__()
        self.writes = writes
        self.lists = True

    async def put(self, record, **settings):
        if self.writes == 0:
            raise OSError("the disk is full")
        self.writes -= 1
        return await super().put(record, **settings)

    async def all(self, scope):
        if not self.lists:
            raise OSError("the store is gone")
        return await super().all(scope)
