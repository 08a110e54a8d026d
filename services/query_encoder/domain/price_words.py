"""The words of prices in English and Chinese (simplified): comparators, negations, ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum

from services.query_encoder.domain.phrases import PhraseTable, phrase_set


class Side(Enum):
    """Which end of a price condition an amount is."""

    MAXIMUM = "maximum"
    MINIMUM = "minimum"

    @property
    def opposite(self) -> Side:
        return Side.MINIMUM if self is Side.MAXIMUM else Side.MAXIMUM


class Bare(IntEnum):
    """When a number without a currency is a price.

    NEVER. ALONE: if nothing follows that it could count. LIKELY: unless a unit of measure or a plural follows.
    """

    NEVER = 0
    ALONE = 1
    LIKELY = 2


@dataclass(frozen=True)
class Comparator:
    side: Side
    bare: Bare


def _comparators(groups: Mapping[Comparator, str]) -> Iterator[tuple[str, Comparator]]:
    """The phrases of `groups`, which "|" separates. Those with "than" also with "or equal to" and as "then"."""
    for comparator, phrases in groups.items():
        for phrase in phrases.split("|"):
            yield phrase, comparator
            if phrase.endswith(" than"):
                yield f"{phrase} or equal", comparator
                yield f"{phrase} or equal to", comparator
                yield f"{phrase.removesuffix(' than')} then", comparator


_MAX, _MIN = Side.MAXIMUM, Side.MINIMUM
# Before the amount. A negation before one of them gives the opposite side.
_BEFORE = {
    Comparator(_MAX, Bare.LIKELY): (
        "under|below|beneath|less than|less expensive than|less costly than|cheaper than|lower than|not exceeding|<=|≤"
        "|≦|≯|under or equal to|below or equal to|at or below|低于|少于|不到|不足|未满|不满|便宜过|平过|低过|少过|细过"
    ),
    Comparator(_MIN, Bare.LIKELY): "more expensive than|pricier than|dearer than|贵于|贵过",
    # "up to 30 devices", "over 3000 lumens": these words count and measure as often as they limit a price.
    Comparator(_MAX, Bare.ALONE): (
        "<|up to|upto|at most|at the most|fewer than|smaller than|max price|maximum price|price max|price limit"
        "|price cap|max budget|maximum budget|budget|capped at|小于|最多|至多|顶多|预算|控制在"
    ),
    Comparator(_MIN, Bare.ALONE): (
        "over|above|more than|greater than|higher than|bigger than|larger than|at least|at the least|at the very least"
        "|at or above|exceed|exceeds|exceeding|upwards of|north of|min price|minimum price|price min|>|>=|≥|≧|≮|高于"
        "|多于|大于|超过|超出|高过|多过|大过|至少|最少|起码|不止|不下|不下于"
    ),
    # "max 2" and "mini 4" are names of products, "within 50" has miles, "for up to 4" has people, 最高100 is a speed.
    Comparator(_MAX, Bare.NEVER): "max|maximum|within|limit|for up to|for at most|最高|最贵|上限|限|限价|封顶",
    Comparator(_MIN, Bare.NEVER): (
        "min|minimum|beyond|for at least|for over|for more than|starting at|starting from|starts at|starts from|最低"
        "|最便宜|下限|起价|超"
    ),
}
_AFTER = {
    Comparator(_MAX, Bare.LIKELY): (
        "or less|or under|or below|or cheaper|or lower|or fewer|以下|以内|之内|之下|及以下|或以下|或更少|或更低|打住"
    ),
    Comparator(_MAX, Bare.NEVER): (
        "and less|and under|and below|and cheaper|& under|& below|max|maximum|tops|at most|at the most|budget"
        "|max budget|limit|price limit|封顶|内|预算|为限|不到"
    ),
    # "12 and up" is an age, 5以上 may be one.
    Comparator(_MIN, Bare.NEVER): (
        "or more|or above|or over|or up|or higher|or greater|and more|and above|and over|and up|and higher|& up|& above"
        "|& over|+|min|minimum|at least|upwards|and upwards|以上|之上|及以上|或以上|往上|起|起步|朝上|开外"
    ),
}
COMPARATORS = PhraseTable(dict(_comparators(_BEFORE)))
SUFFIXES = PhraseTable(dict(_comparators(_AFTER)))
# 比100元便宜: the amount stands between 比 and one of these.
AFTER_BI = PhraseTable(
    {"便宜": _MAX, "更便宜": _MAX, "还便宜": _MAX, "低": _MAX, "更低": _MAX, "少": _MAX}
    | {"贵": _MIN, "更贵": _MIN, "还贵": _MIN, "高": _MIN, "更高": _MIN, "多": _MIN}
)

_VERBS = (
    "do", "does", "did", "is", "are", "was", "were", "have", "has", "had", "ca", "could", "wo", "would", "should",
    "must", "need", "ai",
)  # fmt: skip
_NOT = " ".join(
    [
        "no not never nothing none nobody cannot do_not does_not avoid avoiding skip",
        *(f"{verb}n't {verb}nt" for verb in _VERBS),
    ]
)
# 唔, 冇 and 咪 are Cantonese.
NEGATIONS = phrase_set(_NOT, "without", "不 别 勿 莫 没 未 无 非 毋 唔 冇 咪")
# Words that say what a product lacks are left out: "headset without microphone over $50" has a minimum.
FAR_NEGATIONS = phrase_set(
    _NOT,
    "不要 不想 不希望 不考虑 不愿 不会 不能 不可 不得 不打算 不准备 不买 不看 不用 不需要 没有 别 勿 莫 唔好 唔要 唔想",
)
# Before one other character they may negate the comparator behind it: 不宜超过. 无 is left out: 无线.
NEAR_NEGATIONS = phrase_set("不 别 勿 莫 毋 唔 咪")
# May stand between a negation and its comparator.
FILLERS = phrase_set(
    "want wanting to wanna pay paying spend spending cost costs costing priced pricing price prices go going be being"
    " is it any much a an anything something everything show showing me give see need for at by item items product"
    " products thing things stuff one ones option options that which are the looking look will would should must can"
    " could have has get getting buy buying worth value valued sell sold selling ask asking charge with i we please"
    " them those these even include including return find search searching result results let",
    "要 想 是 能 可 以 会 得 应 该 需 用 花 在 价 格 位 钱 售 总 单 的 太 再 买 卖 看 给 我 推 荐 有 许 愿 希 望 让 准"
    " 备 打 算 选 找 好 使 宜 必 须 敢 肯 意 至 够",
)
# With one of these before it, a comparator says the opposite or nothing certain: "hardly over 50".
SPOILERS = phrase_set(
    "hardly barely scarcely neither nor why unless except excluding exclude instead_of rather_than other_than"
    " anything_but everything_but all_but",
    "几乎 除了 除 并非只 为什么 排除",
)
# The same behind the condition, at the end of a sentence: 低于100元的不要, "over $50 excluded".
EXCLUDED = phrase_set(
    "excluded not_wanted no_thanks not no", "不要 的不要 除外 的除外 的不考虑 不考虑 的不行 不行 的别 勿扰"
)
# A question with a negation asks for what it negates: 没有低于100元的吗.
QUESTIONS = frozenset({"吗", "么"})

# Say that the amount is a price.
PRICE_WORDS = phrase_set(
    "price prices priced pricing cost costs costing price_range price_point sale_price list_price budget spend spending"
    " pay paying",
    "价格 价位 价钱 售价 单价 总价 价 预算",
)
# May stand between a comparator and its amount.
LINKS = phrase_set("of is are : = . the a about around approx approximately roughly circa", "是 在 约 大约 为 到")
APPROXIMATELY = phrase_set(
    "around about approx approx_. approximately roughly circa ca ca_. near nearly close_to ~ more_or_less",
    "大约 约 大概 差不多",
)
APPROXIMATELY_AFTER = phrase_set("or_so ish", "左右 上下 前后")
OPENERS = phrase_set("between from anywhere_between anywhere_from ranging_from in_the_range", "在 从 介于 介乎")
BETWEEN = phrase_set("- – — ~ ～ to through and &", "到 至 和 与 跟")
# These make a range only after an opener or before a closer.
WEAK_BETWEEN = frozenset({"and", "&", "和", "与", "跟"})
CLOSERS = phrase_set("之间 中间 间")
# Between a minimum and a maximum.
JOINERS = phrase_set("and but & ,", "且 并且 但 但是 而且 同时 又 并 也 ，")
# Multipliers of the number before them.
MAGNITUDES: Mapping[str, int] = {
    "k": 1_000, "grand": 1_000, "thousand": 1_000, "hundred": 100, "lakh": 100_000, "lakhs": 100_000
}  # fmt: skip
# Names of currencies that are other words or units as well: read only where they mean the currency of the shop.
OTHER_WORDS = phrase_set("all amd awg bam bob cop cup fr ft gel lei mad mop pen pound pounds r ron rub sos tl top try")
