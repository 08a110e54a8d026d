"""The explanation of a result in a sentence or two, in English or Chinese: only what the numbers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A group is named if its contribution has at least this absolute value, and this share of all absolute values.
LEAST = 0.01
LEAST_SHARE = 0.05
# By the names of ranker.proto's ReasonType.
GROUPS = {
    "QUERY_MATCH": {"en": "query match", "zh": "与查询相符"},
    "RECENT_HISTORY": {"en": "your history", "zh": "您的浏览与购买记录"},
    "PRICE_AFFINITY": {"en": "price", "zh": "价格"},
    "POPULARITY": {"en": "popularity", "zh": "受欢迎程度"},
    "AVAILABILITY": {"en": "freshness and stock", "zh": "新品与库存"},
    "SPONSORED": {"en": "sponsored", "zh": "推广"},
    # In the place of QUERY_MATCH for a recommendation, which has no query.
    "SOURCE_MATCH": {"en": "match with this page", "zh": "与本页的关联"},
}
# By the names of ranker.proto's CandidateSource: for one product that the others relate to, and for several.
_SOURCES = {
    "BOUGHT_TOGETHER": {
        "en": ("Often bought together with “{title}”. ", "Often bought together with these products. "),
        "zh": ("经常与“{title}”一起购买。", "经常与这些商品一起购买。"),
    },
    "VIEWED_TOGETHER": {
        "en": ("Often viewed together with “{title}”. ", "Often viewed together with these products. "),
        "zh": ("经常与“{title}”一起浏览。", "经常与这些商品一起浏览。"),
    },
    "SIMILAR": {
        "en": ("Similar to “{title}”. ", "Similar to these products. "),
        "zh": ("与“{title}”相似。", "与这些商品相似。"),
    },
    "GOES_WITH": {
        "en": ("Goes with “{title}”. ", "Goes with these products. "),
        "zh": ("与“{title}”搭配。", "与这些商品搭配。"),
    },
    "TRENDING": {"en": ("More and more shoppers look at it. ",) * 2, "zh": ("关注它的顾客越来越多。",) * 2},
    "RECENTLY_VIEWED": {"en": ("You looked at it recently. ",) * 2, "zh": ("您最近看过。",) * 2},
    "BUY_AGAIN": {"en": ("You may need it again. ",) * 2, "zh": ("您可能需要再次购买。",) * 2},
}
_WORDS = {
    "en": {
        "place": "Position {position} of {count} with a score of {score:.2f}.",
        "baseline": " The score starts from {baseline:.2f}.",
        "for": " Raised by: {groups}.",
        "against": " Lowered by: {groups}.",
        "silent": " No single reason raises or lowers the score.",
        "moved": " Its position then changed: {steps}.",
        "seen": "ranked lower because you have seen it several times without clicking (-{fatigue_cost:.2f})",
        "like": "ranked lower because similar products are above it (-{similarity_cost:.2f})",
        "brand": "moved down {brand_capped_places} positions because many products of its brand are above it",
        "random": "shown at a random position to learn whether shoppers like it",
        "read": " “{matched_text}” was understood as “{expansion}”.",
        "and": ", ",
        "retrieval-order": "Position {position} of {count} in the order of the search, without personal ranking.",
        "source-order": "Position {position} of {count}, without personal ranking.",
        "popular-memory": "Position {position} of {count} among popular products: the search did not answer in time.",
        "filter": "Not in the results: it does not match the filter of the request.",
        "constraint": "Not in the results: it does not match “{subject}”.",
        "recently_purchased": "Not in the results: you bought it recently, and it is not usually bought again.",
        "not_retrieved": "Not in the results: it matches all conditions, but {count} other products rank before it.",
    },
    "zh": {
        "place": "排在第 {position} 位（共 {count} 件），得分 {score:.2f}。",
        "baseline": "基础分 {baseline:.2f}。",
        "for": "加分：{groups}。",
        "against": "减分：{groups}。",
        "silent": "没有哪个因素单独提高或降低得分。",
        "moved": "随后位置有所调整：{steps}。",
        "seen": "您多次看到但没有点击，因此排名降低（-{fatigue_cost:.2f}）",
        "like": "前面已有相似的商品，因此排名降低（-{similarity_cost:.2f}）",
        "brand": "前面已有许多同品牌商品，因此后移 {brand_capped_places} 位",
        "random": "随机安排位置，以了解顾客是否喜欢",
        "read": "“{matched_text}”被理解为“{expansion}”。",
        "and": "，",
        "retrieval-order": "排在第 {position} 位（共 {count} 件），按搜索结果的顺序，未做个性化排序。",
        "source-order": "排在第 {position} 位（共 {count} 件），未做个性化排序。",
        "popular-memory": "在热门商品中排第 {position} 位（共 {count} 件）：搜索未能及时完成。",
        "filter": "不在结果中：不符合所选的筛选条件。",
        "constraint": "不在结果中：不符合“{subject}”。",
        "recently_purchased": "不在结果中：您最近买过，而且这类商品通常不会再次购买。",
        "not_retrieved": "不在结果中：符合所有条件，但有 {count} 件商品排在它前面。",
    },
}


@dataclass(frozen=True)
class Mixing:
    """How diversification, fatigue and exploration moved an item after it was scored."""

    fatigue_cost: float = 0.0
    similarity_cost: float = 0.0
    brand_capped_places: int = 0
    is_explored: bool = False


def language_of(locale: str) -> str:
    return "zh" if locale.lower().startswith("zh") else "en"


def named_groups(contributions: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """(groups that raise the score, groups that lower it), each with the largest contribution first."""
    least = max(LEAST, LEAST_SHARE * sum(map(abs, contributions.values())))
    largest_first = sorted(contributions, key=lambda group: -abs(contributions[group]))
    named = [group for group in largest_first if abs(contributions[group]) >= least]
    return [g for g in named if contributions[g] > 0], [g for g in named if contributions[g] < 0]


def placed(
    language: str,
    position: int,
    count: int,
    score: float,
    baseline: float,
    contributions: Mapping[str, float],
    mixing: Mixing | None = None,
    read: Sequence[tuple[str, str]] = (),
) -> str:
    """For an item that the ranker scored. `read`: (words of the query, words that they were understood as)."""
    words = _WORDS[language]
    text = words["place"].format(position=position, count=count, score=score)
    if abs(baseline) >= LEAST:
        text += words["baseline"].format(baseline=baseline)
    pro, contra = named_groups(contributions)
    for key, groups in (("for", pro), ("against", contra)):
        if groups:
            texts = (f"{GROUPS[group][language]} {contributions[group]:+.2f}" for group in groups)
            text += words[key].format(groups=words["and"].join(texts))
    if not pro and not contra:
        text += words["silent"]
    steps = _steps(mixing) if mixing else []
    if mixing and steps:
        texts = (words[step].format(**vars(mixing)) for step in steps)
        text += words["moved"].format(steps=words["and"].join(texts))
    return text + "".join(words["read"].format(matched_text=a, expansion=b) for a, b in read)


def unexplained(language: str, order: str, position: int, count: int, score: float) -> str:
    """For an item without reasons. `order`: "retrieval-order", "popular-memory" or the version of a ranker."""
    words = _WORDS[language]
    return words.get(order, words["place"]).format(position=position, count=count, score=score)


def sourced(language: str, source: str, title: str) -> str:
    """Where the product comes from; empty for a source that needs no words. `title`: of the product it relates to."""
    texts = _SOURCES.get(source, {}).get(language)
    if texts is None:
        return ""
    return texts[0].format(title=title) if title else texts[1]


def absent(language: str, why: str, subject: str = "", count: int = 0) -> str:
    """For an item outside the results. `why`: "filter", "constraint", "recently_purchased" or "not_retrieved".

    `subject`: the words of the constraint. `count`: number of ranked products.
    """
    return _WORDS[language][why].format(subject=subject, count=count)


def _steps(mixing: Mixing) -> list[str]:
    happened = {
        "seen": mixing.fatigue_cost >= LEAST,
        "like": mixing.similarity_cost >= LEAST,
        "brand": mixing.brand_capped_places > 0,
        "random": mixing.is_explored,
    }
    return [step for step, has in happened.items() if has]
