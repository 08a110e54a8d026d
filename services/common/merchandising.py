"""Merchandising rules: the domain's form and its bounds. Meanings: protos/kairos/control/v1/merchandising.proto."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from zoneinfo import ZoneInfo

from services.common.comparison import category_form_of, comparison_form
from services.common.daily_window import DAYS, MINUTES_A_DAY, DailyWindow, is_in_windows, minutes_of, zone_of
from services.common.errors import FieldViolation
from services.common.filters import MAX_CATEGORIES, ProductFilter, filter_violations, matches
from services.common.limits import MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_TEXT, MAX_QUERY, id_problem, text_problem
from services.common.product import MAX_CATEGORY_PATH, Product
from services.common.query_words import query_words

MAX_RULES = 5_000
MAX_RULES_BYTES = 8 << 20
# Rules that name the same text, category or placement, and rules that name none: all of these are compared with a
# request.
MAX_SHARING = 200
MAX_DESCRIPTION = 512
MAX_ACTIONS = 32
MAX_QUERIES = 32
MAX_PLACEMENTS, MAX_PLACEMENT = 32, 64
MAX_AUDIENCE, MAX_AUDIENCE_VALUES = 8, 64
# Characters, and words, of a text that is compared with queries.
MAX_PHRASE, MAX_PHRASE_WORDS = 128, 16
MAX_POSITION = 100
MAX_PRODUCTS = 100
MIN_MULTIPLIER, MAX_MULTIPLIER = 0.2, 5.0
MAX_TERMS = 16
MAX_URL = 2_048
MAX_PAYLOAD = 8_192
MAX_WINDOWS = 16
_URL = re.compile(r"(?:https?://[^\s/]|/(?!/))\S*")
_CLOCK = "send a time such as '09:30'"


class Anchoring(IntEnum):
    """How a text is compared with the query; the strongest first."""

    EQUALS = 0
    STARTS_WITH = 1
    CONTAINS = 2


@dataclass(frozen=True)
class QueryCondition:
    anchoring: Anchoring
    text: str

    @cached_property
    def words(self) -> tuple[str, ...]:
        return query_words(self.text)


@dataclass(frozen=True)
class AudienceCondition:
    attribute: str
    values: tuple[str, ...]

    @cached_property
    def name_form(self) -> str:
        return comparison_form(self.attribute)

    @cached_property
    def value_forms(self) -> frozenset[str]:
        return frozenset(map(comparison_form, self.values))


@dataclass(frozen=True)
class Trigger:
    queries: tuple[QueryCondition, ...] = ()
    categories: tuple[str, ...] = ()
    placements: tuple[str, ...] = ()
    audience: tuple[AudienceCondition, ...] = ()


@dataclass(frozen=True)
class RuleProducts:
    """Those with one of the ids, and those that match the filter."""

    ids: tuple[str, ...] = ()
    filter: ProductFilter | None = None

    def cover(self, product: Product) -> bool:
        """Whether the product is one of them."""
        return product.id in self.ids or (self.filter is not None and matches(product, self.filter))


@dataclass(frozen=True)
class Pin:
    product_id: str
    position: int
    is_soft: bool = False


@dataclass(frozen=True)
class Boost:
    """Below 1 the multiplier buries the products."""

    products: RuleProducts
    multiplier: float


@dataclass(frozen=True)
class Include:
    product_ids: tuple[str, ...]


@dataclass(frozen=True)
class Exclude:
    products: RuleProducts


@dataclass(frozen=True)
class Redirect:
    url: str


@dataclass(frozen=True)
class Synonyms:
    terms: tuple[str, ...]
    alternatives: tuple[str, ...] = ()
    is_two_way: bool = False
    # "en" or "zh": only for queries in this language. Empty: for any.
    language: str = ""


@dataclass(frozen=True)
class IgnoreWords:
    words: tuple[str, ...]


@dataclass(frozen=True)
class ReplaceQuery:
    text: str


@dataclass(frozen=True)
class Banner:
    payload: str


Action = Pin | Boost | Include | Exclude | Redirect | Synonyms | IgnoreWords | ReplaceQuery | Banner


@dataclass(frozen=True)
class Validity:
    """`from_s` and `until_s` in seconds since 1970."""

    from_s: float = -math.inf
    until_s: float = math.inf
    windows: tuple[DailyWindow, ...] = ()
    time_zone: str = ""

    @cached_property
    def zone(self) -> ZoneInfo | None:
        return zone_of(self.time_zone) if self.time_zone else None

    def holds(self, now_s: float) -> bool:
        if not self.from_s <= now_s < self.until_s:
            return False
        return not self.windows or (self.zone is not None and is_in_windows(self.windows, self.zone, now_s))


@dataclass(frozen=True)
class Rule:
    id: str
    actions: tuple[Action, ...]
    trigger: Trigger = Trigger()
    validity: Validity = Validity()
    description: str = ""
    only_in_experiments: bool = False


@dataclass(frozen=True)
class RuleSet:
    """What is published together. Two sets never have the same version."""

    version: str = ""
    rules: tuple[Rule, ...] = field(default=(), repr=False)


def rule_set_violations(rules: Sequence[Rule], field: str = "rules") -> Iterator[FieldViolation]:
    """What is wrong with the rules and between them, by the path of each field."""
    if len(rules) > MAX_RULES:
        yield FieldViolation(field, f"holds {len(rules)}; at most {MAX_RULES}")
        return
    first: dict[str, int] = {}
    alike: dict[object, list[int]] = {}
    for index, rule in enumerate(rules):
        at = f"{field}[{index}]"
        yield from rule_violations(rule, at)
        if first.setdefault(rule.id, index) != index:
            yield FieldViolation(f"{at}.id", f"is that of {field}[{first[rule.id]}] too; give each rule its own")
        same = alike.setdefault((rule.trigger, rule.actions, rule.only_in_experiments), [])
        for other in same:
            if _overlap(rules[other].validity, rule.validity):
                problem = f"does the same as {rules[other].id!r} at the same time; remove one, or change its validity"
                yield FieldViolation(at, problem)
                break
        same.append(index)
    for key, count in Counter(key for rule in rules for key in _keys(rule)).items():
        if count > MAX_SHARING:
            problem = f"has {count} rules with {key}; at most {MAX_SHARING}; join rules, or name more in their triggers"
            yield FieldViolation(field, problem)


def rule_violations(rule: Rule, field: str) -> Iterator[FieldViolation]:
    """What is wrong with one rule, by the path of each field below `field`."""
    if problem := id_problem(rule.id):
        yield FieldViolation(f"{field}.id", problem)
    if problem := text_problem(rule.description, MAX_DESCRIPTION):
        yield FieldViolation(f"{field}.description", problem)
    yield from trigger_violations(rule.trigger, f"{field}.trigger")
    yield from validity_violations(rule.validity, f"{field}.validity")
    yield from _count(rule.actions, 1, MAX_ACTIONS, f"{field}.actions")
    for index, action in enumerate(rule.actions[:MAX_ACTIONS]):
        at = f"{field}.actions[{index}]"
        yield from _action_violations(action, at)
        if rule.trigger.placements and isinstance(action, Redirect | Synonyms | IgnoreWords | ReplaceQuery):
            yield FieldViolation(at, "has no effect with placements, which have no query; remove one of the two")


def _keys(rule: Rule) -> set[str]:
    """What of its trigger says whether the rule is compared with a request, in words."""
    trigger = rule.trigger
    if trigger.placements:
        return {f"the placement {placement!r}" for placement in trigger.placements}
    if trigger.queries or synonym_terms(rule):
        texts = (*(condition.text for condition in trigger.queries), *synonym_terms(rule))
        return {f"the text {' '.join(query_words(text))!r}" for text in texts}
    categories = {f"the category {' > '.join(category_form_of(category))!r}" for category in trigger.categories}
    return categories or {"no query, category or placement"}


def synonym_terms(rule: Rule) -> tuple[str, ...]:
    """The terms of a rule that has nothing but synonyms: without one of them in the query it has no effect."""
    synonyms = [action for action in rule.actions if isinstance(action, Synonyms)]
    return tuple(term for action in synonyms for term in action.terms) if len(synonyms) == len(rule.actions) else ()


def trigger_violations(trigger: Trigger, field: str) -> Iterator[FieldViolation]:
    """What is wrong with a trigger, by the path of each field below `field`; as the next two."""
    yield from _count(trigger.queries, 0, MAX_QUERIES, f"{field}.queries")
    for index, condition in enumerate(trigger.queries[:MAX_QUERIES]):
        name = condition.anchoring.name.lower()
        yield from phrase_violations(condition.text, f"{field}.queries[{index}].{name}")
    yield from _texts(trigger.categories, 0, MAX_CATEGORIES, MAX_CATEGORY_PATH, f"{field}.categories")
    yield from _texts(trigger.placements, 0, MAX_PLACEMENTS, MAX_PLACEMENT, f"{field}.placements")
    if trigger.placements and trigger.queries:
        yield FieldViolation(
            f"{field}.queries", "is set together with placements, which have no query; set one of them"
        )
    yield from _count(trigger.audience, 0, MAX_AUDIENCE, f"{field}.audience")
    for index, audience in enumerate(trigger.audience[:MAX_AUDIENCE]):
        at = f"{field}.audience[{index}]"
        yield from _texts((audience.attribute,), 1, 1, MAX_ATTRIBUTE_NAME, f"{at}.attribute", is_list=False)
        yield from _texts(audience.values, 1, MAX_AUDIENCE_VALUES, MAX_ATTRIBUTE_TEXT, f"{at}.values")


def _action_violations(action: Action, field: str) -> Iterator[FieldViolation]:
    match action:
        case Pin():
            if problem := id_problem(action.product_id):
                yield FieldViolation(f"{field}.pin.product_id", problem)
            if not 1 <= action.position <= MAX_POSITION:
                problem = f"is {action.position}; send 1 to {MAX_POSITION}"
                yield FieldViolation(f"{field}.pin.position", problem)
        case Boost():
            yield from _product_violations(action.products, f"{field}.boost.products")
            if not MIN_MULTIPLIER <= action.multiplier <= MAX_MULTIPLIER or action.multiplier == 1:
                problem = f"is {action.multiplier:g}; send {MIN_MULTIPLIER:g} to {MAX_MULTIPLIER:g}, and not 1"
                yield FieldViolation(f"{field}.boost.multiplier", problem)
        case Include():
            yield from _ids(action.product_ids, 1, f"{field}.include.product_ids")
        case Exclude():
            yield from _product_violations(action.products, f"{field}.exclude.products")
        case Redirect():
            if problem := text_problem(action.url, MAX_URL):
                yield FieldViolation(f"{field}.redirect.url", problem)
            elif not _URL.fullmatch(action.url):
                problem = "is no address; send one that begins with 'https://', or a path that begins with '/'"
                yield FieldViolation(f"{field}.redirect.url", problem)
        case Synonyms():
            yield from _synonym_violations(action, f"{field}.synonyms")
        case IgnoreWords():
            yield from _phrases(action.words, 1, f"{field}.ignore_words.words")
        case ReplaceQuery():
            if problem := text_problem(action.text, MAX_QUERY):
                yield FieldViolation(f"{field}.replace_query.text", problem)
            elif not query_words(action.text):
                yield FieldViolation(f"{field}.replace_query.text", "has no word; send the text to search for")
        case Banner():
            if not 1 <= len(action.payload) <= MAX_PAYLOAD:
                problem = f"has {len(action.payload)} characters; send 1 to {MAX_PAYLOAD}"
                yield FieldViolation(f"{field}.banner.payload", problem)


def _synonym_violations(action: Synonyms, field: str) -> Iterator[FieldViolation]:
    yield from _phrases(action.terms, 2 if action.is_two_way else 1, f"{field}.terms")
    if action.is_two_way and action.alternatives:
        problem = "is set together with is_two_way; put its texts among the terms, or remove is_two_way"
        yield FieldViolation(f"{field}.alternatives", problem)
    elif not action.is_two_way:
        yield from _phrases(action.alternatives, 1, f"{field}.alternatives")


def _product_violations(products: RuleProducts, field: str) -> Iterator[FieldViolation]:
    yield from _ids(products.ids, 0, f"{field}.ids")
    if products.filter is not None:
        if products.filter.is_empty:
            yield FieldViolation(f"{field}.filter", "is empty, which is every product; give it a condition")
        yield from filter_violations(products.filter, f"{field}.filter")
    elif not products.ids:
        yield FieldViolation(field, "names no product; send ids or a filter")


def validity_violations(validity: Validity, field: str) -> Iterator[FieldViolation]:
    if validity.from_s >= validity.until_s:
        yield FieldViolation(f"{field}.valid_until", "is not after valid_from; swap the two")
    yield from _count(validity.windows, 0, MAX_WINDOWS, f"{field}.daily_windows")
    for index, window in enumerate(validity.windows[:MAX_WINDOWS]):
        at = f"{field}.daily_windows[{index}]"
        if not 0 <= window.starts < MINUTES_A_DAY:
            yield FieldViolation(f"{at}.starts_at", f"is no time from 00:00 to 23:59; {_CLOCK}")
        if not 0 <= window.ends <= MINUTES_A_DAY:
            yield FieldViolation(f"{at}.ends_at", f"is no time from 00:00 to 24:00; {_CLOCK}")
        elif window.starts == window.ends:
            yield FieldViolation(f"{at}.ends_at", "equals starts_at; for a whole day send '00:00' and '24:00'")
        if not window.days <= set(range(len(DAYS))):
            yield FieldViolation(f"{at}.days", f"has an unknown day; send some of {', '.join(DAYS)}, each once")
    if validity.windows and not validity.time_zone:
        yield FieldViolation(f"{field}.time_zone", "is empty; daily_windows need one, such as 'Europe/Berlin'")
    elif validity.time_zone and validity.zone is None:
        problem = f"{validity.time_zone[:64]!r} is unknown; send a name of the IANA database, such as 'Europe/Berlin'"
        yield FieldViolation(f"{field}.time_zone", problem)


def _ids(ids: Sequence[str], least: int, field: str) -> Iterator[FieldViolation]:
    yield from _count(ids, least, MAX_PRODUCTS, field)
    for index, id in enumerate(ids[:MAX_PRODUCTS]):
        if problem := id_problem(id):
            yield FieldViolation(f"{field}[{index}]", problem)


def _phrases(texts: Sequence[str], least: int, field: str) -> Iterator[FieldViolation]:
    yield from _count(texts, least, MAX_TERMS, field)
    for index, text in enumerate(texts[:MAX_TERMS]):
        yield from phrase_violations(text, f"{field}[{index}]")


def phrase_violations(text: str, field: str) -> Iterator[FieldViolation]:
    if problem := text_problem(text, MAX_PHRASE):
        yield FieldViolation(field, problem)
    elif not (words := query_words(text)):
        yield FieldViolation(field, "has neither a letter nor a digit; send the words of a query")
    elif len(words) > MAX_PHRASE_WORDS:
        problem = f"has {len(words)} words, each Chinese character counted; send at most {MAX_PHRASE_WORDS}"
        yield FieldViolation(field, problem)


def _texts(
    texts: Sequence[str], least: int, most: int, limit: int, field: str, is_list: bool = True
) -> Iterator[FieldViolation]:
    """Of `limit` characters at most, and not blank."""
    yield from _count(texts, least, most, field)
    for index, text in enumerate(texts[:most]):
        at = f"{field}[{index}]" if is_list else field
        if problem := text_problem(text, limit):
            yield FieldViolation(at, problem)
        elif not text.strip():
            yield FieldViolation(at, "is empty; send a text, or remove it")


def _count(entries: Sequence[object], least: int, most: int, field: str) -> Iterator[FieldViolation]:
    if not least <= len(entries) <= most:
        yield FieldViolation(field, f"holds {len(entries)}; send {least} to {most}")


def _overlap(one: Validity, other: Validity) -> bool:
    """Windows that differ count as apart: their times are not compared."""
    if one.windows and other.windows and (one.windows, one.time_zone) != (other.windows, other.time_zone):
        return False
    return one.from_s < other.until_s and other.from_s < one.until_s


def window_of(starts_at: str, ends_at: str, days: Sequence[str]) -> DailyWindow:
    """What cannot be read becomes a number that `rule_violations` refuses."""
    starts, ends = minutes_of(starts_at), minutes_of(ends_at)
    numbers = {name: number for number, name in enumerate(DAYS)}
    known = frozenset(numbers.get(day, len(DAYS)) for day in days)
    repeated = frozenset([len(DAYS)]) if len(known) < len(days) else frozenset[int]()
    return DailyWindow(-1 if starts is None else starts, -1 if ends is None else ends, known | repeated)
