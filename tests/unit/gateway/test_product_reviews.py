"""What reviews say together, and how little false ones move it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.gateway.domain.product_reviews import Summary, WrittenReview, summaries

DAY_S = 86_400.0


def review(person: int, rating: int, day: float = 0.0, text: str = "", product: str = "p") -> WrittenReview:
    return WrittenReview(f"r{person}-{day}-{product}", product, f"v{person}", rating, text, day * DAY_S)


# A product of three stars, a review every second day; and the rest of the shop at four stars.
HONEST = [review(n, 2 + n % 3, 2.0 * n) for n in range(40)]
SHOP = [review(1_000 + n, 4, float(n), product=f"q{n % 20}") for n in range(200)]


def of_p(reviews: list[WrittenReview], bought: frozenset[tuple[str, str]] = frozenset()) -> Summary:
    return summaries([*reviews, *SHOP], bought)["p"]


def test_few_reviews_are_drawn_to_the_mean_of_the_shop() -> None:
    """One review of five stars is near the shop's mean; forty of three stars are near three."""
    assert of_p([review(0, 5)]).rating == pytest.approx(4.0, abs=0.2)
    assert of_p(HONEST).rating == pytest.approx(3.2, abs=0.1)
    assert of_p(HONEST).mean == pytest.approx(3.0, abs=0.1)


def test_the_latest_review_of_a_person_counts() -> None:
    """A person who writes again has changed the review."""
    assert (of_p([review(1, 1, 0), review(1, 5, 3)]).mean, of_p([review(1, 1, 0), review(1, 5, 3)]).count) == (5.0, 1)


def test_a_burst_counts_as_a_few() -> None:
    """Fifty reviews of five stars on one day move the rating less than a fifth of what they move the plain mean."""
    before, after = of_p(HONEST), of_p([*HONEST, *(review(100 + n, 5, 90.2) for n in range(50))])
    assert after.mean - before.mean > 1.0
    assert after.rating - before.rating < 0.2 * (after.mean - before.mean)


def test_a_steady_product_has_no_bursts() -> None:
    """Ten reviews on each day are all counted."""
    steady = [review(n, 5, float(n // 10)) for n in range(100)]
    assert of_p(steady).weight == pytest.approx(30.0)


def test_copies_of_a_text_count_as_one() -> None:
    """The same words from many persons, on different days, are one review."""
    text = "Best product ever, buy it now!"
    copies = [review(100 + n, 5, 2.0 * n, text if n % 2 else text.upper()) for n in range(30)]
    assert of_p(copies).weight == pytest.approx(0.3)


def test_buyers_count_more() -> None:
    """A review of a buyer has more weight than one without a purchase."""
    bought = frozenset({("v0", "p")})
    assert of_p([review(0, 5)], bought).rating > of_p([review(0, 5)]).rating


def test_sentiment_of_texts() -> None:
    """Texts in English and Chinese give the sentiment, drawn to zero if they are few; ratings alone give none."""
    good = [replace(review(n, 5, 2.0 * n), text=f"Great quality, I love it. {n}") for n in range(20)]
    bad = [replace(review(n, 1, 2.0 * n), text=f"质量太差了，很失望，要求退货 {n}") for n in range(20)]
    assert of_p(good).sentiment > 0.4
    assert of_p(bad).sentiment < -0.3
    assert 0 < of_p(good[:1]).sentiment < of_p(good).sentiment
    assert of_p(HONEST).sentiment == 0
