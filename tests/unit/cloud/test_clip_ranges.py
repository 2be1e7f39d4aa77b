"""Which bytes of an age file are sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from doorstep_cloud.clips.rules import (
    Span,
    is_range_wanted,
    is_unchanged,
    parse_range,
)
from doorstep_cloud.store.errors import UnsatisfiableRangeError

ETAG = '"abc"'


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", Span(0, 1)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=90-", Span(90, 100)),
        ("bytes=90-1000", Span(90, 100)),
        ("bytes=-10", Span(90, 100)),
        ("bytes=-1000", Span(0, 100)),
        (" bytes = 1 - 2 ", Span(1, 3)),
    ],
)
def test_one_range_is_sent(header: str, span: Span) -> None:
    assert parse_range(header, 100) == span


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=", "bytes=-", "lines=0-1", "bytes=5-2", "bytes=0-1,5-6", "bytes=a-b"],
)
def test_anything_else_is_answered_with_the_whole(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_without_a_byte_is_refused(header: str) -> None:
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, 100)


@given(st.integers(1, 10**9), st.text(max_size=20), st.integers(0, 10**9), st.integers(0, 10**9))
def test_no_header_asks_for_a_byte_that_is_not_there(
    size: int, noise: str, first: int, last: int
) -> None:
    for header in (noise, f"bytes={noise}", f"bytes={first}-{last}", f"bytes={first}-"):
        try:
            span = parse_range(header, size)
        except UnsatisfiableRangeError:
            continue
        assert span is None or (0 <= span.start < span.end <= size and span.size > 0)


@pytest.mark.parametrize("header", [ETAG, f"W/{ETAG}", f'"x", {ETAG}', "*"])
def test_who_has_these_bytes_is_told_so(header: str) -> None:
    assert is_unchanged(header, ETAG)


@pytest.mark.parametrize("header", [None, "", '"other"'])
def test_who_has_other_bytes_is_sent_these(header: str | None) -> None:
    assert not is_unchanged(header, ETAG)


def test_a_range_of_other_bytes_is_not_wanted() -> None:
    assert is_range_wanted(None, ETAG)
    assert is_range_wanted(ETAG, ETAG)
    assert not is_range_wanted('"other"', ETAG)
