"""Moderation: protobuf to domain and back."""

from __future__ import annotations

from kairos.common.v1 import common_pb2, product_pb2
from services.common.errors import InvalidArgument
from services.common.visibility import EVERYONE, Moderated, Outcome, Viewing, Visibility, market_problem

_OUTCOMES = {
    product_pb2.MODERATION_OUTCOME_UNSPECIFIED: Outcome.PASS,
    product_pb2.MODERATION_OUTCOME_PASS: Outcome.PASS,
    product_pb2.MODERATION_OUTCOME_REVIEW: Outcome.REVIEW,
    product_pb2.MODERATION_OUTCOME_BLOCK: Outcome.BLOCK,
}
_NUMBERS = {outcome: number for number, outcome in _OUTCOMES.items()}


def visibility_of(product: product_pb2.Product) -> Visibility:
    return moderated_from_proto(product.moderation).visibility if product.HasField("moderation") else EVERYONE


def moderated_from_proto(message: product_pb2.Moderation) -> Moderated:
    """An outcome that only a newer service knows counts as BLOCK."""
    return Moderated(
        _OUTCOMES.get(message.outcome, Outcome.BLOCK), message.adults_only,
        {market: _OUTCOMES.get(number, Outcome.BLOCK) for market, number in sorted(message.market_outcomes.items())},
        tuple(message.categories), message.rules_version, message.evidence, message.review_id,
    )  # fmt: skip


def moderated_to_proto(moderated: Moderated) -> product_pb2.Moderation:
    return product_pb2.Moderation(
        outcome=_NUMBERS[moderated.outcome], adults_only=moderated.adults_only,
        market_outcomes={market: _NUMBERS[outcome] for market, outcome in moderated.markets.items()},
        categories=moderated.categories, rules_version=moderated.rules_version, evidence=moderated.evidence,
        review_id=moderated.review_id,
    )  # fmt: skip


def viewing_from_proto(message: common_pb2.RequestContext) -> Viewing:
    """Raises InvalidArgument."""
    if problem := market_problem(message.market):
        raise InvalidArgument.of("context.market", problem)
    return Viewing(message.market, message.audience == common_pb2.AUDIENCE_ADULT, message.shows_blocked)


def viewing_to_proto(viewing: Viewing, message: common_pb2.RequestContext) -> None:
    message.market, message.shows_blocked = viewing.market, viewing.sees_all
    if viewing.is_adult:
        message.audience = common_pb2.AUDIENCE_ADULT
