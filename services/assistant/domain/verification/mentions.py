"""Which products and orders a sentence names: by title, brand, id or position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.assistant.domain.facts import Fact, FactSource
from services.assistant.domain.verification.subjects import Subject
from services.assistant.domain.verification.words import Kind, Lexicon, Token, numeral_value, positions_of

# Words of a title that name it although the rest is left out.
_PART_OF_TITLE, _SHARE_OF_TITLE = 2, 0.5
_HAN_PART = 3
# Behind these words a title's words are a value, not a name: "X comes in red leather".
_PREDICATES = frozenset(["in", "with", "has", "have", "of", "is", "are", "was", "made", "from", "features", "for"])
_DETERMINERS = frozenset({"the", "number", "no", "option", "your", "our", "this"})


@dataclass(frozen=True)
class Mention:
    """Tokens `start` to `end` name `subjects`; several if the words fit several. `facts` support that."""

    start: int
    end: int
    subjects: tuple[Subject, ...]
    facts: tuple[Fact, ...]
    is_brand: bool = False


def mentions_of(tokens: Sequence[Token], subjects: Sequence[Subject], lexicon: Lexicon) -> list[Mention]:
    """From left to right, without overlap. `tokens`: without signs. `subjects`: in the order they are shown."""
    keys = [token.key for token in tokens]
    found = [
        *_by_title(keys, tokens, subjects, lexicon),
        *_by_value(keys, subjects),
        *_by_place(tokens, subjects, lexicon),
    ]
    chosen = list[Mention]()
    for mention in sorted(found, key=lambda each: (each.start - each.end, each.start)):
        if all(mention.end <= other.start or other.end <= mention.start for other in chosen):
            chosen.append(mention)
    if not chosen:
        chosen = _by_one_word(tokens, subjects, lexicon)
    return sorted(chosen, key=lambda each: each.start)


def _by_title(
    keys: Sequence[str], tokens: Sequence[Token], subjects: Sequence[Subject], lexicon: Lexicon
) -> list[Mention]:
    spans: dict[tuple[int, int], list[Subject]] = {}
    for subject in subjects:
        for title, may_be_part in subject.names:
            for span, place in _spans_of_title(keys, tokens, title, subject.brand, lexicon):
                if (may_be_part or place == 0) and subject not in spans.get(span, ()):
                    spans.setdefault(span, []).append(subject)
    return [Mention(*span, tuple(each), _firsts(each, "title")) for span, each in spans.items()]


def _spans_of_title(
    keys: Sequence[str], tokens: Sequence[Token], title: Sequence[str], brand: Sequence[str], lexicon: Lexicon
) -> list[tuple[tuple[int, int], int]]:
    """Each with the place in the title where it begins."""
    spans, at = list[tuple[tuple[int, int], int]](), 0
    while at < len(keys):
        length, place = max(
            ((_common(keys, at, title, place), -place) for place in range(len(title)) if title[place] == keys[at]),
            default=(0, 0),
        )
        if length and _names(keys, tokens, at, length, title, -place, brand, lexicon):
            spans.append(((at, at + length), -place))
        at += length or 1
    return spans


def _names(
    keys: Sequence[str],
    tokens: Sequence[Token],
    at: int,
    length: int,
    title: Sequence[str],
    place: int,
    brand: Sequence[str],
    lexicon: Lexicon,
) -> bool:
    matched = keys[at : at + length]
    if tuple(matched) == tuple(brand):
        return False
    if length == len(title):
        return True
    if all(lexicon.length_at("plain", matched, index) for index in range(length)):
        return False
    han = sum(tokens[index].kind is Kind.HAN for index in range(at, at + length))
    is_long = han >= _HAN_PART or (han == 0 and length >= _PART_OF_TITLE) or (0 < han < length)
    if is_long and (place == 0 or (brand and positions_of(matched, brand))):
        return True
    if length < _SHARE_OF_TITLE * len(title) or length <= _PART_OF_TITLE or (han and han < _HAN_PART):
        return False
    return not any(key in _PREDICATES for key in keys[max(at - 2, 0) : at])


def _common(keys: Sequence[str], at: int, title: Sequence[str], place: int) -> int:
    length = 0
    while at + length < len(keys) and place + length < len(title) and keys[at + length] == title[place + length]:
        length += 1
    return length


def _by_value(keys: Sequence[str], subjects: Sequence[Subject]) -> list[Mention]:
    """By brand, and orders by their id."""
    found = dict[tuple[int, int], list[Subject]]()
    for subject in subjects:
        id_keys = tuple(subject.id.lower().split()) if subject.source is FactSource.ORDER else ()
        for phrase in filter(None, (subject.brand, id_keys)):
            for at in positions_of(keys, phrase):
                found.setdefault((at, at + len(phrase)), []).append(subject)
    return [
        Mention(*span, tuple(each), _firsts(each, "brand"), is_brand=each[0].source is FactSource.PRODUCT)
        for span, each in found.items()
    ]


def _by_place(tokens: Sequence[Token], subjects: Sequence[Subject], lexicon: Lexicon) -> list[Mention]:
    """ "The second one", "number 2", 第二款."""
    products = [subject for subject in subjects if subject.source is FactSource.PRODUCT]
    found = list[Mention]()
    for at, token in enumerate(tokens):
        if not at:
            continue
        before = tokens[at - 1]
        if before.text == "第":
            place = numeral_value(token.text) if token.kind is Kind.HAN else _digits(token)
        elif before.key in _DETERMINERS:
            ordinal = lexicon.index_of("ordinals", token.key)
            place = ordinal + 1 if ordinal is not None else _digits(token) if before.key != "the" else None
        else:
            continue
        if place is not None and 1 <= place <= len(products):
            subject = products[place - 1]
            found.append(Mention(at - 1, at + 1, (subject,), _firsts([subject], "title")))
    return found


def _digits(token: Token) -> int | None:
    return int(token.key) if token.kind is Kind.NUMBER and token.key.isdigit() else None


def _by_one_word(tokens: Sequence[Token], subjects: Sequence[Subject], lexicon: Lexicon) -> list[Mention]:
    """By a word that one title alone has and that is written as a name: "the Gazelle"."""
    found = list[Mention]()
    keys = [token.key for token in tokens]
    for at, token in enumerate(tokens):
        if lexicon.length_at("pronouns", keys, at):
            break
        is_name = token.kind is Kind.WORD and (token.text[0].isupper() or lexicon.language == "zh")
        if not is_name or lexicon.length_at("plain", keys, at) or (at and tokens[at - 1].key in _PREDICATES):
            continue
        holders = [one for one in subjects if any(token.key in title and part for title, part in one.names)]
        if len(holders) == 1:
            found.append(Mention(at, at + 1, (holders[0],), _firsts(holders, "title")))
    return found


def _firsts(subjects: Sequence[Subject], field: str) -> tuple[Fact, ...]:
    return tuple(fact for subject in subjects if (fact := subject.first(field)))
