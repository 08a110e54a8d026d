"""An independent check of the assistant's answers: every claim against the catalogue and the FAQ themselves.

It reads the files that were imported, and nothing of the assistant. A claim is unsupported if it is

price         an amount of money that is neither the price of the product that the sentence is about, nor a difference
              of the prices of the products it cites, nor in the cited FAQ entry, nor of the shopper or the search
number        any other number that none of these has: stock, attributes, title and description of the product, the FAQ
              entry, the shopper's words; or the number of products shown
attribute     a value of the catalogue's attributes that the product does not have
brand, name   a brand, or a word written as a name, that is neither the product's nor the FAQ entry's nor the shopper's
availability  "in stock" of a product that is not, and the other way round
comparison    "cheaper than" the wrong way round, "cheapest" that is not; "best-selling" and the like, always
promise       refund, delivery, warranty, discount and the like, unless the sentence is in the cited FAQ entry
policy        a sentence of an answer from the FAQ that reverses a sentence of the entry
citation      a citation without a source, or with another value than the source has
card          a shown product with another title, brand, attribute, price or stock than in the catalogue
chip          an answer to choose that no product of the catalogue has

The sentence is about the product that it names last before the claim; if it names none before, about the one that it
names at all; without a name, about any that its segment cites. `unsupported` returns the claims of one answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from benchmarks.conversation import Reply
from kairos.assistant.v1 import assistant_pb2 as pb
from kairos.gateway.v1 import gateway_pb2
from services.common.product import Product
from services.common.scripts import HAN, has_han

_SENTENCE = re.compile(r"(?<=[!?。！？\n])\s*|(?<=[.])\s+")
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_MONEY = re.compile(
    r"(?:US\$|[$€£¥￥]|USD|EUR|CNY)\s?(\d+(?:,\d{3})*(?:\.\d+)?)"
    r"|(\d+(?:,\d{3})*(?:\.\d+)?)\s?(?:dollars?|bucks|euros?|USD|EUR|CNY|美元|美金|元|块)", re.IGNORECASE,
)  # fmt: skip
_STOCK_COUNT = re.compile(
    r"(\d+)\s+(?:pieces?\s+|items?\s+|units?\s+|pairs?\s+)?(?:are\s+)?(?:left|in stock|available)|only (\d+) left"
    r"|(?:库存|仅剩|还剩|还有|剩余|现有)\D{0,3}(\d+)", re.IGNORECASE,
)  # fmt: skip
_OUT = re.compile(
    r"\b(?:out of stock|sold out|not in stock|not available|unavailable|isn.t in stock)\b"
    r"|缺货|售罄|无货|没有货|没有现货|无库存|卖完",
    re.IGNORECASE,
)
_IN = re.compile(r"\b(?:in stock|available)\b|有货|有现货|现货|库存充足|有库存", re.IGNORECASE)
_IF = re.compile(r"\b(?:if|whether|ask|unless)\b|是否|如果|吗|只看", re.IGNORECASE)
_PROMISE = re.compile(
    r"\b(?:free (?:shipping|delivery|returns?|of charge)|(?:full|money) (?:refund|back)|refunds?|guarante\w*|warrant\w*"
    r"|discount\w*|coupon|voucher|promo\w*|\d+ ?% ?off|half[- ]price|on sale|deal of the day|next[- ]day"
    r"|tomorrow|tonight|within \w+ (?:hours?|days?|weeks?)|by (?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|overnight|express delivery|will (?:arrive|ship|be (?:delivered|refunded|replaced))|we promise|compensat\w*"
    r"|gift card|store credit)\b"
    r"|包邮|免运费|免费(?:配送|送货|退货|更换)|退款|全额退|保证|保修|质保|优惠|打折|折扣|[一二三四五六七八九\d]折|特价|代金券|优惠券"
    r"|明天|次日|当日|今晚|小时内|天内|个工作日|一定(?:会)?(?:到|送)|赔偿|补偿|赠送|以旧换新",
    re.IGNORECASE,
)  # fmt: skip
# Before a promise: it is withheld.
_DENIAL = re.compile(
    r"\b(?:cannot|can not|can't|can’t|unable|don't|do not|don’t)\b|不能|无法|没法|没有办法", re.IGNORECASE
)
# No source has them.
_BOAST = re.compile(
    r"\b(?:best[- ]?sell\w*|most popular|top[- ]rated|highest[- ]rated|number one|award\w*|customers (?:love|prefer)"
    r"|everyone|bestseller|trending|limited edition|world.s)\b"
    r"|最畅销|热销|销量(?:第一|最高)|最受欢迎|评分最高|爆款|获奖|大奖|限量|全网最",
    re.IGNORECASE,
)  # fmt: skip
_CHEAPEST = re.compile(
    r"\b(?:cheapest|lowest[- ]priced?|least expensive|most affordable)\b|最便宜|最低价|价格最低", re.IGNORECASE
)
_DEAREST = re.compile(r"\b(?:most expensive|dearest|highest[- ]priced?)\b|最贵|价格最高", re.IGNORECASE)
_CHEAPER = re.compile(
    r"\b(?:cheaper|less expensive|costs? .{0,24}less|less) than\b|比.{0,60}(?:便宜|低)", re.IGNORECASE
)
_DEARER = re.compile(r"\b(?:dearer|more expensive|costs? .{0,24}more|more) than\b|比.{0,60}(?:贵|高)", re.IGNORECASE)
_NOT = re.compile(
    r"\b(?:not|no|never|cannot|without|except|unless|non|neither|nor)\b|n't\b|不|没|无|未|非|勿|除", re.IGNORECASE
)
_NAME = re.compile(r"(?<![.!?:;\"“(\n•–—-] )(?<!^)\b(?<![\w'’-])[A-Z][a-z]{2,}(?:['’-]?[A-Za-z]+)*\b")
_WORD = re.compile(rf"[a-z0-9']+|[{HAN}]")
# Capitalised words that are no names of products: days, months, languages, and what shops are called by.
_PLAIN = frozenset(
    [
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "english",
        "chinese",
        "faq",
    ]
)
_LITERAL, _QUOTED = 0.8, 0.5
_STOCK_FIELDS = ("stock", "stock_quantity")
# Attribute values that are everyday words: a sentence that has them need not be about an attribute.
_EVERYDAY = frozenset(
    [
        "normal",
        "single",
        "double",
        "set",
        "king",
        "adult",
        "small",
        "medium",
        "large",
        "s",
        "m",
        "l",
        "dry",
        "other",
        "all",
        "both",
        "pack",
        "on",
        "paper",
    ]
)


@dataclass(frozen=True)
class FaqText:
    """An entry of the FAQ. `version`: 0 if any may be cited."""

    question: str
    answer: str
    version: int = 0

    @property
    def text(self) -> str:
        return f"{self.question}\n{self.answer}"


@dataclass(frozen=True)
class Unsupported:
    """A claim without a source. `kind`: see above."""

    kind: str
    claim: str
    sentence: str


@dataclass(frozen=True)
class _Sentence:
    """`text`: without titles, of which "⟦n⟧" stands for the product `named[n]`."""

    whole: str
    text: str
    named: Sequence[Product]
    cited: Sequence[Product]
    entries: Sequence[FaqText]

    def about(self, position: int) -> Sequence[Product]:
        before = [int(match[1]) for match in re.finditer(r"⟦(\d+)⟧", self.text[:position])]
        if before:
            return [self.named[before[-1]]]
        return self.named if len(self.named) == 1 else self.cited

    @property
    def all(self) -> Sequence[Product]:
        return [*self.named, *self.cited]


class AnswerChecker:
    """`chinese`: Chinese words of each attribute value."""

    def __init__(
        self,
        products: Mapping[str, Product],
        faq: Mapping[str, FaqText],
        chinese: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._products = products
        self._faq = faq
        self._chinese = chinese or {}
        self._brands = sorted({one.brand for one in products.values() if one.brand}, key=len, reverse=True)
        values = {value for one in products.values() for own in one.attributes.values() for value in own}
        self._forms = dict[str, set[str]]()
        for value in values:
            for form in filter(self._is_telling, self._forms_of(value)):
                self._forms.setdefault(form, set()).add(value)
        self._value_pattern = _any_of(self._forms)
        self._brand_pattern = _any_of(brand.lower() for brand in self._brands)

    @staticmethod
    def _is_telling(form: str) -> bool:
        return form not in _EVERYDAY and not _NUMBER.fullmatch(form) and len(form) > (1 if has_han(form) else 2)

    def unsupported(self, reply: Reply, said: Sequence[str], shown_ids: Sequence[str] = ()) -> list[Unsupported]:
        """`said`: what the shopper said so far. `shown_ids`: products shown in earlier turns, which may be counted."""
        found = list[Unsupported]()
        own_words = "\n".join([*said, *self._conditions(reply.search_request)]).lower()
        for card in reply.cards:
            found += self._card(card)
        counts = {len(reply.cards), len(shown_ids), len(reply.segments)}
        counts |= set(range(1, max(len(reply.cards), len(shown_ids)) + 1))
        cards = [self._products[card.product.id] for card in reply.cards if card.product.id in self._products]
        for segment in reply.segments:
            found += self._citations(segment)
            cited = [self._products[one.product_id] for one in segment.citations if one.product_id in self._products]
            # Values of other variants, which the citations' own check has compared with the group.
            values = [one.value for one in segment.citations if one.field.startswith("variants.")]
            others = "\n".join(form for value in values for form in self._forms_of(value))
            entries = [self._faq[one.faq_id] for one in segment.citations if one.faq_id in self._faq]
            cited = list({one.id: one for one in cited}.values())
            for sentence in self._sentences(segment.text, cited, cards, entries):
                found += self._claims(sentence, f"{own_words}\n{others}", counts, [*cards, *cited])
        if reply.question is not None:
            found += self._question(reply.question, cards, own_words)
        return found

    def _sentences(
        self, text: str, cited: Sequence[Product], cards: Sequence[Product], entries: Sequence[FaqText]
    ) -> Iterator[_Sentence]:
        known = {one.id: one for one in [*cited, *cards]}.values()
        titles = sorted(
            ((title, one) for one in known for title in (one.title, *one.localized_titles.values())),
            key=lambda pair: len(pair[0]), reverse=True,
        )  # fmt: skip
        named = list[Product]()
        for title, product in titles:
            if title and title in text:
                text = text.replace(title, f"⟦{len(named)}⟧")
                named.append(product)
        for part in filter(str.strip, _SENTENCE.split(text)):
            numbers = list(dict.fromkeys(int(number) for number in re.findall(r"⟦(\d+)⟧", part)))
            own = [named[number] for number in numbers]
            local = part
            for place, number in enumerate(numbers):
                local = local.replace(f"⟦{number}⟧", f"⟦\0{place}⟧")
            whole = re.sub(r"⟦(\d+)⟧", lambda match: named[int(match[1])].title, part)
            yield _Sentence(whole.strip(), local.replace("\0", ""), own, cited, entries)

    def _claims(
        self, sentence: _Sentence, own_words: str, counts: set[int], seen: Sequence[Product]
    ) -> Iterator[Unsupported]:
        def wrong(kind: str, claim: str) -> Unsupported:
            return Unsupported(kind, claim, sentence.whole)

        entries = "\n".join(entry.text for entry in sentence.entries).lower()
        text = sentence.text
        bare = re.sub(r"⟦\d+⟧", lambda match: " " * len(match[0]), text)
        free = f"{entries}\n{own_words}"
        free_numbers = {_decimal(number) for number in _NUMBER.findall(free)}
        taken = set[int]()
        for match in _MONEY.finditer(bare):
            taken.update(range(*match.span()))
            amount = _decimal(match[1] or match[2])
            if amount not in free_numbers and amount not in self._amounts(sentence, match.start()):
                yield wrong("price", match[0])
        for match in _STOCK_COUNT.finditer(bare):
            taken.update(range(*match.span()))
            pieces = int(next(filter(None, match.groups())))
            if not any(product.stock == pieces for product in sentence.about(match.start())):
                yield wrong("number", match[0])
        for match in _NUMBER.finditer(bare):
            number = _decimal(match[0])
            if (
                match.start() in taken
                or number in free_numbers
                or (number in counts and "%" not in bare[match.end() :][:2])
            ):
                continue
            if not any(number in self._numbers(product) for product in sentence.about(match.start())):
                yield wrong("number", match[0])
        lowered = bare.lower()
        for match in self._brand_pattern.finditer(lowered):
            if match[0] not in free and not any(match[0] == one.brand.lower() for one in sentence.about(match.start())):
                yield wrong("brand", match[0])
        for match in self._value_pattern.finditer(lowered):
            if match.start() in taken:
                continue
            values, about = self._forms[match[0]], sentence.about(match.start()) or seen
            if match[0] not in free and about and not any(self._has(one, values, match[0]) for one in about):
                yield wrong("attribute", match[0])
        yield from self._names(sentence, bare, free, seen, wrong)
        yield from self._availability(sentence, bare, entries, wrong)
        yield from self._comparisons(sentence, bare, entries, seen, wrong)
        yield from self._promises(sentence, bare, entries, wrong)
        for entry in sentence.entries:
            if not _agrees(bare, entry.answer):
                yield wrong("policy", bare.strip())

    def _promises(
        self, sentence: _Sentence, bare: str, entries: str, wrong: Callable[[str, str], Unsupported]
    ) -> Iterator[Unsupported]:
        match = _PROMISE.search(bare)
        if match is None or _overlap(bare, entries) >= _LITERAL:
            return
        asks = bare.rstrip().endswith(("?", "？")) or _IF.search(bare)
        denies = _DENIAL.search(bare[: match.start()])
        if not asks and not denies and not any(match[0].lower() in self._text(one) for one in sentence.all):
            yield wrong("promise", match[0])

    def _names(
        self,
        sentence: _Sentence,
        bare: str,
        free: str,
        seen: Sequence[Product],
        wrong: Callable[[str, str], Unsupported],
    ) -> Iterator[Unsupported]:
        for match in _NAME.finditer(bare):
            word = match[0].lower()
            own = " ".join(self._text(product) for product in (sentence.all or seen))
            if word not in free and word not in own and word not in _PLAIN and not self._brand_pattern.fullmatch(word):
                yield wrong("name", match[0])

    def _availability(
        self, sentence: _Sentence, bare: str, entries: str, wrong: Callable[[str, str], Unsupported]
    ) -> Iterator[Unsupported]:
        if _IF.search(bare) or _overlap(bare, entries) >= _LITERAL:
            return
        outs = [match.span() for match in _OUT.finditer(bare)]
        for start, _ in outs:
            about = sentence.about(start)
            if about and all(_is_available(product) for product in about):
                yield wrong("availability", bare.strip())
        for match in _IN.finditer(bare):
            if any(start <= match.start() < end for start, end in outs) or _NOT.search(
                bare[max(0, match.start() - 12) : match.start()]
            ):
                continue
            about = sentence.about(match.start())
            if about and not any(_is_available(product) for product in about):
                yield wrong("availability", match[0])

    def _comparisons(
        self, sentence: _Sentence, bare: str, entries: str, seen: Sequence[Product],
        wrong: Callable[[str, str], Unsupported],
    ) -> Iterator[Unsupported]:  # fmt: skip
        if (match := _BOAST.search(bare)) and match[0].lower() not in entries:
            yield wrong("comparison", match[0])
        for pattern, sign in ((_CHEAPEST, 1), (_DEAREST, -1)):
            match = pattern.search(bare)
            about = sentence.named or sentence.cited
            prices = [_price(product) for product in seen]
            if match and len(about) == 1 and prices and any(sign * price < sign * _price(about[0]) for price in prices):
                yield wrong("comparison", match[0])
        if len(sentence.named) == 2:
            first, second = map(_price, sentence.named)
            for pattern, is_right in ((_CHEAPER, first < second), (_DEARER, first > second)):
                found = pattern.search(bare)
                if found and not is_right:
                    yield wrong("comparison", found[0])

    def _citations(self, segment: pb.TextSegment) -> Iterator[Unsupported]:
        for citation in segment.citations:
            claim = f"{citation.product_id or citation.faq_id} {citation.field} {citation.value!r}"
            if citation.product_id:
                product = self._products.get(citation.product_id)
                if product is None or not self._is_value(product, citation.field, citation.value):
                    yield Unsupported("citation", claim, segment.text)
            elif citation.faq_id:
                entry = self._faq.get(citation.faq_id)
                is_version = entry is not None and entry.version in (0, citation.faq_version)
                if (
                    entry is None
                    or not is_version
                    or _squeezed(citation.value).rstrip("…") not in _squeezed(entry.text)
                ):
                    yield Unsupported("citation", claim, segment.text)
            elif not citation.order_id:
                yield Unsupported("citation", "without a source", segment.text)

    def _is_value(self, product: Product, name: str, value: str) -> bool:
        """Whether the source has the value; an empty value only names the field."""
        wanted = _squeezed(value)
        if name in ("price", "list_price"):
            numbers = {_decimal(number) for number in _NUMBER.findall(value)}
            return product.price is not None and (not numbers or numbers == {product.price.amount.normalize()})
        if name in _STOCK_FIELDS:
            return not wanted or wanted == str(product.stock)
        if name == "availability":
            return bool(_OUT.search(value)) != _is_available(product)
        if name == "title":
            return not wanted or wanted in map(_squeezed, (product.title, *product.localized_titles.values()))
        if name == "description":
            texts = (product.description, *product.localized_descriptions.values())
            return any(wanted.rstrip("….") in _squeezed(text) for text in texts)
        if name == "brand":
            return not wanted or wanted == _squeezed(product.brand)
        if name == "category":
            return not wanted or any(wanted == _squeezed(part) for part in (*product.category_path, product.category))
        if name.startswith("attributes."):
            own = product.attributes.get(name.removeprefix("attributes."), ())
            forms = {form for one in own for form in self._forms_of(one)}
            return bool(own) and (not wanted or all(part in forms for part in map(_squeezed, value.split(", "))))
        if name.startswith("variants."):
            own_name = name.removeprefix("variants.")
            group = [one for one in self._products.values() if one.group == product.group]
            return any(wanted == _squeezed(value) for one in group for value in one.attributes.get(own_name, ()))
        # Why the ranker placed it there: no fact of the catalogue.
        return name in ("relevance", "reason")

    def _card(self, card: pb.ProductCard) -> Iterator[Unsupported]:
        own = self._products.get(card.product.id)
        if own is None:
            yield Unsupported("card", card.product.id, "no product of the catalogue")
            return
        shown = card.product
        attributes = {name: tuple(values.values) for name, values in shown.attributes.items()}
        price = Decimal(shown.price.units) + Decimal(shown.price.nanos) / 10**9 if shown.HasField("price") else None
        quoted = card.price.offer if card.HasField("price") else None
        offered = Decimal(quoted.units) + Decimal(quoted.nanos) / 10**9 if quoted else None
        for name, is_right in (
            ("title", shown.title in (own.title, *own.localized_titles.values())),
            ("brand", shown.brand == own.brand),
            ("attributes", attributes == {name: tuple(values) for name, values in own.attributes.items()}),
            ("price", price in (None, own.price.amount if own.price else None)),
            ("offer", offered in (None, own.price.amount if own.price else None)),
            ("stock", not shown.HasField("stock") or shown.stock == own.stock),
        ):
            if not is_right:
                yield Unsupported("card", f"{name} of {own.id}", own.title)

    def _question(self, question: pb.Question, cards: Sequence[Product], own_words: str) -> Iterator[Unsupported]:
        name = question.field.removeprefix("attributes.")
        if not question.field.startswith("attributes."):
            return
        values = {form for one in self._products.values() for value in one.attributes.get(name, ())
                  for form in self._forms_of(value)}  # fmt: skip
        for chip in question.chips:
            text = chip.text.lower()
            if not any(value in text for value in values) and not _ANY_CHIP.search(text) and not _NUMBER.search(text):
                yield Unsupported("chip", chip.text, question.text)

    def _amounts(self, sentence: _Sentence, position: int) -> set[Decimal]:
        about = [_price(product) for product in sentence.about(position)]
        every = [_price(product) for product in sentence.all]
        differences = {abs(one - other) for one in every for other in every if one != other}
        return {*about, *differences} if len(sentence.named) > 1 or not sentence.named else set(about)

    def _numbers(self, product: Product) -> set[Decimal]:
        texts = [product.title, product.description, *product.localized_titles.values(),
                 *product.localized_descriptions.values(),
                 *(value for values in product.attributes.values() for value in values)]  # fmt: skip
        numbers = {_decimal(number) for text in texts for number in _NUMBER.findall(text)}
        if product.stock is not None:
            numbers.add(Decimal(product.stock))
        return numbers | {_price(product)}

    def _forms_of(self, value: str) -> list[str]:
        return [form.lower() for form in (value, *self._chinese.get(value, ()))]

    def _conditions(self, search_request: bytes) -> list[str]:
        """The filter of the search behind the answer, in words: to repeat it claims nothing about the shop."""
        wanted = gateway_pb2.SearchRequest.FromString(search_request).filter
        bounds = [wanted.price.minimum, wanted.price.maximum] if wanted.HasField("price") else []
        amounts = [f"{Decimal(one.units) + Decimal(one.nanos) / 10**9:f}" for one in bounds]
        values = [form for one in wanted.attributes for value in one.values for form in self._forms_of(value)]
        return [*amounts, *values, *wanted.brands, *wanted.categories]

    def _has(self, product: Product, values: set[str], form: str) -> bool:
        return any(not values.isdisjoint(own) for own in product.attributes.values()) or form in self._text(product)

    @staticmethod
    def _text(product: Product) -> str:
        parts = (
            product.title, product.description, product.brand, product.category, *product.localized_titles.values(),
            *product.localized_descriptions.values(),
            *(value for values in product.attributes.values() for value in values),
        )  # fmt: skip
        return " ".join(parts).lower()


_ANY_CHIP = re.compile(r"any|prefer|matter|don.t|都|不限|无所谓|其他|other", re.IGNORECASE)


def _any_of(forms: Iterable[str]) -> re.Pattern[str]:
    """Finds the longest form; Latin ones as whole words."""
    found = sorted(set(forms), key=len, reverse=True)
    parts = [
        (r"(?<![\w.])" if form[0].isascii() else "") + re.escape(form) + (r"(?![\w])" if form[-1].isascii() else "")
        for form in found
    ]
    return re.compile("|".join(parts) if parts else "(?!)")


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "")).normalize()


def _price(product: Product) -> Decimal:
    return product.price.amount.normalize() if product.price else Decimal(-1)


def _is_available(product: Product) -> bool:
    return product.stock is None or product.stock > 0


def _squeezed(text: str) -> str:
    return " ".join(text.lower().split())


def _words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def _overlap(sentence: str, source: str) -> float:
    """The share of the sentence's words that the source has."""
    words, own = _words(sentence), set(_words(source))
    return sum(word in own for word in words) / len(words) if words and own else 0.0


def _agrees(sentence: str, answer: str) -> bool:
    """Whether a sentence that is taken from an answer denies as often as the answer's nearest sentence does."""
    parts = [part for part in _SENTENCE.split(answer) if part.strip()]
    if not parts or _overlap(sentence, answer) < _QUOTED:
        return True
    if _squeezed(sentence) in _squeezed(answer):
        return True
    nearest = max(parts, key=lambda part: _overlap(sentence, part) + _overlap(part, sentence))
    return len(_NOT.findall(sentence)) == len(_NOT.findall(nearest))
