"""The table `pull` and all its SQL. `reference` is a tag's name or a manifest's sha256 digest."""

from collections.abc import Iterable
from typing import NamedTuple

from moorage.database import Transaction
from moorage.oci.names import RepositoryName, Tag


class Pull(NamedTuple):
    """Pulls of one tag, or of one manifest by its digest, since they were last written down.

    `last_at` is in milliseconds since 1970-01-01 UTC.
    """

    repository: RepositoryName
    reference: str
    pulls: int
    last_at: int


_ADD = """
    INSERT INTO pull (repository, reference, pulls, last_at)
    SELECT r.id, ?, ?, ? FROM repository r WHERE r.name = ? AND EXISTS ({there})
    ON CONFLICT (repository, reference) DO UPDATE SET
        pulls = pulls + excluded.pulls, last_at = max(last_at, excluded.last_at)
"""
_ADD_TO_TAG = _ADD.format(there="SELECT 1 FROM tag WHERE repository = r.id AND name = ?")
_ADD_TO_MANIFEST = _ADD.format(there="SELECT 1 FROM manifest WHERE repository = r.id AND digest = ?")


def add(tx: Transaction, counted: Iterable[Pull]) -> None:
    """Write down what was counted, but of what is gone by now."""
    for each in counted:
        tx.run(
            _ADD_TO_MANIFEST if ":" in each.reference else _ADD_TO_TAG,
            (each.reference, each.pulls, each.last_at, each.repository, each.reference),
        )


def forget_tag(tx: Transaction, repository_id: int, tag: Tag) -> None:
    """Of a tag that goes, forget its pulls."""
    tx.run("DELETE FROM pull WHERE repository = ? AND reference = ?", (repository_id, tag))


def forget_tags_of(tx: Transaction, manifest_id: int) -> None:
    """Of all tags of a manifest, which go, forget their pulls."""
    tx.run(
        "DELETE FROM pull WHERE (repository, reference) IN"
        " (SELECT repository, name FROM tag WHERE manifest = ?)",
        (manifest_id,),
    )


def forget_manifest(tx: Transaction, row_id: int) -> None:
    """Of a manifest that goes for good, forget its pulls."""
    tx.run(
        "DELETE FROM pull WHERE (repository, reference) ="
        " (SELECT repository, digest FROM manifest WHERE id = ?)",
        (row_id,),
    )
