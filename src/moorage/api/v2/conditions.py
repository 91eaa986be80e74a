"""Conditional requests: whether what the client has is what is here.

Source: RFC 9110 section 13.1; the strong entity tag of content is its digest in quotes.
"""


def etag(digest: str) -> bytes:
    """The entity tag of content."""
    return b'"%b"' % digest.encode()


def matches(header: str, digest: str, *, is_weak_ok: bool = True) -> bool:
    """Whether a list of entity tags, or `*`, names this digest."""
    if header.strip() == "*":
        return True
    wanted = f'"{digest}"'
    tags = (tag.strip() for tag in header.split(","))
    return any(tag == wanted or (is_weak_ok and tag == f"W/{wanted}") for tag in tags)
