"""The rows, in the order they are measured and printed."""

from collections.abc import Sequence

from bench.accounts import SignedInManifest, SigningIn
from bench.blobs import BlobGet, BlobPush, BlobRanges, SmallBlobGet
from bench.copying import Copy
from bench.garbage import GarbageBeside, GarbageGrowth
from bench.listing import VersionPage
from bench.manifests import ManifestByTag, ManifestHead, ManifestPush
from bench.memory import EndlessPush, ManyPulls
from bench.mirrors import MirrorBlackhole, MirrorCached, MirrorFirstByte, MirrorMany
from bench.revalidation import MirrorRevalidation
from bench.stand import Row
from bench.startup import Startup
from bench.tags import TagPage
from bench.takeover import Takeover
from bench.tls import TlsBlobGet


def make_rows() -> Sequence[Row]:
    """Make each row once: some remember what they have loaded."""
    # The endless push is last: what a server does about 5 GB later would reach into any other row.
    return (
        ManifestByTag(),
        ManifestHead(),
        SignedInManifest(),
        SigningIn(),
        SmallBlobGet(),
        BlobGet(),
        TlsBlobGet(),
        BlobRanges(),
        BlobPush(),
        ManifestPush(),
        TagPage(),
        VersionPage(),
        ManyPulls(),
        Startup(),
        GarbageGrowth(),
        GarbageBeside(),
        Takeover(),
        MirrorMany(),
        MirrorFirstByte(),
        MirrorCached(),
        MirrorBlackhole(),
        MirrorRevalidation(),
        Copy(),
        EndlessPush(),
    )
