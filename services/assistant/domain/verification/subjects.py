"""What sentences of an answer are about: the products and orders of a turn, with the facts that may support a claim."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property

from services.assistant.domain.facts import Fact, FactSource
from services.assistant.domain.verification.words import Kind, Lexicon, Token, keys_of, tokens_of

# Words of a fact behind a negation, up to the end of the clause, that are not stated: "not suitable for dishwashers".
_NEGATED_WORDS = 6
_CLAUSE_ENDS = frozenset(".,;:!?()，。；：！？")
# "BPA free" does not state BPA.
_FREE = frozenset({"free", "less"})
# Fields that comparisons and amounts are checked with; their words support nothing by themselves.
_CHECKED = frozenset({"price", "list_price", "stock", "availability"})
_VARIANT = "variants."
# Texts that merchants write freely.
_PROSE = frozenset({"title", "description", "relevance"})
# Values that deny the attribute.
_DENIALS = frozenset({"no", "none", "false", "0", "n/a", "not applicable", "否", "无", "没有", "不支持"})


@dataclass(frozen=True, eq=False)
class FactText:
    """A fact by its words. `is_negated`: row i for `keys[i]`, whether a negation before it denies it."""

    fact: Fact
    keys: tuple[str, ...]
    kinds: tuple[Kind, ...]
    is_negated: tuple[bool, ...]
    places: dict[str, list[int]] = field(default_factory=dict)
    # Whether it is the name of the attribute, not its value.
    is_name: bool = False

    @property
    def is_prose(self) -> bool:
        return self.fact.field in _PROSE

    @property
    def is_of_variant(self) -> bool:
        return self.fact.field.startswith(_VARIANT)

    def longest_at(self, keys: Sequence[str], at: int) -> int:
        """How many of `keys` from `at` on the fact states one behind the other; 0 if it denies one of them."""
        best = 0
        for place in self.places.get(keys[at], ()):
            length = 0
            while (
                at + length < len(keys)
                and place + length < len(self.keys)
                and keys[at + length] == self.keys[place + length]
                and (length == 0 or not self.is_negated[place + length] or not self.is_negated[place])
                and not (length == 0 and self.is_negated[place])
            ):
                length += 1
            best = max(best, length)
        return best


@dataclass(frozen=True, eq=False)
class Subject:
    """A product or an order, with its facts. Each is one object in a turn."""

    source: FactSource
    id: str
    facts: tuple[Fact, ...]
    texts: tuple[FactText, ...]

    def first(self, name: str) -> Fact | None:
        return next((fact for fact in self.facts if fact.field == name), None)

    @cached_property
    def attribute_names(self) -> dict[tuple[str, ...], str]:
        """The attribute by the words of its name, "variants." as "attributes."."""
        return {text.keys: _attribute(text.fact.field) for text in self.texts if text.is_name and text.keys}

    @cached_property
    def titles(self) -> list[tuple[str, ...]]:
        return [keys_of(fact.value) for fact in self.facts if fact.field == "title"]

    @cached_property
    def names(self) -> list[tuple[tuple[str, ...], bool]]:
        """The titles, and whether a part of one may name the product: not if it may be an instruction to a model."""
        return [(title, any(text.fact.field == "title" for text in self.texts)) for title in self.titles]

    @cached_property
    def brand(self) -> tuple[str, ...]:
        fact = self.first("brand")
        return keys_of(fact.value) if fact else ()

    def amount(self, name: str) -> tuple[str, Decimal] | None:
        """(currency, amount) of `price` or `list_price`."""
        fact = self.first(name)
        if fact is None:
            return None
        currency, _, amount = fact.value.partition(" ")
        try:
            return currency, Decimal(amount)
        except InvalidOperation:
            return None

    @cached_property
    def price(self) -> Decimal | None:
        amount = self.amount("price")
        return amount[1] if amount else None

    @cached_property
    def stock(self) -> int | None:
        fact = self.first("stock")
        return int(fact.value) if fact and fact.value.isdigit() else None

    @cached_property
    def is_in_stock(self) -> bool | None:
        fact = self.first("availability")
        return None if fact is None else fact.value == "in stock"


# Other names of a value or of an attribute: 红色 of "red".
Names = Callable[[str], Iterable[str]]


def subjects_of(facts: Sequence[Fact], source: FactSource, lexicon: Lexicon, names: Names) -> list[Subject]:
    """In the order in which the facts name them."""
    by_id: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.source is source:
            by_id.setdefault(fact.id, []).append(fact)
    return [
        Subject(source, id, tuple(each), tuple(text for fact in each for text in _texts(fact, lexicon, names)))
        for id, each in by_id.items()
    ]


def _attribute(field: str) -> str:
    return field.partition(".")[2]


def states(text: FactText, attribute: str) -> bool:
    """Whether it is a value of this attribute."""
    return not text.is_name and "." in text.fact.field and _attribute(text.fact.field) == attribute


def fact_text(fact: Fact, text: str, lexicon: Lexicon) -> FactText:
    tokens = tokens_of(text)
    spoken = [token for token in tokens if token.is_spoken]
    keys = tuple(token.key for token in spoken)
    places: dict[str, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return FactText(fact, keys, tuple(each.kind for each in spoken), tuple(_negated(tokens, lexicon)), places)


def may_instruct(text: str, lexicon: Lexicon) -> bool:
    """Whether a text of the shop may be an instruction to a language model: it is then no support."""
    return lexicon.has("instructions", keys_of(text))


def _texts(fact: Fact, lexicon: Lexicon, names: Names) -> Iterator[FactText]:
    if fact.field in _CHECKED or (fact.field in _PROSE and may_instruct(fact.value, lexicon)):
        return
    yield fact_text(fact, fact.value, lexicon)
    if fact.field in _PROSE or fact.source is not FactSource.PRODUCT:
        return
    name = fact.field.partition(".")[2]
    if name:
        yield from (fact_text(fact, one, lexicon) for one in names(fact.value))
    if name and fact.value.lower() not in _DENIALS:
        # "Its material is cotton": the name of the attribute is a fact as well.
        for one in (name.replace("_", " "), *names(name)):
            yield replace(fact_text(fact, one, lexicon), is_name=True)


def _negated(tokens: Sequence[Token], lexicon: Lexicon) -> Iterable[bool]:
    """For each spoken token."""
    spoken = [token for token in tokens if token.is_spoken]
    keys = [token.key for token in spoken]
    ends = {token.start for token in tokens if token.text in _CLAUSE_ENDS}
    left = 0
    for at, token in enumerate(spoken):
        if at and any(spoken[at - 1].end <= end <= token.start for end in ends):
            left = 0
        yield left > 0 or (at + 1 < len(keys) and keys[at + 1] in _FREE)
        left = max(left - 1, 0)
        if lexicon.length_at("negations", keys, at):
            left = _NEGATED_WORDS
