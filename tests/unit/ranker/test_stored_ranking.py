"""A stored ranking: parts of it, its form as bytes, and the sample that is logged whole."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from services.ranker.adapters.ranking_bytes import from_bytes, to_bytes
from services.ranker.domain.impressions import is_logged_whole
from services.ranker.domain.shown_ad import ShownAd
from services.ranker.domain.shown_prices import ShownPrices
from services.ranker.domain.stored_ranking import Interleaving, ItemColumns
from tests.unit.ranker.rankings import made_ranking, same, shown_prices


@pytest.mark.parametrize("features", [True, False])
def test_bytes_keep_everything(features: bool) -> None:
    """A ranking decoded from its bytes is equal bit by bit; unknown prices stay unknown."""
    ranking = made_ranking("a", "b", "c", visitor="v", ranked_s=1.25, features=features)
    items = ItemColumns(["a", "bare"], np.array([[3, 4], [0, 0]], np.int8), "m@1", np.array([np.nan, 9.5]),
                        ["", "Ünïcode > 书"], ["B", ""])  # fmt: skip
    ranking = replace(ranking, items=items, query="bottes d'été 靴")
    assert same(from_bytes(to_bytes(ranking)), ranking)


@pytest.mark.parametrize(
    "prices",
    [
        shown_prices(),
        shown_prices("quote-1", "", "书"),
        shown_prices("0" * 32, "", ""),
        shown_prices("", "", ""),
        shown_prices(offers=(2**40, 3, 0)),
    ],
    ids=["uuids", "other ids", "zeros", "no quotes", "large amounts"],
)
def test_bytes_keep_prices(prices: ShownPrices) -> None:
    """The prices that were shown are decoded as they were, whatever the ids of their quotes look like."""
    ranking = replace(made_ranking("a", "b", "c"), prices=prices)
    assert same(from_bytes(to_bytes(ranking)), ranking)


def test_bytes_keep_interleaving() -> None:
    """As it was, also of a part of the ranking."""
    ranking = replace(made_ranking("a", "b", "c"), interleaving=Interleaving("书", ("old", "new"), [1, 0, 2]))
    assert same(from_bytes(to_bytes(ranking)), ranking)
    part = from_bytes(to_bytes(ranking.take([2, 0]))).interleaving
    assert part is not None
    assert part.teams == [2, 1]


def test_bytes_keep_sponsored_places() -> None:
    """As they were; a page without any has no bytes for them."""
    ranking = made_ranking("a", "b", "c")
    sponsored = replace(ranking, ads=(ShownAd("b", "书", 10**15, "EUR", 0.25), ShownAd("a", "spring", 0, "JPY", 0.0)))
    assert same(from_bytes(to_bytes(sponsored)), sponsored)
    assert b"ads" not in to_bytes(ranking)


def test_prices_are_compact() -> None:
    """Ten prices with their quotes take at most 50 bytes each in the log; a ranking without prices takes none."""
    ids = [f"i{n}" for n in range(10)]
    prices = ShownPrices(
        "", "", ["USD"] * 10, np.arange(10) * 1_999, np.arange(10) * 2_499, ["list_price", "overstock"] * 5,
        [hashlib.blake2b(id.encode(), digest_size=16).hexdigest() for id in ids], np.ones(10, np.bool_),
    )  # fmt: skip
    bare = to_bytes(made_ranking(*ids))
    assert len(to_bytes(replace(made_ranking(*ids), prices=prices))) - len(bare) <= 500
    assert b"prices" not in bare


def test_long_vectors_are_kept_as_float16() -> None:
    """The long-term vector and the query are rounded to float16, numbers are not."""
    ranking = made_ranking("a", dimensions=4)
    assert ranking.logged is not None
    numbers = (ranking.logged.numbers / 3).astype(np.float32)
    exact = replace(ranking.logged, long_term=np.full(4, 1 / 3, np.float32), numbers=numbers)
    read = from_bytes(to_bytes(replace(ranking, logged=exact))).logged
    assert read is not None
    np.testing.assert_array_equal(read.long_term, np.full(4, 1 / 3, np.float16).astype(np.float32))
    np.testing.assert_array_equal(read.numbers, exact.numbers)


def test_item_features_of_columns() -> None:
    """Asked-for items that have a vector come back; a vector of int8 with length 1, others as they came."""
    compact = np.array([[30, 40], [0, 0], [1, 0]], np.int8)
    for vectors, first in ((compact, [0.6, 0.8]), (compact.astype(np.float16), [30, 40])):
        items = ItemColumns(["a", "b", "c"], vectors, "m@1", np.array([1, 2, np.nan]), ["", "", "C"], ["", "", "B"])
        (found,) = items.features({"a", "b", "nowhere"})
        assert (found.item_id, found.model_version, found.price, found.category) == ("a", "m@1", 1, "")
        assert found.vector is not None
        np.testing.assert_allclose(found.vector, first, rtol=1e-6)


def test_a_part_has_the_rows_of_its_items() -> None:
    """Taking rows keeps each item's score, propensity, leg scores and features, in the order of the rows."""
    ranking = made_ranking("a", "b", "c")
    part = ranking.take([2, 0])
    assert list(part.item_ids) == ["c", "a"]
    assert part.logged is not None
    assert ranking.logged is not None
    np.testing.assert_array_equal(part.scores, ranking.scores[[2, 0]])
    np.testing.assert_array_equal(part.propensities, ranking.propensities[[2, 0]])
    np.testing.assert_array_equal(part.leg_scores["lexical"], ranking.leg_scores["lexical"][[2, 0]])
    np.testing.assert_array_equal(part.logged.numbers, ranking.logged.numbers[[2, 0]])
    assert list(part.items.item_ids) == []


def test_the_sample_is_the_share() -> None:
    """About the configured share of rankings is logged whole, always the same ones; 0 and 1 mean none and all."""
    ids = [f"r{n}" for n in range(20_000)]
    chosen = [id for id in ids if is_logged_whole(id, 0.01)]
    assert len(chosen) == pytest.approx(200, abs=45)
    assert chosen == [id for id in ids if is_logged_whole(id, 0.01)]
    assert set(chosen) < {id for id in ids if is_logged_whole(id, 0.05)}
    assert not any(is_logged_whole(id, 0.0) for id in ids)
    assert all(is_logged_whole(id, 1.0) for id in ids)
