"""Parts of the day by the clock of a time zone, also on the days when the clock changes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MINUTES_A_DAY = 24 * 60
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|(24):(00)")
# Windows of a few zones, of two days each.
_REMEMBERED_WINDOWS = 4_096


@dataclass(frozen=True)
class DailyWindow:
    """`starts` and `ends` in minutes after midnight, by the clock; an end before the start is on the next day.

    `days`: weekdays on which it begins, 0 for Monday; empty: every day.
    """

    starts: int
    ends: int
    days: frozenset[int] = frozenset()


def is_in_windows(windows: Sequence[DailyWindow], zone: ZoneInfo, now_s: float) -> bool:
    """Whether one of the windows is open. `now_s`: seconds since 1970."""
    today = datetime.fromtimestamp(now_s, zone).date()
    # A window of yesterday may reach into today.
    return any(
        begins_s <= now_s < ends_s
        for window in windows
        for day in (today, today - timedelta(days=1))
        if not window.days or day.weekday() in window.days
        for begins_s, ends_s in [_instants(window, zone, day)]
    )


def minutes_of(text: str) -> int | None:
    """Minutes after midnight of "09:30"; None for anything that is no time of the day. "24:00" is one."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    hour, minute = (found[1], found[2]) if found[1] else (found[3], found[4])
    return int(hour) * 60 + int(minute)


def zone_of(name: str) -> ZoneInfo | None:
    """None for a name that the time zone database does not have."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


@lru_cache(_REMEMBERED_WINDOWS)
def _instants(window: DailyWindow, zone: ZoneInfo, day: date) -> tuple[float, float]:
    """Beginning and end of the window that begins on this day, in seconds since 1970.

    The end comes after the beginning, or they are equal: the clock leaves the whole window out.
    """
    begins_s = _first_shown(zone, day, window.starts)
    overnight = 0 if window.ends > window.starts else MINUTES_A_DAY
    return begins_s, max(begins_s, _first_shown(zone, day, window.ends + overnight))


def _first_shown(zone: ZoneInfo, day: date, minutes: int) -> float:
    """The first instant at which the clock shows this time of the day or a later one."""
    wanted = datetime.combine(day, time(), None) + timedelta(minutes=minutes)
    # Of a time that the clock shows twice, fold=0 is the first. Of one that it leaves out, fold=0 is after the change
    # and fold=1 before it.
    instant = wanted.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == wanted:
        return instant.timestamp()
    earlier = wanted.replace(tzinfo=zone, fold=1).astimezone(UTC)
    low, high = sorted((int(earlier.timestamp()), int(instant.timestamp())))
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).replace(tzinfo=None) >= wanted:
            high = middle
        else:
            low = middle
    return float(high)
