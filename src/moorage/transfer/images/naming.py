"""Which repository and tag an image of an archive goes to.

An archive names its images by a tag alone (skopeo, buildah) or in full (docker, containerd, podman). What
the person says goes before what the archive says. A registry's address in a name says where it came from:
it is dropped.
"""

from collections.abc import Sequence
from typing import NamedTuple

from moorage.oci.descriptor import Descriptor
from moorage.oci.digest import is_digest
from moorage.oci.names import RepositoryName, Tag, is_repository_name, is_tag
from moorage.oci.references import InvalidImageReference, parse_image_reference
from moorage.transfer.images.archive import ArchiveRefused


class Named(NamedTuple):
    """An image in an archive, and what the archive calls it; "" for one without a name."""

    root: Descriptor
    name: str


class Placed(NamedTuple):
    """An image and where it goes; without a tag it is there by its digest."""

    root: Descriptor
    repository: RepositoryName
    tag: Tag | None


def parse_target(text: str | None) -> tuple[RepositoryName | None, Tag | None]:
    """What a person said: `team/app`, `team/app:1.0` or nothing. Raises ArchiveRefused."""
    if text is None:
        return None, None
    repository, colon, tag = text.partition(":")
    if not is_repository_name(repository) or (colon and not is_tag(tag)):
        raise ArchiveRefused(
            f"{text[:200]!r} is no REPOSITORY or REPOSITORY:TAG of this registry, as team/app:1.0"
        )
    return repository, Tag(tag) if colon else None


def place(images: Sequence[Named], target: str | None) -> list[Placed]:
    """Where each image goes. Raises ArchiveRefused, with what the archive has."""
    repository, tag = parse_target(target)
    if tag is not None and repository is not None:
        return [Placed(_choose(images, tag), repository, tag)]
    placed = []
    for root, name in images:
        its_repository, its_tag = _read_name(name)
        into = repository or its_repository
        if into is None:
            shown = f"calls an image {name[:200]!r}" if name else "has an image without a name"
            raise ArchiveRefused(f"the archive {shown}: say into which repository, as team/app")
        placed.append(Placed(root, into, its_tag))
    return placed


def _choose(images: Sequence[Named], tag: Tag) -> Descriptor:
    """The one image that is meant: the only one, or the one that the archive calls so too."""
    named = {root.digest: root for root, name in images if name} or {root.digest: root for root, _ in images}
    if len(named) == 1:
        return next(iter(named.values()))
    for root, name in images:
        if tag == _read_name(name)[1]:
            return root
    tags = sorted({str(its_tag) for _, name in images if (its_tag := _read_name(name)[1])})
    raise ArchiveRefused(
        f"the archive has {len(named)} images, none of them {tag}: {', '.join(tags) or 'without tags'}."
        " Name a repository alone to have them all."
    )


def find_tag(name: str) -> Tag | None:
    """The tag in what an archive calls an image, in full or by its tag alone; None when there is none."""
    return _read_name(name)[1]


def is_beside(tag: str) -> bool:
    """Whether a tag belongs to another image: the list of its referrers, or what cosign puts beside it."""
    algorithm, dash, rest = tag.partition("-")
    return bool(dash) and is_digest(f"{algorithm}:{rest.partition('.')[0]}")


def _read_name(name: str) -> tuple[RepositoryName | None, Tag | None]:
    if not name:
        return None, None
    if is_tag(name):
        return None, name
    try:
        reference = parse_image_reference(name)
    except InvalidImageReference:
        return None, None
    path = reference.path
    if "namespace" in reference.defaults or (reference.domain == "docker.io" and path.startswith("library/")):
        path = reference.image
    return (path if is_repository_name(path) else None), Tag(reference.tag) if reference.tag else None
