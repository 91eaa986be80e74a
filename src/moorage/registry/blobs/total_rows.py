"""The table `blob_total`: how much is live, kept in step by whoever changes `blob`."""

from collections.abc import Sequence

from moorage.database import Transaction

_BLOCK_BYTES = 4096


def add_to_total(tx: Transaction, blobs: int, size: int) -> None:
    """Count `blobs` more, or fewer, of so many bytes in all."""
    on_disk = _on_disk(abs(size))
    _count(tx, blobs, size, on_disk if blobs > 0 else -on_disk)


def take_from_total(tx: Transaction, sizes: Sequence[int]) -> None:
    """Count blobs of these sizes no more."""
    if sizes:
        _count(tx, -len(sizes), -sum(sizes), -sum(map(_on_disk, sizes)))


def _on_disk(size: int) -> int:
    return (size + _BLOCK_BYTES - 1) // _BLOCK_BYTES * _BLOCK_BYTES


def _count(tx: Transaction, blobs: int, size: int, on_disk: int) -> None:
    tx.run(
        "UPDATE blob_total SET blobs = blobs + ?, bytes = bytes + ?, disk_bytes = disk_bytes + ?"
        " WHERE id = 1",
        (blobs, size, on_disk),
    )
