"""Descriptors: how a manifest points at content.

Source: image-spec main (13cff54), descriptor.md.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from moorage.errors import DigestInvalid, ManifestInvalid
from moorage.oci.digest import Digest, parse_digest

ANNOTATIONS_MAX = 9_999
ANNOTATION_MAX_BYTES = 1024 * 1024 - 1
SIZE_MAX_BYTES = 2**63 - 1
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_IETF_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")
_KEYS = frozenset({"mediatype", "digest", "size", "urls", "annotations", "data", "artifacttype", "platform"})
_SPELLED = frozenset(
    {"mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"}
)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Content by digest, size in bytes and media type; `urls` where else a foreign layer is found."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()


def parse_descriptor(value: Any, where: str) -> Descriptor:
    """A descriptor at `where` in its manifest. Unknown fields and unknown media types are legal.

    Raises ManifestInvalid (400).
    """
    if not isinstance(value, dict):
        raise ManifestInvalid(where=where, reason="a descriptor is an object")
    check_spelling(value, _SPELLED, _KEYS, where)
    media_type, size = value.get("mediaType"), value.get("size")
    if not isinstance(media_type, str) or not media_type:
        raise ManifestInvalid(where=f"{where}.mediaType", reason="a descriptor needs a media type")
    # `type(...) is int`: True is an int in Python, and no size
    if type(size) is not int or not 0 <= size <= SIZE_MAX_BYTES:
        raise ManifestInvalid(where=f"{where}.size", reason="a size is a whole number from 0 to 2^63-1")
    parse_annotations(value.get("annotations"), f"{where}.annotations")
    return Descriptor(media_type, _digest(value.get("digest"), where), size, _urls(value.get("urls"), where))


def parse_annotations(value: Any, where: str) -> Mapping[str, str]:
    """Strings by name; none when the field is absent or null.

    Raises ManifestInvalid (400), also for more of them than ANNOTATIONS_MAX or one over ANNOTATION_MAX_BYTES.
    """
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ManifestInvalid(where=where, reason="annotations are strings by name")
    if len(value) > ANNOTATIONS_MAX:
        raise ManifestInvalid(where=where, reason=f"more than {ANNOTATIONS_MAX} annotations")
    for name, text in value.items():
        if len(name.encode()) + len(text.encode()) > ANNOTATION_MAX_BYTES:
            raise ManifestInvalid(
                where=where, reason=f"an annotation of more than {ANNOTATION_MAX_BYTES} bytes"
            )
    return value


def check_spelling(
    value: Mapping[str, Any], spelled: frozenset[str], folded: frozenset[str], where: str
) -> None:
    """Refuse a key that differs from a known one in case only: Go reads it, Python does not."""
    for key in value:
        if key not in spelled and key.casefold() in folded:
            raise ManifestInvalid(where=where, reason=f"key {key[:40]!r} is a known key in another case")


def _digest(value: Any, where: str) -> Digest:
    if not isinstance(value, str):
        raise ManifestInvalid(where=f"{where}.digest", reason="a descriptor needs a digest")
    try:
        return parse_digest(value)
    except DigestInvalid as refusal:
        raise ManifestInvalid(where=f"{where}.digest", **refusal.detail) from refusal


def _urls(value: Any, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(url, str) for url in value):
        raise ManifestInvalid(where=f"{where}.urls", reason="urls is a list of strings")
    for url in value:
        if not _is_public_url(url):
            raise ManifestInvalid(where=f"{where}.urls", reason="urls may point to public http(s) hosts only")
    return tuple(value)


def _is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """`is_global` alone takes addresses that lead back inside by NAT64, 6to4 or as old site-local ones."""
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not address.is_multicast and address not in _IETF_PROTOCOLS
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    is_inside = address.is_site_local or address.is_multicast or not address.is_global
    return not is_inside and (inner is None or _is_public(inner))


def _is_public_url(url: str) -> bool:
    """Whether clients can be sent there: no file, no credentials, no address inside someone's network."""
    if not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme not in {"http", "https"} or not host or "@" in parts.netloc or "\\" in url:
        return False
    try:
        return _is_public(ipaddress.ip_address(host))
    except ValueError:
        # A name, then: one whose last label is a number is an address in disguise (0x7f.1, 2130706433)
        last = host.rstrip(".").rpartition(".")[2]
        return not last[:1].isdigit() and last != "localhost"
