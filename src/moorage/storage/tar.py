"""Tar archives, read without trusting a word of them, in bounded memory.

Only where each regular file's bytes lie is remembered, by its name; nothing is unpacked, so a name is a key
and no path. What no tool that writes images writes is refused: names that lead out, devices, hard links,
sparse files, the same name twice, and sizes past the archive's end.

Source: POSIX pax, "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Basic Tar Format".
"""

import gzip
import os
import posixpath
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from moorage.transfer.images.archive import ArchiveRefused, Member

ENTRIES_MAX: Final = 100_000
_BLOCK: Final = 512
_READ_BYTES: Final = 1024 * 1024
_EXTENDED_MAX_BYTES: Final = 1024 * 1024
_NAME_MAX: Final = 1024
_LINKS_MAX: Final = 8
_KEPT_BYTES: Final = 256 * 1024
_KEPT_TOTAL_BYTES: Final = 32 * 1024 * 1024
_GZIP: Final = b"\x1f\x8b"
_OTHERS: Final = {b"\xfd7zXZ\0": "xz", b"BZh": "bzip2", b"\x28\xb5\x2f\xfd": "zstd"}
_REGULAR: Final = frozenset({b"0", b"\0", b"7"})
_REFUSED: Final = {
    b"1": "a hard link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"S": "a sparse file",
}


class _Entry(NamedTuple):
    """A regular file's place; or a symbolic link's target, which is another name in here."""

    offset: int
    size: int
    target: str = ""


class TarArchive:
    """One tar, plain or compressed by gzip."""

    def __init__(self, path: Path) -> None:
        """Read the whole list of it. Raises ArchiveRefused."""
        try:
            self._raw = path.open("rb")
        except OSError as error:
            raise ArchiveRefused(f"cannot read {path}: {error.strerror}") from error
        self._entries: dict[str, _Entry] = {}
        self._kept: dict[str, bytes] = {}
        try:
            self._file, self._length = self._open(path)
            self._index()
        except (OSError, EOFError, zlib.error) as error:
            self.close()
            raise ArchiveRefused(f"{path} cannot be read: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._raw.close()

    @property
    def is_compressed(self) -> bool:
        """Whether it can only be read from its front: going back begins anew."""
        return self._length is None

    def find(self, name: str) -> Member | None:
        entry = self._resolve(name)
        return None if entry is None else Member(entry.size, entry.offset)

    def read(self, name: str, max_bytes: int) -> bytes:
        entry = self._get(name)
        if entry.size > max_bytes:
            raise ArchiveRefused(f"{name} in the archive has {entry.size} bytes; want {max_bytes} at most")
        return self._kept.get(name) or b"".join(self.pieces(name))

    def pieces(self, name: str) -> Iterator[bytes]:
        entry = self._get(name)
        done = 0
        while done < entry.size:
            try:
                self._file.seek(entry.offset + done)
                piece = self._file.read(min(_READ_BYTES, entry.size - done))
            except (OSError, EOFError, zlib.error) as error:
                raise ArchiveRefused(f"{name} in the archive cannot be read: {error}") from error
            if not piece:
                raise ArchiveRefused(f"the archive is cut short in {name}")
            done += len(piece)
            yield piece

    def _get(self, name: str) -> _Entry:
        entry = self._resolve(name)
        if entry is None:
            raise ArchiveRefused(f"the archive has no {name[:200]!r}")
        return entry

    def _resolve(self, name: str) -> _Entry | None:
        """`docker save` has links for layers that two images share."""
        for _ in range(_LINKS_MAX):
            entry = self._entries.get(name)
            if entry is None or not entry.target:
                return entry
            name = posixpath.normpath(posixpath.join(posixpath.dirname(name), entry.target))
        raise ArchiveRefused(f"the link {name[:200]!r} in the archive leads to no file")

    def _open(self, path: Path) -> tuple[BinaryIO, int | None]:
        """The tar, and its length where that is known."""
        start = self._raw.read(8)
        self._raw.seek(0)
        for magic, name in _OTHERS.items():
            if start.startswith(magic):
                raise ArchiveRefused(f"{path} is compressed by {name}: decompress it first")
        if start.startswith(_GZIP):
            return gzip.GzipFile(fileobj=self._raw), None  # type: ignore[return-value] # a BinaryIO in all but name
        return self._raw, os.fstat(self._raw.fileno()).st_size

    def _index(self) -> None:
        offset, count, kept_bytes = 0, 0, 0
        extended: dict[str, str] = {}
        while (header := self._block(offset)) is not None:
            count += 1
            if count > ENTRIES_MAX:
                raise ArchiveRefused(f"the archive has more than {ENTRIES_MAX} entries")
            kind, size = header[156:157], int(extended.get("size") or _number(header[124:136]))
            offset += _BLOCK
            if self._length is not None and offset + size > self._length:
                raise ArchiveRefused("the archive is cut short, or an entry's size is wrong")
            if kind in {b"x", b"g", b"L", b"K"}:
                found = self._extended(kind, offset, size)
                extended |= {} if kind == b"g" else found
            else:
                name = self._add(header, kind, offset, size, extended)
                if name and self._length is None and size <= _KEPT_BYTES:
                    kept_bytes += size
                    if kept_bytes <= _KEPT_TOTAL_BYTES:
                        # a compressed one can only be read from its front
                        self._kept[name] = self._exactly(offset, size)
                extended = {}
            offset += -(-size // _BLOCK) * _BLOCK

    def _add(self, header: bytes, kind: bytes, offset: int, size: int, extended: dict[str, str]) -> str:
        name = _check_name(extended.get("path") or _name(header))
        if kind == b"5":
            return ""
        if kind not in _REGULAR and kind != b"2":
            raise ArchiveRefused(f"{name!r} in the archive is {_REFUSED.get(kind, 'of an unknown kind')}")
        if name in self._entries:
            raise ArchiveRefused(f"{name!r} is twice in the archive")
        if kind == b"2":
            target = extended.get("linkpath") or _text(header[157:257])
            inner = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            if not target or target.startswith("/") or inner.startswith(".."):
                raise ArchiveRefused(f"{name!r} in the archive is a link that leads out of it")
            self._entries[name] = _Entry(offset, 0, target)
            return ""
        self._entries[name] = _Entry(offset, size)
        return name

    def _extended(self, kind: bytes, offset: int, size: int) -> dict[str, str]:
        if size > _EXTENDED_MAX_BYTES:
            raise ArchiveRefused("the archive has an extended header of more than 1 MiB")
        content = self._exactly(offset, size)
        if kind in {b"L", b"K"}:
            return {"path" if kind == b"L" else "linkpath": _text(content)}
        return _read_pax(content)

    def _block(self, offset: int) -> bytes | None:
        """The header at `offset`; None at the end."""
        if self._length is not None and offset >= self._length and offset:
            # written by a tool that leaves the end out
            return None
        header = self._exactly(offset, _BLOCK)
        if not header.strip(b"\0"):
            return None
        if sum(header[:148]) + sum(header[156:]) + 8 * 32 != _number(header[148:156]):
            raise ArchiveRefused("this is no tar archive, or a damaged one")
        return header

    def _exactly(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        content = self._file.read(size)
        if len(content) < size:
            raise ArchiveRefused("the archive is cut short")
        return content


def _number(field: bytes) -> int:
    """A number in octal, or in GNU's base 256 for those that are too large; never a negative one."""
    if field[0] & 0x80:
        value = int.from_bytes(field, "big") - (0x80 << 8 * (len(field) - 1))
        if field[0] == 0xFF:  # noqa: PLR2004 - the sign of a negative one
            raise ArchiveRefused("an entry of the archive has a negative size")
    else:
        text = field.strip(b"\0 ")
        if text.strip(b"01234567"):
            raise ArchiveRefused("this is no tar archive, or a damaged one")
        value = int(text or b"0", 8)
    if value >= 2**62:
        raise ArchiveRefused("an entry of the archive has an impossible size")
    return value


def _read_pax(content: bytes) -> dict[str, str]:
    """The records that say what the header after them could not.

    record = length " " key "=" value LF, where length is that of all of it
    """
    found: dict[str, str] = {}
    at = 0
    while at < len(content):
        digits, space, _ = content[at : at + 20].partition(b" ")
        if not space or not digits.isdigit():
            raise ArchiveRefused("the archive has a broken extended header")
        length = int(digits)
        record = content[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) or at + length > len(content) or not equals:
            raise ArchiveRefused("the archive has a broken extended header")
        if key.startswith(b"GNU.sparse"):
            raise ArchiveRefused("the archive has a sparse file")
        if key in {b"path", b"linkpath"}:
            found[key.decode()] = value.removesuffix(b"\n").decode("utf-8", "surrogateescape")
        elif key == b"size":
            size = value.removesuffix(b"\n")
            if not size.isdigit() or len(size) > 18:  # noqa: PLR2004 - 2^62 has 19
                raise ArchiveRefused("an entry of the archive has an impossible size")
            found["size"] = size.decode()
        at += length
    return found


def _name(header: bytes) -> str:
    prefix = _text(header[345:500]) if header[257:262] == b"ustar" and header[262:264] != b" \0" else ""
    name = _text(header[:100])
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _check_name(name: str) -> str:
    """The name without what says nothing. Raises ArchiveRefused for one that leads out."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or len(name) > _NAME_MAX:
        raise ArchiveRefused(f"the archive has a name that leads out of it: {name[:200]!r}")
    return "/".join(part for part in parts if part not in {"", "."})
