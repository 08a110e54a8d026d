"""Clicks of benchmarks.ads: honest and fraudulent visitors of one day, and bills of a log that is read again."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from services.sponsored.domain.billing import bills, tally
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.facts import Click, Fact, Facts, Impression
from services.sponsored.domain.invalid_clicks import ClickRules, Verdict, judge

_CAMPAIGNS, _INTERESTS = 300, 30
_DAY_S = 86_400.0
_CLICK = 0.04
_PEOPLE_OF_RING, _VICTIMS = (5, 15), (4, 8)


class Shop:
    """One day. Each person has interests, and sees the ads of campaigns of these; a few campaigns are shown most."""

    def __init__(self, visitors: int, seed: int) -> None:
        self.random = random = Random(seed)
        self.campaigns = {}
        for number in range(_CAMPAIGNS):
            id, own, budget = f"c{number}", frozenset({f"own-{number}"}), random.randint(500, 20_000)
            self.campaigns[id] = Campaign(id, f"a{number // 3}", "P", ("p",), "EUR", 60, budget, own_person_ids=own)
        self.of_interest = [
            [id for n, id in enumerate(self.campaigns) if n % _INTERESTS == i] for i in range(_INTERESTS)
        ]
        self.weights = [1 / (rank + 1) for rank in range(_CAMPAIGNS // _INTERESTS)]
        self.facts: list[Fact] = []
        self.honest, self.fraudulent = set[str](), set[str]()
        frauds = visitors // 100
        for number in range(visitors - frauds):
            self._honest(f"honest-{number}")
        made = 0
        while made < frauds:
            made += random.choice((self._robot, self._hammer, self._ring, self._clicker, self._own))(made)

    def _show(self, person: str, campaign_id: str, at_s: float) -> Impression:
        place = self.random.choice((1.0, 0.38))
        shown = Impression(
            f"r{len(self.facts)}",
            "p",
            campaign_id,
            self.random.randint(10, 60),
            _CLICK * place,
            person,
            at_s,
            "EUR",
        )
        self.facts.append(shown)
        return shown

    def _click(self, shown: Impression, is_honest: bool, after_s: float | None = None) -> None:
        event_id = f"e{len(self.facts)}"
        delay_s = self.random.expovariate(1 / 40) if after_s is None else after_s
        self.facts.append(Click(event_id, shown.ranking_id, "p", shown.person_id, shown.shown_s + delay_s))
        (self.honest if is_honest else self.fraudulent).add(event_id)

    def _campaign_for(self, interests: list[int]) -> str:
        return self.random.choices(self.of_interest[self.random.choice(interests)], self.weights)[0]

    def _pages(self, person: str, mean: float, rate: float) -> None:
        """Pages with two ads each, in one visit. `rate`: how much more than the average the person clicks."""
        random = self.random
        at_s, interests = random.uniform(0, _DAY_S), random.sample(range(_INTERESTS), random.randint(1, 3))
        for _ in range(1 + int(random.expovariate(1 / mean))):
            at_s += random.expovariate(1 / 60)
            # An advertiser has one place on a page.
            for campaign_id in dict.fromkeys(self._campaign_for(interests) for _ in range(2)):
                shown = self._show(person, campaign_id, at_s)
                if random.random() < min(0.9, rate * shown.expected_clicks):
                    self._click(shown, is_honest=True)

    def _honest(self, person: str) -> None:
        """People differ in how much they click: the rate has the variance 1/2."""
        self._pages(person, 6, self.random.gammavariate(2, 0.5))

    def _robot(self, number: int) -> int:
        """Clicks all ads of 20 pages at once."""
        at_s = self.random.uniform(0, _DAY_S)
        for _ in range(40):
            at_s += self.random.expovariate(1 / 3)
            self._click(self._show(f"robot-{number}", self.random.choice(list(self.campaigns)), at_s), False, 0.5)
        return 1

    def _hammer(self, number: int) -> int:
        """Clicks one competitor 15 to 40 times, some minutes apart, and looks at other pages meanwhile."""
        victim, at_s = self.random.choice(list(self.campaigns)), self.random.uniform(0, _DAY_S / 2)
        for _ in range(self.random.randint(15, 40)):
            at_s += self.random.expovariate(1 / 600)
            self._show(f"hammer-{number}", self._campaign_for(list(range(_INTERESTS))), at_s)
            self._click(self._show(f"hammer-{number}", victim, at_s), False)
        return 1

    def _clicker(self, number: int) -> int:
        """Clicks half of the ads of all campaigns, slowly."""
        at_s = self.random.uniform(0, _DAY_S / 2)
        for _ in range(60):
            at_s += self.random.expovariate(1 / 120)
            shown = self._show(f"clicker-{number}", self._campaign_for(list(range(_INTERESTS))), at_s)
            if self.random.random() < 0.5:
                self._click(shown, False)
        return 1

    def _ring(self, number: int) -> int:
        """5 to 15 people click most of the same 4 to 8 campaigns, once each, among many ads that they do not click."""
        size, victims = (
            self.random.randint(*_PEOPLE_OF_RING),
            self.random.sample(list(self.campaigns), self.random.randint(*_VICTIMS)),
        )
        for member in range(size):
            person = f"ring-{number}-{member}"
            for victim in victims:
                at_s = self.random.uniform(0, _DAY_S)
                for _ in range(5):
                    self._show(person, self._campaign_for(list(range(_INTERESTS))), at_s)
                if self.random.random() < 0.9:
                    self._click(self._show(person, victim, at_s), False)
        return size

    def _own(self, number: int) -> int:
        """Somebody of the advertiser, who has named the id, clicks its own ads."""
        owner = self.random.randrange(_CAMPAIGNS)
        for _ in range(5):
            self._click(self._show(f"own-{owner}", f"c{owner}", self.random.uniform(0, _DAY_S)), False)
        return 1


def clicks(visitors: int, seed: int) -> dict[str, Any]:
    """1 % of the visitors are fraudulent, of five kinds. Then the log is read three times in random order."""
    shop, facts = Shop(visitors, seed), Facts()
    facts.add(shop.facts)
    verdicts = judge(facts, shop.campaigns, ClickRules())
    made = bills(tally(facts, verdicts, shop.campaigns), shop.campaigns)
    again, log = Facts(), shop.facts * 3
    shop.random.shuffle(log)
    again.add(log)
    repeated = bills(tally(again, judge(again, shop.campaigns, ClickRules()), shop.campaigns), shop.campaigns)
    kinds: dict[str, Counter[bool]] = {}
    for event_id in shop.fraudulent:
        kind = facts.clicks[event_id].person_id.partition("-")[0]
        kinds.setdefault(kind, Counter())[verdicts[event_id] is Verdict.BILLED] += 1
    return {
        "honest_clicks": len(shop.honest), "fraudulent_clicks": len(shop.fraudulent),
        "honest_refused": sum(verdicts[id] is not Verdict.BILLED for id in shop.honest) / len(shop.honest),
        "honest_refused_by": dict(
            Counter(verdicts[id].value for id in shop.honest if verdicts[id] is not Verdict.BILLED)
        ),
        "fraudulent_billed": sum(verdicts[id] is Verdict.BILLED for id in shop.fraudulent) / len(shop.fraudulent),
        "fraudulent_billed_by_kind": {kind: count[True] / count.total() for kind, count in sorted(kinds.items())},
        "billed_cents": sum(bill.amount for bill in made), "is_equal_when_read_again": made == repeated,
    }  # fmt: skip
