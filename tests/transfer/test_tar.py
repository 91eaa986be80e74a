"""Tars that nobody should trust: B118 and B119. Each ends with a sentence; nothing is written anywhere."""

import gzip
import io
import os
import resource
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from moorage.storage import tar
from moorage.storage.tar import TarArchive
from moorage.transfer.images.archive import ArchiveRefused


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for key, value in fields.items():
        setattr(entry, key, value)
    archive.addfile(entry, io.BytesIO(content))


def add_all(archive: tarfile.TarFile, *names: str) -> None:
    for name in names:
        add(archive, name)


def write(path: Path, fill: Callable[[tarfile.TarFile], None], mode: str = "w", form: int = 2) -> Path:
    with tarfile.open(path, mode, format=form) as archive:  # type: ignore[call-overload]
        fill(archive)
    return path


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """One whose size is what a careful writer never wrote."""
    block = bytearray(512)
    block[: len(name)] = name.encode()
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("packed", [False, True])
def test_files_are_found_by_their_names(tmp_path: Path, form: int, packed: bool) -> None:  # noqa: FBT001
    long = "blobs/sha512/" + "a" * 86
    large = os.urandom(3_000_000)

    def fill(archive: tarfile.TarFile) -> None:
        add(archive, "./index.json", b"{}")
        add(archive, "folder", type=tarfile.DIRTYPE)
        add(archive, long, large)
        add(
            archive,
            "other/link",
            type=tarfile.SYMTYPE,
            linkname="../" + long[:90] if form == 0 else "../index.json",
        )

    path = write(tmp_path / "x.tar", fill, "w:gz" if packed else "w", form)
    archive = TarArchive(path)

    assert archive.read("index.json", 10) == b"{}"
    assert b"".join(archive.pieces(long)) == large
    assert archive.read("index.json", 10) == b"{}"
    assert archive.find("folder") is archive.find("nothing") is None
    if form != tarfile.USTAR_FORMAT:
        assert archive.read("other/link", 10) == b"{}"
    archive.close()


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_are_read(tmp_path: Path, form: int) -> None:
    name = "blobs/sha512/" + "b" * 128
    path = write(tmp_path / "x.tar", lambda archive: add(archive, name, b"content"), form=form)

    with closing(TarArchive(path)) as archive:
        assert archive.read(name, 10) == b"content"


@pytest.mark.parametrize(
    ("fill", "said"),
    [
        (lambda archive: add(archive, "../out", b"x"), "leads out"),
        (lambda archive: add(archive, "a/../../out", b"x"), "leads out"),
        (lambda archive: add(archive, "/etc/out", b"x"), "leads out"),
        (lambda archive: add(archive, "l", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "leads out"),
        (lambda archive: add(archive, "a/l", type=tarfile.SYMTYPE, linkname="../../x"), "leads out"),
        (lambda archive: add(archive, "l", type=tarfile.LNKTYPE, linkname="x"), "is a hard link"),
        (lambda archive: add(archive, "d", type=tarfile.CHRTYPE), "is a device"),
        (lambda archive: add(archive, "d", type=tarfile.BLKTYPE), "is a device"),
        (lambda archive: add(archive, "f", type=tarfile.FIFOTYPE), "is a pipe"),
        (lambda archive: add_all(archive, "a", "./a"), "is twice"),
        (lambda archive: add(archive, "n" * 2000, b"x"), "leads out"),
        (lambda archive: add(archive, "x", pax_headers={"GNU.sparse.major": "1"}), "sparse"),
        (lambda archive: add(archive, "x", pax_headers={"comment": "c" * 10_000_000}), "more than 1 MiB"),
    ],
)
def test_what_no_tool_writes_is_refused(
    tmp_path: Path, fill: Callable[[tarfile.TarFile], None], said: str
) -> None:
    path = write(tmp_path / "x.tar", fill)

    with pytest.raises(ArchiveRefused, match=said):
        TarArchive(path)


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (b"\xff" * 12, "negative"),
        (b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7, "impossible|cut short"),
        (b"77777777777\0", "cut short"),
        (b"zz\0", "no tar archive"),
        (b"-1\0", "no tar archive"),
    ],
)
def test_sizes_that_are_not_there_are_refused(tmp_path: Path, size: bytes, said: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(header("a", size) + b"x" * 1024)

    with pytest.raises(ArchiveRefused, match=said):
        TarArchive(path)


def test_a_size_in_an_extended_header_is_checked_too(tmp_path: Path) -> None:
    record = b"size=9999999999999999999\n"
    content = b"%d %s" % (len(record) + 3, record)
    path = tmp_path / "x.tar"
    pax = header("p", b"%011o\0" % len(content), b"x")
    path.write_bytes(pax + content.ljust(512, b"\0") + header("a", b"1\0") + b"x".ljust(512, b"\0"))

    with pytest.raises(ArchiveRefused, match="impossible size"):
        TarArchive(path)


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_archive_is_refused(tmp_path: Path, packed: bool) -> None:  # noqa: FBT001
    path = write(
        tmp_path / "x.tar",
        lambda archive: add(archive, "a", os.urandom(200_000)),
        "w:gz" if packed else "w",
    )
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])

    with pytest.raises(ArchiveRefused):
        list(TarArchive(path).pieces("a"))


@pytest.mark.parametrize("content", [b"", b"no tar" * 300, b"\x1f\x8b no gzip", b"\xfd7zXZ\0" + b"x" * 600])
def test_what_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)

    with pytest.raises(ArchiveRefused):
        TarArchive(tmp_path / "x.tar")


def test_links_that_go_round_are_refused(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        add(archive, "a", type=tarfile.SYMTYPE, linkname="b")
        add(archive, "b", type=tarfile.SYMTYPE, linkname="a")

    with (
        closing(TarArchive(write(tmp_path / "x.tar", fill))) as archive,
        pytest.raises(ArchiveRefused, match="leads to no file"),
    ):
        archive.read("a", 10)


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar, "ENTRIES_MAX", 100)
    path = write(tmp_path / "x.tar", lambda archive: add_all(archive, *map(str, range(101))))

    with pytest.raises(ArchiveRefused, match="more than 100 entries"):
        TarArchive(path)


def test_a_large_archive_takes_no_memory(tmp_path: Path) -> None:
    """A bomb of gzip, 1 GiB of zeros in a megabyte, is gone through a piece at a time."""
    path = tmp_path / "x.tar.gz"
    size = 1 << 30
    with gzip.open(path, "wb", 1) as file:
        file.write(header("zeros", b"%011o\0" % size))
        for _ in range(1024):
            file.write(bytes(1 << 20))
        file.write(bytes(1024))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    with closing(TarArchive(path)) as archive:
        found = archive.find("zeros")

    assert found is not None
    assert found.size == size
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024
