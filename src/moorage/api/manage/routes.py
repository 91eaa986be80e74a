"""What an operation of the API is, and how a path finds it."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from moorage.api.exchange import Request, decode_segment
from moorage.api.gate import Needs
from moorage.api.v2.services import Services
from moorage.errors import MethodNotAllowed, RouteUnknown
from moorage.identity.callers.caller import Caller
from moorage.records.audit.rows import Actor

BASE = "/api/v1"
B = TypeVar("B")
Q = TypeVar("Q")


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operation that takes no query."""


@dataclass(frozen=True, slots=True)
class Ask(Generic[B, Q]):
    """One request to an operation: its body and query as they are described, the path's names decoded."""

    services: Services
    request: Request
    path: Mapping[str, str]
    body: B
    query: Q

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.request.caller

    @property
    def actor(self) -> Actor:
        """Who a change is recorded as made by."""
        return self.services.actor(self.request)

    @property
    def id(self) -> int:
        """The number in the path."""
        return int(self.path["id"])


Answer = Callable[[Ask[Any, Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """An operation. In `path`, `{x}` is one segment, `{id}` a number, `{x...}` all the rest.

    `reply` is the type of what `answer` returns; None for no body.
    """

    method: str
    path: str
    answer: Answer
    needs: Needs
    reply: Any
    summary: str
    status: int = 200
    body: type[msgspec.Struct] | None = None
    query: type[msgspec.Struct] = field(default=NoQuery)


class Routes:
    """A table of operations, and the paths made from it."""

    def __init__(self, table: Sequence[Route]) -> None:
        methods: dict[str, dict[str, Route]] = {}
        for route in table:
            methods.setdefault(route.path, {})[route.method] = route
        self._paths = [(_Path(path), routes) for path, routes in methods.items()]

    def find(self, method: str, path: bytes) -> tuple[Route, dict[str, str]]:
        """The operation, and the names in the path.

        Raises RouteUnknown (404), MethodNotAllowed (405).
        """
        for each, routes in self._paths:
            names = each.match(path)
            if names is None:
                continue
            if method not in routes:
                raise MethodNotAllowed(allow=", ".join(routes))
            return routes[method], names
        raise RouteUnknown(hint=f"the API is described at {BASE}/openapi.json")


_WORD = re.compile(r"\{(\w+)(\.\.\.)?\}", re.ASCII)
_NUMBER = rb"(0|[1-9][0-9]{0,17})"


class _Path:
    """A path of the table: what matches it, and the names in it."""

    def __init__(self, path: str) -> None:
        words = list(_WORD.finditer(path))
        self._names = [word[1] for word in words]
        self._has_rest = any(word[2] for word in words)
        literals = [re.escape(each).encode() for each in _WORD.sub("\0", path).split("\0")]
        groups = [_NUMBER if word[1] == "id" else b"(.+)" if word[2] else b"([^/]+)" for word in words]
        pattern = b"".join(part for pair in zip(literals, [*groups, b""], strict=True) for part in pair)
        self._pattern = re.compile(BASE.encode() + pattern)

    def match(self, path: bytes) -> dict[str, str] | None:
        """The names in a path, decoded once; None when it is another.

        Raises RouteUnknown (404) for a name that is no text, or hides a separator.
        """
        match = self._pattern.fullmatch(path)
        if match is None:
            return None
        return {name: self._decode(raw) for name, raw in zip(self._names, match.groups(), strict=True)}

    def _decode(self, raw: bytes) -> str:
        if self._has_rest:
            # a repository's name: its slashes may be sent as they are, or as programs made from the
            # document send them
            return unquote_to_bytes(raw).decode("ascii", "replace")
        text = decode_segment(raw)
        if text is None:
            raise RouteUnknown(hint="a name in the path cannot be read")
        return text
