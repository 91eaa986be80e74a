"""Pages of a list: how many, and after what.

Source: distribution-spec main (967efdc), "Listing Tags".
"""

import re
from dataclasses import dataclass

from moorage.api.exchange import QueryInvalid, Request
from moorage.errors import PageInvalid

PAGE_MAX = 1_000
LAST_MAX_CHARS = 255

# n = 1*20DIGIT ; ASCII digits, where Python's int() takes any script's, underscores and blanks
_NUMBER = re.compile(r"[0-9]{1,20}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """`limit` entries, of which the first comes bytewise after `last`. `limit` 0 asks for none."""

    limit: int
    last: str
    fields: tuple[tuple[str, str], ...]
    """The query's other fields, which the link to the next page keeps."""


def parse_page(request: Request, limit_default: int = PAGE_MAX) -> Page:
    """The page that a request asks for; more than PAGE_MAX entries is clamped to it.

    Raises PageInvalid (400).
    """
    try:
        fields = request.query()
    except QueryInvalid as error:
        raise PageInvalid(reason="the query is malformed") from error
    limit, last, others = limit_default, "", []
    for key, value in fields:
        if key == "n":
            if _NUMBER.fullmatch(value) is None:
                raise PageInvalid(n=value[:40])
            limit = min(int(value), PAGE_MAX)
        elif key == "last":
            if len(value) > LAST_MAX_CHARS or not value.isprintable():
                raise PageInvalid(reason="last cannot be a name")
            last = value
        else:
            others.append((key, value))
    return Page(limit, last, tuple(others))
