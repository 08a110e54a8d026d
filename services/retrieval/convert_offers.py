"""Protobuf <-> domain for offers. Raises InvalidArgument with the path of the field."""

from __future__ import annotations

import time

from kairos.common.v1 import offer_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert_offers import fulfilment_from_proto, offer_from_proto
from services.common.errors import FieldViolation, InvalidArgument
from services.common.limits import MAX_LIST_ID, id_problem
from services.common.money import currency_problem
from services.common.offers import Offer
from services.retrieval.domain.offers.context import OfferContext
from services.retrieval.ports import OfferUpdate

MAX_OFFERS = 1_000


def offers_from_proto(message: retrieval_pb2.UpdateOffersRequest) -> list[tuple[str, Offer]]:
    """(product id, offer) each. Names the wrong fields of all offers at once."""
    if not 1 <= len(message.offers) <= MAX_OFFERS:
        raise InvalidArgument.of("offers", f"has {len(message.offers)} entries; send 1 to {MAX_OFFERS}")
    now_s = time.time()
    offers, wrong = list[tuple[str, Offer]](), list[FieldViolation]()
    for index, entry in enumerate(message.offers):
        try:
            offers.append((entry.product_id, offer_from_proto(entry, now_s, f"offers[{index}].")))
        except InvalidArgument as error:
            wrong += error.violations
    if wrong:
        raise InvalidArgument(*wrong)
    return offers


def update_to_proto(update: OfferUpdate) -> retrieval_pb2.UpdateOffersResponse:
    return retrieval_pb2.UpdateOffersResponse(
        updated_count=update.updated, stale_count=update.stale, missing_ids=update.missing_ids
    )


def offer_context_from_proto(message: offer_pb2.OfferContext, field: str = "offer_context") -> OfferContext:
    """Whether its price list and place have offers is checked by OfferBook.view."""
    for path, value in (("price_list_id", message.price_list_id), ("place_id", message.place_id)):
        if problem := id_problem(value, required=False, limit=MAX_LIST_ID):
            raise InvalidArgument.of(f"{field}.{path}", problem)
    if message.currency_code and (problem := currency_problem(message.currency_code)):
        raise InvalidArgument.of(f"{field}.currency_code", problem)
    fulfilment = fulfilment_from_proto(message.fulfilment, f"{field}.fulfilment")
    return OfferContext(
        message.price_list_id, message.currency_code, message.place_id, fulfilment, message.list_price_only
    )
