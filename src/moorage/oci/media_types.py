"""The media types of manifests, and which layers need not be here.

Source: image-spec main (13cff54), media-types.md; Docker "Image Manifest V 2, Schema 2".
"""

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"

IMAGES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = IMAGES | INDEXES

_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.v1.",
    "application/vnd.docker.image.rootfs.foreign.diff.",
)


def bare(content_type: str) -> str:
    """A Content-Type without its parameters, in lower case: the spec says to ignore parameters."""
    return content_type.partition(";")[0].strip().lower()


def is_foreign(media_type: str) -> bool:
    """Whether a layer of this type may be absent: it is fetched from elsewhere by its `urls`."""
    return media_type.startswith(_FOREIGN)
