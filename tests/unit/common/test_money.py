"""Money keeps every digit between the message and the decimal."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.convert import money_from_proto, money_to_proto
from services.common.errors import InvalidArgument
from services.common.money import MAX_UNITS, NANOS, Money
from services.query_encoder.domain.constraints import find_price

whole_units = st.integers(-MAX_UNITS, MAX_UNITS)
all_nanos = st.integers(-NANOS + 1, NANOS - 1)


def same_sign(units: int, nanos: int) -> bool:
    return units * nanos >= 0


@given(whole_units, all_nanos)
def test_units_and_nanos_come_back(units: int, nanos: int) -> None:
    """Any units and nanos are the same amount as a decimal, to the billionth, and the same units and nanos again."""
    if not same_sign(units, nanos):
        nanos = -nanos
    money = Money.from_units("USD", units, nanos)
    assert Fraction(money.amount) == units + Fraction(nanos, NANOS)
    assert money.to_units() == (units, nanos)


@given(st.decimals(-MAX_UNITS, MAX_UNITS, places=9))
def test_a_decimal_comes_back(amount: Decimal) -> None:
    """Any amount with nine decimal places is the same after both conversions."""
    message = money_to_proto(Money("EUR", amount))
    assert money_from_proto(message, "price") == Money("EUR", amount)
    assert same_sign(message.units, message.nanos)


@given(st.integers(0, 10**11), st.integers(0, 99))
def test_no_float_on_the_way(units: int, cents: int) -> None:
    """Prices that no float holds exactly are added up exactly."""
    price = Money.from_units("USD", units, cents * 10_000_000).amount
    assert sum([price] * 10) == Decimal(units * 10) + Decimal(cents) / 10


@pytest.mark.parametrize(
    ("amount", "nanos"), [("0.0000000005", 0), ("0.0000000015", 2), ("0.0000000025", 2), ("-0.0000000015", -2)]
)
def test_finer_than_nanos(amount: str, nanos: int) -> None:
    """More than nine decimal places are rounded half to even, for both signs."""
    assert Money("USD", Decimal(amount)).to_units() == (0, nanos)


@given(whole_units.filter(bool), all_nanos.filter(bool))
def test_signs_that_differ(units: int, nanos: int) -> None:
    """Units and nanos of different signs are refused, and the error names nanos."""
    if same_sign(units, nanos):
        nanos = -nanos
    assert refused(units=units, nanos=nanos) == "price.nanos"


@pytest.mark.parametrize("nanos", [NANOS, -NANOS, 2**31 - 1])
def test_too_many_nanos(nanos: int) -> None:
    """A billion nanos or more are refused."""
    assert refused(nanos=nanos) == "price.nanos"


@pytest.mark.parametrize("units", [MAX_UNITS + 1, -MAX_UNITS - 1, 2**63 - 1])
def test_too_many_units(units: int) -> None:
    """Beyond the bound an amount is refused: amounts computed from it would not fit the message."""
    assert refused(units=units) == "price.units"


@given(st.text(max_size=5))
def test_currencies(code: str) -> None:
    """Only three capital letters are a currency; anything else is refused by the path of the field."""
    is_code = len(code) == 3 and all("A" <= letter <= "Z" for letter in code)
    assert refused(currency=code) == ("" if is_code else "price.currency_code")


@given(st.from_regex(r"(under|over|max) [$][0-9]{1,9}(,[0-9]{3}){0,9}", fullmatch=True))
def test_prices_of_queries_fit(text: str) -> None:
    """Any price that a query states fits the message or is not a price."""
    price = find_price(text, "USD")
    for money in (price.minimum, price.maximum) if price else ():
        if money is not None:
            assert money_from_proto(money_to_proto(money), "price") == money


def refused(currency: str = "USD", units: int = 0, nanos: int = 0) -> str:
    """The path of the wrong field, empty if none is wrong."""
    try:
        Money.from_units(currency, units, nanos, "price")
    except InvalidArgument as error:
        return error.violations[0].field
    return ""
