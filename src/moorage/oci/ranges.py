"""Ranges: which bytes of a blob were asked for, and where a chunk of an upload claims to stand.

Source: RFC 9110 section 14 (Range); distribution-spec main (967efdc), "Pushing a blob in chunks"
(Content-Range, which has its own syntax there).
"""

import re
from dataclasses import dataclass

from moorage.errors import RangeUnsatisfiable

PARTS_MAX = 1024
"""More parts than this, or parts that overlap to more than the blob, are answered with the whole blob."""

# range-spec = first "-" [ last ] / "-" suffix-length ; ASCII digits only, 19 of them reach past 2**62
_RANGE_SPEC = re.compile(r"\s*([0-9]{0,19})-([0-9]{0,19})\s*", re.ASCII)

# content-range = start "-" end ; both inclusive, no unit
_CONTENT_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`first` to `last`, both inclusive."""

    first: int
    last: int

    @property
    def length(self) -> int:
        """How many bytes."""
        return self.last - self.first + 1


def parse_range(header: str, size: int) -> list[ByteRange]:
    """The parts of a blob of `size` bytes that a Range header asks for, in the order asked.

    An empty list means: answer with the whole blob (another unit, one of several parts lies outside,
    or so many parts that the whole is cheaper). RFC 9110 lets a server ignore a malformed range; the
    conformance suite wants 416 for `500-0`, so what names the unit `bytes` and makes no sense is refused.

    Raises RangeUnsatisfiable (416).
    """
    unit, _, specs = header.partition("=")
    if unit.strip().lower() != "bytes":
        return []
    parts = specs.split(",", PARTS_MAX)
    if len(parts) > PARTS_MAX:
        return []
    ranges = [part for spec in parts if (part := _parse_spec(spec, size)) is not None]
    if not ranges:
        raise RangeUnsatisfiable(size=size)
    if len(ranges) < len(parts):
        # a client that asked for several counts the parts it gets
        return []
    if len(ranges) > 1 and sum(part.length for part in ranges) > size:
        return []
    return ranges


def _parse_spec(spec: str, size: int) -> ByteRange | None:
    """One part, clamped to the blob; None when no byte of the blob is in it."""
    match = _RANGE_SPEC.fullmatch(spec)
    if match is None or match[0].strip() == "-":
        raise RangeUnsatisfiable(size=size)
    if not match[1]:
        suffix_length = min(int(match[2]), size)
        return ByteRange(size - suffix_length, size - 1) if suffix_length else None
    first, last = int(match[1]), int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        raise RangeUnsatisfiable(size=size)
    return ByteRange(first, min(last, size - 1)) if first < size else None


def parse_content_range(header: str) -> ByteRange | None:
    """Where a chunk claims to stand in its upload; None when the header makes no sense."""
    match = _CONTENT_RANGE.fullmatch(header)
    if match is None or int(match[2]) < int(match[1]):
        return None
    return ByteRange(int(match[1]), int(match[2]))
