"""What a check found: values, and what each kind of finding means."""

from collections import Counter
from typing import Final, Literal

import msgspec

Weight = Literal["damage", "orphan", "note"]

KINDS: Final[dict[str, tuple[Weight, str]]] = {
    "blob_missing": ("damage", "a blob has no file; it is 404 until it is pushed again"),
    "blob_wrong_size": ("damage", "a blob's file has the wrong size; it is 404 until it is pushed again"),
    "blob_damaged": ("damage", "a blob was withdrawn before; it is 404 until it is pushed again"),
    "tag_without_manifest": ("damage", "a tag leads nowhere; push it again"),
    "edge_without_manifest": ("damage", "the database is damaged; restore a backup"),
    "link_without_blob": ("damage", "a repository serves a blob that is going; push it again"),
    "total_wrong": ("orphan", "the count of blobs and bytes was wrong; it was corrected"),
    "file_stray": (
        "orphan",
        "a file of no row; it is put aside by a check a day after the first that saw it",
    ),
    "file_put_aside": ("orphan", "a file of no row was moved to quarantine/"),
    "file_left_over": ("orphan", "left by a crash; it was removed"),
    "upload_stray": (
        "orphan",
        "the file of an upload that is none; it goes a day after it was last written to",
    ),
    "upload_lost": ("note", "an upload has fewer bytes than it was told; its client begins anew"),
    "image_lacks": ("note", "an image names content that its repository does not hold, or that others keep"),
    "file_unknown": ("note", "not a name of Moorage's; it is left alone"),
}
"""What is worse than orphans has lost something that was pushed."""

SHOWN_MAX: Final = 100
IMAGES_MAX: Final = 20


class Finding(msgspec.Struct, frozen=True):
    """One thing that does not belong, of one of `KINDS`. `images` are those that cannot be pulled for it."""

    kind: str
    target: str
    images: list[str] = []


class Report(msgspec.Struct):
    """All of a check. Times are in milliseconds since 1970-01-01 UTC.

    `counts` are of all findings by kind; `findings` holds the first `SHOWN_MAX` of each kind.
    `mistrusted`: why nothing was moved.
    """

    started_at: int
    finished_at: int = 0
    blobs: int = 0
    bytes: int = 0
    files: int = 0
    manifests: int = 0
    mistrusted: str | None = None
    counts: dict[str, int] = {}
    findings: list[Finding] = []

    def add(self, kind: str, target: str, images: list[str] | None = None) -> None:
        """Count a finding, and show it while they are few."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= SHOWN_MAX:
            self.findings.append(Finding(kind, target, images or []))

    @property
    def weights(self) -> Counter[Weight]:
        """How many findings there are of each weight."""
        found: Counter[Weight] = Counter()
        for kind, count in self.counts.items():
            found[KINDS[kind][0]] += count
        return found

    @property
    def is_sound(self) -> bool:
        """Nothing was found that is worse than orphans."""
        return not self.weights["damage"]
