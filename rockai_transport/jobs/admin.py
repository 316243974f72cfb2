"""`ToolkitAdmin`: the developer's methods of a toolkit, in both frameworks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rockai_transport.errors import ConfigurationError
from rockai_transport.io.detached import run_detached
from rockai_transport.jobs.backends import AsyncBackends, Backends, BlockingBackends
from rockai_transport.jobs.budget import amount
from rockai_transport.jobs.records import CLEARED, STARTED, UNANSWERED, Receipt, Record, receipt
from rockai_transport.jobs.running import AgentRun, Block, cancel_all, open_blocks, refresh
from rockai_transport.jobs.stores import Store
from rockai_transport.jobs.toolset import Toolset
from rockai_transport.jobs.webhooks import STALE, Resume, WebhookReceiver, is_overdue
from rockai_transport.protocol.io import run_blocking
from rockai_transport.protocol.references import path_segment


class ToolkitAdmin:
    """The methods of a toolkit for the developer, not for the agent.

    Without ``store``, they cover the predictions that this toolkit has started and those in its own
    ``store=``. With ``store`` (a mapping, a LangGraph store or a LlamaIndex Context), they also cover that
    store, including predictions from before this process. A Context needs the methods with ``await``. A
    ``scope`` of None means all scopes.
    """

    _toolset: Toolset

    def receipt(self, *, scope: str | None = None, store: Any = None, refresh: bool = False) -> Receipt:
        """List the started predictions with id, status, predict seconds and files, and the unknown starts.

        Args:
            scope: Only this conversation: ``"thread:"`` and LangGraph's thread id, the name from ``scope=``,
                or a record's ``scope``. None: all.
            store: A store to read in addition to this process and the toolkit's own ``store=``: a mapping, a
                LangGraph store, the path of an SQLite file, or with ``await`` a LlamaIndex Context.
            refresh: Get the current status of running predictions from the service. If that fails for one,
                its record stays the same.

        Returns:
            The receipt; ``print`` shows it as a table.

        Raises:
            ConfigurationError: ``store`` is none of these, or needs ``await``.

        Example:
            >>> print(toolkit.receipt())  # before an agent has used the tools
            0 started, 0.0 s of prediction
        """
        records = run_blocking(list_records(self._blocking(self._toolset.kept(store)), scope, fresh=refresh))
        return receipt(records, self._toolset.policy.max_cost)

    async def areceipt(
        self, *, scope: str | None = None, store: Any = None, refresh: bool = False
    ) -> Receipt:
        """As `receipt`, with ``await``.

        Example:
            >>> start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> receipt = await toolkit.areceipt(refresh=True)
            >>> [(record.model, record.is_running) for record in receipt.started]
            [('animate_image', True)]
        """
        records = await list_records(self._awaited(self._toolset.kept(store)), scope, fresh=refresh)
        return receipt(records, self._toolset.policy.max_cost)

    def resolve(self, key: str, *, prediction_id: str | None, store: Any = None) -> Record:
        """Resolve an unknown start, whose response was lost, so that the same call can continue.

        Args:
            key: The record's key, as the tool's result and the receipt show it.
            prediction_id: The prediction's id, as rockai.online shows it; None: nothing was started there.
            store: The store with the record, if this process has not used it yet; as in `receipt`.

        Returns:
            The updated record.

        Raises:
            ConfigurationError: There is no such record, or it is not unknown; the id is invalid; or the store
                needs ``await``.

        Example:
            >>> sandbox.drop_next(path="/predictions")  # the answer to the next start is lost
            >>> start("generate_image", prompt="a lighthouse")
            >>> [lost] = toolkit.receipt().unknown
            >>> toolkit.resolve(lost.key, prediction_id=None).state  # rockai.online shows no such prediction
            'cleared'
        """
        backends = self._blocking(self._toolset.unresolved(store))
        return run_blocking(resolve(backends, key, prediction_id))

    async def aresolve(self, key: str, *, prediction_id: str | None, store: Any = None) -> Record:
        """As `resolve`, with ``await``.

        Example:
            >>> sandbox.drop_next(path="/predictions")  # the answer to the next start is lost
            >>> start("generate_image", prompt="a lighthouse")
            >>> [lost] = (await toolkit.areceipt()).unknown
            >>> found = "6b0894038115a4afbce681ce"  # the id that rockai.online shows for it
            >>> (await toolkit.aresolve(lost.key, prediction_id=found)).state
            'started'
        """
        return await resolve(self._awaited(self._toolset.unresolved(store)), key, prediction_id)

    def cancel_running(self, *, scope: str | None = None, store: Any = None) -> list[Record]:
        """Cancel all running predictions, for example after an agent was left between two tool calls.

        A start of this toolkit that is being sent is canceled as soon as its id is known, unless
        ``on_cancel="leave"``. An unknown start has no id, and cannot be canceled.

        Args:
            scope: As in `receipt`.
            store: As in `receipt`.

        Returns:
            The updated records of the canceled predictions. The log names those that could not be canceled.

        Raises:
            ConfigurationError: As in `receipt`.

        Example:
            >>> start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> [record.status for record in toolkit.cancel_running()]
            ['canceled']
        """
        self._toolset.under_way.leave_scope(scope)
        return run_blocking(cancel_running(self._blocking(self._toolset.kept(store)), scope))

    async def acancel_running(self, *, scope: str | None = None, store: Any = None) -> list[Record]:
        """As `cancel_running`, with ``await``.

        Example:
            >>> start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> [record.status for record in await toolkit.acancel_running()]
            ['canceled']
        """
        self._toolset.under_way.leave_scope(scope)
        return await cancel_running(self._awaited(self._toolset.kept(store)), scope)

    def sweep(
        self, resume: Resume | None = None, *, older_than: float = STALE, store: Any = None
    ) -> list[Record]:
        """Check predictions whose webhook is overdue, and resume the runs of those that have ended.

        Args:
            resume: As in `WebhookReceiver`; None: only check, and update the records.
            older_than: Seconds since the agent fell asleep, or since the start if none sleeps. Default: 600.
            store: As in `receipt`.

        Returns:
            The records of predictions that have ended; with ``resume``, of those whose runs were resumed.

        Raises:
            ConfigurationError: ``store`` is none of these, ``resume`` is no function, or ``older_than`` is no
                number of seconds.

        Example:
            >>> toolkit.sweep()
            []
        """

        async def sweep() -> list[Record]:
            try:
                return await self.asweep(resume, older_than=older_than, store=store)
            finally:
                await self._toolset.async_client.aclose()

        with ThreadPoolExecutor(1) as thread:  # its own event loop, wherever this is called
            return thread.submit(asyncio.run, sweep()).result()

    async def asweep(
        self, resume: Resume | None = None, *, older_than: float = STALE, store: Any = None
    ) -> list[Record]:
        """As `sweep`, with ``await``.

        Example:
            >>> await toolkit.asweep(lambda record, prediction: None, older_than=60)
            []
        """
        older_than = float(amount(older_than, "older_than"))
        kept, client, found = self._toolset.kept(store), self._toolset.async_client, []
        if resume is None:
            for backends in self._awaited(kept):
                before = backends.now() - older_than
                due = [one for one in await backends.records.all(None) if is_overdue(one, before)]
                found += await refresh(backends, due)
            return [one for one in found if one.known.is_terminal]
        for opened in kept:
            found += await WebhookReceiver(client, opened, resume).sweep(older_than=older_than)
        return found

    @contextlib.asynccontextmanager
    async def leaving_nothing_running(self, *, scope: str | None = None) -> AsyncIterator[None]:
        """Run an agent in this block: at its end, predictions started or waited for in it are canceled.

        A canceled tool cancels its run's predictions itself. The block also covers the time between tool
        calls, when an agent that has started a video is left while its model is generating. Predictions that
        were started before the block, or elsewhere, continue.

        Args:
            scope: As in `receipt`.

        Returns:
            An asynchronous context manager; it yields nothing.

        Example:
            >>> async with toolkit.leaving_nothing_running():  # run your agent here
            ...     start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> [record.status for record in toolkit.receipt().started]
            ['canceled']
        """
        run = AgentRun()
        around = open_blocks.get()
        open_blocks.set((*around, Block(self._toolset, scope, run)))
        try:
            yield
        finally:
            open_blocks.set(around)
            with contextlib.suppress(TimeoutError):
                await run_detached(self._toolset.aend(run))
            await asyncio.sleep(0)  # a second cancellation is raised here, not before the rest is canceled

    def close(self) -> None:
        """Close the connections of blocking calls. You can use the toolkit again; it then opens new ones.

        Example:
            >>> toolkit.close()
        """
        self._toolset.close()

    async def aclose(self) -> None:
        """Close the connections of the running event loop, and those of blocking calls.

        Example:
            >>> await toolkit.aclose()
        """
        await self._toolset.aclose()

    def _blocking(self, stores: Iterable[Store]) -> list[BlockingBackends]:
        return [BlockingBackends(self._toolset.client, store) for store in stores]

    def _awaited(self, stores: Iterable[Store]) -> list[AsyncBackends]:
        return [AsyncBackends(self._toolset.async_client, store) for store in stores]


async def list_records(each: Iterable[Backends], scope: str | None, *, fresh: bool) -> list[Record]:
    """Return all records of a scope, or of all scopes."""
    found: list[Record] = []
    for backends in each:
        records = await backends.records.all(scope)
        found += await refresh(backends, records) if fresh else records
    return found


async def cancel_running(each: Iterable[Backends], scope: str | None) -> list[Record]:
    """Cancel all running predictions, even if the caller is canceled."""
    found: list[Record] = []
    for backends in each:
        records = await backends.records.all(scope)
        found += await backends.detached(cancel_all(backends, records))
    return found


async def resolve(each: Iterable[Backends], key: str, prediction_id: str | None) -> Record:
    """Resolve an unknown record, in the first store that has it."""
    for backends in each:
        records = await backends.records.all(None)
        record = next((record for record in records if record.key == key), None)
        if record is not None:
            record = _resolved(record, prediction_id, records)
            await backends.detached(backends.records.put(record))
            return record
    raise ConfigurationError(
        f"No record {key!r} in the stores that this process has used. Pass the one that holds it as store=."
    )


def _resolved(record: Record, prediction_id: str | None, records: Iterable[Record]) -> Record:
    """Return the record with the developer's decision, if that is valid."""
    if record.state != UNANSWERED:
        raise ConfigurationError(
            f"Record {record.key} is not unknown: it is {record.state}. There is nothing to resolve."
        )
    if prediction_id is None:
        return record._replace(state=CLEARED)
    path_segment(prediction_id)  # an invalid id could be neither fetched nor undone
    for other in records:
        if other.prediction_id == prediction_id:
            raise ConfigurationError(f"Prediction {prediction_id} already belongs to record {other.key}.")
    return record._replace(state=STARTED, prediction_id=prediction_id, note="")
