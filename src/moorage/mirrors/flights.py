"""What is fetched once for all who want it at the same time, and not too much of it at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, Generic, TypeVar

from moorage.mirrors.asking import Unreachable
from moorage.oci.names import RepositoryName

AT_ONCE: Final = 64
"""Manifests that come at once: whoever asks for what there is not shall not take all the connections."""

Key = tuple[RepositoryName, str]
T = TypeVar("T")


class Flights(Generic[T]):
    """As one process has them."""

    def __init__(self) -> None:
        self._flights: dict[Key, asyncio.Task[T]] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """End what is under way."""
        flights = list(self._flights.values())
        for each in flights:
            each.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    def once(self, key: Key, begin: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
        """The task that does this: of several who want the same, the first has begun it.

        Raises what `begin` raises.
        """
        flight = self._flights.get(key)
        if flight is not None:
            return flight
        work = begin()

        async def fly() -> T:
            try:
                return await work
            finally:
                self._flights.pop(key, None)

        flight = asyncio.ensure_future(fly())
        # an end that no one waits for any more has been logged
        flight.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._flights[key] = flight
        return flight

    @asynccontextmanager
    async def slot(self, within_s: float) -> AsyncIterator[None]:
        """A place among those that ask.

        Raises Unreachable where none is free in time, of which the line knows nothing.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise Unreachable("too much is being asked of other registries at once") from error
        try:
            yield
        finally:
            self._slots.release()
