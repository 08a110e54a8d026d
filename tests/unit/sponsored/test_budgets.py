"""What a replica may spend: leases, pacing over the day, and the return on spend."""

from __future__ import annotations

from pathlib import Path

from services.sponsored.accounts import AccountRules, Accounts
from services.sponsored.adapters.sqlite_ledger import SqliteLedger
from services.sponsored.budgets import Budgets
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Fact, Purchase
from services.sponsored.domain.invalid_clicks import ClickRules
from services.sponsored.domain.leases import LeaseRules
from services.sponsored.domain.pacing import INTERVAL_S, PacingRules
from tests.unit.sponsored.campaigns import MONDAY_S, campaign, click_on, impression

HOUR_S = 3_600.0


class Replicas:
    """Some replicas over one ledger, with one clock that is set by hand."""

    def __init__(self, folder: Path, own: Campaign, count: int = 1) -> None:
        self.now_s, self.campaign, self.ledger = MONDAY_S + 12 * HOUR_S, own, SqliteLedger(folder)
        accounts = Accounts(self.ledger, lambda _: {own.id: own}, AccountRules(), ClickRules(), self._clock)
        self.budgets = [
            Budgets(self.ledger, accounts, PacingRules(), LeaseRules(), f"replica-{number}", self._clock)
            for number in range(count)
        ]

    def _clock(self) -> float:
        return self.now_s

    def multipliers(self, after_s: float = 0.0) -> list[float]:
        """After so much time, in which no replica was asked, and a turn of each."""
        self.now_s += after_s
        for each in self.budgets:
            each.multiplier_of("shop", self.campaign)
            each.turn()
        return [each.multiplier_of("shop", self.campaign) for each in self.budgets]

    def take(self, cost: float) -> float:
        """What all replicas together can take in ads of this cost."""
        taken = 0.0
        for each in self.budgets:
            while each.take("shop", self.campaign.id, cost):
                taken += cost
        return taken


def test_a_campaign_waits_for_its_lease(tmp_path: Path) -> None:
    """Before the first turn, and after the lease has ended, it takes no part."""
    replicas = Replicas(tmp_path, campaign())
    assert replicas.budgets[0].multiplier_of("shop", replicas.campaign) == 0
    assert replicas.multipliers() == [0.5]
    replicas.now_s += 11
    assert replicas.budgets[0].multiplier_of("shop", replicas.campaign) == 0


def test_replicas_together_take_at_most_the_budget(tmp_path: Path) -> None:
    """Ten of them, in many turns, without a click: 2,000 cents of expected cost, of which old ones are free again."""
    replicas, taken = Replicas(tmp_path, campaign(), count=10), 0.0
    for _ in range(6):
        replicas.multipliers(after_s=9)
        taken += replicas.take(1.0)
    assert 0.9 * 2_000 <= taken <= 2_000


def test_more_traffic_than_clicks_raises_the_bids(tmp_path: Path) -> None:
    """Without spend the multiplier rises with each interval of five minutes."""
    replicas = Replicas(tmp_path, campaign())
    first = replicas.multipliers()[0]
    later = [replicas.multipliers(after_s=INTERVAL_S)[0] for _ in range(3)]
    assert first < later[0] < later[1] < later[2] <= 1


def test_a_low_return_lowers_the_bids(tmp_path: Path) -> None:
    """Sales of the spend itself, with a target of five times: the bids fall. With many sales they do not."""
    facts: list[Fact] = []
    for number in range(20):
        shown = impression(number, shown_s=MONDAY_S + 6 * HOUR_S + number)
        facts += [shown, click_on(shown)]
    factors = {}
    for name, amount in (("low", 30), ("high", 3_000)):
        replicas = Replicas(tmp_path / name, campaign(target_return=5.0))
        bought_s = MONDAY_S + 7 * HOUR_S
        sales = [Purchase(f"e{number}", f"person-{number}", "p", amount, bought_s, "EUR") for number in range(20)]
        replicas.ledger.record("shop", [*facts, *sales])
        replicas.multipliers()
        factors[name] = [replicas.multipliers(after_s=INTERVAL_S)[0] for _ in range(8)][-1]
    assert factors["low"] < 0.5 < factors["high"]


def test_an_hour_costs_at_most_its_share_of_the_traffic(tmp_path: Path) -> None:
    """Yesterday had 2,400 requests. After 10 of this hour 1.7 / 240 of the budget may be spent, and not a tenth."""
    replicas = Replicas(tmp_path, campaign(daily_budget=240_000))
    yesterday = int((MONDAY_S - 24 * HOUR_S) // INTERVAL_S)
    for interval in range(288):
        replicas.ledger.add_requests("shop", yesterday + interval, 2_400 // 288)
    for _ in range(10):
        replicas.budgets[0].count("shop")
    replicas.multipliers()
    forecast = 288 * (2_400 // 288)
    assert replicas.take(1.0) <= 240_000 * 1.7 * 10 / forecast
