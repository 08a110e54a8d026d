"""SponsoredService: parse, call, wrap."""

from __future__ import annotations

import time
from collections.abc import Callable

from kairos.sponsored.v1 import sponsored_pb2, sponsored_pb2_grpc
from services.common.convert import context_from_proto
from services.common.rpc import rpc
from services.sponsored.budgets import Budgets
from services.sponsored.campaigns import Campaigns
from services.sponsored.convert import place_to_proto, request_from_proto
from services.sponsored.domain.campaign import Campaign
from services.sponsored.domain.frequency import FrequencyCap
from services.sponsored.domain.selection import AuctionRules, select_ads
from services.sponsored.domain.targeting import targeting_of


class SponsoredHandler(sponsored_pb2_grpc.SponsoredServiceServicer):
    """`clock` gives seconds since 1970."""

    def __init__(
        self, campaigns: Campaigns, budgets: Budgets, rules: AuctionRules, cap: FrequencyCap,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._campaigns, self._budgets, self._rules, self._cap, self._clock = campaigns, budgets, rules, cap, clock
        self.requests = self.places = 0

    @rpc(sponsored_pb2.SelectAdsResponse)
    async def SelectAds(self, request: sponsored_pb2.SelectAdsRequest) -> sponsored_pb2.SelectAdsResponse:
        tenant = context_from_proto(request.context).tenant
        asked, index = request_from_proto(request, self._clock()), self._campaigns.of(tenant)
        self.requests += 1
        self._budgets.count(tenant)

        def multiplier_of(campaign: Campaign) -> float:
            if not self._cap.allows(request.person_id, campaign.id):
                return 0.0
            return self._budgets.multiplier_of(tenant, campaign)

        response = sponsored_pb2.SelectAdsResponse()
        for placed in select_ads(asked, index, self._rules, multiplier_of):
            campaign = index.campaigns[placed.ad.campaign_id]
            # What is left of a lease may not pay for the ad: then the place stays organic.
            if self._budgets.take(tenant, campaign.id, placed.price * placed.expected_clicks):
                self._cap.add(request.person_id, campaign.id)
                targeting = targeting_of(campaign, asked.circumstances)
                product_id = asked.product_ids[placed.ad.row]
                response.places.append(place_to_proto(placed, product_id, campaign, targeting))
        self.places += len(response.places)
        return response
