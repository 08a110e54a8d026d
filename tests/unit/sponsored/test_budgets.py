"""What a replica may spend: leases, pacing over the day, and the return on spend."""

from __future__ import annotations

from services.sponsored.budgets import Budgets
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.pacing import INTERVAL_S, PacingRules
from tests.fakes.budgets import SharedBudgets
from tests.unit.sponsored.campaigns import MONDAY_S, campaign

HOUR_S = 3_600.0


class Replicas:
    """Some replicas with one owner of budgets, and one clock that is set by hand."""

    def __init__(self, own: Campaign, count: int = 1) -> None:
        self.now_s, self.campaign = MONDAY_S + 12 * HOUR_S, own
        self.owner = SharedBudgets(self._clock)
        self.budgets = [
            Budgets(self.owner.of_replica(f"replica-{number}"), PacingRules(), self._clock) for number in range(count)
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


def test_a_campaign_waits_for_its_lease() -> None:
    """Before the first turn, and after the lease has ended, it takes no part."""
    replicas = Replicas(campaign())
    assert replicas.budgets[0].multiplier_of("shop", replicas.campaign) == 0
    assert replicas.multipliers() == [0.5]
    replicas.now_s += 11
    assert replicas.budgets[0].multiplier_of("shop", replicas.campaign) == 0


def test_replicas_together_take_at_most_the_budget() -> None:
    """Ten of them, in many turns, without a click: 2,000 cents of expected cost, of which old ones are free again."""
    replicas, taken = Replicas(campaign(), count=10), 0.0
    for _ in range(8):
        replicas.multipliers(after_s=9)
        taken += replicas.take(1.0)
    assert 0.9 * 2_000 <= taken <= 2_000


def test_a_lease_is_renewed_at_half() -> None:
    """Of its time or of its amount; before that a turn asks for nothing."""
    replicas = Replicas(campaign())
    replicas.multipliers()
    assert replicas.take(1.0) == 200
    replicas.multipliers()
    assert replicas.take(1.0) == 180
    replicas.multipliers()
    assert replicas.budgets[0].take("shop", replicas.campaign.id, 82.0)
    replicas.multipliers(after_s=4)
    # A tenth of the 1,538 cents that are left, and not what it still held.
    assert replicas.take(1.0) == 153


def test_leases_outlast_an_owner_that_is_down() -> None:
    """For their time; then pages are organic, until the owner is back."""
    replicas = Replicas(campaign())
    replicas.multipliers()
    replicas.owner.is_down = True
    assert replicas.multipliers(after_s=9) == [0.5]
    assert replicas.budgets[0].take("shop", replicas.campaign.id, 1.0)
    assert replicas.multipliers(after_s=1) == [0]
    assert replicas.budgets[0].failures == 2
    replicas.owner.is_down = False
    assert replicas.multipliers() == [0.5]


def test_a_refused_tenant_takes_no_lease_from_another() -> None:
    """Control refuses the one that was asked for first; the turn renews the leases of the other all the same."""
    replicas = Replicas(campaign())
    replicas.owner.refused.add("other")
    (budgets,) = replicas.budgets
    budgets.multiplier_of("other", replicas.campaign)
    assert (replicas.multipliers(), budgets.failures) == ([0.5], 1)


def test_a_replica_that_is_killed_gives_nothing_back_at_once() -> None:
    """What it held counts as used until its clicks would be billed, 90 seconds after the end of its lease."""
    replicas = Replicas(campaign(), count=2)
    replicas.multipliers()
    held = replicas.owner.pools[replicas.campaign.id].holders["replica-0"].held / 1e6
    del replicas.budgets[0]
    taken = 0.0
    for _ in range(9):
        taken += replicas.take(1.0)
        replicas.multipliers(after_s=9)
    assert held == 200
    assert taken <= 2_000 - held
    replicas.multipliers(after_s=20)
    assert replicas.take(1.0) > 0


def test_an_idle_campaign_comes_back() -> None:
    """After a pause of minutes, in which it had no lease, its lease goes on where it ended."""
    replicas = Replicas(campaign())
    replicas.multipliers()
    assert replicas.take(1.0) == 200
    for _ in range(2):
        replicas.now_s += 61
        replicas.budgets[0].turn()
    assert replicas.multipliers() == [0.5]
    assert replicas.take(1.0) == 200


def test_more_traffic_than_clicks_raises_the_bids() -> None:
    """Without spend the multiplier rises with each interval of five minutes."""
    replicas = Replicas(campaign())
    first = replicas.multipliers()[0]
    later = [replicas.multipliers(after_s=INTERVAL_S)[0] for _ in range(3)]
    assert first < later[0] < later[1] < later[2] <= 1


def test_a_low_return_lowers_the_bids() -> None:
    """Sales of the spend itself, with a target of five times: the bids fall. With many sales they do not."""
    factors = {}
    for name, sales in (("low", 600), ("high", 60_000)):
        replicas = Replicas(campaign(target_return=5.0))
        replicas.owner.bill(replicas.campaign.id, value_of_week=600, sales_of_week=sales)
        replicas.multipliers()
        factors[name] = [replicas.multipliers(after_s=INTERVAL_S)[0] for _ in range(8)][-1]
    assert factors["low"] < 0.5 < factors["high"]


def test_an_hour_costs_at_most_its_share_of_the_traffic() -> None:
    """Yesterday had 2,400 requests. After 10 of this hour, to any replica, 1.7 / 240 of the budget may be spent."""
    replicas = Replicas(campaign(daily_budget=240_000), count=2)
    yesterday = int((MONDAY_S - 24 * HOUR_S) // INTERVAL_S)
    for interval in range(288):
        replicas.owner.traffic[yesterday + interval] = {"earlier": 2_400 // 288}
    for _ in range(5):
        for each in replicas.budgets:
            each.count("shop")
    replicas.multipliers()
    replicas.multipliers(after_s=6)
    forecast, taken = 288 * (2_400 // 288), 0.0
    for _ in range(5):
        taken += replicas.take(1.0)
        replicas.multipliers(after_s=6)
    allowed = 240_000 * 1.7 * 10 / forecast
    assert 0.4 * allowed < taken <= allowed


def test_a_restart_begins_no_new_hour() -> None:
    """What the hour has cost counts for a replica that starts within it."""
    replicas = Replicas(campaign(daily_budget=24_000))
    yesterday = int((MONDAY_S - 24 * HOUR_S) // INTERVAL_S)
    for interval in range(288):
        replicas.owner.traffic[yesterday + interval] = {"earlier": 100}
    for _ in range(1_200):
        replicas.budgets[0].count("shop")
    replicas.multipliers()
    replicas.multipliers(after_s=6)
    # 1.7 / 24 of the budget.
    replicas.owner.bill(replicas.campaign.id, on_day=1_700)
    replicas.budgets = [Budgets(replicas.owner.of_replica("new"), PacingRules(), lambda: replicas.now_s)]
    replicas.multipliers(after_s=300)
    assert replicas.take(1.0) == 0
    replicas.multipliers(after_s=HOUR_S)
    replicas.budgets[0].count("shop")
    replicas.multipliers(after_s=6)
    assert replicas.take(0.1) > 0
