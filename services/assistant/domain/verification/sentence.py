"""Checks one sentence: each of its words must state nothing, or be supported by a fact of what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from services.assistant.domain.facts import Fact
from services.assistant.domain.verification.mentions import Mention, mentions_of
from services.assistant.domain.verification.subjects import FactText, Subject, states
from services.assistant.domain.verification.words import Kind, Lexicon, Token, tokens_of

_CONNECTORS = frozenset(
    ["and", "or", "the", "a", "&", "also", "both", "和", "与", "及", "或", "跟", "、", "以", "款", "这", "那"]
)
_MAKERS = frozenset(["by", "from", "brand", "make", "made", "maker", "produc", "自", "牌", "产", "出"])
# Between the name of an attribute and its value.
_LINKS = frozenset(["is", "are", "of", "the", "a", "was", "in", "的", "是", "为", "有"])
_QUESTIONS = ("?", "？", "吗", "呢")


class Unsupported(Exception):
    """A claim that no fact supports; the text says which."""


@dataclass(frozen=True)
class Scope:
    """What a turn is about. `products`: in the order in which they are shown. `before`: those that the last sentence
    was about. `asked`: the words of the utterance. `counts`: numbers of products that the turn found.
    """

    lexicon: Lexicon
    products: tuple[Subject, ...]
    orders: tuple[Subject, ...]
    before: tuple[Subject, ...] = ()
    asked: frozenset[str] = frozenset()
    counts: frozenset[str] = frozenset()


@dataclass
class SentenceCheck:
    """The state of checking one sentence. `spoken`: its tokens without signs; `done`: row i, whether token i is
    accounted for; `is_stated`: whether a
    fact's text states it; `group`: row i, what token i is about.
    """

    text: str
    scope: Scope
    spoken: list[Token] = field(init=False)
    keys: list[str] = field(init=False)
    done: list[bool] = field(init=False)
    is_stated: list[bool] = field(init=False)
    group: list[tuple[Subject, ...]] = field(init=False)
    mentions: list[Mention] = field(init=False)
    facts: dict[Fact, None] = field(default_factory=dict)
    is_some: bool = False

    def __post_init__(self) -> None:
        self.tokens = tokens_of(self.text)
        self.spoken = [token for token in self.tokens if token.is_spoken]
        self.keys = [token.key for token in self.spoken]
        self.done = [False] * len(self.keys)
        self.is_stated = [False] * len(self.keys)
        self.is_question = self.text.rstrip(" \"'”").endswith(_QUESTIONS)
        lexicon = self.scope.lexicon
        about = self.scope.orders if self._is_about_orders() else (*self.scope.products, *self.scope.orders)
        self.mentions = mentions_of(self.spoken, about, lexicon)
        self.is_some = not self.mentions and lexicon.has("some", self.keys) and not lexicon.has("plural", self.keys)
        self._bind()

    def support(self, facts: Iterable[Fact | None]) -> None:
        self.facts.update((fact, None) for fact in facts if fact)

    def cover(self, start: int, end: int) -> None:
        for at in range(start, end):
            self.done[at] = True

    def signs_between(self, start: int, end: int) -> str:
        """The signs between the end of token `start` and the beginning of token `end`; -1 and the number of tokens are
        the ends of the text.
        """
        from_, to = (
            (self.spoken[start].end if start >= 0 else 0),
            (self.spoken[end].start if end < len(self.spoken) else len(self.text) + 1),
        )
        return "".join(token.text for token in self.tokens if not token.is_spoken and from_ <= token.start < to)

    def holds(self, at: int, check: Callable[[Subject], Iterable[Fact | None] | None], claim: str) -> None:
        """Requires that `check` gives supporting facts for all that token `at` is about, or for one of them if the
        sentence is about some. Raises Unsupported.
        """
        found = [check(subject) for subject in self.group[at]]
        fitting = [facts for facts in found if facts is not None]
        if not fitting or (not self.is_some and len(fitting) < len(found)):
            raise Unsupported(claim)
        for facts in fitting[:1] if self.is_some else fitting:
            self.support(facts)

    def named_before(self, at: int) -> tuple[Subject, ...]:
        named = [mention for mention in self.mentions if mention.end <= at]
        return self.group[named[-1].start] if named else ()

    def named_after(self, at: int) -> tuple[Subject, ...]:
        named = [mention for mention in self.mentions if mention.start >= at]
        return self.group[named[0].start] if named else ()

    def _is_about_orders(self) -> bool:
        return bool(self.scope.orders) and self.scope.lexicon.has("order_words", self.keys)

    def _bind(self) -> None:
        default = self._default()
        self.group = [default] * len(self.keys)
        last: Mention | None = None
        current = default
        groups: list[tuple[int, int, tuple[Subject, ...]]] = []
        for mention in self.mentions:
            self.cover(mention.start, mention.end)
            self.support(mention.facts)
            between = self.keys[last.end : mention.start] if last else None
            if last is None:
                current = mention.subjects
                groups.append((mention.start, mention.end, current))
            elif set(current) <= set(mention.subjects):
                pass
            elif _says_maker(last, mention, between or []):
                raise Unsupported(f"brand: {self.spoken[mention.start].text}")
            elif last.is_brand and not between and set(mention.subjects) <= set(current):
                current = mention.subjects
                groups[-1] = (groups[-1][0], mention.end, current)
            elif (last.is_brand and not between) or (mention.is_brand and between and between[-1] in _MAKERS):
                raise Unsupported(f"brand: {self.spoken[mention.start].text}")
            elif between is not None and all(key in _CONNECTORS for key in between):
                current = tuple(dict.fromkeys((*current, *mention.subjects)))
                groups[-1] = (groups[-1][0], mention.end, current)
            else:
                current = mention.subjects
                groups.append((mention.start, mention.end, current))
            last = mention
        for number, (start, _, subjects) in enumerate(groups):
            end = groups[number + 1][0] if number + 1 < len(groups) else len(self.keys)
            begin = 0 if number == 0 and not self._has_pronoun_before(start) else start
            for at in range(begin, end):
                self.group[at] = subjects

    def _has_pronoun_before(self, end: int) -> bool:
        return bool(self.scope.before) and self.scope.lexicon.has("pronouns", self.keys[:end])

    def _default(self) -> tuple[Subject, ...]:
        scope, lexicon = self.scope, self.scope.lexicon
        if self._is_about_orders():
            return scope.orders
        if not scope.products:
            return scope.orders
        if scope.before and not self.is_some:
            is_plural = lexicon.has("plural", self.keys)
            if not is_plural or len(scope.before) > 1:
                return scope.before
        return scope.products


def _says_maker(first: Mention, second: Mention, between: Sequence[str]) -> bool:
    """ "X is made by B", "B makes X"."""
    has_brand = first.is_brand or second.is_brand
    return has_brand and any(key in _MAKERS for key in between) and not set(first.subjects) & set(second.subjects)


def others(check: SentenceCheck, subjects: Sequence[Subject]) -> tuple[Subject, ...]:
    """The products of the turn beside `subjects`."""
    return tuple(product for product in check.scope.products if product not in subjects)


def prices(subjects: Iterable[Subject]) -> list[Decimal]:
    """Raises Unsupported if one has no price."""
    found = list[Decimal]()
    for subject in subjects:
        if subject.price is None:
            raise Unsupported("price: unknown")
        found.append(subject.price)
    return found


def check_stated(check: SentenceCheck) -> None:
    """Whether each word that is left states nothing, or what a fact says. Raises Unsupported."""
    lexicon, keys = check.scope.lexicon, check.keys
    is_of_variants = lexicon.has("also", keys)
    at = 0
    while at < len(keys):
        if check.done[at]:
            at += 1
            continue
        fact_length = stated_length(check, at, is_of_variants)
        plain_length = lexicon.length_at("plain", keys, at)
        if fact_length > plain_length:
            _require_stated(check, at, fact_length, is_of_variants)
            at += fact_length
        elif plain_length:
            at += plain_length
        elif _may_echo(check) and keys[at] in check.scope.asked and check.spoken[at].kind is not Kind.NUMBER:
            at += 1
        else:
            raise Unsupported(f"word: {check.spoken[at].text}")


def _may_echo(check: SentenceCheck) -> bool:
    """Whether words of the utterance may be repeated: they state nothing of a product that the sentence names."""
    return check.is_question and not check.mentions


def stated_length(check: SentenceCheck, at: int, is_of_variants: bool) -> int:
    """Tokens from `at` on that facts of what it is about state one behind the other."""
    lengths = [_length_of(subject, check, at, is_of_variants) for subject in check.group[at]]
    if not lengths:
        return 0
    return max(lengths) if check.is_some else min(lengths)


def _length_of(subject: Subject, check: SentenceCheck, at: int, is_of_variants: bool) -> int:
    return max((_length_in(text, check, at) for text in _texts_for(subject, check, at, is_of_variants)), default=0)


def _texts_for(subject: Subject, check: SentenceCheck, at: int, is_of_variants: bool) -> list[FactText]:
    """The texts that may support token `at`: values of the attribute that is named right before it, if one is."""
    texts = [text for text in subject.texts if is_of_variants or not text.is_of_variant]
    end = at
    while end > 0 and ((check.done[end - 1] and not check.is_stated[end - 1]) or check.keys[end - 1] in _LINKS):
        end -= 1
    for keys, attribute in subject.attribute_names.items():
        if tuple(check.keys[max(end - len(keys), 0) : end]) == keys:
            values = [text for text in texts if states(text, attribute)]
            return [*values, *(text for text in texts if text.is_name)]
    return texts


def _length_in(text: FactText, check: SentenceCheck, at: int) -> int:
    length = text.longest_at(check.keys, at)
    while length and any(check.done[at : at + length]):
        length -= 1
    lexicon = check.scope.lexicon
    while length and (negation := lexicon.length_before("negations", check.keys[at : at + length], length)):
        # A negation in a text of the shop supports none elsewhere.
        length -= negation
    if length <= 0:
        return 0
    if text.is_prose and lexicon.has("promises", check.keys[at : at + length]):
        return 0
    kinds = {check.spoken[index].kind for index in range(at, at + length)}
    if kinds == {Kind.NUMBER} and length < len(text.keys):
        return 0
    if kinds == {Kind.HAN} and length < 2 and length < len(text.keys):
        return 0
    return length


def _require_stated(check: SentenceCheck, at: int, length: int, is_of_variants: bool) -> None:
    def supporting(subject: Subject) -> list[Fact] | None:
        for text in _texts_for(subject, check, at, is_of_variants):
            if _length_in(text, check, at) >= length:
                return [text.fact]
        return None

    check.holds(at, supporting, f"word: {check.spoken[at].text}")
    check.cover(at, at + length)
    check.is_stated[at : at + length] = [True] * length
