"""SetUserAttributes over real gRPC: durable, exported, merged and erased; never in a ranking if kept for fairness."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from kairos.common.v1 import common_pb2, product_pb2
from kairos.ranker.v1 import profile_pb2, ranker_pb2, ranker_pb2_grpc
from services.common.convert import tensor_from_proto
from services.common.errors import InvalidArgument
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.contract.refusals import refusal
from tests.contract.serving import process
from tests.contract.test_ranker import INVALID, Stub, candidates, event, recording, serving

SCHEMA = """
tenants:
  default:
    size: {type: texts, values: [S, M, L]}
    region: {type: text}
    birth_year: {type: number, use: fairness}
    性别: {type: text, use: fairness}
"""
FAIRNESS = ranker_pb2.LOG_KIND_FAIRNESS_ATTRIBUTES


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    file = tmp_path / "attributes.yaml"
    file.write_text(SCHEMA, "utf-8")
    return file


@pytest.fixture
async def stub(tmp_path: Path, schema: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path, attributes_file=schema) as running:
        yield running


def declaring(person: dict[str, str] | None = None, **values: Any) -> ranker_pb2.SetUserAttributesRequest:
    """None removes an attribute."""
    attributes = [
        profile_pb2.UserAttribute(name=name, number=value if isinstance(value, int) else None)
        if not isinstance(value, str)
        else profile_pb2.UserAttribute(name=name, texts=value.split())
        for name, value in values.items()
    ]
    return ranker_pb2.SetUserAttributesRequest(attributes=attributes, **cast(Any, person or {"user_id": "u"}))


def plain(attributes: Any) -> dict[str, Any]:
    return {each.name: list(each.texts) or each.number for each in attributes}


async def exported(stub: Stub, **person: str) -> dict[str, Any]:
    return plain((await stub.ExportUser(ranker_pb2.ExportUserRequest(**cast(Any, person)))).attributes)


async def profiled(stub: Stub, **person: str) -> dict[str, Any]:
    return plain((await stub.GetProfile(ranker_pb2.GetProfileRequest(**cast(Any, person)))).profile.attributes)


async def test_attributes_are_set_replaced_and_removed(stub: Stub) -> None:
    """The answer is what is stored; a repeat answers the same; the profile has no attribute kept for fairness."""
    first = await stub.SetUserAttributes(declaring(size="m S", region="EU", birth_year=1970))
    assert plain(first.attributes) == {"birth_year": 1970, "region": ["EU"], "size": ["M", "S"]}
    kept_s = first.attributes[0].expires_at.seconds - first.attributes[0].set_at.seconds
    assert kept_s == 400 * 86_400
    for _ in range(2):
        answer = await stub.SetUserAttributes(declaring(size="L", region=None))
        assert plain(answer.attributes) == {"birth_year": 1970, "size": ["L"]}
    assert await profiled(stub, user_id="u") == {"size": ["L"]}
    assert await exported(stub, user_id="u") == {"birth_year": 1970, "size": ["L"]}


async def test_attributes_alone(stub: Stub) -> None:
    """GetInterests returns them without anything else: those that ranking may use. Of nobody there are none."""
    await stub.SetUserAttributes(declaring(size="M", birth_year=1970))
    await stub.RecordEvents(recording(event("e1", "boot1")))
    ask = ranker_pb2.GetInterestsRequest(user_id="u", attributes_only=True)
    answer = await stub.GetInterests(ask)
    assert plain(answer.attributes) == {"size": ["M"]}
    assert not answer.HasField("interests")
    ask.ClearField("user_id")
    assert await stub.GetInterests(ask) == ranker_pb2.GetInterestsResponse()


async def test_what_the_schema_does_not_allow_is_refused(stub: Stub) -> None:
    """Each wrong entry is named, and none is stored. A tenant without a schema has no attributes."""
    wrong = declaring(size="XXL", colour="red", birth_year="old", region="EU")
    code, fields = await refusal(stub.SetUserAttributes(wrong))
    assert (code, fields) == (INVALID, ["attributes[0].texts", "attributes[1].name", "attributes[2].texts"])
    assert await exported(stub, user_id="u") == {}
    other = declaring(size="M")
    other.context.CopyFrom(common_pb2.RequestContext(tenant="other"))
    assert await refusal(stub.SetUserAttributes(other)) == (INVALID, ["attributes[0].name"])
    both = declaring({"user_id": "u", "visitor_id": "v"}, size="M")
    assert await refusal(stub.SetUserAttributes(both)) == (INVALID, ["visitor_id"])


async def test_merge_and_deletion(stub: Stub) -> None:
    """A user's own values win over the visitor's, whose others move; a deletion erases all."""
    await stub.SetUserAttributes(declaring(size="M"))
    await stub.SetUserAttributes(declaring({"visitor_id": "v"}, size="S", region="EU"))
    await stub.MergeUsers(ranker_pb2.MergeUsersRequest(visitor_id="v", user_id="u"))
    for person in ({"user_id": "u"}, {"visitor_id": "v"}):
        assert await exported(stub, **person) == {"region": ["EU"], "size": ["M"]}
    await stub.DeleteUser(ranker_pb2.DeleteUserRequest(user_id="u"))
    for person in ({"user_id": "u"}, {"visitor_id": "v"}):
        assert await exported(stub, **person) == {}


async def test_fairness_attributes_are_read_by_all_persons(stub: Stub) -> None:
    """The log of fairness attributes has them with their owners, page by page, and no other attribute."""
    await stub.SetUserAttributes(declaring(size="M", birth_year=1970))
    await stub.SetUserAttributes(declaring({"visitor_id": "v"}, 性别="x", birth_year=1990))
    found, token = [], ""
    while True:
        page = await stub.ReadLog(ranker_pb2.ReadLogRequest(log=FAIRNESS, page_size=1, page_token=token))
        found += [(each.user_id, each.visitor_id, each.attribute.name) for each in page.attributes]
        token = page.next_page_token
        if page.is_last_page:
            break
    assert found == [("u", "", "birth_year"), ("", "v", "性别"), ("", "v", "birth_year")]


async def test_fairness_attributes_change_no_ranking_and_no_log(stub: Stub, tmp_path: Path) -> None:
    """Order, scores, reasons and logged features are those of a user without them."""

    async def ranked(ranking_id: str) -> tuple[Any, ...]:
        ask = ranker_pb2.RankItemsRequest(
            user_id="u", candidates=candidates(), explain=True, ranking_id=ranking_id, query="boots"
        )
        answer = await stub.RankItems(ask)
        await stub.RecordImpressions(
            ranker_pb2.RecordImpressionsRequest(
                shown=[ranker_pb2.ShownPositions(ranking_id=ranking_id, positions=[1, 2])]
            )
        )
        return list(answer.item_ids), [round(score, 4) for score in answer.scores], [
            [(reason.type, round(reason.contribution, 4)) for reason in item.reasons] for item in answer.reasons
        ]  # fmt: skip

    await stub.RecordEvents(recording(event("e1", "boot1")))
    before = await ranked("r1")
    await stub.SetUserAttributes(declaring(birth_year=1970, 性别="x-secret-value"))
    assert await ranked("r2") == before
    log = await stub.ReadLog(ranker_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS))
    assert b"x-secret-value" not in log.SerializeToString()
    for attributes_only in (False, True):
        ask = ranker_pb2.GetInterestsRequest(user_id="u", attributes_only=attributes_only)
        assert b"x-secret-value" not in (await stub.GetInterests(ask)).SerializeToString()


async def test_the_log_has_the_share_of_equal_attributes(stub: Stub) -> None:
    """`attribute_match` compares what a user declared with what candidates state; the weighted sum does not read it."""
    stated = [
        product_pb2.Product(attributes={"size": product_pb2.AttributeValues(values=[size])}).SerializeToString()
        if size
        else b""
        for size in ("M", "L", "", "m", "S")
    ]
    orders, asked = [], list[tuple[str, dict[str, Any]]]([("r1", {"attributes": stated}), ("r2", {})])
    for ranking_id, columns in asked:
        await stub.SetUserAttributes(declaring(size="M", birth_year=1970))
        ask = ranker_pb2.RankItemsRequest(user_id="u", candidates=candidates(**columns), ranking_id=ranking_id)
        orders.append(list((await stub.RankItems(ask)).item_ids))
        shown = ranker_pb2.ShownPositions(ranking_id=ranking_id, positions=range(1, 6))
        await stub.RecordImpressions(ranker_pb2.RecordImpressionsRequest(shown=[shown]))
    assert orders[0] == orders[1]
    pages = (await stub.ReadLog(ranker_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS))).impressions
    matches = [
        dict(
            zip(
                page.item_ids,
                tensor_from_proto(page.features, "features")[:, list(page.feature_names).index("attribute_match")],
                strict=True,
            )
        )
        for page in pages
    ]
    assert matches[0] == dict(zip(candidates().ids, (1, -1, 0, 1, -1), strict=True))
    assert set(matches[1].values()) == {0}
    bad = ranker_pb2.RankItemsRequest(user_id="u", candidates=candidates(attributes=[b"\xff"] * 5))
    assert await refusal(stub.RankItems(bad)) == (INVALID, ["candidates.attributes"])


async def test_acknowledged_attributes_survive_kill_9(
    tmp_path: Path, schema: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ranker killed by SIGKILL right after the answer still has the attributes."""
    monkeypatch.setenv("KAIROS_RANKER_ATTRIBUTES_FILE", str(schema))
    with process("ranker", tmp_path) as (running, address):
        async with grpc.aio.insecure_channel(address) as channel:
            await ranker_pb2_grpc.RankerServiceStub(channel).SetUserAttributes(declaring(size="M", birth_year=1970))
            running.send_signal(signal.SIGKILL)
        running.wait()
    async with serving(tmp_path, attributes_file=schema) as again:
        assert await exported(again, user_id="u") == {"birth_year": 1970, "size": ["M"]}


def test_a_ranker_does_not_start_with_an_invalid_schema(tmp_path: Path, schema: Path) -> None:
    """A protected attribute that is not kept for fairness reports stops the start, and the error has the remedy."""
    schema.write_text("tenants: {default: {gender: {type: text}}}", "utf-8")
    with pytest.raises(InvalidArgument, match="set use: fairness"):
        build_handler(RankerSettings(data_dir=tmp_path, attributes_file=schema))
