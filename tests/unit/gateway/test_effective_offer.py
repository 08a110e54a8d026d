"""Effective offers from retrieval's columns are exact amounts of money."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.money import MINOR_UNIT_DECIMALS, Money, minor_unit
from services.gateway.domain.effective_offer import EffectiveOffer, effective_offer


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
