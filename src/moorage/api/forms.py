"""A form in a request's body: what a browser sends, and what OAuth 2 asks tokens by."""

from typing import Final
from urllib.parse import parse_qsl

from moorage.api.exchange import Request
from moorage.errors import BodyTooLarge, RequestInvalid

FORM_MAX_BYTES: Final = 64 * 1024


async def read_form(request: Request) -> list[tuple[str, str]]:
    """The fields in their order.

    Raises RequestInvalid (400), BodyTooLarge (413).
    """
    body = bytearray()
    async for piece in request.body():
        body += piece
        if len(body) > FORM_MAX_BYTES:
            raise BodyTooLarge(size_max_bytes=FORM_MAX_BYTES)
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise RequestInvalid(reason="want a form") from error
