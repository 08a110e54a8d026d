"""Ranker.ReadLog over real gRPC, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from kairos.common.v1 import common_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.contract.refusals import refusal
from tests.contract.test_ranker import Stub, event, impressions_of, ranking, recording, serving

EVENTS, IMPRESSIONS, RANKINGS = (
    ranker_pb2.LOG_KIND_EVENTS, ranker_pb2.LOG_KIND_IMPRESSIONS, ranker_pb2.LOG_KIND_RANKINGS,
)  # fmt: skip


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path, rankings={"whole_share": 1.0}) as running:
        yield running


def asking(
    log: ranker_pb2.LogKind.ValueType = EVENTS, token: str = "", size: int = 0, tenant: str = ""
) -> ranker_pb2.ReadLogRequest:
    return ranker_pb2.ReadLogRequest(
        context=common_pb2.RequestContext(request_id="r", tenant=tenant), log=log, page_token=token, page_size=size
    )


async def test_pages_follow_each_other(stub: Stub) -> None:
    """Events come in the order of recording, each once; the last page is marked, and its token continues the log."""
    for number in range(5):
        await stub.RecordEvents(recording(event(f"e{number}", "boot1", age_s=60.0 * number)))
    token, pages = "", []
    for expected in (False, False, True):
        answer = await stub.ReadLog(asking(token=token, size=2))
        assert answer.is_last_page is expected
        pages.append([each.event_id for each in answer.events])
        token = answer.next_page_token
    assert pages == [["e0", "e1"], ["e2", "e3"], ["e4"]]
    nothing = await stub.ReadLog(asking(token=token))
    assert (list(nothing.events), nothing.is_last_page, nothing.next_page_token) == ([], True, token)
    await stub.RecordEvents(recording(event("e5", "lamp1")))
    assert [each.event_id for each in (await stub.ReadLog(asking(token=token))).events] == ["e5"]


async def test_an_empty_log_has_a_token(stub: Stub) -> None:
    """A tenant without events has an empty last page whose token continues the log."""
    answer = await stub.ReadLog(asking())
    assert answer.is_last_page
    await stub.RecordEvents(recording(event("e1", "boot1")))
    assert len((await stub.ReadLog(asking(token=answer.next_page_token))).events) == 1
    assert not (await stub.ReadLog(asking(tenant="other"))).events


async def test_shown_pages_and_whole_rankings(stub: Stub) -> None:
    """Shown pages come with their positions and features, rankings with all candidates."""
    await stub.RankItems(ranking(ranking_id="r1"))
    await stub.RecordImpressions(impressions_of("r1", 1, 3))
    (page,) = (await stub.ReadLog(asking(IMPRESSIONS))).impressions
    (whole,) = (await stub.ReadLog(asking(RANKINGS))).impressions
    assert (list(page.positions), len(page.item_ids)) == ([1, 3], 2)
    assert list(whole.positions) == [1, 2, 3, 4, 5]
    assert list(page.features.shape) == [2, len(page.feature_names)]


async def test_a_page_ends_at_two_mebibytes(stub: Stub) -> None:
    """The record that reaches the bound is the last one of its page."""
    for call in range(30):
        many = [event(f"e{call}-{n}", "boot1", query="q" * 500) for n in range(150)]
        await stub.RecordEvents(recording(*many))
    token, sizes, count = "", [], 0
    while True:
        answer = await stub.ReadLog(asking(token=token, size=1_000))
        sizes.append(answer.ByteSize())
        count += len(answer.events)
        token = answer.next_page_token
        if answer.is_last_page:
            break
    assert count == 4_500
    assert max(sizes) < (2 << 20) + 4_096


async def test_wrong_requests_are_refused(stub: Stub) -> None:
    """A log must be named; a token is of the same log and undamaged; a size is not negative."""
    for message, field in (
        (asking(ranker_pb2.LOG_KIND_UNSPECIFIED), "log"),
        (asking(EVENTS, "impressions:3"), "page_token"),
        (asking(EVENTS, "events:x"), "page_token"),
        (asking(EVENTS, "events:-1"), "page_token"),
        (asking(EVENTS, "events:" + "9" * 19), "page_token"),
        (asking(EVENTS, "events:²"), "page_token"),
        (asking(EVENTS, size=-1), "page_size"),
    ):
        assert await refusal(stub.ReadLog(message)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_the_newest_pages(stub: Stub) -> None:
    """`newest_count` is where the first page begins; another log, and a number out of bounds, is refused."""
    for number in range(4):
        await stub.RankItems(ranking(ranking_id=f"r{number}"))
        await stub.RecordImpressions(impressions_of(f"r{number}", 1))
    asked = asking(IMPRESSIONS, size=1)
    asked.newest_count = 2
    first = await stub.ReadLog(asked)
    asked.page_token = first.next_page_token
    second = await stub.ReadLog(asked)
    assert [each.ranking_id for page in (first, second) for each in page.impressions] == ["r2", "r3"]
    assert second.is_last_page
    for log, count in ((EVENTS, 1), (IMPRESSIONS, -1), (IMPRESSIONS, 1_000_001)):
        wrong = asking(log)
        wrong.newest_count = count
        assert await refusal(stub.ReadLog(wrong)) == (grpc.StatusCode.INVALID_ARGUMENT, ["newest_count"])
