"""Which of the shown products a text means, and relative wishes: "the second one", "this one", 第二双, "cheaper"."""

from __future__ import annotations

import re
from enum import StrEnum

_ORDINALS = {
    "first": 1, "1st": 1, "second": 2, "2nd": 2, "third": 3, "3rd": 3, "fourth": 4, "4th": 4, "fifth": 5, "5th": 5,
    "sixth": 6, "seventh": 7, "eighth": 8, "last": -1,
    "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8,
}  # fmt: skip
_ENGLISH_ORDINAL = re.compile(
    rf"\b(?:the )?({'|'.join(name for name in _ORDINALS if name.isascii())})\b"
    r"(?! (?:time|of all|thing|day|week|month|year|order|hand))"
)
_NUMBERED = re.compile(r"(?:\bnumber |\bno\. ?|\boption |#)(\d)\b")
_SEVERAL = re.compile(
    r"\b(?:the )?(?:first|top) (two|2|three|3)\b|(?:前|头)(两|2|二|三|3)"
    r"|\b(?:both|(?:these|those|the) two|them|these|those)\b|[这那]两|两[个款双件条]|它们|这几"
)
_CHINESE_ORDINAL = re.compile(r"第([一二两三四五六七八1-8])|最后(?:一|那)?[个款双件条台只把张]")
_COUNTS = {"two": 2, "2": 2, "three": 3, "3": 3, "两": 2, "二": 2, "三": 3}
_THAT = "[这那](?:一)?[个款双件条台只把张本]"
_THIS = re.compile(rf"\b(?:this|that|it|its)\b|{_THAT}|它|该商品|这东西")
# Words for products that were shown, which name no product themselves.
_PRONOUN = re.compile(
    rf"\b(?:ones?|it|them|this|that|these|those|something|anything)\b|{_THAT}|[这那]些|它|有没有|的呢|呢[?？]?$|的吗"
)


class Relative(StrEnum):
    """A wish that is relative to what was shown."""

    CHEAPER = "cheaper"
    DEARER = "dearer"
    CHEAPEST = "cheapest"
    DEAREST = "dearest"
    NEWEST = "newest"
    SIMILAR = "similar"
    MORE = "more"
    RESET = "reset"


_RELATIVE = {
    Relative.RESET: (
        r"\b(?:start (?:over|again)|new search|reset)\b|^(?:ok,? )?forget (?:it|that)[.! ]*$|重新开始|重新搜"
    ),
    Relative.CHEAPEST: r"\b(?:cheapest|lowest[ -]priced?|least expensive|lowest price)\b|最便宜|最低价|价格最低",
    Relative.DEAREST: r"\b(?:most expensive|priciest|high(?:est)?[ -]end|premium)\b|最贵|高端|最高档",
    Relative.CHEAPER: (
        r"\b(?:cheaper|less expensive|lower (?:in )?price|more affordable|less pricey"
        r"|too (?:expensive|pricey|much|dear)|spend less)\b|便宜(?:一?点|些|的)|更便宜|太贵|贵了|实惠"
    ),
    Relative.DEARER: (
        r"\b(?:more expensive|pricier|(?:higher|better) quality|more upmarket|fancier)\b|贵一?点|更高档|好一点|质量更好"
    ),
    Relative.NEWEST: r"\b(?:newest|latest|new arrivals?|newer)\b|最新|新款|新品|新上",
    Relative.SIMILAR: (
        r"\b(?:similar|(?:something|anything|more|others?|ones) like|alternatives?)\b|类似|相似|差不多的|同类"
    ),
    Relative.MORE: (
        r"^(?:(?:show|give|see)(?: me)? )?(?:some )?(?:more|others?|something else|anything else|what else|next)\b"
        r"|\b(?:more|other) (?:options|choices|ideas|ones|results|suggestions)\b"
        r"|还有(?:别的|其他|没有|什么|吗)|换一?(?:批|些|个|款)|别的|其他的|更多"
    ),
}
_COMPILED = [(kind, re.compile(pattern)) for kind, pattern in _RELATIVE.items()]


def relative_of(text: str) -> Relative | None:
    """In lower-case text."""
    return next((kind for kind, pattern in _COMPILED if pattern.search(text)), None)


def positions_in(text: str, count: int) -> list[int]:
    """0-based positions of the `count` shown products that the text names by their place, each once."""
    found = list[int]()
    if match := _SEVERAL.search(text):
        named = next((group for group in match.groups() if group), None)
        if named or (not _ENGLISH_ORDINAL.search(text) and not _CHINESE_ORDINAL.search(text)):
            found += range(min(_COUNTS.get(named or "2", 2), count))
    if not found:
        for match in _ENGLISH_ORDINAL.finditer(text):
            found.append(_ORDINALS[match.group(1)])
        for match in _CHINESE_ORDINAL.finditer(text):
            place = match.group(1)
            found.append(-1 if place is None else int(place) if place.isdigit() else _ORDINALS[place])
        for match in _NUMBERED.finditer(text):
            found.append(int(match.group(1)))
        found = [count - 1 if place < 0 else place - 1 for place in found]
    return list(dict.fromkeys(place for place in found if 0 <= place < count))


def names_several(text: str) -> bool:
    return _SEVERAL.search(text) is not None


def points_at_one(text: str) -> bool:
    """Whether the text means one product without a name: "it", "this one", 这双."""
    return _THIS.search(text) is not None


def has_pronoun(text: str) -> bool:
    """Whether the text stands for something that was said before."""
    return _PRONOUN.search(text) is not None


def without_references(text: str) -> str:
    """The text without words for places, which would be looked up: "the second one in blue" -> "in blue"."""
    for pattern in (_ENGLISH_ORDINAL, _CHINESE_ORDINAL, _NUMBERED):
        text = pattern.sub(" ", text)
    return " ".join(text.split())
