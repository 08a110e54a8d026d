"""Offers in the payload of their product's point.

    offers: {"<price list>\\x1f<place>\\x1f<source>": [time, removed, currency, price, sale price, starts, ends, stock,
             fulfilments, base price, lowest price of 30 days, guardrail]}

Amounts are whole minor units, the base price is a decimal in text, because it may be finer. The time is in nanoseconds,
sale times are in microseconds since 1970. An offer is one entry: an update writes only its own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from services.common.money import MINOR_UNIT_DECIMALS, Money
from services.common.offers import Fulfilment, Offer, OfferSource
from services.retrieval.domain.offers.layer import microseconds, moment_of, way

OFFERS = "offers"
# When they were written, in milliseconds since 1970: other replicas on a server look for what is new.
OFFERS_AT = "offers_at"
# No id has it.
_SEPARATOR = "\x1f"


def entry_of(offer: Offer) -> tuple[str, list[Any]]:
    """(the key, the value) of one offer."""
    key = _SEPARATOR.join((offer.price_list_id, offer.place_id, str(int(offer.source))))
    if offer.is_removed:
        return key, [offer.updated_at_ns, 1]
    return key, [
        offer.updated_at_ns,
        0,
        offer.currency,
        _minor_units(offer.price),
        _minor_units(offer.sale_price),
        None if offer.sale_starts_at is None else microseconds(offer.sale_starts_at),
        None if offer.sale_ends_at is None else microseconds(offer.sale_ends_at),
        offer.stock,
        sum(map(way, offer.fulfilments)),
        None if offer.base_price is None else str(offer.base_price.amount),
        _minor_units(offer.lowest_30_days),
        offer.guardrail,
    ]


def entries_of(offers: Sequence[Offer]) -> dict[str, list[Any]]:
    return dict(map(entry_of, offers))


def offers_payload(offers: Sequence[Offer]) -> dict[str, Any]:
    """The part of a point's payload that holds its offers."""
    return {OFFERS: entries_of(offers)} | offers_time() if offers else {}


def offers_time() -> dict[str, int]:
    """The part that says that they were written now."""
    return {OFFERS_AT: int(time.time() * 1e3)}


def offers_of_payload(payload: Mapping[str, Any] | None) -> list[Offer]:
    """Of a point whose payload was read with `OFFERS`."""
    return [_offer(key, value) for key, value in ((payload or {}).get(OFFERS) or {}).items()]


def _offer(key: str, value: Sequence[Any]) -> Offer:
    price_list_id, place_id, source = key.split(_SEPARATOR)
    if value[1]:
        return Offer(value[0], price_list_id, place_id, OfferSource(int(source)), is_removed=True)
    # An offer that an earlier version has written ends with the base price.
    updated_at_ns, _, currency, price, sale, starts, ends, stock, fulfilments, base, *more = value
    lowest, guardrail = more or (None, 0)
    return Offer(
        updated_at_ns,
        price_list_id,
        place_id,
        OfferSource(int(source)),
        price=_money(price, currency),
        sale_price=_money(sale, currency),
        sale_starts_at=None if starts is None else moment_of(starts),
        sale_ends_at=None if ends is None else moment_of(ends),
        stock=stock,
        fulfilments=frozenset(entry for entry in Fulfilment if fulfilments & way(entry)),
        base_price=None if base is None else Money(currency, Decimal(base)),
        lowest_30_days=_money(lowest, currency),
        guardrail=guardrail,
    )


def _minor_units(money: Money | None) -> int | None:
    return None if money is None else int(money.amount.scaleb(MINOR_UNIT_DECIMALS[money.currency]))


def _money(minor_units: int | None, currency: str) -> Money | None:
    if minor_units is None:
        return None
    return Money(currency, Decimal(minor_units).scaleb(-MINOR_UNIT_DECIMALS[currency]))
