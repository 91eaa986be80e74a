"""One question over HTTP, and its answer as JSON."""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import msgspec

from moorage.connecting import Addresses
from moorage.issuers.failures import AskedInVain

_TIMEOUT: Final = aiohttp.ClientTimeout(total=10.0)
_BODY_MAX_BYTES: Final = 1024 * 1024


class Session:
    """The connections of one worker process."""

    def __init__(self, addresses: Addresses) -> None:
        # each connection resolves the name and connects to what it was given: no second answer can differ
        connector = aiohttp.TCPConnector(use_dns_cache=False, socket_factory=addresses.open_socket)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=_TIMEOUT,
            headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "moorage"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def ask(
        self, method: str, url: str, headers: Mapping[str, str], form: Mapping[str, str] | None
    ) -> tuple[int, Any]:
        """The status and the JSON of a reply, None where that is none.

        Raises AskedInVain.
        """
        try:
            async with self._session.request(
                method, url, headers=headers, data=form, allow_redirects=False
            ) as reply:
                return reply.status, _decode(await _read(reply))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise AskedInVain(f"{url}: {str(error) or type(error).__name__}") from error


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """Raises AskedInVain."""
    body = bytearray()
    async for piece in reply.content.iter_any():
        body += piece
        if len(body) > _BODY_MAX_BYTES:
            raise AskedInVain(f"{reply.url} sent more than a megabyte")
    return bytes(body)


def _decode(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
