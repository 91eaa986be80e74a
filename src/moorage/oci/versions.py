"""Tags as versions: how they sort."""

import re

_VERSION = re.compile(r"v?([0-9]+(?:\.[0-9]+)*)(.*)", re.ASCII | re.DOTALL)


def version_key(tag: str) -> str:
    """A text that sorts bytewise as the versions do that tags name; "" for a tag that names none."""
    match = _VERSION.fullmatch(tag)
    if match is None:
        return ""
    return ".".join(f"{len(number):02d}{number}" for number in match[1].split("."))
