"""Which offer an event answers."""

from __future__ import annotations

import pytest

from services.pricing.learning.facts import Facts, Impression, Interaction, Join, Paid
from services.pricing.learning.joining import joins_of
from tests.unit.pricing.learning.facts_of_a_day import DAY_S, did, offer, shown, usd

PAGES = [
    shown(1, 10, 900, quote=91),
    shown(2, 20, 800, person=2, visitor=22, quote=92),
    shown(3, 30, 700, person=3, offer=offer(700, "wholesale")),
    shown(4, 40, 1_000),
]


def join(event: Interaction, *impressions: Impression) -> Join:
    return joins_of(Facts(impressions or PAGES, [event]), DAY_S)[event.key]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (did(1, 50, quote=92, page=1), Join(offer(800), True)),
        (did(1, 50, page=1), Join(offer(900), True)),
        (did(1, 50, page=77), Join(offer(1_000), True)),
        (did(1, 35), Join(offer(900), True)),
        (did(1, 50, person=22), Join(offer(800), True)),
        (did(1, 50, person=9, visitor=2), Join(offer(800), True)),
        (did(1, 50, person=3), Join(offer(700, "wholesale"), True)),
        (did(1, 40 + DAY_S), Join(offer(1_000), True)),
        (did(1, 41 + DAY_S), Join(offer(1_000), False)),
        (did(1, 35, person=9, paid=usd(1)), Join(offer(800), False)),
        (did(1, 5, person=1, paid=usd(650)), Join(offer(650, list_cents=650), False)),
        (did(1, 5, person=1), Join(None, False)),
    ],
    ids=[
        "the quote before the ranking", "the ranking", "an unknown ranking: the last one of the person",
        "not one after the event", "a visitor who signed in", "a user who had been shown it as another",
        "in the price list of the person", "within the window", "after the window", "nobody's: the price of its time",
        "before all: what was paid", "nothing is known",
    ],
)  # fmt: skip
def test_an_event_is_joined(event: Interaction, expected: Join) -> None:
    """By quote, else ranking, else the person's last impression before it in the window, else the price of its time."""
    assert join(event) == expected


def test_an_impression_without_a_price_joins_nothing() -> None:
    """A page from before prices were logged tells no price."""
    assert join(did(1, 50, page=1), shown(1, 10, None)) == Join(None, False)


def test_a_join_that_was_stored_stays() -> None:
    """Its impression is gone: whatever is known of others changes nothing."""
    kept = Join(offer(1), True)
    assert join(did(1, 50, quote=92, kept=kept)) == kept


def test_what_was_paid_in_another_currency() -> None:
    """The event still answers the offer that was shown."""
    assert join(did(1, 50, page=1, paid=Paid("NOK", 9_900))) == Join(offer(900), True)
