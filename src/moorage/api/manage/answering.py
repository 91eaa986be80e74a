"""From a request to an operation and back: rights, query, body, reply."""

import re
from typing import Any, Final

import msgspec

from moorage.api.exchange import NOSNIFF, QueryInvalid, Reply, Request
from moorage.api.manage.routes import Ask, Route, Routes
from moorage.api.manage.table import TABLE
from moorage.api.v2.services import Services
from moorage.errors import DocumentTooLarge, FieldInvalid
from moorage.oci.names import RepositoryName
from moorage.oci.strict_json import NotStrict, parse

BODY_MAX_BYTES: Final = 1024 * 1024
_ROUTES: Final = Routes(TABLE)
_NO_NAME: Final = RepositoryName("")


async def answer(services: Services, request: Request, path: bytes) -> Reply:
    """The reply to a request under /api.

    Raises RouteUnknown (404), MethodNotAllowed (405), FieldInvalid (400), DocumentTooLarge (413), and what
    the gate and the operation raise.
    """
    route, names = _ROUTES.find(request.method, path)
    request.caller = await services.gate.admit(request, route.needs, _NO_NAME, "")
    query = _read_query(route, request)
    body = None
    if route.body is not None:
        body = _convert(await _read_body(request), route.body)
        await services.gate.confirm(request, route.needs, _NO_NAME)
    found = await route.answer(Ask(services, request, names, body, query))
    if route.reply is None:
        return Reply(route.status, [NOSNIFF])
    payload = msgspec.json.encode(found)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(payload)),
        NOSNIFF,
    ]
    return Reply(route.status, headers, payload)


def _read_query(route: Route, request: Request) -> Any:
    """Raises FieldInvalid (400)."""
    try:
        pairs = request.query()
    except QueryInvalid as error:
        raise FieldInvalid(field="query", reason="the query is malformed") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FieldInvalid(field="query", reason="a field comes twice")
    return _convert(fields, route.query, is_text=True)


async def _read_body(request: Request) -> Any:
    """The value of the JSON text that was sent.

    Raises FieldInvalid (400), DocumentTooLarge (413), and what the body raises.
    """
    if (request.content_length or 0) > BODY_MAX_BYTES:
        raise DocumentTooLarge(size_max_bytes=BODY_MAX_BYTES)
    payload = bytearray()
    async for piece in request.body():
        payload += piece
        if len(payload) > BODY_MAX_BYTES:
            raise DocumentTooLarge(size_max_bytes=BODY_MAX_BYTES)
    try:
        return parse(bytes(payload))
    except NotStrict as error:
        raise FieldInvalid(field="body", reason=str(error)) from error


_FIELD = re.compile(r"(?:unknown|required) field `([^`]*)`")
_PLACE = re.compile(r" - at `(?:key in )?\$\.?([^`]*)`$")


def _convert(value: Any, kind: type[msgspec.Struct], *, is_text: bool = False) -> Any:
    """The value as the struct that describes it; `is_text`: numbers are sent as text.

    Raises FieldInvalid (400), with the field that is wrong.
    """
    try:
        return msgspec.convert(value, kind, strict=not is_text)
    except msgspec.ValidationError as error:
        said = str(error)
        place = _PLACE.search(said)
        named = _FIELD.search(said)
        parts = [each[1] for each in (place, named) if each is not None and each[1]]
        reason = said if place is None else said[: place.start()]
        raise FieldInvalid(field=".".join(parts)[:100] or "body", reason=reason[:200]) from error
