"""`ToolkitAdmin`: what a developer can ask of a toolkit and do about it, in both frameworks."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rockai_transport.errors import ConfigurationError
from rockai_transport.jobs.policy import CallContext
from rockai_transport.jobs.receipts import Receipt, receipt
from rockai_transport.jobs.shells import drive, drive_async
from rockai_transport.jobs.toolset import Backends, Toolset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rockai_transport.jobs.effects import Flow
    from rockai_transport.jobs.lifecycle import Lifecycle
    from rockai_transport.jobs.records import Record

__all__ = ["ToolkitAdmin"]

_NOWHERE = CallContext("")


class ToolkitAdmin:
    """The methods of a toolkit that are for the developer, never for the agent.

    Without a ``store`` they are about all that was started in this process, and in the toolkit's own
    ``store=``. With one (a mapping, a LangGraph store or a LlamaIndex Context) they are about that one too:
    what was started there before this process began. A Context needs the methods with ``await``. A ``scope``
    of None means all scopes.
    """

    _toolset: Toolset

    def receipt(self, *, scope: str | None = None, store: Any = None, refresh: bool = False) -> Receipt:
        """What was started: id, status, predict seconds and files of each, and what is unknown.

        Args:
            scope: One conversation's only: ``"thread:"`` and LangGraph's thread id, what ``scope=`` named, or
                a record's ``scope``. None: all.
            store: A store to look into besides this process and the toolkit's own ``store=``: a mapping, a
                LangGraph store, or with ``await`` a LlamaIndex Context.
            refresh: Ask the service about what was still running when it was last looked at. What it cannot
                be asked about stays as it was.

        Returns:
            The receipt; ``print`` shows it as a table.

        Raises:
            ConfigurationError: ``store`` is none of these, or needs ``await``.

        Example:
            >>> print(toolkit.receipt())  # before an agent has used the tools
            0 started, 0.0 s of prediction
        """
        return receipt(self._each(store, lambda flows: flows.survey(scope, refresh=refresh)))

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
        return receipt(await self._aeach(store, lambda flows: flows.survey(scope, refresh=refresh)))

    def resolve(self, key: str, *, prediction_id: str | None, store: Any = None) -> Record:
        """Say what became of a start of which no answer is known; the same call can then go on.

        Args:
            key: The record's key, as the tool's answer and the receipt show it.
            prediction_id: The prediction's id, as rockai.online shows it; None: nothing was started there.
            store: The store that holds the record, where this process has not used it yet; as in `receipt`.

        Returns:
            The record as it is now.

        Raises:
            ConfigurationError: There is no such record, or it is not unknown; or the store needs ``await``.

        Example:
            >>> sandbox.drop_next(path="/predictions")  # the answer to the next start is lost
            >>> start("generate_image", prompt="a lighthouse")
            >>> [lost] = toolkit.receipt().unknown
            >>> toolkit.resolve(lost.key, prediction_id=None).state  # rockai.online shows no such prediction
            'cleared'
        """
        for records in self._toolset.unresolved(store):
            hands = Backends(None, records, _NOWHERE)
            if found := drive(self._toolset.lifecycle.resolve(key, prediction_id), hands):
                return found
        raise _no_record(key)

    async def aresolve(self, key: str, *, prediction_id: str | None, store: Any = None) -> Record:
        """As `resolve`, with ``await``.

        Example:
            >>> sandbox.drop_next(path="/predictions")  # the answer to the next start is lost
            >>> start("generate_image", prompt="a lighthouse")
            >>> [lost] = (await toolkit.areceipt()).unknown
            >>> seen = "6b0894038115a4afbce681ce"  # the id that rockai.online shows for it
            >>> (await toolkit.aresolve(lost.key, prediction_id=seen)).state
            'started'
        """
        for records in self._toolset.unresolved(store):
            hands = Backends(None, records, _NOWHERE)
            if found := await drive_async(self._toolset.lifecycle.resolve(key, prediction_id), hands):
                return found
        raise _no_record(key)

    def cancel_running(self, *, scope: str | None = None, store: Any = None) -> list[Record]:
        """Cancel all that is still running, for when an agent was left between two tool calls.

        A start of which no answer is known has no id, and cannot be canceled.

        Args:
            scope: As in `receipt`.
            store: As in `receipt`.

        Returns:
            The records of what was running, as they are now; without what could not be canceled, of which the
            log tells.

        Raises:
            ConfigurationError: As in `receipt`.

        Example:
            >>> start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> [record.status for record in toolkit.cancel_running()]
            ['canceled']
        """
        return self._each(store, lambda flows: flows.cancel_running(scope))

    async def acancel_running(self, *, scope: str | None = None, store: Any = None) -> list[Record]:
        """As `cancel_running`, with ``await``.

        Example:
            >>> start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> [record.status for record in await toolkit.acancel_running()]
            ['canceled']
        """
        return await self._aeach(store, lambda flows: flows.cancel_running(scope))

    @asynccontextmanager
    async def leaving_nothing_running(self, *, scope: str | None = None) -> AsyncIterator[None]:
        """Run an agent in this block, and what it has under way ends with it, however it is left.

        A tool that is canceled ends its predictions by itself. This is for the moments in between, when an
        agent that has started a video is left while its model is thinking.

        Args:
            scope: As in `receipt`.

        Returns:
            What ``async with`` takes; it gives nothing.

        Example:
            >>> async with toolkit.leaving_nothing_running():  # run your agent here
            ...     start("animate_image", image="https://example.com/a.png", prompt="it blinks")
            >>> [record.status for record in toolkit.receipt().started]
            ['canceled']
        """
        try:
            yield
        finally:
            # A second cancellation must not leave the rest running.
            await asyncio.shield(asyncio.ensure_future(self.acancel_running(scope=scope)))

    def close(self) -> None:
        """Close the connections of blocking calls. The toolkit can be used again; it then makes new ones.

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

    def _each(self, store: Any, flow: Callable[[Lifecycle], Flow[list[Record]]]) -> list[Record]:
        tools = self._toolset
        found: list[Record] = []
        for records in tools.kept(store):
            found += drive(flow(tools.lifecycle), Backends(tools.client, records, _NOWHERE))
        return found

    async def _aeach(self, store: Any, flow: Callable[[Lifecycle], Flow[list[Record]]]) -> list[Record]:
        tools = self._toolset
        found: list[Record] = []
        for records in tools.kept(store):
            found += await drive_async(flow(tools.lifecycle), Backends(tools.async_client, records, _NOWHERE))
        return found


def _no_record(key: str) -> ConfigurationError:
    return ConfigurationError(
        f"No record {key!r} in the stores that this process has used. Pass the one that holds it as store=."
    )
