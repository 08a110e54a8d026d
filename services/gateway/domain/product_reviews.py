"""What the reviews of products say together, so that false ones move it little.

Five rules make it costly to move a rating with false reviews:
- one review of a person counts for a product, the latest;
- a review of a person who has not bought the product, as far as the log knows, counts less;
- reviews of one product that come in a burst count together as few of them;
- reviews with the same text count together as one;
- few reviews are drawn to the mean of the shop.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from services.common.sentiment import sentiment_of

# The weight of a review without a purchase.
UNVERIFIED = 0.3
# A product's reviews of one day count as at most so many times those of its usual day, and at least as _BURST_MIN.
_BURST, _BURST_MIN = 3.0, 3.0
_DAY_S = 86_400.0
# Equal texts of at least so many characters count as copies.
_COPIED = 20
# Reviews at the mean of the shop, and neutral texts, that are added.
PRIOR_RATINGS, PRIOR_TEXTS = 10.0, 5.0
# The mean of a shop without reviews.
_MIDDLE = 3.0


@dataclass(frozen=True)
class WrittenReview:
    """`person`: the key of the author. `at_s`: seconds since the epoch."""

    review_id: str
    product_id: str
    person: str
    rating: int
    text: str
    at_s: float


@dataclass(frozen=True)
class Summary:
    """See ReviewSummary in product.proto. `weight`: the sum of the weights of the reviews."""

    count: int
    mean: float
    rating: float
    sentiment: float
    weight: float


def summaries(
    reviews: Iterable[WrittenReview], bought: Collection[tuple[str, str]] = frozenset()
) -> dict[str, Summary]:
    """By product. `bought`: (person, product) of purchases that were not paid back."""
    by_product = _latest(reviews)
    weights = {id: weights_of(its, bought) for id, its in by_product.items()}
    total = sum(map(sum, weights.values()))
    pairs = (pair for id, its in by_product.items() for pair in zip(weights[id], its, strict=True))
    rated = sum(weight * review.rating for weight, review in pairs)
    shop = rated / total if total else _MIDDLE
    return {id: _summary(its, weights[id], shop) for id, its in by_product.items()}


def weights_of(reviews: Sequence[WrittenReview], bought: Collection[tuple[str, str]]) -> list[float]:
    """Of the reviews of one product, one of each person."""
    base = [1.0 if (review.person, review.product_id) in bought else UNVERIFIED for review in reviews]
    days = [math.floor(review.at_s / _DAY_S) for review in reviews]
    on_day: Counter[int] = Counter()
    for day, weight in zip(days, base, strict=True):
        on_day[day] += weight  # type: ignore[assignment] # sums of weights
    # Without the day itself: a burst is not its own measure.
    usual = {day: median([on_day[other] for other in on_day if other != day] or [0.0]) for day in on_day}
    texts = [_text_key(review.text) for review in reviews]
    same = Counter(texts)
    weights = []
    for weight, day, text in zip(base, days, texts, strict=True):
        allowed = max(_BURST_MIN * UNVERIFIED, _BURST * usual[day])
        share = min(1.0, allowed / on_day[day])
        weights.append(weight * share / (same[text] if text else 1))
    return weights


def _summary(reviews: Sequence[WrittenReview], weights: Sequence[float], shop: float) -> Summary:
    weight, count = sum(weights), len(reviews)
    rated = sum(each * review.rating for each, review in zip(weights, reviews, strict=True))
    pairs = zip(weights, reviews, strict=True)
    with_text = [(each, sentiment_of(review.text)) for each, review in pairs if review.text]
    said = sum(each * value for each, value in with_text)
    return Summary(
        count,
        sum(review.rating for review in reviews) / count,
        (PRIOR_RATINGS * UNVERIFIED * shop + rated) / (PRIOR_RATINGS * UNVERIFIED + weight),
        said / (PRIOR_TEXTS * UNVERIFIED + sum(each for each, _ in with_text)),
        weight,
    )


def _latest(reviews: Iterable[WrittenReview]) -> Mapping[str, list[WrittenReview]]:
    """By product, one of each person, in the order of time."""
    newest: dict[tuple[str, str], WrittenReview] = {}
    for review in reviews:
        key = review.product_id, review.person
        known = newest.get(key)
        if known is None or (known.at_s, known.review_id) < (review.at_s, review.review_id):
            newest[key] = review
    found: defaultdict[str, list[WrittenReview]] = defaultdict(list)
    for review in sorted(newest.values(), key=lambda each: (each.at_s, each.review_id)):
        found[review.product_id].append(review)
    return found


def _text_key(text: str) -> str:
    """Empty for a short text. Case, blanks and signs make no difference."""
    letters = "".join(filter(str.isalnum, text.casefold()))
    return hashlib.blake2b(letters.encode(), digest_size=8).hexdigest() if len(letters) >= _COPIED else ""
