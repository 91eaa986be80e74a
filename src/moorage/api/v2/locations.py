"""Where things are found: `Location` and `Link` values.

Path-absolute, never with a host: right behind any proxy, and what every client resolves.
"""

from urllib.parse import quote, urlencode

from moorage.api.exchange import Header
from moorage.oci.digest import Digest
from moorage.oci.names import RepositoryName


def blob_location(repository: RepositoryName, digest: Digest) -> bytes:
    """Where a blob is pulled from."""
    return f"/v2/{repository}/blobs/{digest}".encode()


def manifest_location(repository: RepositoryName, digest: Digest) -> bytes:
    """Where a manifest is pulled from."""
    return f"/v2/{repository}/manifests/{digest}".encode()


def upload_headers(repository: RepositoryName, upload_id: str, received: int) -> list[Header]:
    """Where an upload goes on and how far it is.

    `Range` names the last byte's index; an empty upload says `0-0`, because docker reads `%d-%d` and
    refuses an end before the start.
    """
    return [
        (b"location", f"/v2/{repository}/blobs/uploads/{upload_id}".encode()),
        (b"range", b"0-%d" % max(received - 1, 0)),
        (b"docker-upload-uuid", upload_id.encode()),
    ]


def next_link(path: str, fields: list[tuple[str, str]]) -> Header:
    """The `Link` to the next page (RFC 8288), relative so that a client stays with its host."""
    return (b"link", f'<{quote(path)}?{urlencode(fields)}>; rel="next"'.encode())
