"""Manifests as another registry sends them: nothing is taken that does not match what it is called.

Source: distribution-spec v1.1.1, "Pulling manifests"; Docker "Image Manifest V 2, Schema 1".
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from moorage.mirrors.asking import Failed, Fetched, Shown, Unfit
from moorage.oci import media_types
from moorage.oci.digest import SHA256, Digest, algorithm_of, digest_of, is_digest
from moorage.upstream.headers import read_length

_TYPES: Final = (
    media_types.OCI_INDEX,
    media_types.DOCKER_LIST,
    media_types.OCI_MANIFEST,
    media_types.DOCKER_MANIFEST,
)
ACCEPT: Final = {"Accept": ", ".join(_TYPES)}
_SCHEMA1: Final = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
_UNSAID: Final = frozenset({"", "application/json", "text/plain", "application/octet-stream"})
"""What is sent where the type is in the document alone."""
PAGES: Final = frozenset({"text/html", "application/xhtml+xml"})
"""What a proxy sends that wants to be paid."""


def said_digest(headers: Mapping[str, str]) -> Digest | None:
    """The digest that an answer's headers name; None where they name none.

    Raises Failed for one that is none.
    """
    said = headers.get("Docker-Content-Digest", "").strip()
    if not said:
        return None
    if not is_digest(said):
        raise Failed(f"it names a digest that is none: {said[:80]!r}")
    return Digest(said)


def read_shown(host: str, headers: Mapping[str, str], reference: str) -> Shown:
    """What a HEAD says that a reference names.

    Raises Failed.
    """
    media_type = media_types.bare(headers.get("Content-Type", ""))
    _check_type(host, media_type)
    digest = said_digest(headers)
    if is_digest(reference):
        if digest is not None and algorithm_of(digest) == algorithm_of(reference) and digest != reference:
            raise Failed(f"{host} shows {digest} where {reference} was asked for")
        digest = Digest(reference)
    size = read_length(headers.get("Content-Length"))
    return Shown(digest, media_type, size, headers.get("OCI-Namespace"))


def check_manifest(host: str, headers: Mapping[str, str], reference: str, payload: bytes) -> Fetched:
    """A manifest that is what was asked for.

    Raises Failed.
    """
    media_type = media_types.bare(headers.get("Content-Type", ""))
    _check_type(host, media_type)
    said = said_digest(headers)
    for digest in {Digest(reference)} if is_digest(reference) else {said} - {None}:
        if digest is not None and digest_of(payload, algorithm_of(digest)) != digest:
            raise Failed(f"{host} sent bytes that do not match {digest}")
    digest = Digest(reference) if is_digest(reference) else digest_of(payload, SHA256)
    return Fetched(digest, _type_of(host, media_type, payload), payload)


def _check_type(host: str, media_type: str) -> None:
    if media_type in _SCHEMA1:
        raise Unfit(f"{host} has only a manifest of schema 1 there, which docker itself has given up")
    if media_type not in media_types.MANIFESTS | _UNSAID:
        # a page is of someone on the way, anything else of whoever pushed it
        kind = Failed if media_type in PAGES else Unfit
        raise kind(f"{host} answers with {media_type[:80]!r} in place of a manifest")


def _type_of(host: str, media_type: str, payload: bytes) -> str:
    try:
        document: Any = msgspec.json.decode(payload)
    except (ValueError, RecursionError) as error:
        raise Failed(f"{host} sent a manifest that is not JSON") from error
    if not isinstance(document, dict):
        raise Failed(f"{host} sent a manifest that is no JSON object")
    if document.get("schemaVersion") == 1:
        raise Unfit(f"{host} has only a manifest of schema 1 there, which docker itself has given up")
    if media_type in media_types.MANIFESTS:
        return media_type
    stated = document.get("mediaType")
    if stated is None:
        stated = media_types.OCI_INDEX if "manifests" in document else media_types.OCI_MANIFEST
    if stated not in media_types.MANIFESTS:
        raise Unfit(f"{host} sent a manifest of a type that is not taken here: {str(stated)[:80]!r}")
    return str(stated)
