"""Parts of the day by the clock of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.common.daily_window import DailyWindow, is_in_windows, minutes_of, zone_of

BERLIN = ZoneInfo("Europe/Berlin")


def is_open(starts: str, ends: str, at: str, days: frozenset[int] = frozenset(), zone: ZoneInfo = BERLIN) -> bool:
    """`at`: an instant in UTC."""
    begins, until = minutes_of(starts), minutes_of(ends)
    assert begins is not None
    assert until is not None
    now_s = datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()
    return is_in_windows([DailyWindow(begins, until, days)], zone, now_s)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        ("2026-01-15T07:59:59", False),
        ("2026-01-15T08:00", True),
        ("2026-01-15T16:59", True),
        ("2026-01-15T17:00", False),
    ],
)
def test_by_the_clock_of_the_zone(at: str, expected: bool) -> None:
    """From nine to six in Berlin is from eight to five UTC in winter."""
    assert is_open("09:00", "18:00", at) is expected


def test_summer_time() -> None:
    """In summer the same window begins an hour earlier in UTC."""
    assert is_open("09:00", "18:00", "2026-07-15T07:00")
    assert not is_open("09:00", "18:00", "2026-07-15T16:00")


def test_over_midnight() -> None:
    """A window that ends before it starts ends on the next day, and has the weekday on which it begins."""
    friday = frozenset([4])
    assert is_open("22:00", "02:00", "2026-01-16T21:30", friday)
    assert is_open("22:00", "02:00", "2026-01-17T00:30", friday)
    assert not is_open("22:00", "02:00", "2026-01-17T21:30", friday)
    assert not is_open("22:00", "02:00", "2026-01-16T00:30", friday)


def test_until_midnight() -> None:
    """24:00 is the end of the day."""
    assert is_open("20:00", "24:00", "2026-01-16T22:59:59")
    assert not is_open("20:00", "24:00", "2026-01-16T23:00")


@pytest.mark.parametrize(
    ("starts", "ends", "opens", "closes"),
    [
        # On 29 March 2026 the clock goes from 02:00 to 03:00, which is 01:00 UTC.
        ("01:30", "02:30", "2026-03-29T00:30", "2026-03-29T01:00"),
        ("02:30", "04:00", "2026-03-29T01:00", "2026-03-29T02:00"),
        ("01:00", "04:00", "2026-03-29T00:00", "2026-03-29T02:00"),
        # On 25 October 2026 it goes back from 03:00 to 02:00, which is 01:00 UTC.
        ("01:30", "02:30", "2026-10-24T23:30", "2026-10-25T00:30"),
        ("02:15", "02:45", "2026-10-25T00:15", "2026-10-25T00:45"),
        ("02:30", "04:00", "2026-10-25T00:30", "2026-10-25T03:00"),
    ],
)
def test_days_when_the_clock_changes(starts: str, ends: str, opens: str, closes: str) -> None:
    """A window is open once: from the first instant that shows its start to the first that shows its end, or later."""
    from_s, until_s = (int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) for at in (opens, closes))
    minutes = range(from_s - 10_800, until_s + 10_800, 60)
    shown = {starts: minutes_of(starts) or 0, ends: minutes_of(ends) or 0}
    window = DailyWindow(shown[starts], shown[ends])
    found = [at_s for at_s in minutes if is_in_windows([window], BERLIN, at_s)]
    assert (found[0], found[-1] + 60, len(found)) == (from_s, until_s, (until_s - from_s) // 60)


def test_an_hour_that_does_not_exist() -> None:
    """A window within it does not take place on that day, and does on the next one."""
    assert not any(
        is_open("02:15", "02:45", f"2026-03-29T{hour:02}:{minute:02}") for hour in (0, 1) for minute in range(60)
    )
    assert is_open("02:15", "02:45", "2026-03-30T00:30")


@pytest.mark.parametrize("text", ["24:01", "9:00", "", "12:60", "noon"])
def test_no_time_of_the_day(text: str) -> None:
    """Anything but HH:MM is no time."""
    assert minutes_of(text) is None


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime"])
def test_an_unknown_zone(name: str) -> None:
    """A name that is not in the database is no zone, a path is none either."""
    assert zone_of(name) is None
