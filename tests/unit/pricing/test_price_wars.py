"""How a price war with a competitor ends."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from services.pricing.domain.competitors import CompetitorPrice
from services.pricing.domain.price_war import Damper
from tests.unit.pricing.shops import DAY_S, LOOSE, OneProduct, usd

DAMPER = Damper(3, 14 * DAY_S, 10 * DAY_S, Decimal("0.05"))


class Duel(OneProduct):
    """A product beside a competitor, day after day. The policy asks 98 % of the competitor's price."""

    def __init__(self, damper: Damper | None = DAMPER) -> None:
        super().__init__(replace(LOOSE, price_war=damper))
        self.ended_wars = 0

    def day(self, competitor: str, *, share: str | None = None) -> str:
        """The price of the next day, after the competitor has asked this on the day before."""
        self.change(competitors={"rival": CompetitorPrice(usd(competitor), self.now_s)})
        asked = share or str(min(Decimal(1), Decimal("0.98") * Decimal(competitor) / 100))
        self.look(asked, after_s=DAY_S)
        assert self.last is not None
        self.ended_wars += self.last.ended_wars
        return self.price

    def war(self) -> list[str]:
        """Three rounds: both cut, one after the other."""
        return [self.day(price) for price in ("99", "90", "85", "80")]


def test_a_war_ends() -> None:
    """After three rounds the price does not follow down any more: it goes back by the step of each day."""
    duel = Duel()
    duel.look("1")
    prices = duel.war()
    assert prices == ["97.02", "88.20", "83.30", "88.30"]
    assert (duel.guardrail, duel.ended_wars) == ("PRICE_WAR", 1)
    assert [duel.day("70") for _ in range(4)] == ["93.30", "98.30", "100.00", "100.00"]
    assert duel.ended_wars == 1


def test_without_a_damper() -> None:
    """The price follows down as long as the competitor cuts."""
    duel = Duel(None)
    duel.look("1")
    assert duel.war() == ["97.02", "88.20", "83.30", "78.40"]


def test_a_step_of_zero_holds_the_price() -> None:
    """The price stays until the pause is over."""
    duel = Duel(replace(DAMPER, step=Decimal(0)))
    duel.look("1")
    assert duel.war()[-1] == "83.30"
    assert [duel.day("70") for _ in range(3)] == ["83.30"] * 3


def test_after_the_pause() -> None:
    """Prices follow again, and another war needs all of its rounds."""
    duel = Duel()
    duel.look("1")
    duel.war()
    for _ in range(9):
        duel.day("70")
    assert [duel.day(price) for price in ("70", "65", "60", "55")] == ["68.60", "63.70", "58.80", "63.80"]
    assert duel.ended_wars == 2


def test_prices_that_move_up_and_down() -> None:
    """They are no war, however often both are cut: the cuts reach nothing new."""
    duel = Duel()
    duel.look("1")
    for _ in range(10):
        assert duel.day("90") == "88.20"
        assert duel.day("95") == "93.10"
    assert duel.ended_wars == 0


def test_a_price_that_falls_alone() -> None:
    """A price that falls beside a competitor who does not cut is no war."""
    duel = Duel()
    duel.look("1")
    assert [duel.day("99", share=str(1 - Decimal(day) / 20)) for day in range(1, 8)][-1] == "65.00"
    assert duel.ended_wars == 0


def test_rounds_that_are_far_apart() -> None:
    """Rounds count within the window only."""
    duel = Duel(replace(DAMPER, window_s=2.5 * DAY_S))
    duel.look("1")
    for price in ("99", "90", "85"):
        duel.day(price)
        duel.look(after_s=DAY_S)
    assert duel.ended_wars == 0


@pytest.mark.parametrize("seen", ["old", "sold out", "other currency"])
def test_a_competitor_that_does_not_count(seen: str) -> None:
    """An observation that is out of date, of a competitor without stock, or in another currency makes no war."""
    duel = Duel()
    duel.look("1")
    for amount in ("99", "90", "85", "80"):
        price = CompetitorPrice(usd(amount), duel.now_s - 3 * DAY_S if seen == "old" else duel.now_s)
        if seen == "sold out":
            price = replace(price, is_sold_out=True)
        elif seen == "other currency":
            price = replace(price, price=replace(price.price, currency="EUR"))
        duel.change(competitors={"rival": price})
        duel.look(str(Decimal(amount) / 100), after_s=DAY_S)
    assert duel.price == "80.00"


def test_stronger_guardrails() -> None:
    """What limits changes holds while a price goes back."""
    duel = Duel()
    duel.look("1")
    duel.rails(lambda rails: replace(rails, maximum_daily_change=Decimal("0.12")))
    duel.war()
    duel.rails(lambda rails: replace(rails, maximum_daily_change=Decimal("0.02")))
    before = Decimal(duel.price)
    duel.day("70")
    assert abs(Decimal(duel.price) - before * Decimal("1.02")) <= Decimal("0.01")
