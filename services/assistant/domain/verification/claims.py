"""Claims that are computed from facts: availability, stock, comparisons of prices, and numbers of products.

Each function marks the tokens that it accounts for, and raises Unsupported for a claim that is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.assistant.domain.facts import Fact
from services.assistant.domain.verification.sentence import SentenceCheck, Unsupported, others, prices, stated_length
from services.assistant.domain.verification.subjects import Subject
from services.assistant.domain.verification.words import Kind, keys_of, numeral_value

# Tokens between a negation and what it denies, and between a number and its noun.
_NEAR, _NOUN_NEAR = 2, 4
_PIECES = frozenset({"of", "piec", "piece", "unit", "item", "pair", "件", "个", "双", "条", "台"})
_OTHERS = ("others", "other", "rest", "all", "其他", "其它", "别的", "所有")


def check_availability(check: SentenceCheck) -> None:
    lexicon, keys = check.scope.lexicon, check.keys
    for start, end in lexicon.places("out_of_stock", keys):
        if not any(check.done[start:end]):
            _require_stock(check, start, end, is_in_stock=False)
    for start, end in lexicon.places("in_stock", keys):
        if any(check.done[start:end]):
            continue
        negation = next((at for at in range(start - 1, max(start - 1 - _NEAR, -1), -1) if _denies(check, at)), None)
        if negation is not None:
            check.cover(negation, negation + 1)
        _require_stock(check, start, end, is_in_stock=negation is None)


def _denies(check: SentenceCheck, at: int) -> bool:
    return not check.done[at] and check.scope.lexicon.length_at("negations", check.keys, at) > 0


def _require_stock(check: SentenceCheck, start: int, end: int, is_in_stock: bool) -> None:
    def supporting(subject: Subject) -> list[Fact | None] | None:
        return [subject.first("availability")] if subject.is_in_stock is is_in_stock else None

    check.holds(start, supporting, "availability")
    check.cover(start, end)


def check_stock(check: SentenceCheck) -> None:
    """ "Only 3 left", 还剩3件."""
    lexicon, keys = check.scope.lexicon, check.keys
    for at, token in enumerate(check.spoken):
        if check.done[at] or token.kind is not Kind.NUMBER:
            continue
        after = next(
            (place for place in range(at + 1, min(at + 4, len(keys))) if _is(check, "stock_words", place)), None
        )
        before = next((place for place in range(at - 1, max(at - 4, -1), -1) if _is(check, "stock_words", place)), None)
        place = after if after is not None and not _has_number(check, at + 1, after) else before
        if place is None and at + 1 < len(keys) and keys[at + 1] in _PIECES:
            # "There are 3 pieces of the title in stock."
            free = (other for other in range(len(keys)) if not check.done[other] and _is(check, "stock_words", other))
            place, is_far = next(free, None), True
        else:
            is_far = False
        if place is None or (not is_far and _has_number(check, min(at, place) + 1, max(at, place))):
            continue
        number = int(token.key) if token.key.isdigit() else -1

        def supporting(subject: Subject, number: int = number) -> list[Fact | None] | None:
            return [subject.first("stock")] if subject.stock == number else None

        check.holds(at, supporting, f"stock: {token.text}")
        check.cover(at, at + 1)
        check.cover(place, place + max(lexicon.length_at("stock_words", keys, place), 1))
        _cover_only(check, at)


def _is(check: SentenceCheck, name: str, at: int) -> bool:
    return check.scope.lexicon.length_at(name, check.keys, at) > 0


def _has_number(check: SentenceCheck, start: int, end: int) -> bool:
    return any(check.spoken[at].kind is Kind.NUMBER for at in range(start, end))


def _cover_only(check: SentenceCheck, at: int) -> None:
    """ "Only" in front of a number that is right."""
    for place in range(max(at - 2, 0), at):
        if length := check.scope.lexicon.length_at("only", check.keys, place):
            check.cover(place, place + length)


def check_counts(check: SentenceCheck) -> None:
    """ "Three options", 共5款."""
    keys = check.keys
    allowed = {*check.scope.counts, str(len(check.scope.products))}
    if check.mentions:
        allowed = {str(len({subject for mention in check.mentions for subject in mention.subjects}))}
    for at, token in enumerate(check.spoken):
        if check.done[at]:
            continue
        value = _count_at(check, at)
        if value is None:
            continue
        noun = next(
            (place for place in range(at + 1, min(at + 1 + _NOUN_NEAR, len(keys))) if _is(check, "counted", place)),
            None,
        )
        if noun is None or _has_number(check, at + 1, noun):
            if token.kind is not Kind.NUMBER and value <= len(check.group[at]) and value > 1:
                # "These two", "the two": as many as it is about.
                if value != len(check.group[at]) and str(value) not in allowed:
                    raise Unsupported(f"count: {token.text}")
                check.cover(at, at + 1)
            continue
        if str(value) not in allowed:
            if stated_length(check, at, True):
                continue
            raise Unsupported(f"count: {token.text}")
        check.support(subject.first("title") for subject in check.scope.products[:value])
        check.cover(at, at + 1)


def _count_at(check: SentenceCheck, at: int) -> int | None:
    token = check.spoken[at]
    if token.kind is Kind.NUMBER:
        return int(token.key) if token.key.isdigit() else None
    if token.kind is Kind.HAN:
        value = numeral_value(token.text)
        return None if value in (None, 1) and check.scope.lexicon.length_at("plain", check.keys, at) > 1 else value
    value = check.scope.lexicon.index_of("numbers", token.key)
    return value if value != 1 else None


def check_comparisons(check: SentenceCheck) -> None:
    """Comparisons of prices. A product that is compared with nothing in particular is compared with all others."""
    for name, sign, is_extreme in (
        ("cheapest", 1, True),
        ("dearest", -1, True),
        ("cheaper", 1, False),
        ("dearer", -1, False),
    ):
        for start, end in check.scope.lexicon.places(name, check.keys):
            if not any(check.done[start:end]):
                _compare(check, start, end, sign, is_extreme)
    for start, end in check.scope.lexicon.places("same_price", check.keys):
        if not any(check.done[start:end]):
            subjects = check.group[start]
            if len(subjects) < 2 or len(set(prices(subjects))) > 1:
                raise Unsupported("comparison: same price")
            check.support(subject.first("price") for subject in subjects)
            check.cover(start, end)


def _compare(check: SentenceCheck, start: int, end: int, sign: int, is_extreme: bool) -> None:
    """`sign`: 1 if the subject has to be cheaper, -1 if dearer."""
    than = _than(check, start, end)
    if check.is_question and not check.mentions:
        # "Shall I look for something cheaper than that?"
        check.cover(start, end)
        if than is not None:
            check.cover(than, than + check.scope.lexicon.length_at("than", check.keys, than))
        return
    if than is None:
        subjects = check.named_before(start) or (check.named_after(end) if is_extreme or not check.scope.before else ())
        objects: tuple[Subject, ...] = ()
    elif than < start:
        # A 比 B 便宜
        subjects, objects = check.named_before(than) or check.scope.before, check.named_after(than)
    else:
        subjects = check.named_before(start) or check.scope.before
        objects = check.named_after(than)
        if not objects and not _says_others(check, than) and check.named_before(start):
            objects = check.scope.before
    if not subjects and is_extreme:
        subjects = _extreme(check, sign)
        check.group[:] = [subjects] * len(check.group)
    subjects = subjects or check.scope.before
    objects = objects or others(check, subjects)
    if not subjects or not objects or (set(subjects) & set(objects)):
        raise Unsupported("comparison: with nothing")
    mine, theirs = [sign * price for price in prices(subjects)], [sign * price for price in prices(objects)]
    if max(mine) > min(theirs) or (not is_extreme and max(mine) == min(theirs)):
        raise Unsupported("comparison: price")
    check.support(subject.first("price") for subject in (*subjects, *objects[:3]))
    check.cover(start, end)
    if than is not None:
        check.cover(than, than + check.scope.lexicon.length_at("than", check.keys, than))
        _return_to_subject(check, max(than, start), subjects)


def _than(check: SentenceCheck, start: int, end: int) -> int | None:
    lexicon, keys = check.scope.lexicon, check.keys
    places = [place for place, _ in lexicon.places("than", keys) if not check.done[place]]
    after = next((place for place in places if end <= place <= end + _NEAR), None)
    return after if after is not None else next((place for place in places if place < start), None)


def _says_others(check: SentenceCheck, at: int) -> bool:
    said = " ".join(check.keys[at:])
    return any(" ".join(keys_of(word)) in said for word in _OTHERS)


def _extreme(check: SentenceCheck, sign: int) -> tuple[Subject, ...]:
    priced = [product for product in check.scope.products if product.price is not None]
    if len(priced) < len(check.scope.products) or len(priced) < 2:
        raise Unsupported("comparison: with nothing")
    best = min(sign * price for price in prices(priced))
    return tuple(product for product in priced if product.price is not None and sign * product.price == best)


def _return_to_subject(check: SentenceCheck, at: int, subjects: Sequence[Subject]) -> None:
    """What follows the object of a comparison is about its subject again: "A is cheaper than B and in stock"."""
    named = next((mention for mention in check.mentions if mention.start >= at), None)
    if named is None:
        return
    until = next((mention.start for mention in check.mentions if mention.start > named.start), len(check.keys))
    for place in range(named.end, until):
        check.group[place] = tuple(subjects)


def check_nothing_found(check: SentenceCheck) -> None:
    for start, end in check.scope.lexicon.places("nothing_found", check.keys):
        if check.scope.products:
            raise Unsupported("nothing found: there are products")
        check.cover(start, end)
    for start, end in check.scope.lexicon.places("harmless", check.keys):
        if not any(check.done[start:end]):
            check.cover(start, end)
