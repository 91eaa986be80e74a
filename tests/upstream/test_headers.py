"""What is read of a registry's headers, however it writes them."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.mirrors.asking import Quota
from moorage.upstream.headers import (
    read_content_end,
    read_content_range,
    read_length,
    read_next_link,
    read_quota,
    read_retry_after,
)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 30.0),
        ("soon", 30.0),
        ("-5", 30.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 1.0),
        ("999999", 3600.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 1.0),
        ("Wed, 21 Oct 9015 07:28:00 GMT", 3600.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", 30.0),
    ],
)
def test_time_to_wait_is_from_a_second_to_an_hour(value: str | None, seconds: float) -> None:
    assert read_retry_after(value) == seconds


def test_time_to_wait_may_be_a_date() -> None:
    value = format_datetime(datetime.now(UTC) + timedelta(seconds=300), usegmt=True)

    assert 290 < read_retry_after(value) <= 300


@pytest.mark.parametrize(
    ("headers", "quota"),
    [
        ({"RateLimit-Limit": "100;w=21600", "RateLimit-Remaining": "76;w=21600"}, Quota(100, 76)),
        ({"RateLimit-Remaining": "0;w=21600"}, Quota(None, 0)),
        ({"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"}, Quota(5000, 4999)),
        ({"X-RateLimit-Limit": "many"}, None),
        ({}, None),
    ],
)
def test_rate_limit_is_read(headers: dict[str, str], quota: Quota | None) -> None:
    assert read_quota(headers) == quota


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("bytes 5-9/10", (5, 9, 10)),
        ("Bytes 5-9/*", (5, 9, None)),
        ("bytes 9-5/10", None),
        ("bytes 5-10/10", None),
        ("bytes */10", None),
        ("5-9/10", None),
        ("bytes 5-9", None),
        (None, None),
    ],
)
def test_range_of_an_answer_is_read(value: str | None, want: object) -> None:
    assert read_content_range(value) == want


@pytest.mark.parametrize(
    ("value", "want"),
    [("0-99", 100), ("bytes=0-99", 100), ("0-0", 1), ("5-9", None), ("x", None), (None, None)],
)
def test_range_of_an_upload_is_read(value: str | None, want: int | None) -> None:
    assert read_content_end(value) == want


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ('</v2/a/tags/list?last=b&n=2>; rel="next"', "/v2/a/tags/list?last=b&n=2"),
        ("<x>; rel=next", "x"),
        ('<a>; rel="prev", <b>; rel="next"', "b"),
        ('<a>; rel="prev"', None),
        ("nothing", None),
        (None, None),
    ],
)
def test_next_page_is_found(value: str | None, want: str | None) -> None:
    assert read_next_link(value) == want


@given(st.text(max_size=200))
def test_nothing_that_is_sent_breaks_them(value: str) -> None:
    read_retry_after(value)
    read_quota({"RateLimit-Limit": value})
    read_content_range(value)
    read_content_end(value)
    read_next_link(value)
    read_length(value)
