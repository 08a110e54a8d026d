"""Merchandising rules in one answer: which apply, and what each action does.

Actions that change the query, and exclusions, come before retrieval. Additions come between retrieval and ranker.
Boosts and pins come after the ranker and before the page is cut, so that later pages keep the order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.comparison import category_form_of, comparison_form
from services.common.convert import filter_to_proto
from services.common.filters import ProductFilter
from services.common.limits import MAX_QUERY
from services.common.merchandising import (
    Banner,
    Boost,
    Exclude,
    IgnoreWords,
    Include,
    Pin,
    Redirect,
    ReplaceQuery,
    RuleProducts,
    Synonyms,
)
from services.common.product import Product
from services.common.query_words import query_words, word_spans
from services.gateway import fallbacks
from services.gateway.convert import offer_context
from services.gateway.domain.budget import Stage
from services.gateway.domain.experiments import Assignment
from services.gateway.domain.rule_index import Match, RuleContext, RuleIndex, places_of
from services.gateway.domain.rule_order import PinnedProduct, boosted, pinned
from services.gateway.domain.viewer import Viewer
from services.gateway.flows.candidates import appended, matching, offered, taken
from services.gateway.flows.covered import Covered
from services.gateway.flows.explanation import Fired
from services.gateway.flows.ranking import Ranking, new_ranking_id
from services.gateway.parts import Parts
from services.gateway.stage_calls import StageCalls

BY_RELEVANCE = (product_pb2.SORT_ORDER_UNSPECIFIED, product_pb2.SORT_ORDER_RELEVANCE)
# Of one answer.
_MAX_BANNERS = 16
# As retrieval takes them.
_MAX_EXCLUDED_FILTERS, _MAX_EXCLUDED_IDS = 32, 1_000
# Products that are looked up because rules name them.
_MAX_NAMED = 200
_MAX_SYNONYMS = 32

Kind = TypeVar("Kind")
Asked = gateway_pb2.SearchRequest | gateway_pb2.RecommendRequest


async def audience_of(
    calls: StageCalls, parts: Parts, message: Asked, later: Sequence[Stage], has_ads: bool = False
) -> ranker_pb2.GetInterestsResponse | None:
    """What the person has declared. None if no rule asks for it, and with `has_ads` no campaign, for nobody, and
    without an answer of the ranker.
    """
    if not (message.user_id or message.visitor_id):
        return None
    by_rules = is_on(message) and parts.rules.of(calls.info.tenant).has_audience
    if not (by_rules or (has_ads and parts.campaigns.of(calls.info.tenant).has_audience)):
        return None
    ask = ranker_pb2.GetInterestsRequest(user_id=message.user_id, visitor_id=message.visitor_id, attributes_only=True)
    cap = parts.settings.budget.stored_read
    return await calls.call_or_degrade(
        Stage.RANKER, parts.stubs.ranker.GetInterests, ask, later, fallbacks.WITHOUT_AUDIENCE, cap
    )


def is_on(message: Asked) -> bool:
    return message.rules != gateway_pb2.RULES_MODE_OFF


def rules_of_search(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse | None = None,
    audience: ranker_pb2.GetInterestsResponse | None = None,
    assignment: Assignment | None = None,
) -> AppliedRules:
    """Of a query, and of browsing. `assignment`: other arms than the request's own."""
    arms = assignment or calls.assignment
    index = parts.rules.of(calls.info.tenant)
    if not (index.rules and is_on(message)):
        return AppliedRules()
    context = replace(
        search_context(index, message, understood, audience, parts.clock()),
        switched_on=arms.rule_ids, switched_off=arms.without_rule_ids,
    )  # fmt: skip
    return AppliedRules(
        index.version, index.matches(context), message.sort in BY_RELEVANCE, message.literal_query,
        has_query=bool(message.query.strip() or message.image or message.similar_to_id),
    )  # fmt: skip


def search_context(
    index: RuleIndex,
    message: gateway_pb2.SearchRequest,
    understood: encoder_pb2.EncodeQueryResponse | None,
    audience: ranker_pb2.GetInterestsResponse | None,
    now_s: float,
) -> RuleContext:
    texts: dict[tuple[str, ...], None] = {}
    if message.query.strip() and index.has_words:
        texts = dict.fromkeys(filter(None, map(query_words, readings_of(message, understood))))
    return RuleContext(tuple(texts), _category_of(message), None, attributes_of(audience), now_s)


def readings_of(
    message: gateway_pb2.SearchRequest, understood: encoder_pb2.EncodeQueryResponse | None
) -> Sequence[str]:
    """The text of the query, corrected and as typed; as sent if the encoder did not answer. Each once."""
    if understood is None:
        return [message.query]
    corrected = () if message.literal_query else (understood.corrected_text,)
    return list(dict.fromkeys([*corrected, understood.normalized_text]))


def rules_of_placement(
    calls: StageCalls,
    parts: Parts,
    message: gateway_pb2.RecommendRequest,
    placement: str,
    audience: ranker_pb2.GetInterestsResponse | None,
    assignment: Assignment | None = None,
) -> AppliedRules:
    """`assignment`: other arms than the request's own."""
    arms = assignment or calls.assignment
    index = parts.rules.of(calls.info.tenant)
    if not (index.rules and is_on(message)):
        return AppliedRules()
    context = RuleContext(
        (), _category_of(message), placement, attributes_of(audience), parts.clock(),
        arms.rule_ids, arms.without_rule_ids,
    )  # fmt: skip
    return AppliedRules(index.version, index.matches(context))


def _category_of(message: Asked) -> tuple[str, ...] | None:
    """Of a category page."""
    categories = message.filter.categories
    return category_form_of(categories[0]) if len(categories) == 1 else None


def attributes_of(audience: ranker_pb2.GetInterestsResponse | None) -> Mapping[str, frozenset[str]]:
    """By the comparison form of the name, those of the values; a number as it is written shortest."""
    return {
        comparison_form(each.name): frozenset(
            map(comparison_form, [f"{each.number:g}"] if each.HasField("number") else each.texts)
        )
        for each in (audience.attributes if audience is not None else ())
    }


@dataclass
class AppliedRules:
    """The rules that apply to one request, and what they did to its answer so far.

    `reorders`: whether the request leaves the order to the shop. `is_literal`: the text is looked up as typed.
    `has_query`: false when browsing, where everything that matches the filter is found and nothing is to be added.
    """

    version: str = ""
    matches: Sequence[Match] = ()
    reorders: bool = True
    is_literal: bool = False
    has_query: bool = True
    searched_text: str = ""
    # By rule id.
    effects: dict[str, set[gateway_pb2.RuleEffect.ValueType]] = field(default_factory=dict)
    # By product id, for explanations.
    fired: dict[str, list[Fired]] = field(default_factory=lambda: defaultdict(list))
    _actions: dict[type, list[tuple[Match, Any]]] = field(default_factory=lambda: defaultdict(list), init=False)

    def __post_init__(self) -> None:
        for match in self.matches:
            for action in match.rule.actions:
                self._actions[type(action)].append((match, action))

    def changed_text(self, understood: encoder_pb2.EncodeQueryResponse | None, typed: str) -> str:
        """The text to search for instead, by the first rule that replaces the query and all that ignore words of it.

        Empty: nothing changes.
        """
        if self.is_literal:
            return ""
        text = typed if understood is None else understood.corrected_text
        before = text
        for match, action in self._of(ReplaceQuery)[:1]:
            text = action.text
            self._did(match, gateway_pb2.RULE_EFFECT_REPLACE_QUERY)
        for match, ignored in self._of(IgnoreWords):
            for words in map(query_words, ignored.words):
                if shorter := _without(text, words):
                    text = shorter
                    self._did(match, gateway_pb2.RULE_EFFECT_IGNORE_WORDS)
        self.searched_text = "" if text == before else text[:MAX_QUERY]
        return self.searched_text

    def add_synonyms(self, understood: encoder_pb2.EncodeQueryResponse) -> None:
        """As concepts of the query: their words are looked up beside its own."""
        synonyms = self._of(Synonyms)
        if self.is_literal or not synonyms:
            return
        text = understood.retrieval_text
        words, spans, count = query_words(text), word_spans(text), 0
        for match, action in synonyms:
            if action.language and action.language != understood.language:
                continue
            for term in action.terms:
                phrase = query_words(term)
                others = action.alternatives or tuple(other for other in action.terms if other != term)
                start = next(places_of(phrase, words), None)
                if start is None or not spans or count == _MAX_SYNONYMS:
                    continue
                typed = text[spans[start][0] : spans[start + len(phrase) - 1][1]]
                known = next((one for one in understood.concepts if one.matched_text == typed), None)
                if known is None:
                    known = understood.concepts.add(
                        id=f"rule:{match.rule.id}", matched_text=typed, english_label=others[0]
                    )
                known.expansions.extend(other for other in others if other not in known.expansions)
                self._did(match, gateway_pb2.RULE_EFFECT_SYNONYMS)
                count += 1

    def exclude(self, query: retrieval_pb2.RetrieveCandidatesRequest) -> None:
        """Excluded products are in neither candidates nor counts."""
        for match, action in self._of(Exclude):
            products = action.products
            query.excluded_ids.extend(products.ids[: _MAX_EXCLUDED_IDS - len(query.excluded_ids)])
            if products.filter is not None and len(query.excluded_filters) < _MAX_EXCLUDED_FILTERS:
                query.excluded_filters.append(filter_to_proto(products.filter))
            self._did(match, gateway_pb2.RULE_EFFECT_EXCLUDE)

    @property
    def excluded(self) -> list[tuple[str, RuleProducts]]:
        """(rule id, what it excludes)."""
        return [(match.rule.id, action.products) for match, action in self._of(Exclude)]

    @property
    def excluded_ids(self) -> frozenset[str]:
        return frozenset(id for _, products in self.excluded for id in products.ids)

    def is_excluded(self, product: Product) -> bool:
        return any(products.cover(product) for _, products in self.excluded)

    @property
    def changes_order(self) -> bool:
        return self.reorders and bool(self._of(Pin) or self._of(Boost))

    def _named_ids(self) -> list[str]:
        """Products that rules put into the answer, found or not."""
        if not self.reorders:
            return []
        ids = dict.fromkeys(pin.product_id for _, pin in self._of(Pin))
        if self.has_query:
            ids |= dict.fromkeys(id for _, action in self._of(Include) for id in action.product_ids)
        excluded = self.excluded_ids
        return [id for id in ids if id not in excluded][:_MAX_NAMED]

    async def with_named(
        self,
        calls: StageCalls,
        parts: Parts,
        viewer: Viewer,
        candidates: retrieval_pb2.Candidates,
        later: Sequence[Stage],
        narrowing: ProductFilter | None = None,
        excluded_ids: Collection[str] = (),
    ) -> retrieval_pb2.Candidates:
        """The candidates, and behind them the products that rules pin or add and that are not among them.

        Only those that exist, match the request's filter and `narrowing`, and are not excluded; a pinned one must be in
        stock.
        """
        if not (ids := self._named_ids()):
            return candidates
        known = {*candidates.ids, *excluded_ids}
        if not (ids := [id for id in ids if id not in known]):
            return candidates
        lookup = retrieval_pb2.LookupProductsRequest(
            ids=ids,
            with_products=True,
            with_vectors=candidates.HasField("vectors"),
            offer_context=offer_context(viewer),
        )
        found = await calls.call_or_degrade(
            Stage.RETRIEVAL, parts.stubs.retrieval.LookupProducts, lookup, later, fallbacks.WITHOUT_NAMED_PRODUCTS
        )
        if found is None:
            return candidates
        named = self.allowed(matching(matching(found.candidates, viewer.filter), narrowing or ProductFilter()))
        included = {id: match for match, action in self._of(Include) for id in action.product_ids}
        columns = enumerate(zip(named.ids, named.stocks, strict=True))
        rows = [row for row, (id, stock) in columns if stock != 0 or id in included]
        if not rows:
            return candidates
        added = retrieval_pb2.Candidates()
        added.CopyFrom(taken(named, rows))
        for id in added.ids:
            if id in included:
                self.fired[id].append(Fired(gateway_pb2.RULE_TYPE_INCLUDE, included[id].rule.id))
                self._did(included[id], gateway_pb2.RULE_EFFECT_INCLUDE)
        if candidates.tiers:
            # Behind what the query found.
            added.tiers[:] = [max(candidates.tiers)] * len(rows)
        return appended(candidates, added)

    def allowed(self, candidates: retrieval_pb2.Candidates) -> retrieval_pb2.Candidates:
        """Without excluded products."""
        if not self.excluded:
            return candidates
        for match, _ in self._of(Exclude):
            self._did(match, gateway_pb2.RULE_EFFECT_EXCLUDE)
        rows = [row for row, product in enumerate(offered(candidates)) if not self.is_excluded(product)]
        return taken(candidates, rows)

    def arranged(self, ranking: Ranking, candidates: retrieval_pb2.Candidates) -> Ranking:
        """The order after boosts and pins. `candidates`: those that were ranked, in any order."""
        return self.pinned(self.boosted(ranking, candidates), candidates)

    def boosted(self, ranking: Ranking, candidates: retrieval_pb2.Candidates) -> Ranking:
        """The order after boosts, with the variants that are pinned."""
        if not self.changes_order or not ranking.item_ids:
            return ranking
        rows = {id: row for row, id in enumerate(candidates.ids)}
        ids = self._with_pinned_variants(ranking.item_ids, candidates, rows)
        of_row = list(candidates.tiers)
        tiers = [of_row[rows[id]] for id in ids] if of_row else []
        order = self._boosted(ids, (sorted(tiers) == tiers and tiers) or [], candidates, rows)
        return _in_order(ranking, ids, order)

    def pinned(self, ranking: Ranking, candidates: retrieval_pb2.Candidates) -> Ranking:
        """The order after pins."""
        if not self.changes_order or not ranking.item_ids:
            return ranking
        rows = {id: row for row, id in enumerate(candidates.ids)}
        return _in_order(ranking, ranking.item_ids, self._pinned(ranking.item_ids, candidates, rows))

    def take_over(self, other: AppliedRules, ids: Collection[str]) -> None:
        """What the boosts of another arm did to these products, which it brought into an interleaved answer."""
        boost = gateway_pb2.RULE_TYPE_MERCHANDISING_BOOST
        for id in ids:
            kept = [step for step in self.fired.get(id, ()) if step.type != boost]
            self.fired[id] = [*kept, *(step for step in other.fired.get(id, ()) if step.type == boost)]
        for rule_id, effects in other.effects.items():
            self.effects.setdefault(rule_id, set()).update(effects)
        known = {match.rule.id for match in self.matches}
        self.matches = [*self.matches, *(match for match in other.matches if match.rule.id not in known)]

    def report_in(self, response: gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse, ranking: Ranking) -> None:
        """What rules add to the answer, and which had an effect. Nothing if there are no rules."""
        ranking.conditions = replace(ranking.conditions, fired=self.fired, excluded=self.excluded)
        if not self.version:
            return
        answer = response.merchandising
        answer.CopyFrom(gateway_pb2.Merchandising(rules_version=self.version, searched_text=self.searched_text))
        for match, redirect in self._of(Redirect)[:1]:
            answer.redirect_url = redirect.url
            self._did(match, gateway_pb2.RULE_EFFECT_REDIRECT)
        for match, banner in self._of(Banner)[:_MAX_BANNERS]:
            answer.banners.add(rule_id=match.rule.id, payload=banner.payload)
            self._did(match, gateway_pb2.RULE_EFFECT_BANNER)
        for match in self.matches:
            if effects := self.effects.get(match.rule.id):
                answer.applied_rules.add(id=match.rule.id, effects=sorted(effects))

    def _boosted(
        self,
        ids: Sequence[str],
        tiers: Sequence[int],
        candidates: retrieval_pb2.Candidates,
        rows: Mapping[str, int],
    ) -> list[str]:
        boosts = self._of(Boost)
        if not boosts:
            return list(ids)
        before = {id: place for place, id in enumerate(ids)}
        multipliers = dict[str, float]()
        rules = defaultdict[str, list[Match]](list)
        of_row, stocks, covered = list(candidates.ids), list(candidates.stocks), Covered(candidates, rows)
        for match, boost in boosts:
            for row in covered.by(boost.products):
                id = of_row[row]
                if id in before and (boost.multiplier < 1 or stocks[row] != 0):
                    multipliers[id] = multipliers.get(id, 1.0) * boost.multiplier
                    rules[id].append(match)
        order = boosted(ids, tiers, multipliers)
        places = {id: place for place, id in enumerate(order)}
        for id, matches in rules.items():
            for match in matches:
                self._did(match, gateway_pb2.RULE_EFFECT_BOOST)
                moved = Fired(gateway_pb2.RULE_TYPE_MERCHANDISING_BOOST, match.rule.id, before[id] - places[id])
                self.fired[id].append(moved)
        return order

    def _pinned(self, ids: Sequence[str], candidates: retrieval_pb2.Candidates, rows: Mapping[str, int]) -> list[str]:
        pins = [
            PinnedProduct(pin.product_id, pin.position, pin.is_soft, match.rule.id)
            for match, pin in self._of(Pin)
            if pin.product_id in rows and candidates.stocks[rows[pin.product_id]] != 0
        ]
        if not pins:
            return list(ids)
        order, effective = pinned(ids, pins)
        by_id = {match.rule.id: match for match in self.matches}
        for pin in effective:
            self._did(by_id[pin.rule_id], gateway_pb2.RULE_EFFECT_PIN)
            self.fired[pin.product_id].append(
                Fired(gateway_pb2.RULE_TYPE_PIN, pin.rule_id, order.index(pin.product_id) + 1)
            )
        return order

    def _with_pinned_variants(
        self, ids: Sequence[str], candidates: retrieval_pb2.Candidates, rows: Mapping[str, int]
    ) -> list[str]:
        """A pinned product takes the place of the variant of its group that the ranker chose."""
        shown, groups, pins = list(ids), list(candidates.item_group_ids), self._of(Pin)
        if not (groups and pins):
            return shown
        places = {groups[rows[id]]: place for place, id in enumerate(shown) if id in rows}
        fixed = set[str]()
        for _, pin in sorted(pins, key=lambda entry: entry[1].position):
            row = rows.get(pin.product_id)
            if row is None or candidates.stocks[row] == 0 or pin.product_id in shown or groups[row] in fixed:
                continue
            if (place := places.get(groups[row])) is not None:
                shown[place] = pin.product_id
                fixed.add(groups[row])
        return shown

    def _of(self, kind: type[Kind]) -> Sequence[tuple[Match, Kind]]:
        return self._actions.get(kind, ())

    def _did(self, match: Match, effect: gateway_pb2.RuleEffect.ValueType) -> None:
        self.effects.setdefault(match.rule.id, set()).add(effect)


def _in_order(ranking: Ranking, ids: Sequence[str], order: list[str]) -> Ranking:
    """A ranking of its own unless nothing changes. `ids`: the products that the scores of `ranking` belong to."""
    if order == list(ranking.item_ids):
        return ranking
    of_product = dict(zip(ids, ranking.scores, strict=True))
    return replace(
        ranking, id=new_ranking_id(), item_ids=order, scores=[of_product[id] for id in order], is_stored=False,
        reordered_id=ranking.id if ranking.is_stored else ranking.reordered_id,
    )  # fmt: skip


def _without(text: str, ignored: tuple[str, ...]) -> str:
    """The text without these words; empty if it has none of them, or nothing else."""
    words, spans = query_words(text), word_spans(text)
    places = places_of(ignored, words) if spans else ()
    gone = [(spans[start][0], spans[start + len(ignored) - 1][1]) for start in places]
    if not gone or len(gone) * len(ignored) >= len(words):
        return ""
    for start, end in reversed(gone):
        text = text[:start] + text[end:]
    return " ".join(text.split())
