"""Reads times as shops write them. A time that can be read in two ways is refused, never guessed."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

from catalog.files import RowRefused
from catalog.text import stripped, with_plain_digits

_FIRST_YEAR, _LAST_YEAR = 1900, 2100
# A number is a time only between these seconds since 1970, or the same in milli-, micro- or nanoseconds. The four
# ranges do not overlap: 1712101512345 can only be milliseconds.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_S, _LAST_S = 315_532_800, 4_102_444_800  # 1980, 2100
_ISO = re.compile(
    r"(?P<year>\d{4})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})"
    r"(?:[T ] ?(?P<clock>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?) ?(?P<zone>Z|UTC|GMT|[-+]\d{2}(?::?\d{2})?)?)?",
    re.IGNORECASE,
)
_BASIC = re.compile(r"(?P<date>\d{8})(?:T(?P<clock>\d{6})(?P<zone>Z)?)?", re.IGNORECASE)
# RFC 2822, as in HTTP and RSS.
_MAIL = re.compile(
    r"(?:[A-Z][a-z]{2}, ?)?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}(?::\d{2})? (?:[-+]\d{4}|GMT|UTC|UT|Z)"
)
_DAY_AND_MONTH = re.compile(r"\d{1,2}[-/. ]\d{1,2}[-/. ](?:\d{4}|\d{2})\b.*", re.DOTALL)
_MAX_TEXT = 64


def parse_time(field: str, value: Any) -> datetime:
    """A time in UTC: ISO 8601, year/month/day, RFC 2822, or a number of seconds, milli-, micro- or nanoseconds since
    1970. A time without a zone is UTC. Raises RowRefused with `field`.
    """
    if isinstance(value, datetime):
        return _checked(field, value, value)
    if isinstance(value, date):
        return _checked(field, value, datetime(value.year, value.month, value.day, tzinfo=UTC))
    text = stripped(with_plain_digits(str(value)))
    if len(text) > _MAX_TEXT or isinstance(value, bool):
        raise RowRefused(field, f"{str(value)[:_MAX_TEXT]!r} is not a time; write for example 2024-04-02T10:00:00Z")
    try:
        moment = _written(text) or _counted(text)
    except (ValueError, OverflowError) as error:
        raise RowRefused(field, f"{text!r} is not a time: {error}") from None
    if moment is None:
        raise RowRefused(field, _reason(text))
    return _checked(field, value, moment)


def _written(text: str) -> datetime | None:
    if match := _ISO.fullmatch(text):
        day = f"{match['year']}-{int(match['month']):02}-{int(match['day']):02}"
        clock = (match["clock"] or "00:00").replace(",", ".").zfill(5)
        hours, _, rest = clock.partition(":")
        zone = (match["zone"] or "").upper()
        return datetime.fromisoformat(f"{day}T{hours:>02}:{rest}{'Z' if zone in ('UTC', 'GMT') else zone}")
    if match := _BASIC.fullmatch(text):
        return datetime.fromisoformat(f"{match['date']}T{match['clock'] or '000000'}{match['zone'] or ''}")
    return parsedate_to_datetime(text) if _MAIL.fullmatch(text) else None


def _counted(text: str) -> datetime | None:
    if not re.fullmatch(r"\d{1,20}(?:\.\d{1,20})?(?:[eE]\+?\d{1,2})?", text):
        return None
    number = Decimal(text)
    for per_second in (1, 10**3, 10**6, 10**9):
        if _FIRST_S <= number / per_second < _LAST_S:
            return _EPOCH + timedelta(microseconds=int(number * 10**6 / per_second))
    return None


def _reason(text: str) -> str:
    if _DAY_AND_MONTH.fullmatch(text):
        return f"{text!r}: which number is the month is not certain; write year-month-day, such as 2024-04-02"
    if re.fullmatch(r"[\d.eE+]+", text):
        return f"{text!r} is not a number of seconds or milliseconds since 1970; write for example 2024-04-02T10:00:00Z"
    return f"{text!r} is not a time in ISO 8601; write for example 2024-04-02T10:00:00Z"


def _checked(field: str, value: Any, moment: datetime) -> datetime:
    try:
        moment = moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except OverflowError:
        moment = moment.replace(tzinfo=UTC)
    if not _FIRST_YEAR <= moment.year < _LAST_YEAR:
        raise RowRefused(field, f"{str(value)!r} is outside the years {_FIRST_YEAR} to {_LAST_YEAR - 1}")
    return moment
