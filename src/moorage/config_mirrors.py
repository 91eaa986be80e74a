"""The section `mirrors`: upstreams as they stand in the settings, and what must hold of any upstream.

Those that are made over the API are checked by the same rules: see mirrors/managing.py.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult, urlsplit

from moorage.addresses import Network, is_allowed, is_inside_name, read_host, read_networks
from moorage.setting import Bytes, required, setting

Problem = tuple[str, str]
"""What is to be mended: the key, and a sentence."""

DOCKER_HUB: Final = "docker.io"
HUB_URL: Final = "https://registry-1.docker.io"
HUB_HOSTS: Final = ("registry-1.docker.io", "index.docker.io")

NAME_MAX_LENGTH: Final = 64
"""Characters in an upstream's name: it is a namespace's too."""

_MAX: Final = 64
"""Hosts, alternatives, patterns of one upstream."""

_RESERVED: Final = {
    "everyone",
    "anonymous",
    "operator",
    "status",
    "disconnection",
    "prefetches",
    "rehearsals",
}
"""Names with a meaning of their own, as of accounts; and what the API has under `/upstreams/`."""
_METADATA: Final = ("metadata.google.internal", "169.254.169.254")
_SSH: Final = 22
_URL_MAX_LENGTH: Final = 1024

# name      ::= alnum+ (separator alnum+)*                 a component of a repository's name
# host      ::= label ("." label)* (":" port)? | "[" ipv6 "]" (":" port)?
# pattern   ::= as a grant's: see identity/access/patterns.py
# pin       ::= names (":" tags)?
# names     ::= a pattern with "{a,b}" for either
# tags      ::= glob | "re:" expression | range            range: ">=1.2 <2", see oci/version_ranges.py
# platform  ::= os "/" architecture ("/" variant)?
# hours     ::= HH:MM "-" HH:MM
# bandwidth ::= hours " " size                             bytes a second, as any size; 0: no prefetch
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*", re.ASCII)
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{{0,4}})?", re.ASCII)
_PATTERN = re.compile(r"[a-z0-9*._-]+(?:/[a-z0-9*._-]+)*", re.ASCII)
_PIN = re.compile(r"(?P<names>[a-z0-9*._/{},-]+)(?::(?P<tags>[^\x00-\x1f\x7f]{1,255}))?", re.ASCII)
_BRACES = re.compile(r"\{[a-z0-9*._/-]+(?:,[a-z0-9*._/-]+)*\}", re.ASCII)
_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(?:/[a-z0-9.]+)?", re.ASCII)
_HOURS = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_BANDWIDTH = re.compile(
    rf"(?P<since>{_HOURS})-(?P<until>{_HOURS}|24:00) "
    r"(?P<size>0|[1-9][0-9]{0,11})(?P<unit>B|KiB|MiB|GiB|TiB)?",
    re.ASCII,
)
_UNITS: Final = {None: 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?", re.ASCII)


@dataclass(frozen=True, slots=True)
class AlternativeSettings:
    """Another registry with the same content, asked while the upstream itself cannot be."""

    SHORT: ClassVar[str] = "url"
    """What is meant where only a text stands."""

    url: str = required("Where it answers, as `https://mirror.example`.")
    username: str = setting("", "Whom to sign in to it as. Unset: it is asked without credentials.")
    password_file: Path | None = setting(None, "File with that user's password or token, read at the start.")
    authority_file: Path | None = setting(
        None, "The authorities that its certificate may come from, PEM. Unset: the system's."
    )

    def problems(self) -> list[Problem]:
        """What an operator must mend, as (key, sentence)."""
        return [*_url_problems(self.url), *_credential_problems(self.username, self.password_file)]


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Another registry, whose images are fetched when they are asked for, and kept."""

    name: str = required("The first part of the names that its images have here, as `docker.io`.")
    url: str = setting(
        "",
        "Where it answers. Unset: `https://` and its name; of docker.io `https://registry-1.docker.io`.",
    )
    hosts: tuple[str, ...] = setting(
        (),
        "What clients call it besides its name, as `registry.example:5000`: what containerd sends as `ns`.",
    )
    username: str = setting("", "Whom to sign in to it as. Unset: it is asked without credentials.")
    password_file: Path | None = setting(None, "File with that user's password or token, read at the start.")
    authority_file: Path | None = setting(
        None, "The authorities that its certificate may come from, PEM. Unset: the system's."
    )
    alternatives: tuple[AlternativeSettings, ...] = setting(
        (), "Other registries with the same content, in the order in which they are tried: URLs, or tables."
    )
    alternatives_may: str = setting(
        "new",
        "What an alternative may say that a tag names. known: only what the upstream itself has shown for"
        " it; new: that, and anything for a tag that is not here yet; any: anything.",
    )
    root: bool = setting(
        False,  # noqa: FBT003
        "Whether names without an upstream's in front are looked for here, as docker's `registry-mirrors`"
        " asks for them, where nothing local has them. One upstream may.",
    )
    include: tuple[str, ...] = setting(
        (), "Which of its repositories are mirrored, as `library/*`. Unset: all."
    )
    exclude: tuple[str, ...] = setting((), "Which of its repositories are not.")
    platforms: tuple[str, ...] = setting(
        (), "Which platforms a prefetch brings, as `linux/arm64`. Unset: all that an image has."
    )
    pins: tuple[str, ...] = setting(
        (), "What is prefetched and never evicted, as `library/{debian,python}:*-slim`."
    )
    freshness: timedelta = setting(
        timedelta(minutes=15), "How long a tag is served without asking whether it has moved."
    )
    budget: Bytes | None = setting(
        None, "How much of it is kept; what was pulled least recently goes first. Unset: all is."
    )
    bandwidth: tuple[str, ...] = setting(
        (),
        "Caps by hours of the day in UTC, as `08:00-18:00 2MiB`: bytes a second. `0`: no prefetch then.",
    )

    @property
    def address(self) -> str:
        """Where it answers."""
        return self.url or usual_url(self.name)

    @property
    def called(self) -> tuple[str, ...]:
        """What clients call it besides its name."""
        return self.hosts or usual_hosts(self.name)

    def problems(self) -> list[Problem]:
        """What an operator must mend, as (key, sentence): of this one alone."""
        found = list(_name_problems(self.name))
        found += _url_problems(self.address) if self.address else [("url", "is missing")]
        found += _credential_problems(self.username, self.password_file)
        found += [
            ("hosts", f"want what clients call it, as registry.example:5000, in lower case; this is {each!r}")
            for each in self.hosts
            if _HOST.fullmatch(each) is None
        ]
        if self.alternatives_may not in {"known", "new", "any"}:
            found.append(("alternatives_may", "want known, new or any"))
        found += [
            (key, f"want a repository of it, as library/nginx, or several, as library/*; this is {each!r}")
            for key in ("include", "exclude")
            for each in getattr(self, key)
            if len(each) > 255 or _PATTERN.fullmatch(each) is None  # noqa: PLR2004 - a name's longest
        ]
        found += _fetching_problems(self)
        found += [
            (key, f"at most {_MAX}")
            for key in ("hosts", "alternatives", "include", "exclude", "platforms", "pins", "bandwidth")
            if len(getattr(self, key)) > _MAX
        ]
        return found

    def address_problems(self, networks: Sequence[Network]) -> list[Problem]:
        """What is wrong with where it lies, when only these networks may be private."""
        found = [("url", sentence) for sentence in _place_problems(self.address, networks)]
        found += [
            ("alternatives", f"{each.url}: {sentence}")
            for each in self.alternatives
            for sentence in _place_problems(each.url, networks)
        ]
        urls = [self.address, *(each.url for each in self.alternatives)]
        found += [
            ("alternatives", f"{url} is there twice") for url in sorted(set(urls)) if urls.count(url) > 1
        ]
        return found


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """Other registries whose images are had through this one; `moorage upstream add` makes more."""

    private_addresses: tuple[str, ...] = setting(
        (),
        "Networks in which upstreams may lie though the addresses are private, loopback or link-local, as"
        " `10.0.0.0/8`.",
    )
    upstreams: tuple[UpstreamSettings, ...] = setting((), "Upstreams that no one changes but in this file.")

    def problems(self) -> list[Problem]:
        """What an operator must mend, as (key, sentence)."""
        found = []
        for each in self.private_addresses:
            try:
                read_networks([each])
            except ValueError:
                found.append(("private_addresses", f"want a network, as 10.0.0.0/8; this is {each!r}"))
        if found:
            return found
        networks = read_networks(self.private_addresses)
        found += [
            ("upstreams", f"{each.name}: {key}: {sentence}")
            for each in self.upstreams
            for key, sentence in each.address_problems(networks)
        ]
        return found + [("upstreams", sentence) for _, sentence in common_problems(self.upstreams)]


def usual_url(name: str) -> str:
    """Where an upstream of this name answers if nothing else is said; empty where its name is no host."""
    if name == DOCKER_HUB:
        return HUB_URL
    return f"https://{name}" if "." in name else ""


def usual_hosts(name: str) -> tuple[str, ...]:
    """What clients call an upstream of this name besides."""
    return HUB_HOSTS if name == DOCKER_HUB else ()


def common_problems(upstreams: Sequence[UpstreamSettings]) -> list[Problem]:
    """What is wrong with upstreams beside each other, as (key, sentence)."""
    owners: dict[str, str] = {}
    found = []
    for each in upstreams:
        for host in (each.name, *each.called):
            other = owners.setdefault(host, each.name)
            if host == each.name == other and sum(one.name == host for one in upstreams) > 1:
                found.append(("name", f"{host} is there twice"))
            elif other != each.name:
                found.append(("hosts", f"{host} is what {other} and {each.name} are both called"))
    roots = [each.name for each in upstreams if each.root]
    if len(roots) > 1:
        found.append(("root", f"one upstream may be the root; {' and '.join(roots)} are"))
    return list(dict.fromkeys(found))


def read_bandwidth(text: str) -> tuple[int, int, int]:
    """A cap: from which minute of the day in UTC until which, and bytes a second.

    Raises ValueError with a sentence.
    """
    match = _BANDWIDTH.fullmatch(text)
    if match is None:
        raise ValueError(f"want hours and bytes a second, as 08:00-18:00 2MiB; this is {text!r}")
    since, until = (int(match[each][:2]) * 60 + int(match[each][3:]) for each in ("since", "until"))
    if since == until:
        raise ValueError(f"want hours that are not over when they begin; this is {text!r}")
    return since, until, int(match["size"]) * _UNITS[match["unit"]]


def _name_problems(name: str) -> Iterator[Problem]:
    if len(name) > NAME_MAX_LENGTH or _NAME.fullmatch(name) is None:
        wanted = "the first part of a repository's name, as docker.io or lan"
        yield "name", f"want {wanted}: at most {NAME_MAX_LENGTH} characters, no port; this is {name!r}"
    elif name in _RESERVED:
        yield "name", f"{name} has a meaning of its own; choose another"


def _credential_problems(username: str, password_file: Path | None) -> Iterator[Problem]:
    if bool(username) != (password_file is not None):
        missing, there = ("password_file", "username") if username else ("username", "password_file")
        yield missing, f"is missing, as there is a {there}"
    if ":" in username:
        yield "username", "has no colon in it"


def _fetching_problems(upstream: UpstreamSettings) -> Iterator[Problem]:
    for platform in upstream.platforms:
        if _PLATFORM.fullmatch(platform) is None:
            yield "platforms", f"want a platform, as linux/arm64 or linux/arm/v7; this is {platform!r}"
    for pin in upstream.pins:
        if not _is_pin(pin):
            yield "pins", f"want images, as library/{{debian,python}}:*-slim; this is {pin!r}"
    if not timedelta(0) <= upstream.freshness <= timedelta(days=365):
        yield "freshness", "want 0s to 365d"
    if upstream.budget is not None and upstream.budget < 1:
        yield "budget", "want 1 or more"
    for cap in upstream.bandwidth:
        try:
            read_bandwidth(cap)
        except ValueError as error:
            yield "bandwidth", str(error)


def _is_pin(text: str) -> bool:
    match = _PIN.fullmatch(text)
    if match is None or len(text) > 255 + 1 + 255:
        return False
    # whatever stands in for the braces, it is a pattern
    plain = _BRACES.sub("x", match["names"])
    return _PATTERN.fullmatch(plain) is not None


def _url_problems(url: str) -> Iterator[Problem]:
    """What is wrong with an address as it is written."""
    wanted = "want a URL, as https://registry.example"
    if _split(url) is None:
        yield "url", f"{wanted}; this is {_shown(url)!r}"
        return
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"}:
        yield "url", f"{wanted}; {parts.scheme}: is no registry's"
    if parts.username is not None or parts.password is not None:
        yield "url", "has no user or password in it: username and the password have places of their own"
    if parts.query or parts.fragment or "?" in url or "#" in url:
        yield "url", "has no query and no fragment"
    if parts.port in {0, _SSH}:
        yield "url", f"port {parts.port} is no registry's"
    if _PATH.fullmatch(parts.path) is None or any(each in {".", ".."} for each in parts.path.split("/")):
        yield "url", f"{wanted}, perhaps with a path; this is {_shown(url)!r}"


def _split(url: str) -> SplitResult | None:
    """The parts of a URL whose host is a host; None for any other text."""
    if len(url) > _URL_MAX_LENGTH or not url.isascii() or not url.isprintable() or "\\" in url or " " in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    netloc = f"[{host}]" if ":" in host else host
    if not parts.scheme or _HOST.fullmatch(netloc) is None or (port is None and parts.netloc.endswith(":")):
        return None
    try:
        read_host(host)
    except ValueError:
        return None
    return parts


def _shown(url: str) -> str:
    """A URL without what may be a password."""
    before, at, after = url.rpartition("@")
    return f"{before.partition('://')[0]}://***@{after}"[:100] if at else url[:100]


def _place_problems(url: str, networks: Sequence[Network]) -> Iterator[str]:
    """What is wrong with where a URL leads, when only these networks may be private."""
    parts = _split(url)
    if parts is None:
        return
    host = parts.hostname or ""
    unlisted = "list its network in mirrors.private_addresses if it is meant"
    ip = read_host(_METADATA[1] if host == _METADATA[0] else host)
    if ip is not None:
        if not is_allowed(ip, networks):
            yield f"{host} is no public address; {unlisted}"
        is_private = any(ip in network for network in networks)
    else:
        is_private = is_inside_name(host) and bool(networks)
        if is_inside_name(host) and not networks:
            yield f"{host} is a name of a private network; {unlisted}"
    if parts.scheme == "http" and not is_private:
        yield (
            "want https: over plain HTTP anyone on the way reads the password and changes the images;"
            " only an address in mirrors.private_addresses may be asked so"
        )
