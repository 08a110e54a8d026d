"""The explanation of a result in a sentence or two, in the texts of the domain: only what the numbers say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.gateway.domain.texts import PERSONAL_SOURCES, RELATED_SOURCES, Texts

# A group is named if its contribution has at least this absolute value, and this share of all absolute values.
LEAST = 0.01
LEAST_SHARE = 0.05
# Orders that no ranker made.
_UNRANKED = {
    "retrieval-order": "retrieval_order",
    "source-order": "source_order",
    "popular-memory": "popular_memory",
}


@dataclass(frozen=True)
class Mixing:
    """How diversification, fatigue and exploration moved an item after it was scored."""

    fatigue_cost: float = 0.0
    similarity_cost: float = 0.0
    brand_capped_places: int = 0
    is_explored: bool = False


def named_groups(contributions: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """(groups that raise the score, groups that lower it), each with the largest contribution first."""
    least = max(LEAST, LEAST_SHARE * sum(map(abs, contributions.values())))
    largest_first = sorted(contributions, key=lambda group: -abs(contributions[group]))
    named = [group for group in largest_first if abs(contributions[group]) >= least]
    return [g for g in named if contributions[g] > 0], [g for g in named if contributions[g] < 0]


def placed(
    texts: Texts,
    position: int,
    count: int,
    score: float,
    baseline: float,
    contributions: Mapping[str, float],
    mixing: Mixing | None = None,
    read: Sequence[tuple[str, str]] = (),
) -> str:
    """For an item that the ranker scored. `read`: (words of the query, words that they were understood as)."""
    text = texts.say("place", position=position, count=count, score=score)
    if abs(baseline) >= LEAST:
        text += texts.say("baseline", baseline=baseline)
    pro, contra = named_groups(contributions)
    joined = texts.say("joined")
    for name, groups in (("raised", pro), ("lowered", contra)):
        if groups:
            named = (f"{texts.groups[group]} {contributions[group]:+.2f}" for group in groups)
            text += texts.say(name, groups=joined.join(named))
    if not pro and not contra:
        text += texts.say("silent")
    steps = [texts.say(step, **vars(mixing)) for step in _steps(mixing)] if mixing else []
    if steps:
        text += texts.say("moved", steps=joined.join(steps))
    return text + "".join(texts.say("read", matched_text=a, expansion=b) for a, b in read)


def unexplained(texts: Texts, order: str, position: int, count: int, score: float) -> str:
    """For an item without reasons. `order`: "retrieval-order", "popular-memory" or the version of a ranker."""
    return texts.say(_UNRANKED.get(order, "place"), position=position, count=count, score=score)


def sourced(texts: Texts, source: str, title: str) -> str:
    """Where the product comes from; empty for a source that needs no words. `title`: of the product it relates to.

    `source`: a name of ranker.proto's CandidateSource in lower case.
    """
    if source in RELATED_SOURCES:
        return texts.say(f"{source}_one", title=title) if title else texts.say(f"{source}_several")
    return texts.say(source) if source in (*PERSONAL_SOURCES, "faq") else ""


def because(texts: Texts, title: str, is_together: bool) -> str:
    """The product of the person's history that raises a product's score. `is_together`: persons often act on both."""
    return texts.say("because_together" if is_together else "because", title=title)


def absent(texts: Texts, why: str, subject: str = "", count: int = 0) -> str:
    """For an item outside the results. `why`: "filter", "constraint", "recently_purchased", "excluded_by_rule" or
    "not_retrieved".

    `subject`: the words of the constraint. `count`: number of ranked products.
    """
    return texts.say(why, subject=subject, count=count)


def _steps(mixing: Mixing) -> list[str]:
    happened = {
        "seen": mixing.fatigue_cost >= LEAST,
        "like": mixing.similarity_cost >= LEAST,
        "capped": mixing.brand_capped_places > 0,
        "random": mixing.is_explored,
    }
    return [step for step, has in happened.items() if has]
