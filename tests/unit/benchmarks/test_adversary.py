"""The ten worst attacks that benchmarks.adversary has found, each with a bound on its gain; and how it searches."""

from __future__ import annotations

import math
from random import Random

import pytest

from benchmarks.adversary_ads import ClickFraud, FalseBids
from benchmarks.adversary_reviews import ReviewAttack
from benchmarks.adversary_search import Outcome, Parameters, best, cheapest, search
from benchmarks.adversary_titles import disguised
from services.common.product import Product
from services.common.product_type import product_type
from services.common.typed_text import as_typed
from services.ranker.domain.item_counts.pairs import Act, PersonCounts
from services.ranker.domain.item_counts.relations import Pair, Relation
from services.ranker.domain.item_counts.trending import lower_bound
from services.sponsored.domain.auction import Mechanism
from services.sponsored.domain.page import PageRules, least_relevance, places_of

NOW_S = 1_800_000_000.0


@pytest.fixture(scope="module")
def fraud() -> ClickFraud:
    """A day with 600 honest visitors."""
    return ClickFraud(600, 1)


@pytest.mark.parametrize(
    ("attack", "most_cents"),
    [
        # Billed before all clicks on a campaign had a bound: 18,000 cents for 130, 6,000 for 110 and 5,400 for 49.
        ({"people": 100, "clicks": 3, "others": 0, "views": 0, "pause_s": 600}, 3_000),
        ({"people": 100, "clicks": 1, "others": 0, "views": 0, "pause_s": 30}, 2_000),
        ({"people": 30, "clicks": 3, "others": 0, "views": 0, "pause_s": 30}, 2_000),
        # Robots, a person who hammers one campaign, and a ring that clicks many.
        ({"people": 30, "clicks": 20, "others": 0, "views": 0, "pause_s": 1}, 0),
        ({"people": 1, "clicks": 20, "others": 0, "views": 20, "pause_s": 600}, 180),
    ],
)
def test_fake_clicks_cost_a_competitor_little(fraud: ClickFraud, attack: Parameters, most_cents: float) -> None:
    """Of a campaign with 60 cents a click, so much is billed at most."""
    assert fraud.attempt(attack).gain <= most_cents


def test_a_bid_that_does_not_want_to_win_costs_more_than_it_harms() -> None:
    """The best bid to make a competitor's clicks dearer costs its bidder five times as much as the competitor."""
    attack = FalseBids(Mechanism.GSP, 1)
    found = attack.attempt({"bid": 120, "quality": 0.08})
    assert found.gain > 0
    assert found.cents > 5 * found.gain


def test_no_bid_buys_a_place_without_relevance() -> None:
    """Whatever an ad bids, half as relevant as the results that it would stand before is not enough."""
    rules = PageRules()
    least = least_relevance(rules, places_of(rules, 24), [0.9] * 24)
    assert least >= 0.85
    assert least_relevance(rules, places_of(rules, 24), [0.1] * 24) == rules.relevance_floor


def test_a_stuffed_title_is_of_one_type() -> None:
    """With the names of many products in its title, a product is found as the first of them at most: those of the type
    that a query asks for come before it for all other queries.
    """
    names = ["puzzle", "sunglasses", "usb cable", "cat food", "laptop stand", "floor lamp"]
    title = " ".join([*names, "Portable Bluetooth Speaker"])
    assert product_type(Product(id="1", title=title)) in {"speaker", "puzzle"}
    assert product_type(Product(id="1", title="Portable Bluetooth Speaker, " + ", ".join(names))) == "speaker"


@pytest.mark.parametrize("disguise", ["joiners", "homoglyphs"])
def test_a_disguised_word_is_read_as_it_is_seen(disguise: str) -> None:
    """Neither unseen characters nor letters of another script hide a word from what reads titles."""
    for word in ("kettle", "Nike", "power tools"):
        hidden = disguised(word, disguise)
        assert hidden != word
        assert as_typed(hidden) == word


def test_a_visitor_makes_two_products_neighbours_once() -> None:
    """Thirty repetitions of a click on a bestseller and on the own product count as one person."""
    person, total = PersonCounts(), 0.0
    pair = Pair(Relation.VIEWED, "bestseller", "own")
    for number in range(60):
        act = Act(Relation.VIEWED, ("bestseller", "own")[number % 2], NOW_S + 2.0 * number)
        for change in person.add(act):
            if change.pair == pair:
                total += change.before is None
                assert change.after is not None
    assert total == 1


def test_a_few_visitors_are_no_trend() -> None:
    """Three fake visitors of one day stay below the rate with which a product rises; ten visitors count as six."""
    assert lower_bound(3) < 1.0 + 0.2
    assert lower_bound(10) < 0.65 * 10


def test_praise_by_visitors_made_for_it_moves_a_rating_little() -> None:
    """50 within a week move a product of 3 stars by less than a third of what they move the mean."""
    attempt = {"visitors": 50, "days": 7, "texts": 1}
    guarded, plain = (ReviewAttack(is_defended).attempt(attempt).gain for is_defended in (True, False))
    assert guarded < plain / 3
    assert guarded < 0.4


def planted(parameters: Parameters) -> Outcome:
    """Gains 1 for (3, 3), and costs what a is."""
    gain = 1 - (abs(parameters["a"] - 3) + abs(parameters["b"] - 3)) / 10
    return Outcome(gain, 1.0 + parameters["a"])


SPACE = {"a": range(6), "b": range(6)}


def test_the_attacker_finds_what_is_planted() -> None:
    """Within half of all possible attempts, and the same ones for the same seed."""
    trials = search(SPACE, planted, math.inf, 18, Random(1))
    assert best(trials).outcome.gain >= 0.9
    assert cheapest(trials).outcome.gain_per_cent >= 0.5
    assert trials == search(SPACE, planted, math.inf, 18, Random(1))
    assert len({repr(trial.parameters) for trial in trials}) == len(trials) == 18


def test_the_attacker_keeps_its_budget() -> None:
    """What the attempts cost together is at most the budget; one that costs more than what is left does not count."""
    trials = search(SPACE, planted, 20.0, 30, Random(2))
    assert 0 < sum(trial.outcome.cents for trial in trials) <= 20
