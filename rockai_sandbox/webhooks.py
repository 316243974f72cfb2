"""The sandbox's webhook calls: in order, or with faults that a service may have.

Invariants: only this machine is called, at addresses that begin with ``http:``; only requested events are
sent, and a failing receiver does not affect the prediction.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from rockai_sandbox.predictions import Changes, Job

Webhooks = Literal["in order", "late", "twice", "out of order", "forged", "never"]

LATE = 1.0
"""The delay of a late delivery, in seconds."""
ANSWERS_WITHIN = 30.0
_LOOPBACK = re.compile(r"localhost|127(?:\.\d{1,3}){3}")
_KEEPS_METHOD = (307, 308)
_EVENTS = ("start", "output", "logs", "completed")


class Delivery(NamedTuple):
    """One webhook call.

    Attributes:
        event: ``start``, ``output``, ``logs`` or ``completed``; ``forged`` for a forged call.
        status: The HTTP status of the response; None: no response.

    Example:
        >>> hook = {"webhook": "http://127.0.0.1:9/hook", "webhook_events_filter": ["completed"]}
        >>> started = client.predictions.create(model=ECHO, input={"prompt": "Hello"}, **hook)
        >>> [delivery] = sandbox.wait_for(lambda local: local.deliveries)
        >>> delivery.event, delivery.status  # nobody listens there
        ('completed', None)
    """

    prediction_id: str
    event: str
    status: int | None


class WebhookSender:
    """Calls the webhooks of one sandbox, on its event loop.

    Args:
        how: The mode, as in `Sandbox`.
        changed: The sandbox's condition, notified of each call.
        to_json: Converts a prediction to the service's JSON.
    """

    def __init__(self, how: Webhooks, changed: Changes, to_json: Callable[[Job], Mapping[str, Any]]) -> None:
        self._how = how
        self._changed = changed
        self._to_json = to_json
        self.deliveries: list[Delivery] = []

    async def follow(self, job: Job) -> None:
        """Call a prediction's webhook for each of its events, until it ends."""
        state = job.snapshot()
        address = _address(state.webhook)
        if address is None or self._how == "never":
            return
        given = state.webhook_events_filter
        events = given if isinstance(given, list) else _EVENTS
        held: list[tuple[str, bytes]] = []
        if self._how == "forged":
            claim = {**self._to_json(job), "status": "succeeded", "output": "forged"}
            await self._post(address._replace(query="rockai_secret=forged"), job, "forged", _encoded(claim))
        with job.change_event() as change:
            sent: dict[str, Any] = {}
            while "completed" not in sent:
                for event, value in _happened(job).items():
                    if sent.get(event) == value:
                        continue
                    sent[event] = value
                    if event in events:
                        held.append((event, _encoded(self._to_json(job))))
                if self._how != "out of order":
                    await self._send(address, job, held)
                    held = []
                if "completed" not in sent:
                    await change.wait()
        await self._send(address, job, held[::-1])

    async def _send(self, address: SplitResult, job: Job, held: list[tuple[str, bytes]]) -> None:
        for event, body in held:
            if self._how == "late":
                await asyncio.sleep(LATE)
            for _ in range(2 if self._how == "twice" else 1):
                await self._post(address, job, event, body)

    async def _post(self, address: SplitResult, job: Job, event: str, body: bytes) -> None:
        try:
            status = await asyncio.wait_for(_post(address, body), ANSWERS_WITHIN)
        except (OSError, ValueError, TimeoutError, EOFError):
            status = None
        with self._changed:
            self.deliveries.append(Delivery(job.id, event, status))
            self._changed.notify_all()


def _address(webhook: Any) -> SplitResult | None:
    """Return the address if it may be called: only this machine's."""
    try:
        parts = urlsplit(webhook if isinstance(webhook, str) else "")
        is_ours = parts.scheme == "http" and _LOOPBACK.fullmatch(parts.hostname or "") and (parts.port or 80)
    except ValueError:
        return None
    return parts if is_ours else None


def _happened(job: Job) -> dict[str, Any]:
    """Return the events so far, each with its content."""
    state = job.snapshot()
    happened: dict[str, Any] = {}
    if state.started_at is not None:
        happened["start"] = True
    if state.output is not None:
        happened["output"] = state.output
    if state.logs:
        happened["logs"] = state.logs
    if state.is_terminal:
        happened["completed"] = True
    return happened


async def _post(address: SplitResult, body: bytes, *, follows: bool = True) -> int:
    """Send the body; follow one redirect that keeps the method, on this machine."""
    reader, writer = await asyncio.open_connection(address.hostname, address.port or 80)
    try:
        target = f"{address.path or '/'}?{address.query}" if address.query else address.path or "/"
        head = (
            f"POST {target} HTTP/1.1\r\nHost: {address.netloc.rpartition('@')[2]}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        place = await _location(reader) if follows and status in _KEEPS_METHOD else ""
    except IndexError:
        raise EOFError from None
    finally:
        writer.close()
    moved = _address(urljoin(address.geturl(), place)) if place else None
    return status if moved is None else await _post(moved, body, follows=False)


async def _location(reader: asyncio.StreamReader) -> str:
    while line := (await reader.readline()).strip():
        name, _, value = line.decode("latin-1").partition(":")
        if name.lower() == "location":
            return value.strip()
    return ""


def _encoded(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()
