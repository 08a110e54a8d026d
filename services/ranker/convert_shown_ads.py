"""Protobuf <-> domain for the sponsored places of a shown page. Raises InvalidArgument with the field's path."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from kairos.common.v1 import event_pb2
from services.common.convert import minor_units_from_proto, minor_units_to_proto
from services.common.errors import InvalidArgument
from services.ranker.convert import check_id
from services.ranker.domain.shown_ad import ShownAd

# Of one page.
_MOST = 100


def shown_ads_from_proto(
    messages: Sequence[event_pb2.SponsoredImpression], shown_ids: Collection[str], path: str
) -> tuple[ShownAd, ...]:
    """`shown_ids`: the items of the page."""
    if len(messages) > _MOST:
        raise InvalidArgument.of(path, f"holds {len(messages)}; at most {_MOST}")
    ads: dict[str, ShownAd] = {}
    for row, message in enumerate(messages):
        at = f"{path}[{row}]"
        check_id(message.campaign_id, f"{at}.campaign_id")
        if message.item_id not in shown_ids:
            raise InvalidArgument.of(
                f"{at}.item_id", f"{message.item_id!r} is not at one of the positions; leave it out"
            )
        if message.item_id in ads:
            raise InvalidArgument.of(f"{at}.item_id", f"{message.item_id!r} is sponsored twice; send it once")
        price = minor_units_from_proto(message.click_price, f"{at}.click_price")
        if price < 0:
            raise InvalidArgument.of(f"{at}.click_price", "is negative; send 0 or more")
        if not 0 <= message.expected_clicks <= 1:
            raise InvalidArgument.of(f"{at}.expected_clicks", f"is {message.expected_clicks:g}; send 0 to 1")
        ads[message.item_id] = ShownAd(
            message.item_id, message.campaign_id, price, message.click_price.currency_code, message.expected_clicks
        )
    return tuple(ads.values())


def shown_ad_to_proto(ad: ShownAd) -> event_pb2.SponsoredImpression:
    return event_pb2.SponsoredImpression(
        item_id=ad.item_id, campaign_id=ad.campaign_id, click_price=minor_units_to_proto(ad.price, ad.currency),
        expected_clicks=ad.expected_clicks,
    )  # fmt: skip
