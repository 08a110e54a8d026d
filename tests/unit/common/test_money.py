"""Money keeps every digit between the message and the decimal."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.convert import money_from_proto, money_to_proto
from services.common.errors import InvalidArgument
from services.common.money import (
    CURRENCY_NAMES,
    MAX_UNITS,
    MINOR_UNIT_DECIMALS,
    NANOS,
    Money,
    currency_name_form,
    currency_named,
    from_minor_units,
    whole_minor_units,
)
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


@given(st.text(max_size=5) | st.sampled_from(["usd", "QQQ", "XXX", "XAU"]))
def test_not_a_currency(code: str) -> None:
    """Only a code of ISO 4217 in capitals is a currency; anything else is refused by the path of the field."""
    assert refused(currency=code) == ("" if code in MINOR_UNIT_DECIMALS else "price.currency_code")


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


@pytest.mark.parametrize(
    ("names", "currency"),
    [
        (["€", "EUR", "eur", "Euro", "euros", "欧元", "歐元", " € "], "EUR"),
        (["£", "GBP", "pounds", "quid", "英镑", "英鎊"], "GBP"),
        (["HK$", "hkd", "港币", "港幣"], "HKD"),
        (["NT$", "NTD", "新台幣", "臺幣"], "TWD"),
        (["US$", "$", "＄", "dollars", "美元"], "USD"),
        (["JPY", "yen", "円", "日元", "日圓"], "JPY"),
        (["CNY", "RMB", "元", "人民幣", "块"], "CNY"),
        (["A$", "AU$"], "AUD"),
        (["Fr.", "CHF", "瑞郎"], "CHF"),
        (["zł", "PLN"], "PLN"),
        (["R$", "reais"], "BRL"),
        (["Rs.", "₹", "₨"], "INR"),
    ],
)
def test_names_of_currencies(names: list[str], currency: str) -> None:
    """Signs, codes and names mean the same currency, in capital or small letters, in any width."""
    assert {name: currency_named(name) for name in names} == dict.fromkeys(names, currency)


@pytest.mark.parametrize(
    ("name", "shop_currency", "currency"),
    [
        ("$", "CAD", "CAD"), ("$", "EUR", "USD"), ("US$", "CAD", "USD"), ("¥", "JPY", "JPY"), ("¥", "CNY", "CNY"),
        ("¥", "USD", None), ("￥", "", None), ("kr", "SEK", "SEK"), ("kr.", "DKK", "DKK"), ("kr", "USD", None),
        ("元", "TWD", "TWD"), ("元", "USD", "CNY"), ("pesos", "MXN", "MXN"), ("pesos", "USD", None),
        ("lumens", "USD", None), ("", "USD", None), ("XXX", "USD", None),
    ],
)  # fmt: skip
def test_names_that_currencies_share(name: str, shop_currency: str, currency: str | None) -> None:
    """The shop's currency decides between currencies of one name; without it a name that has no usual meaning has no
    currency, and neither has an unknown name.
    """
    assert currency_named(name, shop_currency) == currency


def test_every_code_is_a_name() -> None:
    """Every code of ISO 4217 names its own currency in any shop, and all names are in the form that is looked up."""
    assert all(currency_named(code.lower(), "USD") == code for code in MINOR_UNIT_DECIMALS)
    assert {currency_name_form(name) for name in CURRENCY_NAMES} == CURRENCY_NAMES


@pytest.mark.parametrize(("currency", "amount", "units"), [("USD", "2.5", 250), ("JPY", "7", 7), ("KWD", "0.125", 125)])
def test_minor_units(currency: str, amount: str, units: int) -> None:
    """An amount is a whole number of minor units, and back."""
    money = Money(currency, Decimal(amount))
    assert whole_minor_units(money) == units
    assert from_minor_units(currency, units) == money


def test_a_fraction_of_a_minor_unit_is_no_whole_number() -> None:
    """USD 0.005 is no number of cents."""
    assert whole_minor_units(Money("USD", Decimal("0.005"))) is None
