"""Effective offers from retrieval's columns are exact amounts of money."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kairos.retrieval.v1 import retrieval_pb2
from services.common.money import MINOR_UNIT_DECIMALS, Money, minor_unit
from services.gateway.domain.effective_offer import EffectiveOffer, effective_offer
from services.gateway.flows.effective_offers import offers_of


@given(st.sampled_from(sorted(MINOR_UNIT_DECIMALS)), st.integers(0, 10**12), st.integers(0, 10**12))
def test_amounts_survive_the_column(currency: str, paid: int, reduction: int) -> None:
    """Every whole number of minor units, up to 10^12 of them, comes back from a column of doubles unchanged."""
    price, listed = (number * minor_unit(currency) for number in (paid, paid + reduction))
    found = effective_offer(float(price), float(listed), currency, 3)
    assert found == EffectiveOffer(Money(currency, price), Money(currency, listed), 3)


@pytest.mark.parametrize(("price", "currency"), [(math.nan, "USD"), (10.0, ""), (10.0, "usd")])
def test_no_price(price: float, currency: str) -> None:
    """Without a price or a currency there is no offer."""
    assert effective_offer(price, 10.0, currency, -1) is None


@pytest.mark.parametrize("listed", [math.nan, 5.0])
def test_the_list_price_is_not_below_the_price(listed: float) -> None:
    """A list price that is unknown, or below the price, counts as the price. Stock that is not tracked is unknown."""
    found = effective_offer(9.99, listed, "USD", -1)
    assert found == EffectiveOffer(Money("USD", Decimal("9.99")), Money("USD", Decimal("9.99")), None)


@pytest.mark.parametrize("list_prices", [[12.5, math.nan], []], ids=["today", "of an earlier version"])
def test_offers_of_candidates(list_prices: list[float]) -> None:
    """Offers by product id; a product without a price has none, and without list prices the price is the list price."""
    candidates = retrieval_pb2.Candidates(
        ids=["a", "b"], prices=[9.99, math.nan], list_prices=list_prices, currencies=["USD", ""], stocks=[3, -1]
    )
    offers = offers_of(candidates)
    listed = Money("USD", Decimal("12.50" if list_prices else "9.99"))
    assert dict(offers) == {"a": EffectiveOffer(Money("USD", Decimal("9.99")), listed, 3)}
    assert (len(offers), "b" in offers, offers.get("c")) == (1, False, None)
