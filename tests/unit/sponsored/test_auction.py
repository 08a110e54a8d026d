"""Who gets the sponsored places, and at what price."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from services.sponsored.domain.auction import Ad, Mechanism, Place, Placed, run_auction

PLACES = (Place(1, 1.0), Place(4, 0.4), Place(8, 0.2))
RESERVE = 5
GSP, VCG = Mechanism.GSP, Mechanism.VCG

bids = st.integers(0, 300)
probabilities = st.floats(0.001, 0.9)
auctions = st.lists(st.tuples(bids, probabilities), min_size=1, max_size=7)


def ads_of(bidders: list[tuple[int, float]], sharing: int = 1) -> list[Ad]:
    """`sharing`: so many advertisers have the same product, and with it the same probability of a click."""
    return [Ad(f"c{n}", f"a{n}", n // sharing, bid, bidders[n - n % sharing][1]) for n, (bid, _) in enumerate(bidders)]


def first(placed: list[Placed]) -> Placed | None:
    return next((one for one in placed if one.ad.campaign_id == "c0"), None)


def utility(
    bidders: list[tuple[int, float]], bid: int, places: tuple[Place, ...], mechanism: Mechanism, sharing: int = 1
) -> float:
    """What the first bidder gains if a click is worth its bid in `bidders`, and it bids `bid` instead."""
    value, probability = bidders[0]
    won = first(run_auction(ads_of([(bid, probability), *bidders[1:]], sharing), places, mechanism, RESERVE))
    return 0.0 if won is None else won.place.examination * probability * (value - won.price)


@given(auctions, bids, st.integers(1, 3))
@settings(max_examples=300)
def test_with_one_place_the_true_value_is_the_best_bid(
    bidders: list[tuple[int, float]], other: int, sharing: int
) -> None:
    """No bid gains more than the value of a click, also against others with the same product."""
    truthful = utility(bidders, bidders[0][0], PLACES[:1], GSP, sharing)
    assert truthful >= 0
    assert utility(bidders, other, PLACES[:1], GSP, sharing) <= truthful + 1e-9


@given(auctions, bids, st.integers(1, 3))
@settings(max_examples=300)
def test_under_vcg_the_true_value_is_the_best_bid(bidders: list[tuple[int, float]], other: int, sharing: int) -> None:
    """No bid gains more than the value of a click, but for the rounding of the price to whole minor units."""
    truthful = utility(bidders, bidders[0][0], PLACES, VCG, sharing)
    assert truthful >= 0
    assert utility(bidders, other, PLACES, VCG, sharing) <= truthful + bidders[0][1] + 1e-9


def test_under_gsp_a_lower_bid_can_gain() -> None:
    """With several places GSP is not truthful: the second place may be the better bargain."""
    bidders = [(100, 0.1), (90, 0.1), (10, 0.1)]
    places = (Place(1, 1.0), Place(2, 0.9))
    assert utility(bidders, 50, places, GSP) > utility(bidders, 100, places, GSP)
    assert utility(bidders, 50, places, VCG) <= utility(bidders, 100, places, VCG)


@given(auctions, st.sampled_from([GSP, VCG]), st.floats(0.05, 1), st.integers(1, 3))
def test_a_price_is_between_reserve_and_bid(
    bidders: list[tuple[int, float]], mechanism: Mechanism, multiplier: float, sharing: int
) -> None:
    """Also for bids that pacing lowers; and VCG never costs more than GSP."""
    ads = [replace(ad, multiplier=multiplier) for ad in ads_of(bidders, sharing)]
    placed = run_auction(ads, PLACES, mechanism, RESERVE)
    assert all(RESERVE <= one.price <= one.ad.bid for one in placed)
    second = run_auction(ads, PLACES, GSP, RESERVE)
    assert [one.ad for one in placed] == [one.ad for one in second]
    assert all(one.price <= other.price for one, other in zip(placed, second, strict=True))


@given(auctions)
def test_with_one_place_both_mechanisms_cost_the_same(bidders: list[tuple[int, float]]) -> None:
    """VCG with one place is the second price."""
    assert run_auction(ads_of(bidders), PLACES[:1], GSP, RESERVE) == run_auction(
        ads_of(bidders), PLACES[:1], VCG, RESERVE
    )


@given(auctions, st.randoms())
def test_the_order_of_the_ads_does_not_matter(bidders: list[tuple[int, float]], random: object) -> None:
    """The same ads in another order get the same places at the same prices."""
    ads = ads_of(bidders)
    expected = run_auction(ads, PLACES, GSP, RESERVE, "request")
    random.shuffle(ads)  # type: ignore[attr-defined]
    assert run_auction(ads, PLACES, GSP, RESERVE, "request") == expected


def test_gsp_price_by_hand() -> None:
    """40 cents with 5 % against 30 cents with 4 %: 24 cents would have been enough. The last one pays the reserve."""
    placed = run_auction([Ad("a", "A", 0, 40, 0.05), Ad("b", "B", 1, 30, 0.04)], PLACES, GSP, RESERVE)
    assert [(one.ad.campaign_id, one.place.position, one.price) for one in placed] == [("a", 1, 24), ("b", 4, RESERVE)]


def test_vcg_price_by_hand() -> None:
    """Looks 1, .4 and .2: the first pays .6 * 24 + .4 * 5 = 16.4 cents a look, in whole cents 16."""
    placed = run_auction([Ad("a", "A", 0, 40, 0.05), Ad("b", "B", 1, 30, 0.04)], PLACES, VCG, RESERVE)
    assert [one.price for one in placed] == [16, RESERVE]


def test_an_advertiser_has_one_place() -> None:
    """Of several campaigns of one advertiser the best ad takes part, and it does not bid against the others."""
    ads = [Ad("a1", "A", 0, 40, 0.05), Ad("a2", "A", 1, 40, 0.04), Ad("b", "B", 2, 10, 0.05)]
    placed = run_auction(ads, PLACES, GSP, RESERVE)
    assert [(one.ad.campaign_id, one.price) for one in placed] == [("a1", 10), ("b", RESERVE)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), bids), max_size=12), st.sampled_from([GSP, VCG]))
def test_no_product_and_no_advertiser_has_two_places(bidders: list[tuple[int, int, int]], mechanism: Mechanism) -> None:
    """Whoever advertises what."""
    ads = [Ad(f"c{n}", f"a{who}", row, bid, 0.1 + row / 10) for n, (who, row, bid) in enumerate(bidders)]
    placed = run_auction(ads, PLACES, mechanism, RESERVE)
    assert len({one.ad.row for one in placed}) == len({one.ad.advertiser for one in placed}) == len(placed)
    assert all(RESERVE <= one.price <= one.ad.bid for one in placed)


def test_a_product_of_two_advertisers() -> None:
    """The higher bid has the place at the price of the lower one, and the next product the second place."""
    ads = [Ad("a", "A", 0, 40, 0.05), Ad("b", "B", 0, 30, 0.05), Ad("c", "C", 1, 20, 0.05)]
    placed = run_auction(ads, PLACES, GSP, RESERVE)
    assert [(one.ad.campaign_id, one.price) for one in placed] == [("a", 30), ("c", RESERVE)]


def test_an_advertiser_whose_product_is_taken_has_its_next_one() -> None:
    """It is not left out because another one bids more for its best product."""
    ads = [Ad("a", "A", 0, 40, 0.05), Ad("b1", "B", 0, 30, 0.05), Ad("b2", "B", 1, 30, 0.04)]
    placed = run_auction(ads, PLACES, GSP, RESERVE)
    assert [one.ad.campaign_id for one in placed] == ["a", "b2"]


def test_equal_scores_are_ordered_by_chance() -> None:
    """Over many requests each of two equal ads comes first about half of the time."""
    ads = [Ad("a", "A", 0, 40, 0.05), Ad("b", "B", 1, 40, 0.05)]
    wins = sum(run_auction(ads, PLACES, GSP, RESERVE, f"r{n}")[0].ad.campaign_id == "a" for n in range(1_000))
    assert 400 < wins < 600


def test_a_bid_below_the_reserve_takes_no_part() -> None:
    """Also if only pacing brings it below."""
    assert not run_auction([Ad("a", "A", 0, 4, 0.9)], PLACES, GSP, RESERVE)
    assert not run_auction([Ad("a", "A", 0, 8, 0.9, multiplier=0.5)], PLACES, GSP, RESERVE)
