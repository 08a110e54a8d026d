"""Team-draft interleaving of two orders."""

from __future__ import annotations

from collections import Counter
from random import Random

from kairos.ranker.v1 import ranker_pb2
from kairos.sponsored.v1.sponsored_pb2 import SponsoredPlace
from services.gateway.domain.team_draft import Draft, team_draft
from services.gateway.domain.tokens import PageToken
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.ranking import Ranking


def same(id: str) -> str:
    return id


def test_both_orders_add_their_best_product_in_turn() -> None:
    """The next products of both stand beside each other; where both would add the same one it counts for neither."""
    order, pairs = team_draft("abcde", "acbde", same, "coin")
    assert (order[0], set(order[1:3]), order[3:]) == ("a", {"b", "c"}, ["d", "e"])
    assert pairs == [("b", "c")]
    assert Draft("e", ("x", "y"), "coin", pairs).teams("abcde", ()) == [0, 1, 2, 0, 0]


def test_the_coin() -> None:
    """The same coin gives the same order; over many coins each arm is first equally often."""
    first, second = "abcdefgh", "hgfedcba"
    orders = [team_draft(first, second, same, f"coin {n}")[0] for n in range(400)]
    assert orders[7] == team_draft(first, second, same, "coin 7")[0]
    assert 160 < sum(order[0] == "a" for order in orders) < 240
    assert len({tuple(order) for order in orders}) == 2**4


def test_a_shopper_without_taste_favours_no_arm() -> None:
    """Clicks at a random position give both arms credit equally often, also on orders that share their head."""
    random, credits = Random(3), Counter[int]()
    ids = [f"p{n}" for n in range(12)]
    for number in range(3_000):
        second = ids[:3] + random.sample(ids[3:], 9)
        order, pairs = team_draft(ids, second, same, str(number))
        teams = Draft("e", ("x", "y"), "", pairs).teams(order, ())
        # At most ten are seen, and the first ones more often.
        credits[teams[min(random.randrange(10), random.randrange(10))]] += 1
    assert abs(credits[1] - credits[2]) < 3 * (credits[1] + credits[2]) ** 0.5


def test_variants_of_one_product() -> None:
    """Each group is in the order once, with the variant of the arm that added it, or of the first arm if both did."""
    order, pairs = team_draft(["a1", "b1", "c1"], ["a2", "c2", "b2"], lambda id: id[0], "coin")
    assert (order[0], pairs) == ("a1", [("b1", "c2")])
    assert set(order[1:]) == {"b1", "c2"}


def test_products_of_one_order_only() -> None:
    """They come last and count for neither."""
    order, pairs = team_draft("abcx", "ab", same, "coin")
    assert (order, pairs) == (["a", "b", "c", "x"], [])
    assert team_draft("", "ab", same, "coin") == (["a", "b"], [])


def test_sponsored_places_are_stored_without_a_team() -> None:
    """The ad, and what the other arm added with it."""
    draft = Draft("e", ("x", "y"), "coin", [("a", "b"), ("c", "d")])
    source = ranker_pb2.CANDIDATE_SOURCE_QUERY
    ranking = Ranking("r", list("cabd"), [1.0] * 4, "m", source, {}, 4, draft=draft, ads={"c": SponsoredPlace()})
    stored = ranking.to_store(Viewer(PageToken("f"))).interleaving
    assert (stored.experiment, list(stored.arms), list(stored.teams)) == ("e", ["x", "y"], [0, 1, 2, 0])


def test_fixed_places_count_for_neither() -> None:
    """A pinned or sponsored product has no credit, and neither has the product that the other arm added with it."""
    draft = Draft("e", ("x", "y"), "coin", [("a", "b"), ("c", "d")])
    assert draft.teams("abcd", {"b"}) == [0, 0, 1, 2]
