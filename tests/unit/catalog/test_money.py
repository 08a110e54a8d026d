"""An amount is read in every notation that leaves no doubt, with its currency; every other text is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.money import parse_money
from catalog.numbers import ENGLISH, UNKNOWN, Notation
from catalog.rows import RowRefused
from services.common.money import MAX_UNITS, MINOR_UNIT_DECIMALS

POINT, COMMA = Notation("."), Notation(",")


def read(value: object, currency: str = "USD", notation: Notation = UNKNOWN, only: bool = False) -> str:
    """For example "EUR 19.99"; the amount without zeros at its end."""
    money = parse_money("price", value, currency, notation, only=only)
    return f"{money.currency} {money.amount.normalize():f}"


def reason(value: object, currency: str = "USD", notation: Notation = UNKNOWN, only: bool = False) -> str:
    with pytest.raises(RowRefused) as refused:
        parse_money("price", value, currency, notation, only=only)
    assert refused.value.field == "price"
    return refused.value.reason


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("24,90", "USD 24.9"), ("24.90", "USD 24.9"), ("2.499,00", "USD 2499"), ("2,499.00", "USD 2499"),
        ("2\u00a0499.00", "USD 2499"), ("2\u202f499,50", "USD 2499.5"), ("2\u2009499", "USD 2499"),
        ("2'499.00", "USD 2499"), ("2’499", "USD 2499"), ("12,34,567.89", "USD 1234567.89"), ("1,23,456", "USD 123456"),
        ("1.234.567", "USD 1234567"), ("1,234,567", "USD 1234567"), ("0,125", "USD 0.125"), (".5", "USD 0.5"),
        ("7,-", "USD 7"), ("7.–", "USD 7"), ("２４．９０", "USD 24.9"), ("٢٤٫٩٠", "USD 24.9"),
        (" 24.90\u200b", "USD 24.9"),
    ],
)  # fmt: skip
def test_notations(text: str, amount: str) -> None:
    """Points, commas, spaces and apostrophes are read by their places; digits of any script are digits."""
    assert read(text) == amount


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("24,90 €", "EUR 24.9"), ("€24.90", "EUR 24.9"), ("&euro;24.90", "EUR 24.9"), ("£7.00", "GBP 7"),
        ("15.50 USD", "USD 15.5"), ("usd 15.50", "USD 15.5"), ("CAD15.50", "CAD 15.5"), ("US$15", "USD 15"),
        ("US $ 15", "USD 15"), ("$15 CAD", "CAD 15"), ("HK$15", "HKD 15"), ("R$ 1.299,90", "BRL 1299.9"),
        ("CHF 2'499.00", "CHF 2499"), ("10,50 zł", "PLN 10.5"), ("₹1,23,456.00", "INR 123456"), ("1500円", "JPY 1500"),
        ("₩12,000", "KRW 12000"), ("1,299 JPY", "JPY 1299"), ("1.299 JPY", "JPY 1299"), ("$5", "USD 5"),
    ],
)  # fmt: skip
def test_currencies(text: str, amount: str) -> None:
    """A sign, code or name on either side is the currency, whatever the currency of the file."""
    assert read(text) == amount


@pytest.mark.parametrize("text", ["¥1999", "￥1999", "99 kr", "99 foo", "99 per kg"])
def test_a_sign_of_several_currencies(text: str) -> None:
    """A sign that several currencies share, or an unknown one, is refused with the remedy."""
    assert "--currency" in reason(text)


def test_the_currency_of_the_file_settles_a_shared_sign() -> None:
    """¥ is JPY or CNY, kr SEK or NOK, $ CAD or AUD, as the file says."""
    assert (read("¥1999", "JPY"), read("¥1999", "CNY")) == ("JPY 1999", "CNY 1999")
    assert (read("99 kr", "SEK"), read("99 kr", "NOK"), read("$5", "AUD")) == ("SEK 99", "NOK 99", "AUD 5")


def test_a_cell_in_another_currency_than_its_column() -> None:
    """The column and the cell must name the same currency."""
    assert read("24.90 €", "EUR", only=True) == "EUR 24.9"
    assert "column `currency` says USD" in reason("24.90 €", "USD", only=True)
    assert "EUR and USD" in reason("EUR 5 USD")


@pytest.mark.parametrize("text", ["1.299", "1,299", "1.299 EUR", "19.999", "€ 120,000", "1.299 KWD"])
def test_three_digits_after_the_only_mark(text: str) -> None:
    """Three digits after one mark are thousands or decimals: refused, with both readings and both remedies."""
    assert "may mean" in reason(text)
    assert "--decimal-mark" in reason(text)


def test_the_notation_of_the_file_settles_thousands() -> None:
    """Other rows show the mark before decimals, so the other mark is between thousands. Three decimals are believed
    only in a currency that has them, or if a person has named the mark.
    """
    assert (read("1,299", notation=POINT), read("1.299 EUR", notation=COMMA)) == ("USD 1299", "EUR 1299")
    assert "may mean" in reason("1.299", notation=POINT)
    assert "may mean" in reason("1,299", notation=COMMA)
    assert (read("1.299 KWD", notation=POINT), read("1.299", notation=ENGLISH)) == ("KWD 1.299", "USD 1.299")


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["19.99", "1,299", "5", "free", 3], "."), (["19,99 €", "1.299", "-"], ","), (["19.99", "19,99"], ""),
        (["1,299", "5"], ""), (["1,299,000"], "."), (["1.299.000"], ","), ([None, 1.5, ""], ""),
    ],
)  # fmt: skip
def test_the_notation_that_a_file_shows(cells: list[object], mark: str) -> None:
    """All unambiguous cells must agree; numbers of JSON show nothing."""
    assert Notation.shown_by(cells) == Notation(mark)


@pytest.mark.parametrize(
    "text",
    [
        "10.00 - 25.00",
        "10–25 EUR",
        "from 10 to 25",
        "10/25",
        "2 for 5",
        "19€99",
        "1_000",
        "10.00,25.00",
        "1 2",
        "12 34.5",
    ],
)
def test_more_than_one_number(text: str) -> None:
    """A range, or anything else with two numbers, is refused: none of them is the price."""
    reason(text)


@pytest.mark.parametrize(
    "text",
    [
        "-5", "−5", "$-5", "-$5", "(5)", "5-", "1e3", "1.3E+03", "Infinity", "cheap", "5.", "5%", "1,2,3", "1,23.00",
        "1.2.3,4", "9" * 200, "½", "²", "19⁹⁹", "1" * 30,
    ],
)  # fmt: skip
def test_no_amount(text: str) -> None:
    """A negative amount, one in scientific notation, and what is no number are refused."""
    reason(text)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        (19.99, "USD 19.99"), (5, "USD 5"), (1.299, "USD 1.299"), (Decimal("7.50"), "USD 7.5"), (1e3, "USD 1000"),
        ({"currency_code": "EUR", "units": "19", "nanos": 990_000_000}, "EUR 19.99"), ({"currencyCode": "JPY",
        "units": 5}, "JPY 5"),
    ],
)  # fmt: skip
def test_numbers_of_json(value: object, amount: str) -> None:
    """A number has a point by its format and is read exactly; Money may also stand as protobuf writes it."""
    assert read(value) == amount


@pytest.mark.parametrize(
    "value",
    [float("inf"), -1, True, [5], {"amount": 5}, {"currency_code": "USD", "units": "x"}, {"units": 5}],
    ids=lambda value: str(type(value)),
)
def test_values_that_are_no_amount(value: object) -> None:
    """Any other value of JSON is refused."""
    reason(value)


@given(
    st.integers(0, 10**9), st.integers(0, 99), st.sampled_from([",.", ".,", " .", " ,", "'.", ".", ","]),
    st.sampled_from(["EUR", "USD", "GBP", "JPY", "KWD"]), st.booleans(),
)  # fmt: skip
def test_what_shops_write_is_read_back(units: int, cents: int, marks: str, code: str, before: bool) -> None:
    """An amount with two decimals is read exactly in every pair of marks, with its code on either side."""
    group, decimal = marks[:-1], marks[-1]
    whole = f"{units:,}".replace(",", group) if group else str(units)
    number = f"{whole}{decimal}{cents:02}"
    text = f"{code} {number}" if before else f"{number} {code}"
    money = parse_money("price", text, "CHF")
    assert (money.currency, money.amount) == (code, units + Decimal(cents) / 100)


@given(st.decimals(0, MAX_UNITS, places=9), st.booleans())
def test_amounts_keep_every_digit(amount: Decimal, grouped: bool) -> None:
    """An amount is read exactly, with and without commas between thousands."""
    assert parse_money("price", f"{amount:{',' if grouped else ''}f}", "USD").amount == amount


amounts = st.text("0123456789.,' -$€¥eE()krUSD", max_size=12)


@given(st.text(max_size=20) | amounts, st.sampled_from(sorted(MINOR_UNIT_DECIMALS)))
def test_any_text_for_an_amount(text: str, currency: str) -> None:
    """Any text is an amount whose digits stand in the text, or is refused."""
    try:
        money = parse_money("price", text, currency)
    except RowRefused:
        return
    assert 0 <= money.amount <= MAX_UNITS
    written = "".join(str(int(c)) for c in text if c.isdecimal()).strip("0")
    assert written == "".join(c for c in f"{money.amount:f}" if c.isdigit()).strip("0")
