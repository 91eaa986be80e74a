"""Which page a path is."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from moorage.api.exchange import Reply, Request
from moorage.api.v2.services import Services
from moorage.errors import MethodNotAllowed, RouteUnknown
from moorage.web import sign_in

_PAGES: Final[Mapping[bytes, Callable[[Services, Request], Awaitable[Reply]]]] = {
    b"/sign-in": sign_in.begin,
    b"/sign-in/callback": sign_in.finish,
}


async def answer(services: Services, request: Request, path: bytes) -> Reply:
    """A page.

    Raises RouteUnknown (404), MethodNotAllowed (405).
    """
    if path not in _PAGES:
        raise RouteUnknown(hint="there is no such page")
    if request.method != "GET":
        raise MethodNotAllowed(allow="GET")
    return await _PAGES[path](services, request)
