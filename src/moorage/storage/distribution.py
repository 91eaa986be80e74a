"""The folder of the CNCF registry ("distribution", Debian's docker-registry), read only.

    ROOT/docker/registry/v2/
      blobs/sha256/ab/<hex>/data                               any content, manifests too
      repositories/<name>/
        _manifests/revisions/sha256/<hex>/link                 the repository has this manifest
        _manifests/tags/<tag>/current/link                     what the tag names
        _manifests/tags/<tag>/index/sha256/<hex>/link          what it ever named
        _layers/<algorithm>/<hex>/link                         the repository serves this blob
        _uploads/...                                           on their way in: not looked at

A `link` is a file with a digest in it. A deleted one leaves its folder behind. Until 2025 they were written
in place and not synced, so that a crash could leave them empty (distribution #4478).
Source: distribution 2.8.2, registry/storage/paths.go.
"""

import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from moorage.oci.digest import ALGORITHMS, SHA256, Digest, algorithm_of, encoded_of, is_digest
from moorage.storage.plain import open_plain
from moorage.transfer.takeover.source import ContentBroken, FoundRepository, Problem, SourceRefused, Tagged

_LINK_MAX_BYTES = 256
_NAME_MAX_CHARS = 1024
_WITHIN = Path("docker/registry/v2")


class DistributionTree:
    """One registry's folder."""

    def __init__(self, path: Path) -> None:
        """`path` is the registry's `rootdirectory`, or `docker/registry/v2` in it. Raises SourceRefused."""
        self._root = _find_root(path)
        self._blobs = f"{self._root}/blobs"
        self._repositories = self._root / "repositories"

    def list_repositories(self) -> list[str]:
        try:
            return sorted(_find_repositories(str(self._repositories), ""))
        except OSError as error:
            raise SourceRefused(f"cannot read {error.filename}: {error.strerror}") from error

    def read_repository(self, name: str) -> FoundRepository:
        folder = f"{self._repositories}/{name}"
        problems: list[Problem] = []
        revisions = {
            digest: at
            for digest, (_, at) in _read_links(f"{folder}/_manifests/revisions", name, "manifest", problems)
        }
        layers = {
            digest: target for digest, (target, _) in _read_links(f"{folder}/_layers", name, "blob", problems)
        }
        return FoundRepository(name, revisions, _read_tags(folder, name, problems), layers, problems)

    def find_size(self, digest: Digest) -> int | None:
        try:
            return os.stat(self._path_text(digest)).st_size  # noqa: PTH116 - asked of every blob
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise ContentBroken(f"cannot be read: {error.strerror}") from error

    def read_content(self, digest: Digest, max_bytes: int) -> bytes:
        try:
            with open(self._path_text(digest), "rb", buffering=0, opener=open_plain) as file:
                return file.read(max_bytes + 1)
        except FileNotFoundError as error:
            raise ContentBroken("its bytes are gone") from error
        except OSError as error:
            raise ContentBroken(f"cannot be read: {error.strerror}") from error

    def path_of(self, digest: Digest) -> Path:
        return Path(self._path_text(digest))

    def _path_text(self, digest: Digest) -> str:
        encoded = encoded_of(digest)
        return f"{self._blobs}/{algorithm_of(digest)}/{encoded[:2]}/{encoded}/data"


def _find_root(path: Path) -> Path:
    for root in (path / _WITHIN, path / "registry/v2", path / "v2", path):
        if (root / "repositories").is_dir():
            try:
                os.scandir(root / "repositories").close()
            except OSError as error:
                raise SourceRefused(
                    f"cannot read {root}: {error.strerror}. Run this as its owner."
                ) from error
            return root
    raise SourceRefused(
        f"no registry in {path}: there is no folder {_WITHIN}/repositories."
        " Name the folder that its config.yml calls rootdirectory."
    )


def _find_repositories(folder: str, name: str) -> Iterator[str]:
    """The repositories below a folder; one may lie in another's. No component begins with `_`.

    One whose name is longer than any may be is not looked below, but named.
    """
    ahead = [(folder, name)]
    while ahead:
        folder, name = ahead.pop()
        is_repository = False
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name in {"_manifests", "_layers"}:
                    is_repository = True
                elif not entry.name.startswith("_") and entry.is_dir(follow_symlinks=False):
                    inner = f"{name}/{entry.name}" if name else entry.name
                    if len(inner) > _NAME_MAX_CHARS:
                        yield inner
                    else:
                        ahead.append((f"{folder}/{entry.name}", inner))
        if is_repository and name:
            yield name


def _read_links(
    folder: str, repository: str, kind: str, problems: list[Problem]
) -> Iterator[tuple[Digest, tuple[Digest, int]]]:
    """Each link below a folder by its digest: the digest in it, and since when."""
    for algorithm in ALGORITHMS:
        for encoded in _list(f"{folder}/{algorithm}", repository, f"its {kind}s", problems):
            name = f"{algorithm}:{encoded}"
            what = f"{kind} {name}"
            if not is_digest(name):
                problems.append(Problem(repository, what[:200], "its folder's name is no digest"))
                continue
            found = _read_link(f"{folder}/{algorithm}/{encoded}/link", repository, what, problems)
            if found is None:
                continue
            # a blob's second name is a link under its sha512 to its sha256; any other is one to itself
            if found[0] != name and (kind != "blob" or algorithm == SHA256):
                problems.append(Problem(repository, what, f"its link names {found[0]} instead"))
                continue
            yield Digest(name), found


def _read_tags(folder: str, repository: str, problems: list[Problem]) -> dict[str, Tagged]:
    tags = {}
    for tag in _list(f"{folder}/_manifests/tags", repository, "its tags", problems):
        path = f"{folder}/_manifests/tags/{tag}/current/link"
        found = _read_link(path, repository, f"tag {tag[:128]}", problems)
        if found is not None:
            tags[tag] = Tagged(*found)
    return tags


def _list(folder: str, repository: str, what: str, problems: list[Problem]) -> list[str]:
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        problems.append(Problem(repository, what, f"they cannot be read: {error.strerror}"))
        return []


def _read_link(path: str, repository: str, what: str, problems: list[Problem]) -> tuple[Digest, int] | None:
    """The digest in a link, and when it was written in milliseconds; None for a deleted or broken one."""
    try:
        fd = open_plain(path, os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        reason = "its link is a symbolic link" if error.errno == errno.ELOOP else str(error.strerror)
        problems.append(Problem(repository, what, f"its link cannot be read: {reason}"))
        return None
    try:
        content = os.read(fd, _LINK_MAX_BYTES)
        at = min(os.fstat(fd).st_mtime_ns, time.time_ns()) // 1_000_000
    except OSError as error:
        problems.append(Problem(repository, what, f"its link cannot be read: {error.strerror}"))
        return None
    finally:
        os.close(fd)
    text = content.decode("ascii", "replace").strip()
    if not is_digest(text):
        reason = "its link is empty: a crash left it so" if not content else "its link holds no digest"
        problems.append(Problem(repository, what, reason))
        return None
    return Digest(text), at
