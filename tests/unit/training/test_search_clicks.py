"""Relevance from clicks: position bias is removed, and little evidence counts little."""

from __future__ import annotations

import numpy as np
import pytest

from training.search.clicks import SearchedList, judged_by_clicks, normalised
from training.search.data import RELEVANT, gain

_EXAMINED = 1 / np.arange(1, 9)
_RATES = (0.9, 0.6, 0.3, 0.3, 0.1, 0.02, 0.02, 0.02)


def lists(queries: int, sessions: int, seed: int) -> list[SearchedList]:
    """Of each query eight products with the rates above. The shop shows the worst ones first, up to some noise."""
    random, made = np.random.default_rng(seed), []
    for query in range(queries):
        for session in range(sessions):
            order = np.argsort(np.array(_RATES) + random.gumbel(size=8) * 0.6)
            clicked = random.random(8) < _EXAMINED * np.array(_RATES)[order]
            made.append(
                SearchedList(
                    f"query {query}", f"{query}-{session}", float(session), [f"p{each}" for each in order],
                    list(range(1, 9)), clicked.astype(int).tolist(),
                )
            )  # fmt: skip
    return made


def test_position_bias_is_removed() -> None:
    """The gains follow the rates, although the best products are shown far down; those of plain clicks do not."""
    found = judged_by_clicks(lists(60, 200, seed=3))
    np.testing.assert_allclose(found.examination[2:9] / found.examination[2], 2 * _EXAMINED[1:], atol=0.08)
    shares = [
        np.mean([gain(judged.get(f"p{each}", 1.0)) / 3 for judged in found.judgements.values()]) for each in range(8)
    ]
    np.testing.assert_allclose(shares, np.array(_RATES) / _RATES[0], atol=0.15)
    clicks = np.zeros(8)
    for each in lists(60, 200, seed=3):
        for item_id, stage in zip(each.item_ids, each.reached, strict=True):
            clicks[int(item_id[1:])] += stage
    assert np.abs(clicks / clicks.max() - np.array(_RATES) / _RATES[0]).max() > 0.2


def test_unsmoothed_rates_prefer_no_order() -> None:
    """On average over queries the rates are right, for products that the shop shows first and for the last ones."""
    found = judged_by_clicks(lists(800, 10, seed=5))
    assert found.rates.keys() == found.judgements.keys()
    # Queries without a click count as well: leaving them out would raise all rates alike.
    means = [sum(of.get(f"p{each}", 0.0) for of in found.rates.values()) / 800 for each in range(8)]
    np.testing.assert_allclose(3 * np.array(means), _RATES, atol=0.06)


def test_a_chance_click_makes_no_pair() -> None:
    """The only click on a product that is rarely shown does not make it relevant; clicks in most searches do."""
    shop = []
    for query in range(200):
        for session in range(10):
            rare = session == query % 10
            ids = ["usual", f"rare {session}" if rare else "other"]
            clicked = [int(session % 5 > 0), int(rare and query % 10 == 0)]
            shop.append(SearchedList(f"query {query}", f"{query}-{session}", 0.0, ids, [1, 2], clicked))
    judged = judged_by_clicks(shop).judgements["query 0"]
    assert judged["rare 0"] < RELEVANT <= judged["usual"]


def one(query: str, reached: int, item: str = "a", positions: tuple[int, ...] = (1,)) -> SearchedList:
    return SearchedList(query, "s", 0.0, [item], positions, [reached])


@pytest.mark.parametrize("positions", [(1,), ()])
def test_little_evidence_and_purchases(positions: tuple[int, ...]) -> None:
    """A click in one search gains less than clicks in many, a purchase more than a click; with and without lists."""
    many = [one("many", 1, positions=positions) for _ in range(30)]
    once = [one("once", 1, positions=positions)]
    bought = [one("many", 3, "b", positions) for _ in range(30)]
    judged = judged_by_clicks([*many, *once, *bought, one("none", 0, positions=positions)]).judgements
    assert "none" not in judged
    assert judged["once"]["a"] < judged["many"]["b"]
    assert judged["many"]["a"] < judged["many"]["b"] == 3.0


def test_spellings_of_one_query_are_one() -> None:
    """Case and spaces do not matter."""
    judged = judged_by_clicks([one("Red  Shoe", 1), one("red shoe", 1, "b")]).judgements
    assert list(judged) == ["red shoe"] == [normalised(" RED shoe ")]
    assert set(judged["red shoe"]) == {"a", "b"}


def test_queries_that_nobody_can_see_are_left_out() -> None:
    """The services refuse a query without a visible character; the same words in another form are one query."""
    found = judged_by_clicks([one("  ", 1), one("\u200b", 1), one("Red  shoe", 1), one("ｒｅｄ shoe", 1)])
    assert list(found.judgements) == ["red shoe"]
