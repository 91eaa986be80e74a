"""Serving again what a manifest needs that comes back from the trash."""

from moorage.database import Transaction
from moorage.oci.digest import Digest
from moorage.oci.manifest import parse_manifest
from moorage.registry.blobs import rows as blob_rows
from moorage.registry.manifests import rows as manifest_rows


def link_targets(tx: Transaction, row_id: int) -> list[Digest]:
    """Let the repository of a manifest serve again what it points at; the targets that are here no more.

    A layer that may be absent is not one of those, and is not linked: it may never have been the
    repository's, and the bytes another's.
    """
    unserved = blob_rows.list_unserved(tx, row_id)
    if not unserved:
        return []
    repository_id, absent = _read_absent(tx, row_id)
    wanted = [(digest, is_live) for digest, is_live in unserved if digest not in absent]
    for digest, is_live in wanted:
        if is_live:
            blob_rows.link_again(tx, repository_id, digest)
    return [digest for digest, is_live in wanted if not is_live]


def _read_absent(tx: Transaction, row_id: int) -> tuple[int, set[Digest]]:
    """A manifest's repository, and what it was taken without, if that was not here."""
    repository_id, media_type, payload = manifest_rows.get_content(tx, row_id)
    references = parse_manifest(payload, media_type).references
    absent = {each.target.digest for each in references if each.may_be_absent}
    return repository_id, absent - {each.target.digest for each in references if not each.may_be_absent}
