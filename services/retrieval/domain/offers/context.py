"""Which offers apply to a request."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.offers import Fulfilment

Place = tuple[str, str]


@dataclass(frozen=True)
class OfferContext:
    """Empty texts: the default list, any currency, any place. `fulfilment` None: any way. Meanings: offer.proto."""

    price_list_id: str = ""
    currency: str = ""
    place_id: str = ""
    fulfilment: Fulfilment | None = None
    # Whether computed prices are as if removed.
    list_price_only: bool = False

    @property
    def chain(self) -> tuple[Place, ...]:
        return chain_of(self.price_list_id, self.place_id)


def chain_of(price_list_id: str, place_id: str) -> tuple[Place, ...]:
    """The (price list, place) pairs whose offers apply, nearest first; the product itself comes after the last."""
    pairs = ((price_list_id, place_id), (price_list_id, ""), ("", place_id), ("", ""))
    return tuple(dict.fromkeys(pairs))
