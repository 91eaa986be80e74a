"""The management API as the commands call it; how a request gets there is the transport's."""

import json
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from moorage.errors import FieldInvalid

Transport = Callable[[str, str, bytes | None], tuple[int, bytes]]
"""Method, target and body in; status and body out. Raises Unreachable."""

Fact = dict[str, Any]
"""A JSON object of the API."""

_BASE: Final = "/api/v1"
_PAGE: Final = 1000
_FAILED_FROM: Final = 400


class Unreachable(Exception):
    """The registry, or its folder, could not be asked; the sentence says why and what to do."""


class Refused(Exception):
    """The API said no. `message` and `detail` are its own."""

    def __init__(self, status: int, code: str, message: str, detail: object) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.detail = detail

    def __str__(self) -> str:
        detail, message = self.detail, self.message
        if isinstance(detail, dict):
            if self.code == FieldInvalid.code and "field" in detail:
                # on the command line there is no request: the field and the reason say it
                message = f"{detail['field']}: {message.removeprefix(f'{FieldInvalid.message}: ')}"
            # some of it the message says already
            news = {name: value for name, value in detail.items() if str(value) not in message}
            detail = ", ".join(f"{name}: {value}" for name, value in news.items())
        return f"{message} ({detail})" if detail else message


class Client:
    """One registry. Paths are given as segments, which are quoted here."""

    def __init__(self, send: Transport) -> None:
        self._send = send

    def get(self, *path: str, **query: object) -> Fact:
        """One thing.

        Raises Refused, Unreachable.
        """
        return self._ask("GET", path, query=query)

    def items(self, *path: str, **query: object) -> Iterator[Fact]:
        """All things of a list, page by page.

        Raises Refused, Unreachable.
        """
        after: object = None
        while True:
            page = self._ask("GET", path, query={**query, "n": _PAGE, "after": after})
            yield from page["items"]
            after = page["next"]
            if after is None:
                return

    def post(self, *path: str, body: Fact) -> Fact:
        """Make a thing.

        Raises Refused, Unreachable.
        """
        return self._ask("POST", path, body)

    def patch(self, *path: str, body: Fact) -> Fact:
        """Change what is given of a thing.

        Raises Refused, Unreachable.
        """
        return self._ask("PATCH", path, body)

    def put(self, *path: str, body: Fact | None = None, **query: object) -> Fact:
        """Set a thing.

        Raises Refused, Unreachable.
        """
        return self._ask("PUT", path, body, query)

    def delete(self, *path: str, **query: object) -> Fact:
        """Remove a thing; what is said of it, if anything.

        Raises Refused, Unreachable.
        """
        return self._ask("DELETE", path, query=query)

    def _ask(
        self, method: str, path: tuple[str, ...], body: Fact | None = None, query: Fact | None = None
    ) -> Fact:
        target = "/".join([_BASE, *(quote(each, safe="") for each in path)])
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        if asked:
            target += f"?{urlencode(asked)}"
        content = None if body is None else json.dumps(body).encode()
        status, answer = self._send(method, target, content)
        fact = _read(status, answer)
        if status >= _FAILED_FROM:
            raise _refusal(status, fact)
        return fact


def _read(status: int, answer: bytes) -> Fact:
    """Raises Unreachable for what no Moorage answers."""
    if not answer:
        return {}
    try:
        fact = json.loads(answer)
    except ValueError:
        fact = None
    if not isinstance(fact, dict):
        raise Unreachable(
            f"what answers there (status {status}) is no Moorage, or a proxy in front of one."
            " `moorage doctor HOST:PORT` looks closer."
        )
    return fact


def _refusal(status: int, fact: Fact) -> Refused:
    errors = fact.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    message = str(first.get("message", f"status {status}"))
    return Refused(status, str(first.get("code", "")), message, first.get("detail"))
