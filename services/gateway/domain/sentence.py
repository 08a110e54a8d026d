"""What the numbers of an explanation say, in a sentence or two: English or Chinese, and no word beyond the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# A group is named where its contribution is at least so much, and such a share of all together, by absolute value.
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
}
_WORDS = {
    "en": {
        "place": "Place {position} of {count} with a score of {score:.2f}.",
        "baseline": " It starts from {baseline:.2f}.",
        "for": " For it: {groups}.",
        "against": " Against it: {groups}.",
        "silent": " No group speaks for it or against it.",
        "moved": " Then the list was mixed: {steps}.",
        "seen": "being shown in vain took {fatigue_cost:.2f}",
        "like": "similarity to products above took {similarity_cost:.2f}",
        "brand": "places that its brand had no more room for: {brand_capped_places}",
        "lot": "its place was drawn by lot",
        "read": " “{matched_text}” was read as “{expansion}”.",
        "and": ", ",
        "retrieval-order": "Place {position} of {count}, in retrieval's order: the ranker gave no scores.",
        "popular-memory": "Place {position} of {count} among the popular products: nothing could be looked up in time.",
        "filter": "Not in the answer: it does not meet the request's filter.",
        "constraint": "Not in the answer: it does not meet “{subject}”.",
        "recently_purchased": "Not in the answer: it was bought recently and is not usually bought again.",
        "not_retrieved": "Not in the answer: it meets every condition, and {count} others were nearer.",
    },
    "zh": {
        "place": "排在第 {position} 位（共 {count} 件），得分 {score:.2f}。",
        "baseline": "起始分 {baseline:.2f}。",
        "for": "加分：{groups}。",
        "against": "减分：{groups}。",
        "silent": "各组因素都没有加分或减分。",
        "moved": "随后列表经过混排：{steps}。",
        "seen": "多次展示未获点击，扣 {fatigue_cost:.2f}",
        "like": "与前面的商品相似，扣 {similarity_cost:.2f}",
        "brand": "因品牌名额已满而错过的位置：{brand_capped_places} 个",
        "lot": "位置由抽签决定",
        "read": "“{matched_text}”理解为“{expansion}”。",
        "and": "，",
        "retrieval-order": "排在第 {position} 位（共 {count} 件），按检索顺序：排序服务没有给出分数。",
        "popular-memory": "在热门商品中排第 {position} 位（共 {count} 件）：未能及时完成检索。",
        "filter": "不在结果中：不符合请求的筛选条件。",
        "constraint": "不在结果中：不符合“{subject}”。",
        "recently_purchased": "不在结果中：最近买过，且不是会反复购买的商品。",
        "not_retrieved": "不在结果中：符合所有条件，但有 {count} 件商品更接近。",
    },
}


@dataclass(frozen=True)
class Mixing:
    """What a slate did to an item after it was scored."""

    fatigue_cost: float = 0.0
    similarity_cost: float = 0.0
    brand_capped_places: int = 0
    is_explored: bool = False


def language_of(locale: str) -> str:
    return "zh" if locale.lower().startswith("zh") else "en"


def spoken(contributions: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """(groups that speak for an item, groups that speak against it), each the loudest first."""
    least = max(LEAST, LEAST_SHARE * sum(map(abs, contributions.values())))
    loudest = sorted(contributions, key=lambda group: -abs(contributions[group]))
    named = [group for group in loudest if abs(contributions[group]) >= least]
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
    """Of an item that the ranker scored. `read`: (words of the query, what they were read as)."""
    words = _WORDS[language]
    text = words["place"].format(position=position, count=count, score=score)
    if abs(baseline) >= LEAST:
        text += words["baseline"].format(baseline=baseline)
    pro, contra = spoken(contributions)
    for key, groups in (("for", pro), ("against", contra)):
        if groups:
            named = (f"{GROUPS[group][language]} {contributions[group]:+.2f}" for group in groups)
            text += words[key].format(groups=words["and"].join(named))
    if not pro and not contra:
        text += words["silent"]
    steps = _steps(mixing) if mixing else []
    if mixing and steps:
        told = (words[step].format(**vars(mixing)) for step in steps)
        text += words["moved"].format(steps=words["and"].join(told))
    return text + "".join(words["read"].format(matched_text=a, expansion=b) for a, b in read)


def unexplained(language: str, order: str, position: int, count: int, score: float) -> str:
    """Of an item whose score has no parts. `order`: "retrieval-order", "popular-memory", or a ranker's version."""
    words = _WORDS[language]
    return words.get(order, words["place"]).format(position=position, count=count, score=score)


def absent(language: str, why: str, subject: str = "", count: int = 0) -> str:
    """`why`: "filter", "constraint" (`subject`: its words), "recently_purchased" or "not_retrieved".

    `count`: products that were ranked.
    """
    return _WORDS[language][why].format(subject=subject, count=count)


def _steps(mixing: Mixing) -> list[str]:
    happened = {
        "seen": mixing.fatigue_cost >= LEAST,
        "like": mixing.similarity_cost >= LEAST,
        "brand": mixing.brand_capped_places > 0,
        "lot": mixing.is_explored,
    }
    return [step for step, has in happened.items() if has]
