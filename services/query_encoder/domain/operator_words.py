"""The words of exclusions and alternatives in English and Chinese (simplified)."""

from __future__ import annotations

import re


def _words(*texts: str) -> frozenset[str]:
    return frozenset(word for text in texts for word in text.split())


def _relative() -> str:
    """ "That is not wireless", "which don't have a camera"."""
    verbs = "is_not are_not isn't aren't has_no have_no", "does_not_have do_not_have doesn't_have don't_have"
    phrases = [verb for text in verbs for verb in text.split()]
    return " ".join(f"{word}_{phrase}" for word in ("that", "which", "who") for phrase in phrases)


def _operators(*texts: str) -> tuple[tuple[str, ...], ...]:
    """Phrases that spaces separate, "_" for a space inside; the longest first."""
    found = [tuple(phrase.split("_")) for text in texts for phrase in text.split()]
    return tuple(sorted(found, key=len, reverse=True))


OPERATORS = _operators(
    "without w/o no not except except_for excluding exclude excludes but_not but_no with_no with_out and_not other_than"
    " rather_than apart_from anything_but all_but do_not_want don't_want dont_want free_of free_from lacking",
    "not_with not_containing not_including not_made_of not_for",
    _relative(),
)
# These exclude also where nothing else is said.
WITHOUT = frozenset({"without", "w/o"})
ARTICLES = _words("a an any the added extra")
# Begin what is not excluded any more.
BOUNDARIES = _words(
    "a an any the in for with from under over on at and or nor but to of by that which plus without no not except",
    "excluding who as than is are |",
)
# "not more than", "no problem", "or less": nothing is excluded, and nothing is an alternative.
NOTHING_EXCLUDED = _words(
    "more less fewer longer under over above below matter problem problems worries way idea doubt one just only too so",
    "very sure even much many enough to be if better higher lower up equal other others older newer similar",
    "whatever something anything working work available included required needed found sold expensive cheap cheaper",
    "pricey costly name brand later never nothing good bad",
)
# Before "not" these make a sentence: "does not fit".
NOT_AFTER = _words(
    "do does did is are was were has have had will would can could should must may might why if or whether maybe"
)
# End verbs of two words: "show up or shut up" has no alternatives.
PARTICLES = _words("up off out down away back go along around")
# They have titles of their own: what stands before them is one.
WORKS = _words("cd dvd blu-ray vinyl album song movie film novel book ebook audiobook paperback poster puzzle series")
ALTERNATIVE_WORDS = frozenset({"or", "|"})
# A phrase of a title that begins or ends with one of these tells names from operators.
PHRASE_OPERATORS = frozenset({"no", "not", "without", "or", "free", "except"})
# Before "free" these are no things that a product could contain.
NO_INGREDIENTS = _words(
    "hands hand duty toll tax scot risk get got for is are order one two set born be feel care buy the a and or with",
    "all totally completely royalty rent interest commission walk run running living break breaking go going ride fly",
    "flying forever wild still so always stay fancy roam roaming post postage shipping delivery bath land home country",
    "worry hassle trouble stress obligation cage me you we us it him her them live love",
)
# Behind "free" these make a phrase of their own.
FREE_BEFORE = _words(
    "shipping delivery returns return standing weight weights range style hanging motion gift sample samples people",
    "spirit space fall flow agent download trial hand will wheel wheeling for with to at in",
)

CHINESE_EXCLUSION = re.compile(
    "不要|不含|不带|不加|不包含|不包括|没有|不是|不想要|拒绝|排除|除了|除去|除|无|零(?=[糖脂卡添])"
)
# Words with these characters that exclude nothing: wireless, drones, unlimited, Muji, dehumidifiers.
CHINESE_FIXED = re.compile(
    "无[价门线人限印绳缝痕极敌双尘名数法论意形畏忧边界所奈聊私情穷疆问声损]|除[湿尘螨草锈臭味皱霜菌毛雪甲冰垢静胶油虫夕]"
    "|不要[钱紧脸太]|没有[了吗找买看收发什]|要不要"
)
CHINESE_NOTHING_EXCLUDED = re.compile("太|很|钱|紧|超过|超|高于|低于|大于|小于|多于|少于|贵|便宜|了|吗|的|[0-9]")
# End what is excluded.
CHINESE_ENDS = re.compile("的|以外的?|之外的?|外的")
CHINESE_OR = re.compile("或者|或是|还是|或")
