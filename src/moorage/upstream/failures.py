"""What the answers of a registry mean when they are no good ones.

Source: distribution-spec v1.1.1, "Error Codes"; RFC 9110, 15.
"""

import re
from http import HTTPStatus
from typing import Any, Final

import msgspec

from moorage.mirrors.asking import Busy, Failed, NotAllowed, NotThere, Unfit, UpstreamFailure
from moorage.upstream.headers import read_retry_after

BODY_MAX_BYTES: Final = 16 * 1024
_SAID_MAX_CHARS: Final = 200
_code = re.compile(r"[A-Z][A-Z0-9_]{1,39}", re.ASCII)


class Cut(Failed):
    """The connection went before there was an answer."""


class Refused(Unfit):
    """It understood what was asked and will not do it: asking again is of no use."""


_PASSING = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, HTTPStatus.TOO_EARLY}
)


def failure_of(host: str, status: int, retry_after: str | None, body: bytes) -> UpstreamFailure:
    """The failure that a status stands for, with what the registry says of it."""
    said = _said(body)
    match status:
        case HTTPStatus.NOT_FOUND:
            return NotThere(f"{host} has no such thing{said}")
        case HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN:
            return NotAllowed(f"{host} does not allow it: {status}{said}")
        case HTTPStatus.TOO_MANY_REQUESTS:
            return Busy(f"{host} is asked too often: 429{said}", read_retry_after(retry_after))
        case HTTPStatus.SERVICE_UNAVAILABLE if retry_after is not None:
            return Busy(f"{host} is not to be asked just now: 503{said}", read_retry_after(retry_after))
        case _ if (
            HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _PASSING
        ):
            return Refused(f"{host} answered {status}{said}")
        case _:
            return Failed(f"{host} answered {status}{said}")


def _said(body: bytes) -> str:
    """The code and message of the first error, fit for a terminal; empty where there is none."""
    try:
        errors: Any = msgspec.json.decode(body)["errors"]
        code, message = str(errors[0].get("code", "")), str(errors[0].get("message", ""))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return ""
    plain = "".join(each if each.isprintable() else " " for each in message)[:_SAID_MAX_CHARS].strip()
    words = [code] if _code.fullmatch(code) else []
    words += [plain] if plain else []
    return f" ({': '.join(words)})" if words else ""
