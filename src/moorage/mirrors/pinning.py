r"""Pins: which images of an upstream are prefetched, and never evicted.

    library/debian                      its tag latest
    library/{debian,python}:*-slim      tags by a glob, of either
    library/postgres:>=15 <17           a range of versions: see oci/version_ranges.py
    grafana/grafana:re:1[01]\.[0-9.]+    tags by an expression of RE2
    tools/*:latest                      of each repository that matches and is mirrored here already

Of each repository at most `TAGS_MAX` tags are meant, the newest by version first.
"""

import re
from collections.abc import Callable, Iterable
from itertools import product
from typing import Final, NamedTuple

from moorage.errors import FieldInvalid
from moorage.identity.access.patterns import is_match
from moorage.mirrors.upstreams import Upstream
from moorage.oci.names import RepositoryName
from moorage.oci.version_ranges import RangeInvalid, compile_range, is_range
from moorage.oci.versions import version_key
from moorage.registry.tags.patterns import EXPRESSION, compile_tag_pattern

TAGS_MAX: Final = 20
"""Tags of one repository that a pin means."""

_NAMES_MAX: Final = 64
_LATEST: Final = "latest"
_BRACES = re.compile(r"\{([^{}]*)\}", re.ASCII)
_STANDS_FOR_MORE = re.compile(r"[*?]", re.ASCII)


class Pin(NamedTuple):
    """A pin of one upstream, read. `tag` is the one tag that is meant, None where a pattern is."""

    text: str
    names: tuple[str, ...]
    tag: str | None
    fits: Callable[[str], bool]

    def is_of(self, remote: RepositoryName) -> bool:
        """Whether it means images of this repository."""
        return any(is_match(name, remote) for name in self.names)

    def select(self, tags: Iterable[str]) -> list[str]:
        """Those of a repository's tags that it means, the newest first; what is no version comes last."""
        fitting = [tag for tag in tags if self.fits(tag)]
        return sorted(fitting, key=lambda tag: (version_key(tag), tag), reverse=True)[:TAGS_MAX]


def read_pin(upstream: Upstream, text: str) -> Pin:
    """A pin as an operator wrote it.

    Raises FieldInvalid (400).
    """
    names, _, tags = text.partition(":")
    tags = tags or _LATEST
    try:
        fits = compile_range(tags) if is_range(tags) else compile_tag_pattern(tags)
    except RangeInvalid as error:
        raise FieldInvalid(field="pins", pin=text[:300], reason=str(error)) from error
    is_one = not is_range(tags) and not tags.startswith(EXPRESSION) and not _STANDS_FOR_MORE.search(tags)
    own = tuple(_own_name(upstream, name) for name in _spread(names))
    return Pin(text, own, tags if is_one else None, fits)


def read_pins(upstream: Upstream) -> list[Pin]:
    """All pins of an upstream that can be read: the others were refused when they were set."""
    found = []
    for text in upstream.pins:
        try:
            found.append(read_pin(upstream, text))
        except FieldInvalid:
            continue
    return found


def _own_name(upstream: Upstream, name: str) -> str:
    """By which name the upstream knows it: its own before it may be there, an official one's be left out."""
    own = upstream.remote_of(RepositoryName(name))
    return own if "*" in own else upstream.remote_of(upstream.local_of(own))


def _spread(names: str) -> list[str]:
    """Every name that is meant by one with braces."""
    parts = _BRACES.split(names)
    # what stands in braces is each second part
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    spread = []
    for chosen in product(*choices):
        spread.append("".join(chosen))
        if len(spread) == _NAMES_MAX:
            break
    return spread
