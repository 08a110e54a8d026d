"""The grammar of prices in queries, in English and Chinese.

    prices      = range | approximate | bound [joiner bound]
    bound       = {negation filler} comparator {link} amount [suffix]  |  {negation filler} amount suffix
    range       = [opener] amount between amount [closer]
    approximate = approximately amount  |  amount approximately
    amount      = {currency} number [magnitude] {currency}

Reading starts at the amounts and looks to both sides for the longest phrase of `price_words`. Each negation turns a
bound into the opposite one. A number without a currency is a price only where nothing says that it measures or counts
something. What contradicts itself, or is not understood, is no price: it stays in the text.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache

from services.common.money import Money, in_minor_units
from services.common.traditional_chinese import simplified
from services.query_encoder.domain import price_units as units
from services.query_encoder.domain import price_words as words
from services.query_encoder.domain.chinese_numerals import NUMERALS
from services.query_encoder.domain.correction import english_words
from services.query_encoder.domain.phrases import tokens_of
from services.query_encoder.domain.price_amounts import Amount, Currencies, find_amounts
from services.query_encoder.domain.price_words import Bare, Comparator, Side

# "Around 50" is from 40 to 60.
_AROUND = Decimal("0.2")
# Words, or Han characters, that may stand between a negation and a minimum: "no headphones over $50".
_NEAR_WORDS, _NEAR_HAN = 5, 8
# The same for a maximum: "no headphones under $50", but "no show crew socks under $50".
_PRODUCT_WORDS, _PRODUCT_HAN = 1, 4
# Letters up to which an unknown word may be a unit: "under 400 cfm".
_SHORT = 4
# Words of a name of the shop.
_LONGEST_NAME = 4
_SHOP_CURRENCIES = 64
_FIRST_YEAR, _LAST_YEAR = 1900, 2099
_DIGIT = re.compile(f"[0-9{NUMERALS}]")


@dataclass(frozen=True)
class PriceReading:
    """At least one end, both in one currency. `start` and `end` of the words that state it in the text."""

    minimum: Money | None
    maximum: Money | None
    start: int
    end: int


@dataclass(frozen=True)
class _Condition:
    """Tokens `start` to `end`."""

    minimum: Decimal | None
    maximum: Decimal | None
    names: tuple[str, ...]
    start: int
    end: int


def read_price(normal: str, shop_currency: str, names: Container[str] = frozenset()) -> PriceReading | None:
    """The price condition of a normalised text; None if there is none, or none that is surely understood.

    `names` of brands, colours and categories of the shop in their normal form: "under 50 nike" is a price.
    """
    plain = simplified(normal)
    if not _DIGIT.search(plain):
        return None
    return _Text(plain, normal, _currencies(shop_currency), names).price()


@lru_cache(_SHOP_CURRENCIES)
def _currencies(shop_currency: str) -> Currencies:
    return Currencies(shop_currency)


class _Text:
    """One text. All positions are numbers of tokens."""

    def __init__(self, plain: str, normal: str, currencies: Currencies, names: Container[str]) -> None:
        self._plain, self._normal, self._currencies, self._shop_names = plain, normal, currencies, names
        self._tokens = tokens_of(plain)
        self._words = [token.text for token in self._tokens]
        self._amounts = list(find_amounts(self._tokens, currencies, plain))

    def price(self) -> PriceReading | None:
        conditions = list(self._conditions())
        if not conditions:
            return None
        first = conditions[0]
        if len(conditions) > 1:
            second = conditions[1]
            if self._are_alternatives(first, second):
                return None
            first = self._joined(first, second) or first
        currency = self._currencies.meant(first.names, self._plain)
        if currency is None:
            return None
        minimum, maximum = (
            None if amount is None else Money(currency, amount) for amount in (first.minimum, first.maximum)
        )
        return PriceReading(minimum, maximum, self._tokens[first.start].start, self._tokens[first.end - 1].end)

    def _conditions(self) -> Iterator[_Condition]:
        at = 0
        while at < len(self._amounts):
            one, *others = self._amounts[at : at + 2]
            if others and self._is_range(one, others[0]):
                condition, at = self._range(one, others[0]), at + 2
            else:
                condition, at = self._bound(one) or self._approximate(one), at + 1
            if condition and self._currencies.meant(condition.names, self._plain):
                yield condition

    def _bound(self, amount: Amount) -> _Condition | None:
        beside = self._words[amount.start - 1 : amount.start] == ["比"]
        prefix, before = self._comparator_before(amount.start - beside)
        suffix, after = self._suffix(amount)
        compared = prefix or suffix
        if compared is None:
            return None
        negated = self._negations(before)
        if negated is None or self._is_excluded_behind(after):
            return None
        start, is_flipped = negated
        side = compared.side.opposite if is_flipped else compared.side
        if prefix and suffix and suffix.side is not side:
            return None
        if not is_flipped and self._is_excluded(before, compared.side):
            return None
        bare = max(one.bare for one in (prefix, suffix) if one)
        start, has_price_word = self._with_price_words(start)
        if has_price_word:
            bare = Bare.ALONE if bare is Bare.NEVER else Bare.LIKELY
        if not self._is_price(amount.names, amount.value, start, after, bare, compared.side):
            return None
        minimum, maximum = (None, amount.value) if side is Side.MAXIMUM else (amount.value, None)
        return _Condition(minimum, maximum, amount.names, start, after)

    def _range(self, low: Amount, high: Amount) -> _Condition | None:
        opener = words.OPENERS.ending_at(self._words, self._without_links(low.start))
        closer = words.CLOSERS.starting_at(self._words, high.end)
        start, end = opener[0] if opener else low.start, closer[0] if closer else high.end
        negated = self._negations(start)
        if negated is None or negated[1]:
            return None
        start, has_price_word = self._with_price_words(start)
        at = self._without_links(start)
        if not has_price_word and words.COMPARATORS.ending_at(self._words, at):
            return None
        # "1-2k" is from 1,000.
        least = low.value
        if low.multiplier == 1 and high.multiplier > 1 and low.value * high.multiplier <= high.value:
            least *= high.multiplier
        if least > high.value:
            return None
        names = tuple(dict.fromkeys((*low.names, *high.names)))
        bare = Bare.ALONE if opener or closer or has_price_word else Bare.NEVER
        if not (names or has_price_word) and _FIRST_YEAR <= low.value <= high.value <= _LAST_YEAR:
            return None
        if not self._is_price(names, high.value, start, end, bare, Side.MAXIMUM):
            return None
        return _Condition(least, high.value, names, start, end)

    def _approximate(self, amount: Amount) -> _Condition | None:
        before = words.APPROXIMATELY.ending_at(self._words, amount.start)
        after = words.APPROXIMATELY_AFTER.starting_at(self._words, amount.end)
        if not (before or after):
            return None
        start, end = before[0] if before else amount.start, after[0] if after else amount.end
        negated = self._negations(start)
        if negated is None or negated[1]:
            return None
        start, _ = self._with_price_words(start)
        if not self._is_price(amount.names, amount.value, start, end, Bare.ALONE, Side.MAXIMUM):
            return None
        currency = self._currencies.meant(amount.names, self._plain)
        if currency is None:
            return None
        low, high = (in_minor_units(amount.value * (1 + part), currency) for part in (-_AROUND, _AROUND))
        return _Condition(low, high, amount.names, start, end)

    def _is_range(self, low: Amount, high: Amount) -> bool:
        found = words.BETWEEN.starting_at(self._words, low.end)
        if found is None or found[0] != high.start:
            return False
        if self._words[low.end] not in words.WEAK_BETWEEN:
            return True
        opener = words.OPENERS.ending_at(self._words, self._without_links(low.start))
        return bool(opener or words.CLOSERS.starting_at(self._words, high.end))

    def _comparator_before(self, start: int) -> tuple[Comparator | None, int]:
        """The comparator before token `start` and where it starts; (None, `start`) if there is none."""
        at = start
        while True:
            if found := words.COMPARATORS.ending_at(self._words, at):
                return found[1], found[0]
            link = words.LINKS.ending_at(self._words, at)
            if link is None:
                return None, start
            at = link[0]

    def _suffix(self, amount: Amount) -> tuple[Comparator | None, int]:
        """The comparator after an amount and where it ends; (None, the end of the amount) if there is none."""
        if self._words[amount.start - 1 : amount.start] == ["比"]:
            beside = words.AFTER_BI.starting_at(self._words, amount.end)
            return (Comparator(beside[1], Bare.ALONE), beside[0]) if beside else (None, amount.end)
        found = words.SUFFIXES.starting_at(self._words, amount.end)
        # In "over 50 and under 100" the word belongs to the next amount.
        if found is None or any(other.start == found[0] for other in self._amounts):
            return None, amount.end
        return found[1], found[0]

    def _negations(self, at: int) -> tuple[int, bool] | None:
        """(where the negations before token `at` start, whether they turn the meaning). None if it is not clear."""
        start, is_flipped = at, False
        while at:
            if negation := words.NEGATIONS.ending_at(self._words, at):
                before = negation[0]
                if self._asks(before, at):
                    at = before - 1
                else:
                    at = start = before
                    is_flipped = not is_flipped
            elif filler := words.FILLERS.ending_at(self._words, at):
                at = filler[0]
            else:
                break
        is_question = is_flipped and any(word in self._words for word in words.QUESTIONS)
        if is_question or words.SPOILERS.ending_at(self._words, at):
            return None
        return start, is_flipped

    def _is_excluded(self, at: int, side: Side) -> bool:
        """Whether a negation before token `at` may concern the price, though other words stand between: "no headphones
        over $50", 不宜超过. Of a maximum only a negation at the start: "headset no microphone under $50" is one.
        """
        is_han = at > 0 and self._tokens[at - 1].kind == "han"
        near, product = (_NEAR_HAN, _PRODUCT_HAN) if is_han else (_NEAR_WORDS, _PRODUCT_WORDS)
        strangers = 0
        while at and strangers <= near:
            if negation := words.FAR_NEGATIONS.ending_at(self._words, at):
                if self._asks(negation[0], at - 1):
                    return False
                return side is Side.MINIMUM or (strangers <= product and self._starts(negation[0]))
            if strangers <= 1 and words.NEAR_NEGATIONS.ending_at(self._words, at):
                return not self._asks(at - 1, at)
            if self._tokens[at - 1].kind not in ("word", "han"):
                return False
            filler = words.FILLERS.ending_at(self._words, at)
            strangers += filler is None
            at = filler[0] if filler else at - 1
        return False

    def _asks(self, start: int, end: int) -> bool:
        """Whether the negation of these tokens asks instead, between the same word twice: 能不能, 有没有."""
        return self._words[start - 1 : start] == self._words[end : end + 1] != []

    def _starts(self, at: int) -> bool:
        """Whether token `at` starts the text or a part of it, but for words such as "I"."""
        while filler := words.FILLERS.ending_at(self._words, at):
            at = filler[0]
        return at == 0 or self._tokens[at - 1].kind == "other"

    def _is_excluded_behind(self, at: int) -> bool:
        excluded = words.EXCLUDED.starting_at(self._words, at)
        return excluded is not None and (excluded[0] == len(self._words) or self._tokens[excluded[0]].kind == "other")

    def _with_price_words(self, start: int) -> tuple[int, bool]:
        """(where the words such as "price" before token `start` start, whether there are any)."""
        before = start
        while found := words.PRICE_WORDS.ending_at(self._words, self._without_links(before)):
            before = found[0]
        return before, before < start

    def _without_links(self, at: int) -> int:
        while found := words.LINKS.ending_at(self._words, at):
            at = found[0]
        return at

    def _is_price(self, names: Sequence[str], value: Decimal, start: int, after: int, bare: Bare, side: Side) -> bool:
        """Whether a number of these tokens is money. `side` as the comparator says it."""
        if units.NO_PRICE_AFTER.starting_at(self._words, after) or units.NO_PRICE_BEFORE.ending_at(self._words, start):
            return False
        if names:
            return True
        is_resolution = value in units.RESOLUTIONS and self._words[after - 1] == "k"
        if is_resolution or self._is_attribute(value, start, side):
            return False
        return self._counts_nothing(start, after, bare)

    def _is_attribute(self, value: Decimal, start: int, side: Side) -> bool:
        """Whether the words before say that a bare number is a size or an age: "size under 42", "women over 50"."""
        at = self._without_links(start)
        if units.ATTRIBUTES.ending_at(self._words, at):
            return True
        if units.CHILDREN.ending_at(self._words, at) and value <= units.GROWN_UP:
            return True
        return side is Side.MINIMUM and units.ADULTS.ending_at(self._words, at) is not None

    def _counts_nothing(self, start: int, after: int, bare: Bare) -> bool:
        """Whether what follows a bare number lets it be a price."""
        if bare is Bare.NEVER or after == len(self._tokens):
            return bare is not Bare.NEVER
        following = self._tokens[after]
        if self._is_name(after + (following.text == "in")):
            return True
        if units.UNITS.starting_at(self._words, after):
            return False
        if units.NO_COUNT.starting_at(self._words, after):
            return True
        if bare is Bare.ALONE or following.kind not in ("word", "han"):
            return False
        return following.kind == "han" or not self._may_be_unit(following.text, start)

    def _may_be_unit(self, word: str, start: int) -> bool:
        """Whether an unknown word is a plural ("under 30 devices") or an abbreviation. At the start of the text, the
        plural is what is looked for: "under 50 headphones".
        """
        if start and word.endswith("s") and not word.endswith(("ss", "us", "is")):
            return True
        return len(word) <= _SHORT and word not in english_words()

    def _is_name(self, at: int) -> bool:
        """Whether a name of the shop starts at token `at`."""
        ends = (token.end for token in self._tokens[at : at + _LONGEST_NAME])
        return any(self._normal[self._tokens[at].start : end] in self._shop_names for end in ends)

    def _are_alternatives(self, first: _Condition, second: _Condition) -> bool:
        """Whether "or" joins them: no condition of this kind can state that."""
        return self._words[first.end : second.start] in (["or"], ["或"], ["或", "者"])

    def _joined(self, first: _Condition, second: _Condition) -> _Condition | None:
        """A minimum and a maximum that follow each other, as one condition: "over 50 but under 100"."""
        end = first.end
        while end < second.start and (joiner := words.JOINERS.starting_at(self._words, end)):
            end = joiner[0]
        names = tuple(dict.fromkeys((*first.names, *second.names)))
        one_sided = [one for one in (first, second) if (one.minimum is None) != (one.maximum is None)]
        if end != second.start or len(one_sided) < 2 or self._currencies.meant(names, self._plain) is None:
            return None
        low, high = (first, second) if first.minimum is not None else (second, first)
        if low.minimum is None or high.maximum is None or low.minimum > high.maximum:
            return None
        return replace(first, minimum=low.minimum, maximum=high.maximum, names=names, end=second.end)
