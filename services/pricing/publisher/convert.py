"""Protobuf <-> domain, for the publisher."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP
from typing import Literal

from google.protobuf.timestamp_pb2 import Timestamp

from kairos.common.v1 import common_pb2, offer_pb2
from kairos.control.v1 import audit_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.pricing.v1 import pricing_pb2
from services.common.convert import money_from_proto, money_to_proto, time_to_proto
from services.common.money import Money, in_minor_units
from services.common.offers import MAX_AMOUNT
from services.common.product import PriceBound
from services.pricing.domain.competitors import CompetitorPrice
from services.pricing.domain.decision import PriceDecision, Review
from services.pricing.domain.demand.forecast import Estimate
from services.pricing.domain.evidence import Evidence, Measure
from services.pricing.domain.offered_product import OfferedProduct, PublishedPrice, ShopOffer
from services.pricing.domain.publication import PriceChange
from services.pricing.policies import VERSION

# Characters of an explanation, and seconds of the last time that a message can name.
_MOST_TEXT, _LAST_S = 1_000, 253_402_300_799
_REVIEWS = {
    Review.NOT_ASKED: audit_pb2.PRICE_REVIEW_UNSPECIFIED,
    Review.WAITING: audit_pb2.PRICE_REVIEW_WAITING,
    Review.APPROVED: audit_pb2.PRICE_REVIEW_APPROVED,
    Review.REJECTED: audit_pb2.PRICE_REVIEW_REJECTED,
}
_MEASURES = {
    Measure.PROFIT: audit_pb2.PRICE_MEASURE_PROFIT,
    Measure.REVENUE: audit_pb2.PRICE_MEASURE_REVENUE,
    Measure.UNITS: audit_pb2.PRICE_MEASURE_UNITS,
}


def product_from_proto(listed: gateway_pb2.ListedProduct) -> OfferedProduct:
    """Raises InvalidArgument for an unreadable amount. Offers of single places are left out."""
    product = listed.product
    shop: dict[str, ShopOffer] = {}
    published: dict[str, PublishedPrice] = {}
    competitors: dict[str, CompetitorPrice] = {}
    published_ns = 0
    for made in listed.offers:
        if made.source == offer_pb2.OFFER_SOURCE_PRICING:
            published_ns = max(published_ns, made.updated_at.ToNanoseconds())
        if made.source == offer_pb2.OFFER_SOURCE_COMPETITOR and not made.is_removed:
            is_sold_out = made.HasField("stock") and made.stock <= 0
            competitors[made.place_id] = CompetitorPrice(
                money_from_proto(made.price, "price"), _seconds(made.updated_at), is_sold_out
            )
        if made.place_id or made.is_removed:
            continue
        if made.source == offer_pb2.OFFER_SOURCE_PRICING:
            price, base = money_from_proto(made.price, "price"), money_from_proto(made.base_price, "base_price")
            lowest = None
            if made.HasField("lowest_price_30_days"):
                lowest = money_from_proto(made.lowest_price_30_days, "lowest_price_30_days")
            published[made.price_list_id] = PublishedPrice(price, base, lowest, made.guardrail)
        else:
            shop[made.price_list_id] = _shop_offer(made)

    def money(name: Literal["price"] | PriceBound) -> Money | None:
        return money_from_proto(getattr(product, name), name) if product.HasField(name) else None

    return OfferedProduct(
        product.id, money("price"), money("cost"), money("price_floor"), money("price_ceiling"),
        product.stock if product.HasField("stock") else None, float(product.created_at.seconds), shop, published,
        published_ns, money("minimum_advertised_price"), tuple(product.category_path), competitors,
    )  # fmt: skip


def change_to_proto(change: PriceChange) -> offer_pb2.Offer:
    made = offer_pb2.Offer(
        product_id=change.product_id, price_list_id=change.price_list_id, source=offer_pb2.OFFER_SOURCE_PRICING
    )
    made.updated_at.FromNanoseconds(change.updated_ns)
    if change.price is None:
        made.is_removed = True
    else:
        made.price.CopyFrom(money_to_proto(change.price.price))
        made.base_price.CopyFrom(money_to_proto(change.price.base_price))
        if change.price.lowest is not None:
            made.lowest_price_30_days.CopyFrom(money_to_proto(change.price.lowest))
        made.guardrail = offer_pb2.PriceGuardrail.ValueType(change.price.guardrail)
    return made


def decision_to_proto(decision: PriceDecision) -> audit_pb2.AuditEntry:
    """Amounts in another currency than the price are left out."""
    item, currency = decision.item, decision.price.currency

    def money(amount: Money | None) -> common_pb2.Money | None:
        return None if amount is None or amount.currency != currency else money_to_proto(amount)

    made = audit_pb2.PriceDecision(
        item_id=item.item_id, price_list_id=item.price_list_id, list_price=money(item.list_price),
        base_price=money(decision.base), price=money(decision.price), price_before=money(decision.before),
        guardrail=offer_pb2.PriceGuardrail.ValueType(decision.guardrail), explanation=decision.explanation[:_MOST_TEXT],
        policy_id=decision.policy_id, model_version=f"{decision.policy_name}@{VERSION}", cost=money(item.cost),
        stock=item.stock, review=_REVIEWS[decision.review], review_id=decision.review_id,
        competitor_price=money(item.competitor),
    )  # fmt: skip
    if decision.experiment_arm is not None:
        experiment, arm = decision.experiment_arm
        made.experiment_arm.CopyFrom(common_pb2.ExperimentArm(experiment=experiment, arm=arm))
    if decision.until_s < _LAST_S:
        made.valid_until.CopyFrom(_time(decision.until_s))
    if (proposed := decision.proposed) is not None:
        made.reason = pricing_pb2.PriceReason.Value(f"PRICE_REASON_{proposed.reason.name}")
        made.price_floor.CopyFrom(money_to_proto(proposed.floor))
        made.price_ceiling.CopyFrom(money_to_proto(proposed.ceiling))
        # A policy may propose anything.
        if proposed.price.is_finite() and abs(proposed.price) <= MAX_AMOUNT:
            whole = in_minor_units(proposed.price, currency, ROUND_HALF_UP)
            made.proposed_price.CopyFrom(money_to_proto(Money(currency, whole)))
        if proposed.evidence is not None:
            _add_evidence(made, proposed.evidence, decision)
    entry = audit_pb2.AuditEntry(id=decision.decision_id, subject_id=item.item_id, price_decision=made)
    entry.recorded_at.CopyFrom(_time(decision.decided_s))
    return entry


def _add_evidence(made: audit_pb2.PriceDecision, evidence: Evidence, decision: PriceDecision) -> None:
    made.measure = _MEASURES[evidence.measure]
    made.best_price.CopyFrom(money_to_proto(Money(decision.price.currency, evidence.best)))
    listed, price = decision.item.list_price.amount, decision.price.amount
    for estimate, field in (
        (evidence.curve.elasticity, made.elasticity),
        (evidence.units_a_day(price), made.units),
        (evidence.units_a_day(listed), made.units_at_list_price),
        (evidence.result_a_day(price), made.result),
        (evidence.result_a_day(listed), made.result_at_list_price),
        (evidence.result_a_day(evidence.best), made.result_at_best_price),
    ):
        _set(field, estimate)
    if (ratio := evidence.result_ratio(price, listed)) is not None:
        _set(made.result_ratio, ratio)


def _set(field: audit_pb2.Estimate, estimate: Estimate) -> None:
    field.mean, field.low, field.high = estimate.mean, estimate.low, estimate.high


def _time(time_s: float) -> Timestamp:
    return time_to_proto(datetime.fromtimestamp(time_s, UTC))


def _shop_offer(made: offer_pb2.Offer) -> ShopOffer:
    return ShopOffer(
        money_from_proto(made.price, "price") if made.HasField("price") else None,
        money_from_proto(made.sale_price, "sale_price") if made.HasField("sale_price") else None,
        _seconds(made.sale_starts_at) if made.HasField("sale_starts_at") else None,
        _seconds(made.sale_ends_at) if made.HasField("sale_ends_at") else None,
        # A negative stock counts as 0.
        max(0, made.stock) if made.HasField("stock") else None,
    )


def _seconds(moment: Timestamp) -> float:
    return moment.ToNanoseconds() / 1e9
