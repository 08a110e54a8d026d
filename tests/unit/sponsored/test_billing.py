"""What is billed: exact under repetition, in any order, with late, repeated and invalid clicks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.common.merchandising import Validity
from services.sponsored.domain.billing import DailyBill, bills, tally
from services.sponsored.domain.campaign import BudgetChange, Campaign
from services.sponsored.domain.facts import Click, Fact, Impression
from services.sponsored.domain.invalid_clicks import ClickRules, Verdict, judge
from tests.unit.sponsored.campaigns import MONDAY_S, campaign, click_on, facts_of, impression

MONDAY, TUESDAY = date(2026, 1, 5), date(2026, 1, 6)
RULES = ClickRules()


def billed(shown: Sequence[Fact], clicks: Sequence[Fact], *campaigns: Campaign) -> list[DailyBill]:
    facts, known = facts_of(*shown, *clicks), {one.id: one for one in campaigns}
    return bills(tally(facts, judge(facts, known, RULES), known), known)


def verdict_of(shown: list[Impression], clicks: list[Click], *campaigns: Campaign) -> list[Verdict]:
    verdicts = judge(facts_of(*shown, *clicks), {one.id: one for one in campaigns}, RULES)
    return [verdicts[click.event_id] for click in clicks]


days = st.lists(
    st.tuples(
        st.integers(0, 30), st.sampled_from(["c", "d", "unknown"]), st.integers(1, 60), st.integers(0, 3),
        st.sampled_from([1.0, 5.0, 3_000.0, 90_000.0]),
    ), max_size=60,
)  # fmt: skip


@given(days, st.randoms())
@settings(max_examples=200)
def test_a_bill_is_equal_under_any_order_and_repetition(
    drawn: list[tuple[int, str, int, int, float]], random: Random
) -> None:
    """Facts that come three times in random order give the same bills as facts that come once, to the cent."""
    shown = [
        impression(number, campaign_id, price=price, person_id=f"person-{person}", shown_s=MONDAY_S + 600 * number)
        for number, (person, campaign_id, price, _, _) in enumerate(drawn)
    ]
    clicks = [
        click_on(one, f"event-{number}-{again}", after_s=delay_s * (again + 1))
        for number, (one, (_, _, _, count, delay_s)) in enumerate(zip(shown, drawn, strict=True))
        for again in range(count)
    ]
    campaigns = campaign("c", daily_budget=200), campaign("d", daily_budget=150, total_budget=180)
    expected = billed(shown, clicks, *campaigns)
    log: list[Fact] = [*shown, *clicks] * 3
    random.shuffle(log)
    assert billed(log, (), *reversed(campaigns)) == expected
    for id, total in (("c", None), ("d", 180)):
        amounts = [bill.amount for bill in expected if bill.campaign_id == id]
        assert all(bill.amount <= min(bill.value, 200) for bill in expected if bill.campaign_id == id)
        assert total is None or sum(amounts) <= total


def test_a_click_costs_the_price_of_its_impression() -> None:
    """Three clicks at 30 cents are 90 cents, on the day of the impressions."""
    shown = [impression(number) for number in range(4)]
    bill = billed(shown, [click_on(one) for one in shown[:3]], campaign())
    assert bill == [DailyBill("c", MONDAY, "EUR", impressions=4, clicks=3, value=90, amount=90)]


def test_a_day_costs_at_most_its_budget() -> None:
    """The budget of 100 ends within the fourth click; all of it is owed, and no more."""
    shown = [impression(number) for number in range(4)]
    (bill,) = billed(shown, [click_on(one) for one in shown], campaign(daily_budget=100))
    assert (bill.value, bill.amount) == (120, 100)


def test_all_days_cost_at_most_the_total_budget() -> None:
    """What is left for the second day is the total less the first."""
    shown = [impression(number, shown_s=MONDAY_S + 86_400 * number) for number in range(2)]
    bill = billed(shown, [click_on(one) for one in shown], campaign(total_budget=40))
    assert [(one.day, one.amount) for one in bill] == [(MONDAY, 30), (TUESDAY, 10)]


def test_a_changed_budget_leaves_earlier_days() -> None:
    """A budget that was raised on Tuesday bounds Tuesday by the greater of both, and Monday by the earlier one."""
    shown = [impression(number, shown_s=MONDAY_S + 86_400 * (number // 3) + number) for number in range(6)]
    changes = BudgetChange(MONDAY, 40, 40), BudgetChange(TUESDAY, 80, 80)
    bill = billed(shown, [click_on(one) for one in shown], campaign(daily_budget=80, changes=changes))
    assert [(one.day, one.amount) for one in bill] == [(MONDAY, 40), (TUESDAY, 80)]


def test_an_ad_in_another_currency_is_on_no_bill() -> None:
    """A campaign that bids in another currency now owes nothing for what was shown before."""
    shown = impression(0, currency="USD")
    assert not billed([shown], [click_on(shown)], campaign())
    assert verdict_of([shown], [click_on(shown)], campaign()) == [Verdict.UNKNOWN_CAMPAIGN]


def test_the_day_is_that_of_the_time_zone() -> None:
    """23:30 UTC on Sunday is Monday in Berlin."""
    shown = impression(0, shown_s=MONDAY_S - 1_800)
    schedule = Validity(time_zone="Europe/Berlin")
    assert billed([shown], [click_on(shown)], campaign(schedule=schedule))[0].day == MONDAY


@pytest.mark.parametrize(
    ("after_s", "verdict"),
    [(-30.0, Verdict.BILLED), (-90.0, Verdict.LATE), (86_000.0, Verdict.BILLED), (86_500.0, Verdict.LATE)],
)
def test_a_late_click_is_not_billed(after_s: float, verdict: Verdict) -> None:
    """Within a day after the impression; clocks may differ by a minute."""
    shown = impression(0)
    assert verdict_of([shown], [click_on(shown, after_s=after_s)], campaign()) == [verdict]


def test_unknown_impressions_and_campaigns_bill_nothing() -> None:
    """The verdict says which of the two is missing; no bill has them."""
    shown = impression(0, "gone")
    assert verdict_of([], [click_on(shown)], campaign()) == [Verdict.UNKNOWN_IMPRESSION]
    assert verdict_of([shown], [click_on(shown)], campaign()) == [Verdict.UNKNOWN_CAMPAIGN]
    assert not billed([shown], [click_on(shown)], campaign())


def test_own_clicks_are_not_billed() -> None:
    """A person of the advertiser pays nothing; the same person's click on another campaign is billed."""
    shown = [impression(0, "c", person_id="anna"), impression(1, "d", person_id="anna")]
    verdicts = verdict_of(
        shown, [click_on(one) for one in shown], campaign("c", own_person_ids=frozenset({"anna"})), campaign("d")
    )
    assert verdicts == [Verdict.OWN, Verdict.BILLED]


def test_an_ad_that_is_shown_again_costs_the_lower_price() -> None:
    """Of a page that was sent twice, whichever is read first."""
    low, high = impression(0, price=20), impression(0, price=30)
    for shown in ([low, high], [high, low]):
        assert [bill.amount for bill in billed(shown, [click_on(low)], campaign())] == [20]


def test_an_impression_is_billed_once() -> None:
    """The same person's second click on it, hours later, repeats it; so does one on the campaign within 20 seconds."""
    shown = [impression(number, person_id="anna") for number in range(2)]
    clicks = [click_on(shown[0]), click_on(shown[0], "again", 10_000.0), click_on(shown[1], after_s=19.0)]
    assert verdict_of(shown, clicks, campaign()) == [Verdict.BILLED, Verdict.REPEATED, Verdict.REPEATED]


def test_fast_clicks_are_not_billed() -> None:
    """Seven clicks on seven campaigns within half a minute, by someone who has seen many ads."""
    shown = [impression(number, f"c{number}", person_id="robot", expected_clicks=5.0) for number in range(7)]
    campaigns = [campaign(f"c{number}") for number in range(7)]
    clicks = [click_on(one, after_s=2.0) for one in shown]
    assert set(verdict_of(shown, clicks, *campaigns)) == {Verdict.TOO_FAST}
    assert set(verdict_of(shown, clicks[:6], *campaigns)) == {Verdict.BILLED}


def test_improbably_many_clicks_are_not_billed() -> None:
    """Nine clicks of nine ads that let expect .45; the same of someone who has seen 400 ads are billed."""
    shown = [impression(number, f"c{number}", person_id="anna", shown_s=MONDAY_S + 900 * number) for number in range(9)]
    campaigns = [campaign(f"c{number}") for number in range(9)]
    clicks = [click_on(one) for one in shown]
    assert set(verdict_of(shown, clicks, *campaigns)) == {Verdict.IMPROBABLE}
    more = [impression(number, "c0", person_id="anna") for number in range(100, 500)]
    assert set(verdict_of([*shown, *more], clicks, *campaigns)) == {Verdict.BILLED}


def test_a_ring_is_not_billed() -> None:
    """Four people who click the same three campaigns are a ring; three are not."""
    campaigns = [campaign(f"c{number}") for number in range(3)]
    shown = [
        impression(10 * person + number, f"c{number}", person_id=f"person-{person}", expected_clicks=1.0)
        for person in range(4)
        for number in range(3)
    ]
    clicks = [click_on(one) for one in shown]
    assert set(verdict_of(shown, clicks, *campaigns)) == {Verdict.RING}
    assert set(verdict_of(shown, clicks[:9], *campaigns)) == {Verdict.BILLED}


def test_fake_people_who_click_one_campaign_are_not_billed() -> None:
    """Of 90 people who click one ad each, of one campaign and nothing else, so many are billed as its ads make
    probable, and of the other visitors all.
    """
    honest = [impression(number, "c0", person_id=f"honest-{number % 50}") for number in range(200)]
    fake = [impression(1_000 + number, "c0", person_id=f"fake-{number}") for number in range(90)]
    own, their = [click_on(one) for one in honest[::20]], [click_on(one) for one in fake]
    verdicts = verdict_of([*honest, *fake], [*own, *their], campaign("c0"))
    assert set(verdicts[: len(own)]) == {Verdict.BILLED}
    assert verdicts[len(own) :].count(Verdict.EXCESSIVE) >= 35
    assert set(verdict_of(honest, own, campaign("c0"))) == {Verdict.BILLED}
