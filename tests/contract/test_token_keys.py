"""Tokens are sealed by a key that all gateways share, and hold for the person, the request and the tenant only."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import time

import grpc
import pytest

from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2
from services.gateway.convert import viewer_of_search
from services.gateway.domain.tokens import PageToken
from services.gateway.settings import ApiKey, SecuritySettings
from services.gateway.stage_errors import StageDown
from tests.contract.gateways import (
    Running,
    degradations,
    ids,
    running,
    running_gateway,
    search,
    stages,
    violated_fields,
)
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures


def forged(content: object) -> str:
    """Sealed as a gateway without a key did: anyone who has read its code can do it."""
    body = json.dumps(content).encode()
    seal = hashlib.blake2b(body, digest_size=9).digest()
    return base64.urlsafe_b64encode(seal + body).decode().rstrip("=")


def click(token: str) -> gateway_pb2.RecordEventsRequest:
    event = event_pb2.Event(
        event_id="e", user_id="u", item_id="p1", type=event_pb2.EVENT_TYPE_CLICK, attribution_token=token
    )
    return gateway_pb2.RecordEventsRequest(events=[event])


@pytest.mark.parametrize("content", [{"ranking_id": [], "model_version": "m"}, {"ranking_id": "r", "model_version": 1}])
async def test_a_forged_attribution(running: Running, content: object) -> None:
    """An attribution token that no gateway sealed is refused by name."""
    assert await violated_fields(running.stub.RecordEvents(click(forged(content)))) == ["events[0].attribution_token"]


@pytest.mark.parametrize("change", [{"ranking_id": []}, {"offset": 10**12}, {"ranking_id": "of-somebody"}])
async def test_a_forged_page(running: Running, change: dict[str, object]) -> None:
    """A page token that no gateway sealed is refused by name, also with the fingerprint of its request."""
    print_of = viewer_of_search(search(), ("any",)).page.fingerprint
    token = forged({"fingerprint": print_of, "offset": 5, "ranking_id": "r"} | change)
    assert await violated_fields(running.stub.Search(search(page_token=token))) == ["page_token"]


async def test_all_gateways_share_the_key(stages: FakeStages) -> None:
    """Without a configured key, a token of one gateway is accepted by another that shares the ranker."""
    async with running_gateway(stages) as one, running_gateway(stages) as other:
        answer = await one.stub.Search(search())
        await until(lambda: bool(stages.ranker.rankings))
        page = await other.stub.Search(search(page_token=answer.next_page_token))
        assert degradations(page) == []
        assert (await other.stub.RecordEvents(click(answer.attribution_token))).recorded_count == 1


async def refreshed(gateway: Running) -> None:
    """As the gateway tries again by itself: its connection waits a moment after a refusal."""
    deadline = time.monotonic() + 20
    while True:
        try:
            return await gateway.parts.token_keys.refresh()
        except StageDown:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_before_the_ranker(stages: FakeStages) -> None:
    """A gateway that starts before the ranker seals with a key of its own, takes over the stored one, accepts both."""
    stages.ranker.token_key = "the key of an earlier gateway, in the store"
    await stages.worsen("ranker", "gone")
    async with running_gateway(stages) as one:
        early = await one.stub.Search(search())
        await stages.revive("ranker")
        await refreshed(one)
        late = await one.stub.Search(search())
        for answer in (early, late):
            assert (await one.stub.RecordEvents(click(answer.attribution_token))).recorded_count == 1
        async with running_gateway(stages) as other:
            assert (await other.stub.RecordEvents(click(late.attribution_token))).recorded_count == 1
            refused = other.stub.RecordEvents(click(early.attribution_token))
            assert await violated_fields(refused) == ["events[0].attribution_token"]


async def test_of_another_person(running: Running) -> None:
    """A genuine token of one person is refused in the request of another one, and without a person."""
    token = (await running.stub.Search(search(user_id="a"))).next_page_token
    for person in ({"user_id": "b"}, {"visitor_id": "a"}, {"user_id": "a", "session_id": "s"}, {}):
        call = running.stub.Search(search(page_token=token, **person))
        assert await violated_fields(call) == ["page_token"], person


async def test_of_another_tenant(stages: FakeStages) -> None:
    """A genuine token of one tenant is refused in the same request of another one."""
    keys = tuple(ApiKey(sha256=hashlib.sha256(name.encode()).hexdigest(), tenant=name) for name in ("one", "other"))
    async with running_gateway(stages, SecuritySettings(api_keys=keys)) as keyed:
        answer = await keyed.stub.Search(search(), metadata=(("authorization", "Bearer one"),))
        stranger = (("authorization", "Bearer other"),)
        page = keyed.stub.Search(search(page_token=answer.next_page_token), metadata=stranger)
        assert await violated_fields(page) == ["page_token"]
        event = keyed.stub.RecordEvents(click(answer.attribution_token), metadata=stranger)
        assert await violated_fields(event) == ["events[0].attribution_token"]


async def test_a_ranking_of_another_person(running: Running) -> None:
    """Even a sealed token shows nobody the stored ranking of another person: the page is computed again."""
    await running.stub.Search(search(user_id="a"))
    await until(lambda: bool(running.stages.ranker.rankings))
    (ranking_id,) = running.stages.ranker.rankings
    running.stages.ranker.rankings[ranking_id].item_ids[:] = ["p1"] * 25
    keys, asked = running.parts.token_keys.of("default"), search(user_id="b")
    asked.page_token = PageToken(viewer_of_search(asked, keys).page.fingerprint, 5, ranking_id).encode(keys[0])
    answer = await running.stub.Search(asked)
    assert "p1" not in ids(answer)
    assert [fallback for _, fallback in degradations(answer)] == ["ranking computed again"]


async def test_the_key_is_not_asked_for(stages: FakeStages) -> None:
    """With a configured key the ranker is not asked."""
    async with running_gateway(stages, SecuritySettings(token_key="configured")) as one:  # type: ignore[arg-type]
        assert await one.stub.Search(search(), timeout=5)
        assert stages.ranker.token_key == ""
        assert one.parts.token_keys.of("t")[0].endswith("configured")


async def test_a_gateway_without_stages_starts(stages: FakeStages) -> None:
    """A ranker that does not answer keeps no gateway from serving."""
    for stage in ("ranker", "retrieval"):
        await stages.worsen(stage, "down")
    async with running_gateway(stages) as one:
        with pytest.raises(grpc.aio.AioRpcError):
            await one.stub.GetProfile(gateway_pb2.GetProfileRequest(user_id="u"))
        assert (await one.stub.Search(search(), timeout=2)).attribution_token
