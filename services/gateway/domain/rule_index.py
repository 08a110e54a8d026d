"""Which merchandising rules apply to a request, in the order in which conflicts are decided.

The rules are compiled once. A look-up costs a step for each word of the query and each length of texts that begin with
it, however many rules there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from services.common.comparison import category_form_of
from services.common.merchandising import Anchoring, Exclude, Rule, RuleProducts, RuleSet, synonym_terms
from services.common.phrase_index import PhraseIndex, Words, is_anchored
from services.common.query_words import query_words
from services.gateway.domain.tokens import fingerprint

# Of one request: those behind them in the order of conflicts have no effect.
MAX_APPLIED = 100
# Characters.
_EXCLUSION_KEY = 4


class Condition(Enum):
    """A part of a trigger."""

    QUERY = "query"
    CATEGORY = "category"
    PLACEMENT = "placement"
    AUDIENCE = "audience"
    TIME = "time"


@dataclass(frozen=True)
class RuleContext:
    """What triggers are compared with. `texts`: the words of the query, corrected and as typed, each reading once.

    `category`: the comparison form of the only category of the filter. `placement`: None for a search. `attributes`:
    the comparison forms of what the person has declared, by name.
    """

    texts: tuple[Words, ...] = ()
    category: tuple[str, ...] | None = None
    placement: str | None = None
    attributes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    now_s: float = 0.0
    # By the arms of experiments: rules that are effective only there, and rules that are not.
    switched_on: frozenset[str] = frozenset()
    switched_off: frozenset[str] = frozenset()

    def switches_off(self, rule: Rule) -> bool:
        return rule.id not in self.switched_on if rule.only_in_experiments else rule.id in self.switched_off


@dataclass(frozen=True)
class Match:
    """A rule that applies. `length`: words of the condition that the query meets; 0 without one."""

    rule: Rule
    length: int = 0
    anchoring: Anchoring = Anchoring.CONTAINS
    # Further conditions that the rule sets: category, time, and each of the audience.
    context: int = 0

    @cached_property
    def precedence(self) -> tuple[int, int, int, str]:
        """Smallest first: longer matches, then anchoring, then more context, then the id."""
        return -self.length, self.anchoring, -self.context, self.rule.id


class RuleIndex:
    """The rules of one tenant, compiled."""

    def __init__(self, rules: RuleSet) -> None:
        self.version, self.rules = rules.version, rules.rules
        self.has_audience = any(rule.trigger.audience for rule in rules.rules)
        self.has_words = any(rule.trigger.queries or synonym_terms(rule) for rule in rules.rules)
        self._contexts = {rule.id: _context_of(rule) for rule in rules.rules}
        self._phrases = PhraseIndex[Rule]()
        self._categories: dict[tuple[str, ...], list[Rule]] = defaultdict(list)
        self._placements: dict[str, list[Rule]] = defaultdict(list)
        # Rules of searches without a query and without a category in their triggers.
        self._always: list[Rule] = []
        for rule in rules.rules:
            for anchoring, words in self._add(rule):
                self._phrases.add(anchoring, words, rule)
        self._exclusions: dict[str, list[RuleProducts]] = defaultdict(list)
        for rule in rules.rules:
            excluded = [action.products for action in rule.actions if isinstance(action, Exclude)]
            if excluded:
                self._exclusions[_exclusion_key(rule.id)] += excluded

    def matches(self, context: RuleContext) -> list[Match]:
        """At most MAX_APPLIED, by precedence."""
        found: dict[str, Match] = {}
        for anchoring, length, rule in self._candidates(context):
            match = Match(rule, length, anchoring, self._contexts[rule.id])
            other = found.get(rule.id)
            if other is None:
                if context.switches_off(rule) or next(_unmet_beside_query(rule, context), None) is not None:
                    continue
            elif other.precedence <= match.precedence:
                continue
            found[rule.id] = match
        return sorted(found.values(), key=lambda match: match.precedence)[:MAX_APPLIED]

    def excluded_by(self, keys: str) -> list[RuleProducts]:
        """What the rules exclude that `exclusion_keys` was given. A rule that is gone excludes nothing."""
        starts = range(0, len(keys), _EXCLUSION_KEY)
        return [each for start in starts for each in self._exclusions.get(keys[start : start + _EXCLUSION_KEY], ())]

    def _add(self, rule: Rule) -> Iterator[tuple[Anchoring, Words]]:
        """Puts a rule without texts into its list; gives the texts of the others."""
        trigger = rule.trigger
        if trigger.placements:
            for placement in trigger.placements:
                self._placements[placement].append(rule)
        elif trigger.queries:
            yield from ((condition.anchoring, condition.words) for condition in trigger.queries)
        elif terms := synonym_terms(rule):
            # Without one of its terms the rule has no effect.
            yield from ((Anchoring.CONTAINS, query_words(term)) for term in terms)
        elif trigger.categories:
            for category in trigger.categories:
                self._categories[category_form_of(category)].append(rule)
        else:
            self._always.append(rule)

    def _candidates(self, context: RuleContext) -> Iterator[tuple[Anchoring, int, Rule]]:
        """Rules whose query condition, placement or category holds; the same rule may come several times."""
        if context.placement is not None:
            for rule in self._placements.get(context.placement, ()):
                yield Anchoring.CONTAINS, 0, rule
            return
        for words in context.texts:
            yield from self._phrases.find(words)
        if context.category is not None:
            for rule in self._categories.get(context.category, ()):
                yield Anchoring.CONTAINS, 0, rule
        for rule in self._always:
            yield Anchoring.CONTAINS, 0, rule


def exclusion_keys(rule_ids: Iterable[str]) -> str:
    """Names rules in little space, for page tokens. Two rules of one key exclude together, which is harmless there."""
    return "".join(dict.fromkeys(map(_exclusion_key, rule_ids)))


def _exclusion_key(rule_id: str) -> str:
    return fingerprint(rule_id)[:_EXCLUSION_KEY]


def unmet(rule: Rule, context: RuleContext) -> list[Condition]:
    """The conditions of the rule's trigger and validity that the request does not meet."""
    found = [] if _meets_query(rule, context) else [Condition.QUERY]
    return found + list(_unmet_beside_query(rule, context))


def places_of(phrase: Words, words: Words) -> Iterator[int]:
    """Where the phrase stands in the words, without overlaps."""
    start = 0
    while phrase and start + len(phrase) <= len(words):
        if words[start : start + len(phrase)] == phrase:
            yield start
            start += len(phrase)
        else:
            start += 1


def _meets_query(rule: Rule, context: RuleContext) -> bool:
    conditions = rule.trigger.queries
    return not conditions or any(
        is_anchored(condition.anchoring, start, len(condition.words), len(words))
        for condition in conditions
        for words in context.texts
        for start in places_of(condition.words, words)
    )


def _unmet_beside_query(rule: Rule, context: RuleContext) -> Iterator[Condition]:
    trigger = rule.trigger
    if (context.placement is not None) != bool(trigger.placements) or (
        trigger.placements and context.placement not in trigger.placements
    ):
        yield Condition.PLACEMENT
    if trigger.categories and context.category not in list(map(category_form_of, trigger.categories)):
        yield Condition.CATEGORY
    if not all(
        audience.value_forms & context.attributes.get(audience.name_form, frozenset()) for audience in trigger.audience
    ):
        yield Condition.AUDIENCE
    if not rule.validity.holds(context.now_s):
        yield Condition.TIME


def _context_of(rule: Rule) -> int:
    trigger, validity = rule.trigger, rule.validity
    return bool(trigger.categories) + len(trigger.audience) + (validity != type(validity)())
