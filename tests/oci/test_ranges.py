import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import RangeUnsatisfiable
from moorage.oci.ranges import PARTS_MAX, ByteRange, parse_content_range, parse_range

SIZE = 100


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("bytes=0-9", [(0, 9)]),
        ("bytes=0-0", [(0, 0)]),
        ("bytes=90-", [(90, 99)]),
        ("bytes=-10", [(90, 99)]),
        ("bytes=-1000", [(0, 99)]),
        ("bytes=99-99", [(99, 99)]),
        ("bytes=90-1000", [(90, 99)]),
        ("bytes=0-9223372036854775807", [(0, 99)]),
        ("BYTES=0-9", [(0, 9)]),
        (" bytes =0-9", [(0, 9)]),
        ("bytes=0-9, 20-29", [(0, 9), (20, 29)]),
        ("bytes=20-29,0-9", [(20, 29), (0, 9)]),
        ("bytes=0-9,10-19", [(0, 9), (10, 19)]),
        ("bytes= 0-9 ,\t20-29 ", [(0, 9), (20, 29)]),
    ],
)
def test_parts_are_those_asked_for_in_their_order(header: str, parts: list[tuple[int, int]]) -> None:
    assert parse_range(header, SIZE) == [ByteRange(*part) for part in parts]


@pytest.mark.parametrize("header", ["lines=0-9", "0-9", "", "byte=0-9", "bytess=0-9", "none"])
def test_another_unit_asks_for_the_whole(header: str) -> None:
    assert parse_range(header, SIZE) == []


@pytest.mark.parametrize(
    "header",
    [
        "bytes=100-",
        "bytes=100-200",
        "bytes=-0",
        "bytes=200-300,400-500",
        "bytes=50-40",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=0-9-19",
        "bytes=--9",
        "bytes=+1-9",
        "bytes=0x0-0x9",
        "bytes=1_0-2_0",
        "bytes=0-9,x",
        "bytes=0-9,,20-29,",
        "bytes=\u0661-\u0662",
        "bytes=\uff10-\uff19",
        "bytes=" + "9" * 30 + "-",
        "bytes=0-" + "9" * 30,
    ],
)
def test_part_that_is_not_there_or_makes_no_sense_is_refused(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable) as refusal:
        parse_range(header, SIZE)

    assert refusal.value.size == SIZE


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_no_part_of_an_empty_blob_is_there(header: str) -> None:
    with pytest.raises(RangeUnsatisfiable):
        parse_range(header, 0)


def test_parts_that_come_to_more_than_the_blob_ask_for_the_whole() -> None:
    assert parse_range("bytes=0-59,40-99", SIZE) == []


def test_more_parts_than_the_limit_ask_for_the_whole() -> None:
    header = "bytes=" + ",".join(f"{n}-{n}" for n in range(PARTS_MAX + 1))

    assert parse_range(header, 10**6) == []


def test_as_many_parts_as_the_limit_are_answered() -> None:
    header = "bytes=" + ",".join(f"{n}-{n}" for n in range(PARTS_MAX))

    assert len(parse_range(header, 10**6)) == PARTS_MAX


NUMBER = st.one_of(st.just(""), st.integers(0, 200).map(str))
SPEC = st.tuples(NUMBER, NUMBER).map("-".join)


@given(st.lists(SPEC, min_size=1, max_size=5), st.integers(0, 150))
def test_parts_lie_within_the_blob_and_cost_no_more_than_it(specs: list[str], size: int) -> None:
    try:
        parts = parse_range("bytes=" + ",".join(specs), size)
    except RangeUnsatisfiable:
        return

    assert all(0 <= part.first <= part.last < size for part in parts)
    assert sum(part.length for part in parts) <= size or len(parts) == 1


@given(st.text(max_size=40), st.integers(0, 2**40))
def test_any_text_is_a_range_or_refused(text: str, size: int) -> None:
    with contextlib.suppress(RangeUnsatisfiable):
        assert all(part.last < size for part in parse_range(text, size))


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("0-0", 0, 0), ("0-999", 0, 999), ("1000-1999", 1000, 1999), ("00-01", 0, 1)],
)
def test_place_of_a_chunk_is_read(header: str, first: int, last: int) -> None:
    assert parse_content_range(header) == ByteRange(first, last)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "0-",
        "-9",
        "9",
        "9-0",
        "bytes 0-9/10",
        "bytes 0-9/*",
        "bytes=0-9",
        "0-9/10",
        "0-9,",
        " 0-9",
        "0-9 ",
        "0-9\n",
        "0 - 9",
        "+0-+9",
        "0x0-0x9",
        "1_0-2_0",
        "\u0660-\u0669",
        "0-" + "9" * 19,
        "0-18446744073709551616",
        "0--9",
        "0.0-9.0",
    ],
)
def test_place_that_makes_no_sense_is_none(header: str) -> None:
    assert parse_content_range(header) is None


@given(st.integers(0, 10**17), st.integers(0, 10**9))
def test_place_of_any_chunk_is_read_as_it_was_written(first: int, more: int) -> None:
    found = parse_content_range(f"{first}-{first + more}")

    assert found == ByteRange(first, first + more)
    assert found.length == more + 1
