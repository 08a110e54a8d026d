"""Protobuf <-> domain. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from kairos.control.v1 import control_pb2
from kairos.sponsored.v1 import sponsored_pb2
from services.common.comparison import category_form_of, comparison_form
from services.common.convert import minor_units_from_proto, minor_units_to_proto
from services.common.convert_merchandising import bounds_from_proto, trigger_from_proto, windows_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import (
    MAX_ATTRIBUTE_NAME,
    MAX_ATTRIBUTE_TEXT,
    MAX_ATTRIBUTE_TEXTS,
    MAX_QUERY,
    MAX_SET_ATTRIBUTES,
    id_problem,
    text_problem,
)
from services.common.merchandising import MAX_PLACEMENT, Anchoring, QueryCondition, Validity
from services.common.product import MAX_CATEGORY_PATH
from services.common.query_words import query_words
from services.sponsored.domain.auction import Placed
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.selection import AdRequest
from services.sponsored.domain.target_index import Circumstances
from services.sponsored.domain.targeting import TargetingKind, TargetingParameter

# Of one request.
MAX_PRODUCTS, MAX_QUERIES = 1_000, 4
_KINDS = {kind: sponsored_pb2.TargetingKind.Value(f"TARGETING_KIND_{kind.name}") for kind in TargetingKind}


def campaign_from_proto(resource: control_pb2.Resource) -> Campaign:
    """A published campaign: control has checked it."""
    message, field = resource.campaign, f"campaign {resource.id!r}"
    return Campaign(
        id=resource.id,
        advertiser=message.advertiser,
        payer=message.payer,
        product_ids=tuple(message.product_ids),
        currency=message.bid.currency_code,
        bid=minor_units_from_proto(message.bid, f"{field}.bid"),
        daily_budget=minor_units_from_proto(message.daily_budget, f"{field}.daily_budget"),
        total_budget=(
            minor_units_from_proto(message.total_budget, f"{field}.total_budget")
            if message.HasField("total_budget")
            else None
        ),
        targets=trigger_from_proto(message.targets, f"{field}.targets"),
        negative_keywords=tuple(QueryCondition(Anchoring.CONTAINS, text) for text in message.negative_keywords),
        schedule=Validity(
            *bounds_from_proto(message, "starts_at", "ends_at"), windows_from_proto(message.daily_windows),
            message.time_zone,
        ),
        own_person_ids=frozenset(message.own_person_ids),
        target_return=message.target_return_on_spend if message.HasField("target_return_on_spend") else None,
    )  # fmt: skip


def request_from_proto(message: sponsored_pb2.SelectAdsRequest, now_s: float) -> AdRequest:
    if wrong := list(_violations(message)):
        raise InvalidArgument(*wrong)
    return AdRequest(
        tuple(message.product_ids),
        tuple(message.relevances),
        tuple(message.click_probabilities),
        message.page_results,
        Circumstances(
            texts=tuple(dict.fromkeys(map(query_words, message.queries))),
            category=category_form_of(message.category) or None,
            placement=message.placement or None,
            attributes={
                comparison_form(one.name): frozenset(map(comparison_form, one.values)) for one in message.attributes
            },
            now_s=now_s,
        ),
        message.context.request_id,
        frozenset(message.pinned_positions),
        frozenset(message.excluded_ids),
    )


def place_to_proto(
    placed: Placed, product_id: str, campaign: Campaign, targeting: Sequence[TargetingParameter]
) -> sponsored_pb2.SponsoredPlace:
    return sponsored_pb2.SponsoredPlace(
        product_id=product_id,
        position=placed.place.position,
        campaign_id=campaign.id,
        advertiser=campaign.advertiser,
        payer=campaign.payer,
        targeting=[sponsored_pb2.TargetingParameter(kind=_KINDS[one.kind], value=one.value) for one in targeting],
        click_price=minor_units_to_proto(placed.price, campaign.currency),
        expected_clicks=placed.expected_clicks,
    )


def _violations(message: sponsored_pb2.SelectAdsRequest) -> Iterator[FieldViolation]:
    count = len(message.product_ids)
    if count > MAX_PRODUCTS:
        yield FieldViolation("product_ids", f"holds {count}; at most {MAX_PRODUCTS}")
        return
    first: dict[str, int] = {}
    for index, id in enumerate(message.product_ids):
        if problem := id_problem(id):
            yield FieldViolation(f"product_ids[{index}]", problem)
        elif first.setdefault(id, index) != index:
            yield FieldViolation(f"product_ids[{index}]", f"is product_ids[{first[id]}] too; send each product once")
    for field, values in (
        ("relevances", message.relevances), ("click_probabilities", message.click_probabilities)
    ):  # fmt: skip
        if len(values) != count:
            yield FieldViolation(field, f"holds {len(values)}; send one for each of the {count} products")
        for index, value in enumerate(values):
            if math.isnan(value) or not 0 <= value <= 1:
                yield FieldViolation(f"{field}[{index}]", f"is {value:g}; send 0 to 1")
    if not 1 <= message.page_results <= MAX_PRODUCTS:
        yield FieldViolation("page_results", f"is {message.page_results}; send 1 to {MAX_PRODUCTS}")
    for field in ("pinned_positions", "excluded_ids"):
        if (found := len(getattr(message, field))) > MAX_PRODUCTS:
            yield FieldViolation(field, f"holds {found}; at most {MAX_PRODUCTS}")
    for index, position in enumerate(message.pinned_positions[:MAX_PRODUCTS]):
        if not 1 <= position <= message.page_results:
            yield FieldViolation(f"pinned_positions[{index}]", f"is {position}; send 1 to page_results")
    if len(message.queries) > MAX_QUERIES:
        yield FieldViolation("queries", f"holds {len(message.queries)}; at most {MAX_QUERIES}")
    if len(message.attributes) > MAX_SET_ATTRIBUTES:
        yield FieldViolation("attributes", f"holds {len(message.attributes)}; at most {MAX_SET_ATTRIBUTES}")
    texts = [(f"queries[{index}]", text, MAX_QUERY) for index, text in enumerate(message.queries[:MAX_QUERIES])]
    texts += [("category", message.category, MAX_CATEGORY_PATH), ("placement", message.placement, MAX_PLACEMENT)]
    for index, attribute in enumerate(message.attributes[:MAX_SET_ATTRIBUTES]):
        at = f"attributes[{index}]"
        texts.append((f"{at}.name", attribute.name, MAX_ATTRIBUTE_NAME))
        if len(attribute.values) > MAX_ATTRIBUTE_TEXTS:
            yield FieldViolation(f"{at}.values", f"holds {len(attribute.values)}; at most {MAX_ATTRIBUTE_TEXTS}")
        texts += [
            (f"{at}.values[{place}]", value, MAX_ATTRIBUTE_TEXT)
            for place, value in enumerate(attribute.values[:MAX_ATTRIBUTE_TEXTS])
        ]
    for field, text, limit in texts:
        if problem := text_problem(text, limit):
            yield FieldViolation(field, problem)
    if problem := id_problem(message.person_id, required=False):
        yield FieldViolation("person_id", problem)
