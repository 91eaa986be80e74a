"""Refusals as the client reads them. The only place that renders one.

Source: distribution-spec main (967efdc), "Error Codes".
"""

import msgspec

from moorage.api.exchange import API_VERSION, NOSNIFF, Header, Reply
from moorage.api.v2.locations import upload_headers
from moorage.errors import (
    ChunkOutOfOrder,
    HeadersTooLarge,
    MethodNotAllowed,
    RangeUnsatisfiable,
    RegistryError,
    RequestInvalid,
    TargetTooLong,
    TooManyMisses,
    TooManyRequests,
    TooManySignIns,
    TooManyUploads,
    Unauthorized,
    Unavailable,
)
from moorage.oci.names import RepositoryName

_BY_STATUS: dict[int, type[RegistryError]] = {
    400: RequestInvalid,
    414: TargetTooLong,
    429: TooManyRequests,
    431: HeadersTooLarge,
    503: Unavailable,
}
_JSON: Header = (b"content-type", b"application/json")


def render(refusal: RegistryError, repository: str | None = None) -> Reply:
    """The reply that tells a refusal, with the headers that its status or the protocol ask for."""
    body = msgspec.json.encode({"errors": refusal.entries}, enc_hook=_plain)
    headers = [_JSON, API_VERSION, NOSNIFF, (b"content-length", b"%d" % len(body))]
    match refusal:
        case ChunkOutOfOrder() if repository is not None:
            headers += upload_headers(RepositoryName(repository), refusal.upload_id, refusal.received)
        case RangeUnsatisfiable():
            headers.append((b"content-range", b"bytes */%d" % refusal.size))
        case MethodNotAllowed():
            headers.append((b"allow", refusal.allow.encode()))
        case Unauthorized() if refusal.challenge:
            headers.append((b"www-authenticate", refusal.challenge.encode("latin-1")))
        case TooManySignIns() | TooManyMisses():
            headers.append((b"retry-after", b"%d" % refusal.retry_after_s))
        case TooManyUploads() | TooManyRequests():
            headers.append((b"retry-after", b"60"))
        case Unavailable():
            headers.append((b"retry-after", b"%d" % refusal.retry_after_s))
    return Reply(refusal.status, headers, body)


def _plain(value: object) -> object:
    """What JSON has no word for: numbers with a type of their own, and anything else as text."""
    return int(value) if isinstance(value, int) else str(value)


def refuse(status: int) -> tuple[list[Header], bytes]:
    """The headers and body for what the HTTP server has to refuse before there is a request."""
    reply = render(_BY_STATUS[status]())
    return reply.headers, bytes(reply.body)
