"""What a registry's headers say, or nothing where they cannot be read.

Source: RFC 9110, 10.2.3 and 14.4; RFC 8288, 3; Docker Hub's `ratelimit-*`; GitHub's `x-ratelimit-*`.
"""

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from moorage.clock import now_ms
from moorage.mirrors.asking import Quota

RETRY_AFTER_MAX_S: Final = 3600.0
RETRY_AFTER_S: Final = 30.0
"""Of one that does not say, or not in a way that can be read."""

# content-range = "bytes" SP first "-" last "/" ( complete-length / "*" )
_content_range = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)", re.ASCII | re.IGNORECASE)
# range         = [ "bytes=" ] "0-" last: distribution's, with and without the unit
_range = re.compile(r"(?:bytes[= ])?0-(\d{1,18})", re.ASCII | re.IGNORECASE)
_number = re.compile(r"\d{1,18}", re.ASCII)
# link-value = "<" URI ">" *( ";" parameter )
_next_link = re.compile(r"<([^<>]{1,4096})>\s*;[^<,]*?\brel\s*=\s*\"?next\"?", re.ASCII | re.IGNORECASE)


def read_retry_after(value: str | None) -> float:
    """Seconds from 1 to an hour: a number of them, or a date."""
    if value is None:
        return RETRY_AFTER_S
    text = value.strip()
    if _number.fullmatch(text):
        seconds = float(text)
    else:
        try:
            at = parsedate_to_datetime(text)
            seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_ms() / 1000
        except (ValueError, TypeError, OverflowError):
            return RETRY_AFTER_S
    return min(max(seconds, 1.0), RETRY_AFTER_MAX_S)


def read_quota(headers: Mapping[str, str]) -> Quota | None:
    """The rate limit, None where nothing is said of one: `100;w=21600`, or a bare number."""
    limit = _count(headers.get("RateLimit-Limit") or headers.get("X-RateLimit-Limit"))
    left = _count(headers.get("RateLimit-Remaining") or headers.get("X-RateLimit-Remaining"))
    return None if limit is None and left is None else Quota(limit, left)


def read_length(value: str | None) -> int | None:
    """A length in bytes."""
    return int(value) if value is not None and _number.fullmatch(value.strip()) else None


def read_content_range(value: str | None) -> tuple[int, int, int | None] | None:
    """The first and last byte, and the length of the whole where it is said."""
    match = _content_range.fullmatch(value.strip()) if value is not None else None
    if match is None:
        return None
    first, last, whole = int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3])
    return (first, last, whole) if first <= last and (whole is None or last < whole) else None


def read_content_end(value: str | None) -> int | None:
    """How many bytes there are, by the Range of an upload: `0-99` for a hundred."""
    match = _range.fullmatch(value.strip()) if value is not None else None
    return int(match[1]) + 1 if match is not None else None


def read_next_link(value: str | None) -> str | None:
    """Where the next page is."""
    match = _next_link.search(value) if value is not None and len(value) <= 8192 else None  # noqa: PLR2004
    return match[1] if match is not None else None


def _count(value: str | None) -> int | None:
    match = _number.match(value.strip()) if value is not None else None
    return int(match[0]) if match is not None else None
