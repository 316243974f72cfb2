"""The service without HTTP: find the model, validate the input, run the prediction."""

from __future__ import annotations

import asyncio
import threading
import time
import traceback
from collections.abc import Mapping
from difflib import SequenceMatcher
from typing import Any

from rockai_sandbox.files import FileStore
from rockai_sandbox.functions import run_model
from rockai_sandbox.inputs import error, problems
from rockai_sandbox.predictions import Changes, Job, Ledger, SandboxPrediction, StartedBy, new_id, now
from rockai_sandbox.protocol import Protocol
from rockai_sandbox.registry import Model, Registry, split
from rockai_sandbox.runs import CanceledError, Gate, Run
from rockai_sandbox.tokens import count_tokens
from rockai_sandbox.webhooks import Webhooks, WebhookSender

THREADS_END_WITHIN = 1.0
"""Seconds to wait for the models' threads at the end. They are daemons: one that hangs is left running."""

FIELDS = (
    *("id", "model", "version", "created_at", "started_at", "completed_at", "webhook"),
    *("webhook_events_filter", "input", "stream", "output", "urls", "logs", "status", "error", "metrics"),
)
"""The fields of a prediction, in the order of docs/http-api.md."""


class RefusalError(Exception):
    """The service refuses a request.

    Attributes:
        status: The HTTP status.
        detail: The value of ``detail`` in the body.
    """

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail


class Engine:
    """The predictions of one sandbox. Call its methods on the sandbox's event loop."""

    def __init__(
        self,
        protocol: Protocol,
        registry: Registry,
        files: FileStore,
        changed: Changes,
        *,
        cold_start: float | Gate = 0.0,
        seconds_per_piece: float = 0.0,
        webhooks: Webhooks = "in order",
    ) -> None:
        self.protocol = protocol
        self.registry = registry
        self.files = files
        self.ledger = Ledger(changed)
        self.cold_start = cold_start
        self.seconds_per_piece = seconds_per_piece
        self.base_url = ""
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._threads: set[threading.Thread] = set()
        self.webhooks = WebhookSender(webhooks, changed, self.to_json)
        self._followers: set[asyncio.Task[None]] = set()

    def start(self, body: Any, started_by: StartedBy) -> Job:
        """Start the prediction that a request's body describes.

        Raises:
            RefusalError: 422 for an invalid body or input, 404 for an unknown model.
        """
        model, fields = self._read(body, started_by)
        job = self.ledger.open(
            SandboxPrediction(
                id=new_id(), model=model.name, version=model.version, started_by=started_by, **fields
            )
        )
        task = asyncio.get_running_loop().create_task(self._run_prediction(job, model))
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job.id, None))
        if fields["webhook"] is not None:
            follower = asyncio.get_running_loop().create_task(self.webhooks.follow(job))
            self._followers.add(follower)
            follower.add_done_callback(self._followers.discard)
        return job

    def find(self, prediction_id: str) -> Job:
        """Return a prediction.

        Raises:
            RefusalError: 404 with the recorded body if the id is unknown.
        """
        job = self.ledger.find(prediction_id)
        if job is None:
            raise RefusalError(404, "id not found")
        return job

    def cancel(self, job: Job) -> None:
        """Cancel a prediction; a terminal one does not change."""
        self._end(job, "canceled")
        task = self._tasks.get(job.id)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """Cancel all predictions and wait, for a limited time, until they have ended."""
        tasks = list(self._tasks.values())
        for job in self.ledger.jobs():
            self.cancel(job)
        followers = tuple(self._followers)
        for follower in followers:
            follower.cancel()
        await asyncio.gather(*tasks, *followers, return_exceptions=True)
        deadline = time.monotonic() + THREADS_END_WITHIN
        for thread in tuple(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    def to_json(self, job: Job, *, with_id: bool = True) -> dict[str, Any]:
        """Return a prediction in the flat form of docs/http-api.md."""
        state = job.snapshot()
        paths = {"get": self.protocol.get_path, "stream": self.protocol.stream_path}
        urls = {kind: f"{self.base_url}{path.format(id=state.id)}" for kind, path in paths.items() if path}
        known = {**vars(state), "urls": urls}
        return {name: known[name] for name in FIELDS if with_id or name != "id"}

    def _read(self, body: Any, started_by: StartedBy) -> tuple[Model, dict[str, Any]]:
        if not isinstance(body, dict):
            message = "Input should be a valid dictionary or object to extract fields from"
            raise RefusalError(422, [error("model_attributes_type", (), message, body)])
        wrong = _wrong_fields(body, started_by)
        if wrong:
            raise RefusalError(422, wrong)
        model = self._model(body)
        wrong = problems(model.inputs, body["input"])
        if wrong:
            raise RefusalError(422, wrong)
        return model, {
            "input": body["input"],
            "stream": body.get("stream") is True,
            "webhook": body.get("webhook"),
            "webhook_events_filter": body.get("webhook_events_filter"),
        }

    def _model(self, body: Mapping[str, Any]) -> Model:
        try:
            name, version = split(body.get("model") or body["version"])
        except ValueError as raised:
            field = "model" if body.get("model") else "version"
            raise RefusalError(
                422, [error("value_error", (field,), f"Value error, {raised}", body[field])]
            ) from None
        model = self.registry.find(name, body.get("version") or version)
        if model is None:
            # Assumed: no source shows this response. It must differ from the one for a missing route.
            asked_for = ":".join(filter(None, (name, body.get("version") or version)))
            # The nearest come first, because a client may cut the list.
            nearness = {
                one: SequenceMatcher(None, one, asked_for[:99]).ratio() for one in self.registry.names
            }
            there = ", ".join(sorted(nearness, key=nearness.__getitem__, reverse=True))
            raise RefusalError(404, f"model or version not found: {asked_for}. This sandbox has: {there}")
        return model

    async def _run_prediction(self, job: Job, model: Model) -> None:
        run = Run(job, self.files, self.seconds_per_piece)
        try:
            await _stay_cold(self.cold_start if model.cold_start is None else model.cold_start, run)
            job.began = time.monotonic()
            job.update(status="processing", started_at=now())
            output = await run_model(model.function, run, job, self._threads)
        except (asyncio.CancelledError, CanceledError):
            self._end(job, "canceled")
        except BaseException as raised:  # noqa: BLE001 - whatever a model raises is its failure: pytest.fail too
            job.add_log(traceback.format_exc())
            self._end(job, "failed", error=str(raised) or type(raised).__name__)
        else:
            self._end(job, "succeeded", output=output)

    def _end(self, job: Job, status: str, **fields: Any) -> None:
        if job.is_terminal:
            return
        if "output" not in fields and job.pieces:
            fields["output"] = list(job.pieces)
        metrics = None
        if job.began is not None:
            seconds = round(time.monotonic() - job.began, 6)
            metrics = self.protocol.metrics(
                seconds, _input_tokens(job.snapshot().input), _output_tokens(fields.get("output"))
            )
        job.update(status=status, completed_at=now(), metrics=metrics, **fields)


def _wrong_fields(body: Mapping[str, Any], started_by: StartedBy) -> list[dict[str, Any]]:
    wrong: list[dict[str, Any]] = []
    names = ("model",) if started_by != "create" else ("version", "model")
    if not any(body.get(name) for name in names):
        wrong.append(error("missing", (names[0],), "Field required", dict(body)))
    wrong += [
        error("string_type", (name,), "Input should be a valid string", body[name])
        for name in ("model", "version")
        if body.get(name) is not None and not isinstance(body[name], str)
    ]
    if "input" not in body:
        wrong.append(error("missing", ("input",), "Field required", dict(body)))
    elif not isinstance(body["input"], dict):
        wrong.append(error("dict_type", ("input",), "Input should be a valid dictionary", body["input"]))
    return wrong


async def _stay_cold(cold_start: float | Gate, run: Run) -> None:
    if isinstance(cold_start, Gate):
        await run.opened(cold_start)
    elif cold_start > 0:
        await asyncio.sleep(cold_start)


def _output_tokens(output: Any) -> int:
    return len(output) if isinstance(output, list) else count_tokens(output) if isinstance(output, str) else 0


def _input_tokens(given: Mapping[str, Any]) -> int:
    return sum(
        count_tokens(value) for key, value in given.items() if "prompt" in key and isinstance(value, str)
    )
