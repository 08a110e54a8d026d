"""The biller: bills from the log, exact under repetition, lost places and failures of control; what is on record."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest

from kairos.common.v1 import common_pb2, event_pb2
from kairos.control.v1 import control_pb2
from services.common.gateway_access import GatewayAccessSettings
from services.common.merchandising import Validity
from services.sponsored.accounts import AccountRules, Accounts
from services.sponsored.adapters.sqlite_ledger import SqliteLedger
from services.sponsored.biller.biller import Biller
from services.sponsored.biller.campaigns import FollowedCampaigns
from services.sponsored.biller.consumer import LogConsumer
from services.sponsored.biller.grpc_gateway import GrpcShopGateway
from services.sponsored.biller.metrics import BillerMetrics
from services.sponsored.biller.ports import BillsFailed
from services.sponsored.domain.attribution import attributed_sales
from services.sponsored.domain.billing import BillKey, DailyBill, Tally, bills, tally
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Fact, Facts, Purchase
from services.sponsored.domain.invalid_clicks import ClickRules, Verdict, judge
from tests.fakes.event_log import FakeEventLog
from tests.unit.sponsored.campaigns import MONDAY_S, campaign, click_on, facts_of, impression

MONDAY, DAY_S = date(2026, 1, 5), 86_400.0


@dataclass
class Book:
    """Control's bills in memory. `loses_answers`: so many calls have stored their bills and fail."""

    on_record: dict[BillKey, DailyBill] = field(default_factory=dict)
    calls: list[list[BillKey]] = field(default_factory=list)
    is_down: bool = False
    loses_answers: int = 0
    complete_until_s: float = 0.0

    def bills(self, from_day: date) -> dict[BillKey, DailyBill]:
        if self.is_down:
            raise BillsFailed("control is down")
        return {key: bill for key, bill in self.on_record.items() if bill.day >= from_day}

    def record(self, bills: Sequence[DailyBill], complete_until_s: float) -> None:
        if self.is_down:
            raise BillsFailed("control is down")
        if bills:
            self.calls.append([bill.key for bill in bills])
        for bill in bills:
            if bill.key not in self.on_record or not self.on_record[bill.key].is_final:
                self.on_record[bill.key] = bill
        if self.loses_answers:
            self.loses_answers -= 1
            raise BillsFailed("the answer was lost")
        self.complete_until_s = complete_until_s


@dataclass
class Billing:
    """A biller over a log that is read with real gRPC. `days` after Monday it is now."""

    folder: Path
    target: str
    log: FakeEventLog
    book: Book = field(default_factory=Book)
    days: float = 0.5

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        def clock() -> float:
            return MONDAY_S + self.days * DAY_S

        self.metrics, self.ledger = BillerMetrics(), SqliteLedger(self.folder)
        self.metrics.published.connected.set(1)
        self.gateway = GrpcShopGateway(GatewayAccessSettings(target=self.target), self.ledger.person)
        rules = AccountRules()
        accounts = Accounts(self.ledger, self.ledger.campaigns, rules, ClickRules(), clock)
        consumer = LogConsumer(self.gateway, self.ledger, "shop", self.metrics)
        followed = FollowedCampaigns(self.ledger, "shop", clock)
        self.biller = Biller(consumer, accounts, self.gateway, self.book, followed, self.metrics, 600.0, clock)
        self.followed = followed

    def publish(self, *campaigns: Campaign) -> None:
        self.ledger.keep_campaigns("shop", campaigns, MONDAY_S + self.days * DAY_S)
        self.followed.number += 1

    def turn(self, days: float | None = None) -> None:
        self.days = self.days if days is None else days
        self.biller.turn(threading.Event())

    def restart(self) -> None:
        self.close()
        self.start()

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"kairos_biller_{name}", labels) or 0.0

    def close(self) -> None:
        self.gateway.close()
        self.ledger.close()

    @property
    def amounts(self) -> dict[BillKey, int]:
        return {key: bill.amount for key, bill in self.book.on_record.items()}


@pytest.fixture
def log() -> FakeEventLog:
    return FakeEventLog()  # type: ignore[abstract]


@pytest.fixture
def billing(tmp_path: Path, log: FakeEventLog) -> Iterator[Billing]:
    with log.serving() as target, closing(Billing(tmp_path, target, log)) as made:
        made.publish(campaign())
        yield made


def some_days(random: Random) -> list[Fact]:
    """Three days of ads of two campaigns and an unknown one, their clicks, repeated and late ones too, and sales."""
    shown = [
        impression(
            number, random.choice(["a", "b", "gone"]), price=random.randint(1, 60),
            person_id=f"v{random.randrange(30)}", shown_s=MONDAY_S + number * 1_000.0, item_id=random.choice("pq"),
            expected_clicks=0.5,
        )
        for number in range(200)
    ]  # fmt: skip
    clicks = [
        click_on(one, f"{one.ranking_id}-{again}", random.choice([1.0, 40.0, 3_000.0, 90_000.0]))
        for one in shown
        for again in range(random.randrange(3))
    ]
    sales = [
        Purchase(f"sale {n}", click.person_id, random.choice("pqr"), 500, click.occurred_s + 60, "EUR")
        for n, click in enumerate(clicks[::5])
    ]
    return [*shown, *clicks, *sales]


def expected_bills(facts: Facts, brands: dict[str, str], *campaigns: Campaign) -> dict[BillKey, DailyBill]:
    known, days, total = {one.id: one for one in campaigns}, dict[int, Facts](), Tally()
    for shown in facts.impressions.values():
        days.setdefault(int(shown.shown_s // DAY_S), Facts()).add([shown])
    for click in facts.clicks.values():
        days[int(facts.impressions[click.key].shown_s // DAY_S)].add([click])
    for of_day in days.values():
        total.add(tally(of_day, judge(of_day, known, ClickRules()), known))
    sales = attributed_sales(total.billed, facts.purchases.values(), (), lambda id: brands.get(id, ""))
    made = {bill.key: bill for bill in bills(total, known)}
    for key, sold in sales.items():
        made[key] = replace(made[key], sales=sold.product, same_brand_sales=sold.same_brand)
    return made


@pytest.mark.parametrize("seed", range(2))
def test_bills_are_equal_to_the_cent(billing: Billing, log: FakeEventLog, seed: int) -> None:
    """The log has each record three times in random order; its place is lost, answers of control are lost, the biller
    is started again: bills and sales are those of the facts.
    """
    random, campaigns = Random(seed), (campaign("a", daily_budget=400), campaign("b", total_budget=500))
    facts = some_days(random)
    log.brands = {"p": "Acme", "r": "Acme", "q": "Bolt"}
    billing.days, billing.book.loses_answers = 2.9, 3
    billing.publish(*campaigns)
    order = facts * 3
    random.shuffle(order)
    for first in range(0, len(order), 200):
        log.add(*order[first : first + 200])
        log.most = random.randint(1, 100)
        log.epoch += random.randrange(2)
        billing.turn()
        if random.randrange(2):
            billing.restart()
    for _ in range(3):
        billing.turn()
    expected = expected_bills(facts_of(*facts), log.brands, *campaigns)
    assert billing.book.on_record == expected
    assert sum(bill.amount for bill in expected.values()) > 500
    assert {verdict for bill in expected.values() for verdict in bill.refused} >= {Verdict.REPEATED, Verdict.LATE}
    assert sum(bill.same_brand_sales for bill in expected.values()) > 0


def test_only_changed_bills_are_recorded(billing: Billing, log: FakeEventLog) -> None:
    """A click changes the bill of its campaign and day; a turn without news records nothing."""
    shown = [impression(0), impression(1, "d")]
    billing.publish(campaign(), campaign("d"))
    log.add(*shown, click_on(shown[0]))
    for _ in range(2):
        billing.turn()
    log.add(click_on(shown[1]))
    billing.turn()
    assert billing.book.calls == [[("c", MONDAY), ("d", MONDAY)], [("d", MONDAY)]]
    assert billing.amounts == {("c", MONDAY): 30, ("d", MONDAY): 30}


def test_the_time_up_to_which_bills_are_complete_is_recorded(billing: Billing, log: FakeEventLog) -> None:
    """By each turn, also without news; not by one that could not read the log or record the bills."""
    for days in (0.5, 0.6):
        billing.turn(days)
        assert billing.book.complete_until_s == MONDAY_S + days * DAY_S
    billing.book.is_down = True
    billing.turn(0.7)
    billing.book.is_down = False
    assert billing.book.complete_until_s == MONDAY_S + 0.6 * DAY_S
    billing.target = "127.0.0.1:1"
    billing.restart()
    billing.turn(0.8)
    assert billing.book.complete_until_s == MONDAY_S + 0.6 * DAY_S


def test_an_unknown_campaign_is_not_billed(billing: Billing, log: FakeEventLog) -> None:
    """Its ads are counted; when control publishes it, they are on a bill."""
    shown = impression(0, "gone")
    log.add(shown, click_on(shown))
    billing.turn()
    assert (billing.amounts, billing.value("unknown_campaign_impressions")) == ({}, 1)
    billing.publish(campaign("gone"))
    billing.turn()
    assert (billing.amounts, billing.value("unknown_campaign_impressions")) == ({("gone", MONDAY): 30}, 0)


def test_the_biller_follows_campaigns_of_its_tenant(billing: Billing) -> None:
    """Terms of billing come with a snapshot; that of another tenant changes nothing."""
    resource = control_pb2.Resource(kind=control_pb2.RESOURCE_KIND_CAMPAIGN, id="new")
    resource.campaign.bid.currency_code = resource.campaign.daily_budget.currency_code = "USD"
    resource.campaign.bid.units, resource.campaign.daily_budget.units = 1, 20
    for tenant in ("other", "shop"):
        billing.followed.prepare(control_pb2.Snapshot(tenant=tenant, version=1, resources=[resource]))()
    assert billing.ledger.campaigns("other") == {}
    kept = billing.ledger.campaigns("shop")["new"]
    assert (kept.currency, kept.bid, kept.budget_of(MONDAY)) == ("USD", 100, 2_000)


def test_a_click_on_an_ad_of_an_archived_campaign_is_billed(billing: Billing, log: FakeEventLog) -> None:
    """The ad was shown while the campaign was published; the next snapshot lacks it, and so does a new process."""
    resource = control_pb2.Resource(kind=control_pb2.RESOURCE_KIND_CAMPAIGN, id="summer")
    resource.campaign.bid.CopyFrom(common_pb2.Money(currency_code="EUR", units=1))
    resource.campaign.daily_budget.CopyFrom(common_pb2.Money(currency_code="EUR", units=20))
    billing.followed.prepare(control_pb2.Snapshot(tenant="shop", version=1, resources=[resource]))()
    shown = impression(0, "summer")
    log.add(shown)
    billing.turn()
    billing.followed.prepare(control_pb2.Snapshot(tenant="shop", version=2))()
    billing.restart()
    log.add(click_on(shown))
    billing.turn()
    assert billing.amounts == {("summer", MONDAY): 30}


def test_the_ledger_names_no_person(billing: Billing, log: FakeEventLog) -> None:
    """Its files have no id of a visitor or of an advertiser's own people; own clicks are recognised all the same."""
    billing.publish(campaign(own_person_ids=frozenset({"person-0"})))
    shown = [impression(number) for number in range(2)]
    log.add(*shown, *map(click_on, shown), Purchase("sale", "person-0", "p", 500, MONDAY_S + 60, "EUR"))
    billing.turn()
    assert billing.book.on_record["c", MONDAY].refused == {Verdict.OWN: 1}
    assert not [file for file in billing.folder.glob("ledger.db*") if b"person-" in file.read_bytes()]


def test_records_that_cannot_be_read_are_on_no_bill(billing: Billing, log: FakeEventLog) -> None:
    """A negative price, a product that is not on the page, an unknown currency: counted, and the others are billed."""
    good = impression(0)
    bad = [impression(number) for number in range(1, 4)]
    log.add(*bad, good, *(click_on(one) for one in (*bad, good)))
    negative, foreign, free = (page.sponsored[0] for page in log.impressions[:3])
    negative.click_price.nanos *= -1
    foreign.item_id, free.click_price.currency_code = "elsewhere", ""
    log.add(Purchase("sale", "v1", "p", 500, MONDAY_S, "EUR"))
    log.events[-1].price.currency_code = "euro"
    billing.turn()
    assert billing.amounts == {("c", MONDAY): 30}
    assert billing.value("unreadable_records_total") == 4


def test_other_events_are_on_no_bill(billing: Billing, log: FakeEventLog) -> None:
    """Clicks without a token or on organic results, views, and purchases without a price change nothing."""
    shown = impression(0)
    log.add(shown, click_on(shown))
    organic = event_pb2.Event(event_id="o", visitor_id="v", item_id="organic", type=event_pb2.EVENT_TYPE_CLICK)
    seen, paid = event_pb2.Event(), event_pb2.Event()
    for event, event_type in ((seen, event_pb2.EVENT_TYPE_DWELL), (paid, event_pb2.EVENT_TYPE_PURCHASE)):
        event.CopyFrom(log.events[0])
        event.event_id, event.type = str(event_type), event_type
    log.events += [organic, seen, paid]
    log.add(click_on(replace(shown, item_id="organic"), "on organic"))
    billing.turn()
    assert billing.book.on_record == {("c", MONDAY): DailyBill("c", MONDAY, "EUR", 1, 1, 30, 30)}


def test_a_bill_becomes_final(billing: Billing, log: FakeEventLog) -> None:
    """Three days later its amount is settled, after ten days its sales: what comes then is on no bill."""
    shown = impression(0), impression(1)
    log.add(*shown, click_on(shown[0]))
    for days in (0.9, 3.1, 3.2):
        billing.turn(days)
    log.add(click_on(shown[1]), Purchase("sale", "person-0", "p", 900, MONDAY_S + 6 * DAY_S, "EUR"))
    for days in (9.9, 10.1, 10.2):
        billing.turn(days)
    log.add(Purchase("late", "person-0", "p", 900, MONDAY_S + 6 * DAY_S, "EUR"))
    for days in (10.3, 12.0):
        billing.turn(days)
    bill = DailyBill("c", MONDAY, "EUR", 2, 1, 30, 30, sales=900, is_final=True)
    assert billing.book.on_record == {("c", MONDAY): bill}


def test_nothing_is_final_without_control(billing: Billing, log: FakeEventLog) -> None:
    """A campaign that the biller does not know may be published: without control, or unwatched, days stay open."""
    shown = impression(0, "late")
    log.add(shown, click_on(shown))
    billing.metrics.published.connected.set(0)
    for days in (1.0, 8.0):
        billing.turn(days)
    billing.book.is_down = True
    billing.metrics.published.connected.set(1)
    billing.restart()
    billing.turn(9.0)
    assert billing.value("failures_total", step="bills") == 1
    billing.book.is_down = False
    billing.publish(campaign("late"))
    for days in (9.1, 9.2, 10.3, 10.4):
        billing.turn(days)
    assert [(bill.amount, bill.is_final) for bill in billing.book.on_record.values()] == [(30, True)]


def test_a_control_that_lost_bills_gets_them_again(billing: Billing, log: FakeEventLog) -> None:
    """After a restart those that control lacks are recorded, settled and final ones too."""
    shown = [impression(number, shown_s=MONDAY_S + number * DAY_S) for number in range(12)]
    log.add(*shown, *map(click_on, shown))
    for days in (11.5, 11.6):
        billing.turn(days)
    before = dict(billing.book.on_record)
    assert [bill.is_final for bill in before.values()] == [True] * 2 + [False] * 10
    for key in list(before)[::2]:
        del billing.book.on_record[key]
    billing.restart()
    for _ in range(2):
        billing.turn()
    assert billing.book.on_record == before


def test_a_lost_ledger_is_made_again(billing: Billing, log: FakeEventLog) -> None:
    """From final bills and from what the log still has: no bill changes, and the total budget knows what was paid."""
    billing.publish(campaign(total_budget=350))
    shown = [impression(number, shown_s=MONDAY_S + number * DAY_S) for number in range(13)]
    log.add(*shown, *map(click_on, shown))
    for days in (12.5, 12.6):
        billing.turn(days)
    before = dict(billing.book.on_record)
    assert sum(bill.amount for bill in before.values()) == 350
    log.epoch += 1
    del log.impressions[:2], log.events[:2]
    billing.folder /= "new"
    billing.restart()
    billing.publish(campaign(total_budget=350))
    for _ in range(3):
        billing.turn()
    assert billing.book.on_record == before


def test_a_day_without_ads_any_more_owes_nothing(billing: Billing, log: FakeEventLog) -> None:
    """With another time zone the ads of a campaign are of another day: the bill of the earlier one becomes nothing."""
    shown = impression(0)
    log.add(shown, click_on(shown))
    billing.turn()
    billing.publish(campaign(schedule=Validity(time_zone="America/New_York")))
    billing.turn()
    assert billing.amounts == {("c", MONDAY): 0, ("c", MONDAY - timedelta(1)): 30}


def test_facts_are_removed_in_time(billing: Billing, log: FakeEventLog) -> None:
    """Clicks without an ad after three days, all others after 35; bills stay as they are."""
    shown = impression(0)
    log.add(shown, click_on(shown), click_on(replace(shown, ranking_id="organic")))
    for days, facts in ((1.0, 3), (3.2, 2), (36.0, 0)):
        billing.turn(days)
        assert billing.value("ledger_facts") == facts
    assert [(bill.amount, bill.is_final) for bill in billing.book.on_record.values()] == [(30, True)]


def test_the_log_fails(billing: Billing, log: FakeEventLog) -> None:
    """A gateway that cannot be reached is counted, and the next turn goes on."""
    working = billing.target
    billing.target = "127.0.0.1:1"
    billing.restart()
    billing.turn()
    assert billing.value("failures_total", step="log") == 1
    billing.target = working
    billing.restart()
    shown = impression(0)
    log.add(shown, click_on(shown))
    billing.turn()
    assert billing.amounts == {("c", MONDAY): 30}
