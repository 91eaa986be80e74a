"""Looking names up without keeping anybody else waiting.

Where no name server answers, a look-up takes half a minute, and nothing ends it before. In the threads that
all share, a handful of these would hold up whatever else is done there. So each name has a thread of its
own, which nobody waits for at the end, and all who ask for that name meanwhile share it.
"""

import asyncio
import errno
import socket
import threading
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

LOOKUPS_MAX: Final = 32
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

Key = tuple[str, int, int]
Found = list[ResolveResult]


class Names(AbstractResolver):
    """As one event loop asks for them."""

    def __init__(self) -> None:
        self._asking: dict[Key, asyncio.Future[Found]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises OSError.
        """
        key = (host, port, int(family))
        found = self._asking.get(key)
        if found is None:
            if len(self._asking) >= LOOKUPS_MAX:
                raise OSError(errno.EAGAIN, "too many names are looked up already")
            found = self._asking[key] = asyncio.get_running_loop().create_future()
            found.add_done_callback(lambda done: self._note_done(key, done))
            threading.Thread(target=_look_up, args=(key, found), name="look-up", daemon=True).start()
        # whoever gives up waiting leaves it to the others
        return await asyncio.shield(found)

    async def close(self) -> None:
        """Nothing to wait for."""

    def _note_done(self, key: Key, done: asyncio.Future[Found]) -> None:
        self._asking.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, though no one may be left who waits


def _look_up(key: Key, found: asyncio.Future[Found]) -> None:
    host, port, family = key
    answer: Found | OSError
    try:
        infos = socket.getaddrinfo(
            host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        answer = [_describe(host, *info) for info in infos]
    except OSError as error:
        answer = error
    except UnicodeError:
        answer = OSError(errno.EINVAL, "it is no name")
    loop = found.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(_tell, found, answer)


def _describe(host: str, family: int, _kind: int, protocol: int, _name: str, place: Any) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=str(place[0]),
        port=int(place[1]),
        family=family,
        proto=protocol,
        flags=_NUMERIC,
    )


def _tell(found: asyncio.Future[Found], answer: Found | OSError) -> None:
    if found.done():
        return
    if isinstance(answer, OSError):
        found.set_exception(answer)
    else:
        found.set_result(answer)
