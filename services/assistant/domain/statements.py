"""Sentences about products, each with the facts that support it."""

from __future__ import annotations

from collections.abc import Sequence

from services.assistant.domain.conversation import ATTRIBUTE
from services.assistant.domain.facts import Fact, FactSource, Sentence
from services.assistant.domain.shop import FaqAnswer, Item
from services.assistant.domain.texts import Texts
from services.common.money import Money

IN_STOCK, OUT_OF_STOCK = "in stock", "out of stock"
# Values of one attribute, and attributes of one product, that an answer lists.
_MOST_VALUES = 8
_MOST_ATTRIBUTES = 6
_MOST_ALSO = 2
# Characters of a description.
_MOST_DESCRIPTION = 300


def facts_of_item(item: Item, language: str) -> list[Fact]:
    """All that is known of a product."""
    product = item.product
    facts = [title_of(item, language), availability_of(item)]
    if item.price is not None:
        facts.append(_fact(item, "price", _amount(item.price)))
    if item.list_price is not None and item.list_price != item.price:
        facts.append(_fact(item, "list_price", _amount(item.list_price)))
    if product.stock is not None:
        facts.append(_fact(item, "stock", str(product.stock)))
    if product.brand:
        facts.append(_fact(item, "brand", product.brand))
    if product.category_path:
        facts.append(_fact(item, "category", product.category_path[-1]))
    if description := description_of(item, language):
        facts.append(description)
    facts += [fact for name in product.attributes for fact in attribute_facts(item, name)]
    facts += variant_facts(item)
    if item.explanation:
        facts.append(_fact(item, "relevance", item.explanation, language))
    return facts


def title_of(item: Item, language: str) -> Fact:
    titles = item.product.localized_titles
    return _fact(item, "title", titles.get(language) or item.product.title, language if language in titles else "")


def description_of(item: Item, language: str) -> Fact | None:
    text = item.product.localized_descriptions.get(language) or item.product.description
    return _fact(item, "description", text, language) if text else None


def availability_of(item: Item) -> Fact:
    return _fact(item, "availability", IN_STOCK if item.is_in_stock else OUT_OF_STOCK)


def attribute_facts(item: Item, name: str) -> list[Fact]:
    return [_fact(item, f"{ATTRIBUTE}{name}", value) for value in item.product.attributes.get(name, ())]


def variant_facts(item: Item) -> list[Fact]:
    """The values that other variants have and the product has not, each once."""
    found = dict[tuple[str, str], Fact]()
    for values in (item.variants or {}).values():
        for name, listed in values.items():
            for value in listed:
                if value not in item.product.attributes.get(name, ()):
                    found.setdefault((name, value), _fact(item, f"variants.{name}", value))
    return list(found.values())


def about_results(items: Sequence[Item], texts: Texts) -> list[Sentence]:
    """The first product with price and availability, and the next ones with their prices."""
    if not items:
        return []
    sentences = [_best(items[0], texts)]
    others = items[1 : 1 + _MOST_ALSO]
    if others:
        parts, facts = list[str](), list[Fact]()
        for item in others:
            title = title_of(item, texts.language)
            facts.append(title)
            if item.price is None:
                parts.append(title.value)
            else:
                facts.append(_fact(item, "price", _amount(item.price)))
                parts.append(texts.say("priced", title=title.value, price=texts.money(item.price)))
        sentences.append(Sentence(texts.say("also", products=texts.listed(parts)), tuple(facts)))
    return sentences


def about_price(item: Item, texts: Texts) -> list[Sentence]:
    title = title_of(item, texts.language)
    if item.price is None:
        return [Sentence(texts.say("no_price_of", title=title.value), (title,))]
    price = _fact(item, "price", _amount(item.price))
    sentences = [Sentence(texts.say("price_of", title=title.value, price=texts.money(item.price)), (title, price))]
    if item.list_price is not None and item.list_price.amount > item.price.amount:
        reduced = texts.say("reduced", list_price=texts.money(item.list_price))
        sentences.append(Sentence(reduced, (_fact(item, "list_price", _amount(item.list_price)),)))
    return sentences


def about_stock(item: Item, texts: Texts) -> list[Sentence]:
    title, available = title_of(item, texts.language), availability_of(item)
    text = texts.say("stock_of", title=title.value, availability=_availability(item, texts))
    sentences = [Sentence(text, (title, available))]
    if item.product.stock:
        stock = str(item.product.stock)
        sentences.append(Sentence(texts.say("pieces", stock=stock), (_fact(item, "stock", stock),)))
    return sentences


def about_attribute(item: Item, name: str, texts: Texts) -> list[Sentence]:
    """All values of one attribute; nothing if the product does not have it."""
    facts = attribute_facts(item, name)[:_MOST_VALUES]
    if not facts:
        return []
    values = texts.listed([texts.value(fact.value) for fact in facts])
    return [Sentence(texts.say("attribute_of", name=texts.name(name), values=values), tuple(facts))]


def about_variants(item: Item, texts: Texts) -> list[Sentence]:
    facts = variant_facts(item)[:_MOST_VALUES]
    if not facts:
        return []
    values = texts.listed([texts.value(fact.value) for fact in facts])
    return [Sentence(texts.say("variants_of", values=values), tuple(facts))]


def details(item: Item, texts: Texts) -> list[Sentence]:
    """What the catalogue says of the product."""
    sentences = [_best(item, texts)]
    text = description_of(item, texts.language)
    if text:
        shown = text.value if len(text.value) <= _MOST_DESCRIPTION else f"{text.value[: _MOST_DESCRIPTION - 1]}…"
        sentences.append(Sentence(shown, (text,)))
    for name in list(item.product.attributes)[:_MOST_ATTRIBUTES]:
        sentences += about_attribute(item, name, texts)
    return sentences + about_variants(item, texts)


def comparison(first: Item, second: Item, texts: Texts) -> list[Sentence]:
    """Prices, availability, and the attributes that both products have: those that differ first."""
    titles = [title_of(item, texts.language) for item in (first, second)]
    sentences = list[Sentence]()
    if first.price is not None and second.price is not None and first.price.currency == second.price.currency:
        prices = [
            _fact(item, "price", _amount(price)) for item, price in ((first, first.price), (second, second.price))
        ]
        text = texts.say(
            "compared", first=titles[0].value, second=titles[1].value,
            first_price=texts.money(first.price), second_price=texts.money(second.price),
        )  # fmt: skip
        sentences.append(Sentence(text, (*titles, *prices)))
        if first.price == second.price:
            sentences.append(Sentence(texts.say("same_price"), tuple(prices)))
        else:
            cheaper = titles[0 if first.price.amount < second.price.amount else 1]
            sentences.append(Sentence(texts.say("cheaper_of", title=cheaper.value), (cheaper, *prices)))
    else:
        sentences += [sentence for item in (first, second) for sentence in about_price(item, texts)]
    for item, title in zip((first, second), titles, strict=True):
        if not item.is_in_stock:
            sentences.append(Sentence(texts.say("compared_stock", title=title.value), (title, availability_of(item))))
    shared = [name for name in first.product.attributes if name in second.product.attributes]
    differing = [name for name in shared if first.product.attributes[name] != second.product.attributes[name]]
    for name in differing[:_MOST_ATTRIBUTES]:
        ours, theirs = attribute_facts(first, name)[:_MOST_VALUES], attribute_facts(second, name)[:_MOST_VALUES]
        text = texts.say(
            "compared_attribute", name=texts.name(name),
            first_values=texts.listed([texts.value(fact.value) for fact in ours]),
            second_values=texts.listed([texts.value(fact.value) for fact in theirs]),
        )  # fmt: skip
        sentences.append(Sentence(text, (*ours, *theirs)))
    for name in [name for name in shared if name not in differing][:2]:
        facts = [*attribute_facts(first, name)[:_MOST_VALUES], *attribute_facts(second, name)[:_MOST_VALUES]]
        values = texts.listed([texts.value(value) for value in first.product.attributes[name][:_MOST_VALUES]])
        sentences.append(Sentence(texts.say("compared_same", name=texts.name(name), values=values), tuple(facts)))
    return sentences


def from_faq(entry: FaqAnswer) -> tuple[Sentence, list[Fact]]:
    """The answer of an entry, in its words; and the entry's facts."""
    answer = Fact(FactSource.FAQ, entry.id, "answer", entry.answer, entry.language, entry.version)
    question = Fact(FactSource.FAQ, entry.id, "question", entry.question, entry.language, entry.version)
    return Sentence(entry.answer, (answer,)), [question, answer]


def _best(item: Item, texts: Texts) -> Sentence:
    title, available = title_of(item, texts.language), availability_of(item)
    availability = _availability(item, texts)
    if item.price is None:
        return Sentence(
            texts.say("best_without_price", title=title.value, availability=availability), (title, available)
        )
    text = texts.say("best", title=title.value, price=texts.money(item.price), availability=availability)
    return Sentence(text, (title, _fact(item, "price", _amount(item.price)), available))


def _availability(item: Item, texts: Texts) -> str:
    return texts.say("in_stock" if item.is_in_stock else "out_of_stock")


def _fact(item: Item, field: str, value: str, language: str = "") -> Fact:
    return Fact(FactSource.PRODUCT, item.id, field, value, language)


def _amount(money: Money) -> str:
    return str(money)
