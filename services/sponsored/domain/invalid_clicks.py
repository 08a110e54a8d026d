"""Which clicks on ads are billed. Verdicts depend on the set of facts only, not on the order in which they arrived."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import combinations

from services.sponsored.domain.campaign import Campaign, campaign_of
from services.sponsored.domain.facts import Click, Facts, Impression, ImpressionKey


class Verdict(Enum):
    """The first that applies, in this order."""

    # The event names no ad that was shown. The ad may still be read from the log: then the verdict changes.
    UNKNOWN_IMPRESSION = "unknown_impression"
    # The ad's campaign is not known in its currency. Nothing is billed until control publishes it.
    UNKNOWN_CAMPAIGN = "unknown_campaign"
    # Before the ad was shown, or long after.
    LATE = "late"
    # By a person that belongs to the advertiser.
    OWN = "own"
    # By a person with more clicks in a short time than people make.
    TOO_FAST = "too_fast"
    # By a person with far more clicks than the ads that the person saw let expect.
    IMPROBABLE = "improbable"
    # By one of several people who click the same campaigns.
    RING = "ring"
    # Again by the same person.
    REPEATED = "repeated"
    # Of a campaign with far more clicks than its ads that were seen let expect: by one of those who click most eagerly.
    EXCESSIVE = "excessive"
    BILLED = "billed"


@dataclass(frozen=True)
class ClickRules:
    # Seconds from an impression to its click; and how far clocks of callers may differ.
    click_window_s: float = 86_400.0
    clock_difference_s: float = 60.0
    # Another click of the person on the campaign within so many seconds is a repetition, and so are more than so many.
    repetition_s: float = 20.0
    most_clicks: int = 3
    # More clicks than this of a person within so many seconds are too fast.
    fast_clicks: int = 6
    fast_s: float = 30.0
    # With m expected clicks, clicks are improbable from least + factor * m + 3 * sqrt(factor * m) on. People differ in
    # how much they click: the factor. The same bound holds for all clicks on a campaign.
    improbable_least: float = 4.0
    improbable_factor: float = 3.0
    # A ring has so many people or more. Each shares so many campaigns with one less than so many others of the ring, or
    # with more; and they are so large a part of what either of the two has clicked.
    ring_people: int = 4
    ring_campaigns: int = 3
    ring_overlap: float = 0.7
    # A campaign that more people have clicked than this says nothing about two of them.
    ring_common: int = 500


Known = tuple[Click, Impression]
# Billionths of an expected click that are added to those of a person: one click on one ad says little.
_USUAL_CHANCE = 10**8


def judge(facts: Facts, campaigns: Mapping[str, Campaign], rules: ClickRules) -> dict[str, Verdict]:
    """The verdict of each click, by event id. All facts are of one period, for example of a day: rules about people
    look at the whole of it.
    """
    verdicts: dict[str, Verdict] = {}
    known = list[Known]()
    for click in facts.clicks.values():
        impression = facts.impressions.get(click.key)
        if impression is None:
            verdicts[click.event_id] = Verdict.UNKNOWN_IMPRESSION
        elif campaign_of(impression, campaigns) is None:
            verdicts[click.event_id] = Verdict.UNKNOWN_CAMPAIGN
        elif not -rules.clock_difference_s <= click.occurred_s - impression.shown_s <= rules.click_window_s:
            verdicts[click.event_id] = Verdict.LATE
        else:
            known.append((click, impression))
    known.sort(key=lambda pair: (pair[0].occurred_s, pair[0].event_id))
    of_person: dict[str, list[Known]] = defaultdict(list)
    for pair in known:
        of_person[pair[0].person_id].append(pair)
    expected: Counter[str] = Counter()
    for impression in facts.impressions.values():
        # In billionths: sums of floats depend on their order.
        expected[impression.person_id] += round(impression.expected_clicks * 1e9)
    ring = _ring_members(of_person, rules)
    for person, pairs in of_person.items():
        verdict = None
        if _is_fast([click.occurred_s for click, _ in pairs], rules):
            verdict = Verdict.TOO_FAST
        elif _is_improbable(len(pairs), expected[person] / 1e9, rules):
            verdict = Verdict.IMPROBABLE
        elif person in ring:
            verdict = Verdict.RING
        repeated = _repeated(pairs, rules)
        for click, impression in pairs:
            if person in campaigns[impression.campaign_id].own_person_ids:
                verdicts[click.event_id] = Verdict.OWN
            elif verdict is not None:
                verdicts[click.event_id] = verdict
            else:
                verdicts[click.event_id] = Verdict.REPEATED if click.event_id in repeated else Verdict.BILLED
    billed = [pair for pair in known if verdicts[pair[0].event_id] is Verdict.BILLED]
    for event_id in _excessive(billed, facts, rules):
        verdicts[event_id] = Verdict.EXCESSIVE
    return verdicts


def _excessive(billed: Sequence[Known], facts: Facts, rules: ClickRules) -> set[str]:
    """Of each campaign with improbably many clicks those of the most eager people, until the others are probable.

    Fake people who click one campaign a few times, once each day, are no ring and none of them is improbable.
    """
    of_campaign: dict[str, dict[str, list[Click]]] = defaultdict(lambda: defaultdict(list))
    for click, impression in billed:
        of_campaign[impression.campaign_id][click.person_id].append(click)
    many = {
        campaign: people
        for campaign, people in of_campaign.items()
        if sum(map(len, people.values())) >= rules.improbable_least
    }
    if not many:
        return set()
    # In billionths, as above. By campaign and person, and of a person with all campaigns.
    expected: Counter[tuple[str, str]] = Counter()
    of_person: Counter[str] = Counter()
    for impression in facts.impressions.values():
        chance = round(impression.expected_clicks * 1e9)
        of_person[impression.person_id] += chance
        if impression.campaign_id in many:
            expected[impression.campaign_id, impression.person_id] += chance
    clicks = Counter(click.person_id for click, _ in billed)
    totals: Counter[str] = Counter()
    for (campaign, _), chance in expected.items():
        totals[campaign] += chance
    found = set[str]()
    for campaign, people in many.items():
        left, chances = sum(map(len, people.values())), totals[campaign]
        eager = sorted(people, key=lambda person: (-clicks[person] / (of_person[person] + _USUAL_CHANCE), person))
        for person in eager:
            if not _is_improbable(left, chances / 1e9, rules):
                break
            found.update(click.event_id for click in people[person])
            left -= len(people[person])
            chances -= expected[campaign, person]
    return found


def _repeated(pairs: Sequence[Known], rules: ClickRules) -> set[str]:
    """Of one person, by time."""
    repeated, last, counts = set[str](), dict[str, float](), Counter[str]()
    billed = set[ImpressionKey]()
    for click, impression in pairs:
        campaign = impression.campaign_id
        is_soon = click.occurred_s < last.get(campaign, -math.inf) + rules.repetition_s
        if is_soon or click.key in billed or counts[campaign] >= rules.most_clicks:
            repeated.add(click.event_id)
            continue
        last[campaign] = click.occurred_s
        counts[campaign] += 1
        billed.add(click.key)
    return repeated


def _is_fast(times: Sequence[float], rules: ClickRules) -> bool:
    many = rules.fast_clicks
    return any(last - first <= rules.fast_s for first, last in zip(times, times[many:], strict=False))


def _is_improbable(clicks: int, expected: float, rules: ClickRules) -> bool:
    mean = rules.improbable_factor * expected
    return clicks >= rules.improbable_least + mean + 3 * math.sqrt(mean)


def _ring_members(of_person: Mapping[str, Sequence[Known]], rules: ClickRules) -> set[str]:
    """People who click the same campaigns as several others, who do so as well."""
    clicked = {
        person: campaigns
        for person, pairs in of_person.items()
        if len(campaigns := {impression.campaign_id for _, impression in pairs}) >= rules.ring_campaigns
    }
    by_campaign: dict[str, list[str]] = defaultdict(list)
    for person, campaigns in clicked.items():
        for campaign in campaigns:
            by_campaign[campaign].append(person)
    shared: Counter[tuple[str, str]] = Counter()
    for people in by_campaign.values():
        if len(people) <= rules.ring_common:
            shared.update(combinations(sorted(people), 2))
    links: dict[str, set[str]] = defaultdict(set)
    for (one, other), count in shared.items():
        most = max(len(clicked[one]), len(clicked[other]))
        if count >= rules.ring_campaigns and count >= rules.ring_overlap * most:
            links[one].add(other)
            links[other].add(one)
    return _core(links, rules.ring_people - 1)


def _core(links: dict[str, set[str]], least: int) -> set[str]:
    """Those who are linked with at least so many of each other (the k-core)."""
    waiting = [person for person, others in links.items() if len(others) < least]
    while waiting:
        person = waiting.pop()
        for other in links.pop(person, ()):
            links[other].discard(person)
            if len(links[other]) == least - 1:
                waiting.append(other)
    return set(links)
