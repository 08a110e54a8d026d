"""Explains a result: the scores of each stage, groups, concept edges, the rules that had an effect, a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from kairos.common.v1 import product_pb2
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import filter_from_proto, product_from_proto
from services.common.filters import AttributeFilter, ProductFilter, matches
from services.common.merchandising import RuleProducts
from services.common.product import Product
from services.gateway.domain import sentence
from services.gateway.domain.concept_edges import edges
from services.gateway.domain.texts import Texts
from services.gateway.flows.interpretation import OPERATORS, filtered_attribute

_FILTER, _BOOST = gateway_pb2.INTERPRETATION_EFFECT_FILTER, gateway_pb2.INTERPRETATION_EFFECT_BOOST
_MARKDOWNS = (pricing_pb2.PRICE_REASON_OVERSTOCK, pricing_pb2.PRICE_REASON_AGED)


@dataclass(slots=True)
class Fired:
    """As the message FiredRule. Most answers have many and show none: messages would take too long."""

    type: gateway_pb2.RuleType.ValueType
    subject: str
    count: int = 0


@dataclass(frozen=True)
class Conditions:
    """The conditions of an answer, and the interpretation of its query.

    `recently_purchased`: ids of purchases that Recommend skips.
    """

    narrowing: ProductFilter = field(default_factory=ProductFilter)
    interpretation: gateway_pb2.QueryInterpretation = field(default_factory=gateway_pb2.QueryInterpretation)
    recently_purchased: frozenset[str] = frozenset()
    # What merchandising rules did with each product, by id, and (rule id, what it excludes).
    fired: Mapping[str, Sequence[Fired]] = field(default_factory=dict)
    excluded: Sequence[tuple[str, RuleProducts]] = ()


def retrieval_scores(candidates: retrieval_pb2.Candidates) -> dict[str, gateway_pb2.StageScores]:
    """By product id."""
    scores = {
        id: gateway_pb2.StageScores(dense=dense, lexical=lexical, retrieval=score, retrieval_position=position)
        for position, (id, dense, lexical, score) in enumerate(
            zip(candidates.ids, candidates.dense_scores, candidates.lexical_scores, candidates.scores, strict=True), 1
        )
    }
    for id, image in zip(candidates.ids, candidates.image_scores, strict=False):
        scores[id].image = image
    return scores


def add_ranker_scores(
    scores: dict[str, gateway_pb2.StageScores], answer: ranker_pb2.RankItemsResponse
) -> dict[str, gateway_pb2.StageScores]:
    """The same messages, filled further."""
    for id, score in zip(answer.item_ids, answer.scores, strict=True):
        scores[id].ranker = score
    for task in answer.task_scores:
        for id, value in zip(answer.item_ids, task.values, strict=True):
            scores[id].task_scores.add(task=task.task, value=value)
    return scores


def explain_result(
    result: gateway_pb2.Result,
    order: str,
    count: int,
    reasons: ranker_pb2.ItemReasons | None,
    conditions: Conditions,
    texts: Texts,
) -> None:
    """Fills `reasons` and `explanation` of a result that holds product, position, score and price.

    `order`: the version that made the order. `count`: products in the whole order.
    """
    explanation = result.explanation
    explanation.language = texts.language
    text = _words_of(result.product)
    concepts = [(c.matched_text, c.id, c.expansions) for c in conditions.interpretation.concepts]
    explanation.concept_edges.extend(gateway_pb2.ConceptEdge(**edge._asdict()) for edge in edges(concepts, text))
    explanation.rules.extend(_conditions_met(product_from_proto(result.product, "product"), conditions))
    for fired in conditions.fired.get(result.product.id, ()):
        explanation.rules.add(type=fired.type, subject=fired.subject, count=fired.count)
    if reasons is None:
        explanation.rules.extend(_price_rules(result.price))
        explanation.text = sentence.unexplained(texts, order, result.position, count, result.score)
        return
    result.reasons.extend(reasons.reasons)
    explanation.baseline = reasons.baseline
    explanation.rules.extend(_slate_rules(reasons.slate, result.product.brand))
    explanation.rules.extend(_price_rules(result.price))
    names = {r.type: ranker_pb2.ReasonType.Name(r.type).removeprefix("REASON_TYPE_").lower() for r in reasons.reasons}
    if result.sources and result.sources[0] != ranker_pb2.CANDIDATE_SOURCE_FAQ:
        # In a recommendation, which has no query.
        names[ranker_pb2.REASON_TYPE_QUERY_MATCH] = "source_match"
    slate = reasons.slate
    explanation.text = sentence.placed(
        texts,
        result.position,
        count,
        result.score,
        reasons.baseline,
        {names[reason.type]: reason.contribution for reason in reasons.reasons},
        sentence.Mixing(slate.fatigue_cost, slate.similarity_cost, slate.brand_capped_places, slate.is_explored),
        [(edge.matched_text, edge.expansion) for edge in explanation.concept_edges[:1]],
    )


def add_source(result: gateway_pb2.Result, related_title: str, texts: Texts) -> None:
    """Puts where the product comes from before its explanation: the first of its sources.

    `related_title`: the title of the product that it is related to; empty if there are several.
    """
    if not result.sources:
        return
    explanation = result.explanation
    name = ranker_pb2.CandidateSource.Name(result.sources[0]).removeprefix("CANDIDATE_SOURCE_").lower()
    explanation.text = sentence.sourced(texts, name, related_title) + explanation.text


def add_advertiser(result: gateway_pb2.Result, texts: Texts) -> None:
    """Puts who pays for the position before its explanation."""
    if result.HasField("sponsored"):
        label = result.sponsored
        result.explanation.text = (
            texts.say("sponsored", advertiser=label.advertiser, payer=label.payer) + result.explanation.text
        )


def explain_absence(
    result: gateway_pb2.Result, count: int, conditions: Conditions, texts: Texts
) -> gateway_pb2.Absence.ValueType:
    """Why the product is not among the `count` ranked products; fills `explanation`."""
    explanation = result.explanation
    product = product_from_proto(result.product, "product")
    explanation.language = texts.language
    if product.id in conditions.recently_purchased:
        explanation.rules.add(type=gateway_pb2.RULE_TYPE_RECENTLY_PURCHASED)
        explanation.text = sentence.absent(texts, "recently_purchased")
        return gateway_pb2.ABSENCE_RECENTLY_PURCHASED
    if not matches(product, conditions.narrowing):
        explanation.rules.add(type=gateway_pb2.RULE_TYPE_FILTER)
        explanation.text = sentence.absent(texts, "filter")
        return gateway_pb2.ABSENCE_FILTERED
    if by := [rule_id for rule_id, products in conditions.excluded if products.cover(product)]:
        explanation.rules.extend(
            gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_EXCLUDE, subject=rule_id) for rule_id in by
        )
        explanation.text = sentence.absent(texts, "excluded_by_rule")
        return gateway_pb2.ABSENCE_EXCLUDED_BY_RULE
    if unmet := _unmet(product, _chips(conditions, _FILTER)):
        explanation.rules.extend(
            gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_CONSTRAINT_FILTER, subject=chip.matched_text)
            for chip in unmet
        )
        explanation.text = sentence.absent(texts, "constraint", unmet[0].matched_text)
        return gateway_pb2.ABSENCE_FILTERED
    explanation.text = sentence.absent(texts, "not_retrieved", count=count)
    return gateway_pb2.ABSENCE_NOT_RETRIEVED


def _conditions_met(product: Product, conditions: Conditions) -> Iterator[gateway_pb2.FiredRule]:
    if not conditions.narrowing.is_empty:
        yield gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_FILTER)
    for effect, kind in (
        (_FILTER, gateway_pb2.RULE_TYPE_CONSTRAINT_FILTER),
        (_BOOST, gateway_pb2.RULE_TYPE_CONSTRAINT_BOOST),
    ):
        for chip in _chips(conditions, effect):
            if _meets(product, chip.constraint):
                yield gateway_pb2.FiredRule(type=kind, subject=chip.matched_text)


def _slate_rules(slate: ranker_pb2.SlateSteps, brand: str) -> Iterator[gateway_pb2.FiredRule]:
    if slate.shown_without_click_count:
        count, effect = slate.shown_without_click_count, -slate.fatigue_cost
        yield gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_FATIGUE, count=count, effect=effect)
    if slate.similarity_cost > 0:
        yield gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_SIMILARITY, effect=-slate.similarity_cost)
    if slate.brand_capped_places:
        yield gateway_pb2.FiredRule(
            type=gateway_pb2.RULE_TYPE_BRAND_CAP, subject=brand, count=slate.brand_capped_places
        )
    if slate.is_explored:
        yield gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_EXPLORATION)


def _price_rules(quote: pricing_pb2.PriceQuote) -> Iterator[gateway_pb2.FiredRule]:
    if quote.reason in _MARKDOWNS:
        yield gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_MARKDOWN, subject=quote.explanation)
    if quote.reason == pricing_pb2.PRICE_REASON_GUARDRAIL:
        yield gateway_pb2.FiredRule(type=gateway_pb2.RULE_TYPE_PRICE_LIMIT, subject=quote.explanation)


def _chips(
    conditions: Conditions, effect: gateway_pb2.InterpretationEffect.ValueType
) -> list[gateway_pb2.InterpretedAs]:
    """The conditions read from the query with this effect, without categories and operators: these only affect the
    order.
    """
    return [
        chip
        for chip in conditions.interpretation.interpreted_as
        if chip.effect == effect
        and chip.HasField("constraint")
        and chip.constraint.type not in (encoder_pb2.CONSTRAINT_TYPE_CATEGORY, *OPERATORS)
    ]


def _meets(product: Product, constraint: encoder_pb2.Constraint) -> bool:
    if constraint.type == encoder_pb2.CONSTRAINT_TYPE_PRICE:
        condition = filter_from_proto(product_pb2.ProductFilter(price=constraint.price), "constraint")
    elif constraint.type == encoder_pb2.CONSTRAINT_TYPE_BRAND:
        condition = ProductFilter(brands=(constraint.value,))
    else:
        condition = ProductFilter(attributes=(AttributeFilter(filtered_attribute(constraint), (constraint.value,)),))
    return matches(product, condition)


def _unmet(product: Product, chips: list[gateway_pb2.InterpretedAs]) -> list[gateway_pb2.InterpretedAs]:
    """Brands are alternatives, and so are values of an attribute: if the product meets one, the others do not exclude
    it.
    """

    def subject(chip: gateway_pb2.InterpretedAs) -> tuple[int, str]:
        return chip.constraint.type, chip.constraint.attribute

    met = {subject(chip) for chip in chips if _meets(product, chip.constraint)}
    return [chip for chip in chips if subject(chip) not in met]


def _words_of(product: product_pb2.Product) -> str:
    """The text in which concepts are looked for: titles, brand, categories and attributes."""
    values = (value for entry in product.attributes.values() for value in entry.values)
    return " · ".join(
        [product.title, *product.localized_titles.values(), product.brand, *product.category_path, *values]
    )
