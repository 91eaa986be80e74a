"""Manifests: read once, strictly, to learn what they point at; kept and served as they came.

Source: image-spec main (13cff54), manifest.md and image-index.md; Docker "Image Manifest V 2,
Schema 2"; CVE-2021-41190 (one document that is both an image and an index).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from moorage.errors import ManifestInvalid
from moorage.oci import media_types, strict_json
from moorage.oci.descriptor import Descriptor, check_spelling, parse_annotations, parse_descriptor

CHILDREN_MAX = 10_000
ARTIFACT_TYPE_MAX_CHARS = 255

_SPELLED = frozenset(
    {
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
    }
)
_KEYS = frozenset(key.casefold() for key in _SPELLED)


class Kind(StrEnum):
    """What an edge of a manifest leads to, by the field it stands in."""

    CONFIG = "config"
    LAYER = "layer"
    MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Reference:
    """An edge: what a manifest points at."""

    kind: Kind
    target: Descriptor

    @property
    def may_be_absent(self) -> bool:
        """Whether the registry takes the manifest without having this: a non-distributable layer."""
        return self.kind is Kind.LAYER and media_types.is_foreign(self.target.media_type)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the registry needs to know of a manifest's content."""

    media_type: str
    artifact_type: str | None
    """For the referrers list: an image's own, else its config's media type; an index's own or None."""
    references: tuple[Reference, ...]
    subject: Descriptor | None
    annotations: Mapping[str, str]

    @property
    def is_index(self) -> bool:
        """Whether it lists manifests rather than a config and layers."""
        return self.media_type in media_types.INDEXES


def parse_manifest(payload: bytes, content_type: str | None) -> Manifest:
    """Read a manifest that was sent with `content_type` (None when the client sent none).

    Raises ManifestInvalid (400), with the place and the reason in words.
    """
    try:
        value = strict_json.parse(payload)
    except strict_json.NotStrict as error:
        raise ManifestInvalid(reason=str(error)) from error
    if not isinstance(value, dict):
        raise ManifestInvalid(reason="a manifest is a JSON object")
    check_spelling(value, _SPELLED, _KEYS, "manifest")
    media_type = _media_type(value, content_type)
    version = value.get("schemaVersion")
    if type(version) is not int or version != 2:  # noqa: PLR2004 - the only version there is
        raise ManifestInvalid(
            where="schemaVersion", reason="schemaVersion must be 2; schema 1 is not supported"
        )
    return _index(value, media_type) if media_type in media_types.INDEXES else _image(value, media_type)


def _media_type(value: Mapping[str, Any], content_type: str | None) -> str:
    """The one type that the header, the body and the shape agree on."""
    stated = value.get("mediaType")
    if stated is not None and not isinstance(stated, str):
        raise ManifestInvalid(where="mediaType", reason="mediaType is a string")
    sent = media_types.bare(content_type) if content_type else None
    if sent == "application/json":
        sent = None
    if sent is not None and stated is not None and sent != stated:
        raise ManifestInvalid(
            where="mediaType", reason=f"mediaType {stated[:100]} but Content-Type {sent[:100]}"
        )
    media_type = sent or stated or _sniffed(value)
    if media_type not in media_types.MANIFESTS:
        raise ManifestInvalid(
            where="mediaType",
            reason=f"not a manifest type this registry takes: {str(media_type)[:100]}",
            supported=sorted(media_types.MANIFESTS),
        )
    return media_type


def _sniffed(value: Mapping[str, Any]) -> str | None:
    if "manifests" in value:
        return media_types.OCI_INDEX
    return media_types.OCI_MANIFEST if "config" in value or "layers" in value else None


def _image(value: Mapping[str, Any], media_type: str) -> Manifest:
    if "manifests" in value:
        raise ManifestInvalid(where="manifests", reason="an image manifest has no manifests")
    config = parse_descriptor(value.get("config"), "config")
    layers = [
        Reference(Kind.LAYER, parse_descriptor(layer, f"layers[{index}]"))
        for index, layer in enumerate(_list(value, "layers"))
    ]
    return Manifest(
        media_type=media_type,
        artifact_type=_artifact_type(value) or config.media_type,
        references=(Reference(Kind.CONFIG, config), *layers),
        subject=_subject(value),
        annotations=parse_annotations(value.get("annotations"), "annotations"),
    )


def _index(value: Mapping[str, Any], media_type: str) -> Manifest:
    if "layers" in value or "config" in value:
        raise ManifestInvalid(where="layers", reason="an index has neither config nor layers")
    children = tuple(
        Reference(Kind.MANIFEST, parse_descriptor(child, f"manifests[{index}]"))
        for index, child in enumerate(_list(value, "manifests"))
    )
    return Manifest(
        media_type=media_type,
        artifact_type=_artifact_type(value),
        references=children,
        subject=_subject(value),
        annotations=parse_annotations(value.get("annotations"), "annotations"),
    )


def _list(value: Mapping[str, Any], key: str) -> list[Any]:
    entries = value.get(key)
    if not isinstance(entries, list):
        raise ManifestInvalid(where=key, reason=f"{key} is a list")
    if len(entries) > CHILDREN_MAX:
        raise ManifestInvalid(where=key, reason=f"{key} has more than {CHILDREN_MAX} entries")
    return entries


def _artifact_type(value: Mapping[str, Any]) -> str | None:
    artifact_type = value.get("artifactType")
    if artifact_type is not None and not isinstance(artifact_type, str):
        raise ManifestInvalid(where="artifactType", reason="artifactType is a string")
    if artifact_type is not None and len(artifact_type) > ARTIFACT_TYPE_MAX_CHARS:
        raise ManifestInvalid(
            where="artifactType", reason=f"longer than {ARTIFACT_TYPE_MAX_CHARS} characters"
        )
    return artifact_type or None


def _subject(value: Mapping[str, Any]) -> Descriptor | None:
    subject = value.get("subject")
    return None if subject is None else parse_descriptor(subject, "subject")
