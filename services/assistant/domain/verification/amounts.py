"""Amounts of money and percentages of a sentence, checked against prices: equal, bounds, ranges, differences, sums."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

from services.assistant.domain.facts import Fact
from services.assistant.domain.verification.sentence import SentenceCheck, Unsupported, others, prices
from services.assistant.domain.verification.subjects import Subject
from services.assistant.domain.verification.words import UNITS, Kind
from services.common.money import CURRENCY_NAMES, currency_name_form, currency_named

# "About 60" may differ from the price by this share.
_ABOUT = Decimal("0.03")
_CUES_BEFORE, _CUES_AFTER = 4, 3


@dataclass(frozen=True)
class Amount:
    """The number is token `at`; the names of its currency are tokens `start` to `end`, beside it."""

    value: Decimal
    names: tuple[str, ...]
    at: int
    start: int
    end: int


def check_amounts(check: SentenceCheck) -> None:
    """Marks what it accounts for. Raises Unsupported."""
    amounts = list(_amounts(check))
    _pair_with_groups(check, amounts)
    ranged = _check_ranges(check, amounts)
    for amount in amounts:
        if amount in ranged:
            continue
        _check_one(check, amount)
    _check_percentages(check)


def _amounts(check: SentenceCheck) -> Iterator[Amount]:
    for at, token in enumerate(check.spoken):
        if token.kind is not Kind.NUMBER or check.done[at]:
            continue
        try:
            value = Decimal(token.key)
        except InvalidOperation:
            continue
        names, start, end = list[str](), at, at + 1
        sign = check.signs_between(at - 1, at).strip()
        if sign and currency_name_form(sign[-1]) in CURRENCY_NAMES:
            names.append(sign[-1])
        if at and check.spoken[at - 1].end >= token.start - 2 and _is_currency(check, at - 1, is_before=True):
            names, start = [*names, check.spoken[at - 1].text], at - 1
        behind = check.signs_between(at, at + 1).strip()
        if behind and currency_name_form(behind[0]) in CURRENCY_NAMES and not names:
            names.append(behind[0])
        for length in (2, 1):
            text = "".join(one.text for one in check.spoken[at + 1 : at + 1 + length])
            is_unit = at + 1 < len(check.keys) and check.keys[at + 1] in UNITS
            if end == at + 1 and at + length < len(check.keys) and not is_unit and _is_name(text):
                names, end = [*names, text], at + 1 + length
        if names:
            yield Amount(value, tuple(names), at, start, end)


def _is_currency(check: SentenceCheck, at: int, is_before: bool) -> bool:
    token = check.spoken[at]
    return token.kind is Kind.WORD and (token.text.isupper() or not is_before) and _is_name(token.text)


def _is_name(text: str) -> bool:
    return currency_name_form(text) in CURRENCY_NAMES


def _pair_with_groups(check: SentenceCheck, amounts: Sequence[Amount]) -> None:
    """ "A and B cost $20 and $30": one amount each, in order."""
    groups = {check.group[amount.at] for amount in amounts}
    if len(groups) != 1 or check.is_some:
        return
    (subjects,) = groups
    if 1 < len(subjects) == len(amounts) and not _has_range(check, amounts):
        for subject, amount in zip(subjects, amounts, strict=True):
            check.group[amount.at] = (subject,)


def _has_range(check: SentenceCheck, amounts: Sequence[Amount]) -> bool:
    return len(amounts) == 2 and bool(_range_words(check, *amounts))


def _check_ranges(check: SentenceCheck, amounts: Sequence[Amount]) -> set[Amount]:
    """ "Between $20 and $40": all prices are in it."""
    done = set[Amount]()
    for low, high in itertools.pairwise(amounts):
        if low in done or check.group[low.at] != check.group[high.at] or low.value > high.value:
            continue
        if words := _range_words(check, low, high):
            _require(check, low, lambda price, low=low, high=high: low.value <= price <= high.value)  # type: ignore[misc]
            _cover(check, low)
            _cover(check, high)
            for at in words:
                check.cover(at, at + 1)
            done |= {low, high}
    return done


def _range_words(check: SentenceCheck, low: Amount, high: Amount) -> list[int]:
    """The tokens that make a range of two amounts; empty if they are none."""
    before = check.scope.lexicon.length_before("between", check.keys, low.start)
    between = check.keys[low.end : high.start]
    if before and (list(between) in (["and"], ["to"], []) or between in (["到"], ["至"], ["和"])):
        return [*range(low.start - before, low.start), *range(low.end, high.start)]
    is_dash = not between and any(dash in check.signs_between(low.end - 1, high.start) for dash in "-–—~")
    if list(between) in (["to"], ["到"], ["至"]) or is_dash:
        return [*range(low.end, high.start), low.at]
    return []


def _check_one(check: SentenceCheck, amount: Amount) -> None:
    lexicon, keys = check.scope.lexicon, check.keys
    if check.is_question and not check.mentions and _plain(amount.value) in check.scope.asked:
        # "Shall I look for something under $50?" repeats what the shopper said.
        _cover_cues(check, amount, ("about", "at_most", "at_least", "budget"))
        _cover(check, amount)
        return
    before = keys[max(amount.start - _CUES_BEFORE, 0) : amount.start]
    after = keys[amount.end : amount.end + _CUES_AFTER]
    if lexicon.has("budget", keys):
        _require(check, amount, lambda price: price <= amount.value)
        if _plain(amount.value) not in check.scope.asked:
            raise Unsupported(f"budget: {amount.value}")
        _cover_cues(check, amount, ("at_most",))
        for start, end in lexicon.places("budget", keys):
            check.cover(start, end)
    elif lexicon.length_before("list_price", keys, amount.start) or lexicon.has("list_price", before[-2:]):
        _require(check, amount, lambda price: price == amount.value, "list_price")
        _cover_cues(check, amount, ("list_price",))
    elif _has_cue(check, amount, "difference", after, before) and _is_difference(check, amount):
        _cover_cues(check, amount, ("difference",))
    elif lexicon.has("sum", before) and sum(prices(check.group[amount.at]), Decimal()) == amount.value:
        check.support(subject.first("price") for subject in check.group[amount.at])
        _cover_cues(check, amount, ("sum",))
    else:
        relation = next((name for name in ("about", "at_most", "at_least") if _relates(check, amount, name)), "")
        _require(check, amount, lambda price: _fits(price, amount.value, relation))
        _cover_cues(check, amount, (relation,) if relation else ())
    _cover(check, amount)


def _plain(value: Decimal) -> str:
    return format(value.normalize(), "f")


def _relates(check: SentenceCheck, amount: Amount, name: str) -> bool:
    lexicon, keys = check.scope.lexicon, check.keys
    return bool(lexicon.length_before(name, keys, amount.start) or lexicon.length_at(name, keys, amount.end))


def _has_cue(check: SentenceCheck, amount: Amount, name: str, after: Sequence[str], before: Sequence[str]) -> bool:
    lexicon = check.scope.lexicon
    return (
        bool(lexicon.length_at(name, check.keys, amount.end))
        or lexicon.has(name, before)
        or lexicon.has(name, after[:1])
    )


def _fits(price: Decimal, amount: Decimal, relation: str) -> bool:
    if relation == "at_most":
        return price <= amount
    if relation == "at_least":
        return price >= amount
    return price == amount or (relation == "about" and abs(price - amount) <= _ABOUT * amount)


def _is_difference(check: SentenceCheck, amount: Amount) -> bool:
    subjects = check.group[amount.at]
    if len(subjects) == 1 and _reduction(subjects[0]) == amount.value:
        check.support([subjects[0].first("list_price"), subjects[0].first("price")])
        return True
    named = tuple(dict.fromkeys(subject for mention in check.mentions for subject in mention.subjects))
    pair = named if len(named) == 2 else (*subjects, *others(check, subjects))
    if len(pair) != 2:
        return False
    first, second = prices(pair)
    if abs(first - second) != amount.value:
        return False
    check.support(subject.first("price") for subject in pair)
    return True


def _reduction(subject: Subject) -> Decimal | None:
    listed = subject.amount("list_price")
    return None if listed is None or subject.price is None else listed[1] - subject.price


def _require(check: SentenceCheck, amount: Amount, fits: Callable[[Decimal], bool], name: str = "price") -> None:
    def supporting(subject: Subject) -> list[Fact | None] | None:
        found = subject.amount(name)
        if found is None or not all(currency_named(one, found[0]) == found[0] for one in amount.names):
            return None
        return [subject.first(name)] if fits(found[1]) else None

    check.holds(amount.at, supporting, f"amount: {amount.value}")


def _cover(check: SentenceCheck, amount: Amount) -> None:
    check.cover(amount.start, amount.end)


def _cover_cues(check: SentenceCheck, amount: Amount, names: Sequence[str]) -> None:
    lexicon, keys = check.scope.lexicon, check.keys
    for name in names:
        for start, end in lexicon.places(name, keys):
            if amount.start - _CUES_BEFORE <= start and end <= amount.end + _CUES_AFTER:
                check.cover(start, end)


def _check_percentages(check: SentenceCheck) -> None:
    """A reduction of the list price. Other percentages have to be words of a fact."""
    lexicon = check.scope.lexicon
    for at, token in enumerate(check.spoken[:-1]):
        if check.done[at] or token.kind is not Kind.NUMBER or check.keys[at + 1] != "percent":
            continue
        near = check.keys[max(at - _CUES_BEFORE, 0) : at + 2 + _CUES_AFTER]
        if not lexicon.has("difference", near):
            continue

        def supporting(subject: Subject, said: str = token.key) -> list[Fact | None] | None:
            listed, price = subject.amount("list_price"), subject.price
            if listed is None or price is None or not listed[1]:
                return None
            share = ((listed[1] - price) / listed[1] * 100).quantize(Decimal(1), ROUND_HALF_UP)
            return [subject.first("list_price"), subject.first("price")] if said == str(share) else None

        check.holds(at, supporting, f"percentage: {token.text}")
        check.cover(at, at + 2)
        for start, end in lexicon.places("difference", check.keys):
            if at - _CUES_BEFORE <= start and end <= at + 2 + _CUES_AFTER:
                check.cover(start, end)
