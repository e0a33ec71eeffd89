"""Durations and sizes: what is written is what is meant, and is written back the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rackbox.durations import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("500ms", 500),
        ("2s", 2_000),
        ("1.5s", 1_500),
        ("10m", 600_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        ("0s", 0),
    ],
)
def test_parse_duration(text: str, ms: int) -> None:
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "s", "-1s", "1 s", "1e3s", "1.0001s", "1,5s", "٣s", "1s2s", "0.5ms"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "mib"), [("512M", 512), ("2G", 2048), ("1.5G", 1536), ("1T", 1 << 20), ("2GiB", 2048)]
)
def test_parse_size(text: str, mib: int) -> None:
    assert parse_size(text) == mib


@pytest.mark.parametrize("text", ["", "512", "2K", "G", "-1G", "1.0001G", "2 G", "2iB"])
def test_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be"):
        parse_size(text)


@given(st.integers(0, 999_999_999))
def test_formats_read_back(number: int) -> None:
    assert parse_duration(format_duration(number)) == number
    assert parse_size(format_size(number)) == number
