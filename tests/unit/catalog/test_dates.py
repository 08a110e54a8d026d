"""A time is read in every form that leaves no doubt; every other text is refused."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.dates import parse_time
from catalog.rows import RowRefused


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2023-11-05", "2023-11-05T00:00:00+00:00"), ("2023-11-05T08:30", "2023-11-05T08:30:00+00:00"),
        ("2023-11-05 08:30:15.250", "2023-11-05T08:30:15.250000+00:00"), ("2023-11-05T08:30:15Z",
        "2023-11-05T08:30:15+00:00"),
        ("2023-11-05T08:30:15.123456789+02:00", "2023-11-05T06:30:15.123456+00:00"),
        ("2023-11-05 08:30:15 UTC", "2023-11-05T08:30:15+00:00"), ("2023-11-05 08:30:15+02",
        "2023-11-05T06:30:15+00:00"),
        ("2023-11-05 08:30:15 -0530", "2023-11-05T14:00:15+00:00"), ("2023/11/05", "2023-11-05T00:00:00+00:00"),
        ("2023/11/5 8:30", "2023-11-05T08:30:00+00:00"), ("20231105", "2023-11-05T00:00:00+00:00"),
        ("20231105T083015Z", "2023-11-05T08:30:15+00:00"), ("Sun, 05 Nov 2023 08:30:15 GMT",
        "2023-11-05T08:30:15+00:00"),
        ("5 Nov 2023 08:30:15 +0200", "2023-11-05T06:30:15+00:00"), (1699173015, "2023-11-05T08:30:15+00:00"),
        ("1699173015", "2023-11-05T08:30:15+00:00"), (1699173015250, "2023-11-05T08:30:15.250000+00:00"),
        ("1699173015250", "2023-11-05T08:30:15.250000+00:00"), (1699173015.25, "2023-11-05T08:30:15.250000+00:00"),
        (1699173015250000, "2023-11-05T08:30:15.250000+00:00"),
        (1699173015250000000, "2023-11-05T08:30:15.250000+00:00"),
        ("1.699173015e9", "2023-11-05T08:30:15+00:00"), (date(2023, 11, 5), "2023-11-05T00:00:00+00:00"),
        (datetime(2023, 11, 5, 8, 30, tzinfo=timezone(timedelta(hours=2))), "2023-11-05T06:30:00+00:00"),
    ],
)  # fmt: skip
def test_forms(value: object, moment: str) -> None:
    """ISO 8601, year first with other marks, RFC 2822, and seconds to nanoseconds since 1970; without a zone in UTC."""
    assert parse_time("time", value).isoformat() == moment


@pytest.mark.parametrize("text", ["03/04/2024", "3.4.24", "25/12/2024", "03-04-2024 10:00", "3/4/2024 10:00 AM"])
def test_day_and_month(text: str) -> None:
    """A day and a month whose order is not certain are refused with the remedy."""
    with pytest.raises(RowRefused, match="year-month-day"):
        parse_time("time", text)


@pytest.mark.parametrize(
    "value",
    [
        "yesterday", "noon", "2024-13-01", "2024-02-30", "2024-04", "2024-W14", "0001-01-01", "1712-10-15T23:45:00Z",
        "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2150-01-01", 0, "0", -5, 45384, 17121015123, "1e999",
        "9" * 40, True, "20240402101530", "10:00", "2024-04-02T25:00", "2024-04-02T10:00 EST", "x" * 1000, [2024], None,
    ],
    ids=lambda value: str(value)[:30],
)  # fmt: skip
def test_no_time(value: object) -> None:
    """What is no time, or one that no shop can mean, is refused with its field."""
    with pytest.raises(RowRefused, match=r"^time: "):
        parse_time("time", value)


@given(st.integers(315_600_000, 4_102_300_000), st.sampled_from([1, 10**3, 10**6]))
def test_every_scale_of_seconds(seconds: int, per_second: int) -> None:
    """A number of seconds, milliseconds or microseconds is the same time."""
    moment = datetime.fromtimestamp(seconds, UTC)
    assert parse_time("time", seconds * per_second) == moment
    assert parse_time("time", str(seconds * per_second)) == moment


@given(st.text(max_size=40) | st.integers() | st.floats() | st.text("0123456789-/. T:Z+", max_size=20))
def test_any_value(value: object) -> None:
    """Any value is a time in UTC of a year from 1900 to 2099, or is refused."""
    try:
        moment = parse_time("time", value)
    except RowRefused:
        return
    assert moment.tzinfo is UTC
    assert 1900 <= moment.year < 2100
