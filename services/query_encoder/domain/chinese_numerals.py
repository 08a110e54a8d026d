"""Numbers written in Han characters (simplified): 五百, 一千二, 两万三千."""

from __future__ import annotations

_DIGITS = {"〇": 0, "零": 0, "一": 1, "二": 2, "两": 2} | {digit: n for n, digit in enumerate("三四五六七八九", 3)}
POWERS = {"十": 10, "百": 100, "千": 1_000, "万": 10_000, "亿": 100_000_000}
# All characters of numerals, to stand inside the brackets of a regular expression.
NUMERALS = "".join([*_DIGITS, *POWERS])


def value_of_numeral(text: str) -> int | None:
    """The value of a text of NUMERALS; None if it is not a well-formed number.

    A last digit without a power counts a tenth of the power before it, as in speech: 三百五 is 350, 三百零五 is 305.
    """
    if not any(character in POWERS for character in text):
        return int("".join(str(_DIGITS[character]) for character in text))
    total = section = 0
    digit: int | None = None
    power = least = 10**9
    for character in text:
        if character in _DIGITS:
            if digit:
                return None
            digit, least = _DIGITS[character], 1 if character in "〇零" else least
            continue
        power = POWERS[character]
        if power >= 10_000:
            total, section, least = (total + section + (digit or 0) or 1) * power, 0, power
        elif power >= least and section:
            return None
        else:
            section, least = section + (1 if digit is None else digit) * power, power
        digit = None
    return total + section + (digit or 0) * max(least // 10, 1)
