"""Where a copy goes from and to, as a person writes it.

registry.local:5000/team/app:1.0     a repository of a registry, as docker reads it
registry.local:5000/team/app:1.*     all its tags that a pattern names
oci:PATH[:TAG]                       an OCI layout: a folder, or a tar if PATH ends in .tar
docker-archive:PATH[:NAME:TAG]       what `docker save` writes and `docker load` reads
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moorage.errors import FieldInvalid
from moorage.oci.names import is_tag
from moorage.oci.references import ImageReference, InvalidImageReference, parse_image_reference
from moorage.registry.tags.patterns import compile_tag_pattern
from moorage.transfer.between.planning import Wanted
from moorage.transfer.between.ports import CopyRefused, Source
from moorage.transfer.images.naming import is_beside

LAYOUT: Final = "oci:"
SAVED: Final = "docker-archive:"
_STANDS_FOR: Final = frozenset("*?")


@dataclass(frozen=True, slots=True)
class RegistryPlace:
    """A repository, and what is meant in it: `tag` "" where nothing was said, `pattern` for several tags."""

    reference: ImageReference
    tag: str
    pattern: str

    def __str__(self) -> str:
        return f"{self.reference.domain}/{self.reference.path}"


@dataclass(frozen=True, slots=True)
class LayoutPlace:
    """An OCI layout, and the tag or pattern that is meant in it."""

    path: Path
    tag: str
    pattern: str
    may_be_saved: bool = False
    """Whether a tar may be an archive of docker's too: the person named no kind."""

    @property
    def is_tar(self) -> bool:
        """Whether it is a tar: one that is there, or is to be."""
        return self.path.is_file() or (self.path.suffix == ".tar" and not self.path.is_dir())

    def __str__(self) -> str:
        return f"{LAYOUT}{self.path}"


@dataclass(frozen=True, slots=True)
class SavedPlace:
    """An archive of docker's, and the full name of the image in it."""

    path: Path
    tag: str
    pattern: str = ""

    def __str__(self) -> str:
        return f"{SAVED}{self.path}"


Place = RegistryPlace | LayoutPlace | SavedPlace


def parse_place(text: str) -> Place:
    """Read what a person wrote. Raises CopyRefused."""
    if text.startswith(LAYOUT):
        path, tag = _split(text.removeprefix(LAYOUT), LAYOUT)
        return LayoutPlace(path, *_read_tag(tag))
    if text.startswith(SAVED):
        return SavedPlace(*_split(text.removeprefix(SAVED), SAVED))
    if text.startswith((".", "/")):
        raise CopyRefused(f"{text[:200]!r}: for a folder or a tar write oci:PATH or docker-archive:PATH")
    name, tag = text, ""
    before, colon, after = text.rpartition(":")
    if colon and "/" not in after and _STANDS_FOR & set(after):
        name, tag = before, after
    try:
        reference = parse_image_reference(name)
    except InvalidImageReference as refusal:
        raise CopyRefused(f"{text[:200]!r}: {refusal}") from refusal
    if tag:
        return RegistryPlace(reference, "", _check_pattern(tag))
    return RegistryPlace(reference, "" if "tag" in reference.defaults else reference.tag or "", "")


def place_of_path(text: str) -> Place:
    """A layout or archive that is given by its path alone, PATH[:TAG]. Raises CopyRefused."""
    if text.startswith((LAYOUT, SAVED)):
        return parse_place(text)
    path = Path(text)
    if path.exists() or ":" not in text:
        return LayoutPlace(path, "", "", may_be_saved=True)
    path, tag = _split(text, "")
    return LayoutPlace(path, *_read_tag(tag), may_be_saved=True)


def as_saved(place: Place) -> SavedPlace:
    """The same path as an archive of docker's. Raises CopyRefused."""
    if isinstance(place, RegistryPlace) or place.pattern:
        raise CopyRefused(f"{place} is no path that docker's archive of one image could go to")
    return SavedPlace(place.path, place.tag)


async def choose(source: Source, come_from: Place, go_to: Place, tags: str | None) -> list[Wanted]:
    """The images that are meant, and by which tags they go. Raises CopyRefused.

    `tags`: a pattern of them, in place of one.
    """
    if isinstance(go_to, RegistryPlace) and go_to.reference.digest is not None:
        raise CopyRefused(
            f"{go_to} is said with a digest: an image's digest is its own, say a tag or nothing"
        )
    if go_to.pattern:
        raise CopyRefused(
            f"{go_to.pattern!r} is no tag that an image can go to; give the pattern with the source"
        )
    pattern = come_from.pattern or (tags and _check_pattern(tags))
    if pattern:
        return await _choose_several(source, come_from, go_to, pattern)
    if isinstance(come_from, RegistryPlace):
        wanted, tag = come_from.reference.tag_or_digest, come_from.reference.tag
    else:
        wanted, tag = come_from.tag, come_from.tag if is_tag(come_from.tag) else None
        if not wanted:
            tag = await _only_tag(source)
    if isinstance(go_to, SavedPlace):
        return [Wanted(wanted, tag or "latest")]
    return [Wanted(wanted, go_to.tag or tag)]


async def _choose_several(source: Source, come_from: Place, go_to: Place, pattern: str) -> list[Wanted]:
    if come_from.tag or go_to.tag or (isinstance(come_from, RegistryPlace) and come_from.reference.digest):
        raise CopyRefused(
            "with a pattern of tags say none at the source or the destination: each keeps its own"
        )
    if isinstance(go_to, SavedPlace):
        raise CopyRefused("an archive of docker's is written with one image: say one tag")
    is_meant = compile_tag_pattern(pattern)
    found = sorted(tag for tag in await source.list_tags() if is_meant(tag))
    if not found:
        raise CopyRefused(f"{come_from} has no tag that {pattern} names")
    return [Wanted(tag, tag) for tag in found]


async def _only_tag(source: Source) -> str | None:
    """The tag of an archive's only image, if it has one."""
    tags = [tag for tag in await source.list_tags() if not is_beside(tag)]
    return tags[0] if len(tags) == 1 else None


def name_for_docker(come_from: Place, go_to: SavedPlace, tag: str) -> str:
    """What docker is to call an image. Raises CopyRefused."""
    said = go_to.tag or (f"{come_from}:{tag}" if isinstance(come_from, RegistryPlace) else "")
    if not said:
        raise CopyRefused(f"say what docker is to call the image: {go_to}:NAME:TAG")
    try:
        reference = parse_image_reference(said)
    except InvalidImageReference as refusal:
        raise CopyRefused(f"{said[:200]!r}: {refusal}") from refusal
    return said if "tag" not in reference.defaults else f"{said}:{reference.tag}"


def _split(text: str, kind: str) -> tuple[Path, str]:
    """A path and what follows its first colon, as skopeo reads it."""
    path, colon, rest = text.partition(":")
    if not path or (colon and not rest):
        raise CopyRefused(f"{kind}{text[:200]}: want {kind}PATH or {kind}PATH:TAG")
    return Path(path), rest


def _read_tag(text: str) -> tuple[str, str]:
    """A tag, or a pattern of tags, in this order."""
    return ("", _check_pattern(text)) if _STANDS_FOR & set(text) else (text, "")


def _check_pattern(text: str) -> str:
    try:
        compile_tag_pattern(text)
    except FieldInvalid as refusal:
        raise CopyRefused(f"{text[:200]!r} is no pattern of tags: {refusal.detail['reason']}") from refusal
    return text
