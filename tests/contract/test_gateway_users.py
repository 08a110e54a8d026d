"""The stored data of users and visitors through the gateway: profile, export, merge, deletion."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import profile_pb2
from tests.contract.gateways import BUDGET_S, Running, running, search, stages, violated_fields
from tests.contract.refusals import refusal

__all__ = ["running", "stages"]  # fixtures


@pytest.mark.parametrize("person", [{"user_id": "u"}, {"visitor_id": "u"}], ids=["user", "visitor"])
async def test_profile_export_and_deletion(running: Running, person: dict[str, str]) -> None:
    """The three calls reach the ranker for this very person and return its answer."""
    profile = (await running.stub.GetProfile(gateway_pb2.GetProfileRequest(**person))).profile
    assert (profile.user_id, profile.visitor_id) == (person.get("user_id", ""), person.get("visitor_id", ""))
    ask = gateway_pb2.ExportUserRequest(page_size=1)
    for field, id in person.items():
        setattr(ask, field, id)
    page = await running.stub.ExportUser(ask)
    assert ([event.event_id for event in page.events], page.next_page_token) == (["e1"], "events:1")
    ask.page_token = page.next_page_token
    rest = await running.stub.ExportUser(ask)
    assert (len(rest.events), len(rest.impressions), len(rest.rankings)) == (0, 1, 1)
    assert not rest.HasField("profile")
    await running.stub.Search(search(**person), timeout=BUDGET_S)
    gone = await running.stub.DeleteUser(gateway_pb2.DeleteUserRequest(**person))
    assert (gone.deleted_event_count, gone.deleted_impressions_count, gone.deleted_ranking_count) == (1, 1, 1)


async def test_merge(running: Running) -> None:
    """A visitor is merged once: again into the same user it moves nothing, into another user it is refused."""
    message = gateway_pb2.MergeUsersRequest(visitor_id="v", user_id="u")
    counts = [await running.stub.MergeUsers(message) for _ in range(2)]
    assert [(c.moved_event_count, c.moved_impressions_count) for c in counts] == [(2, 1), (0, 0)]
    message.user_id = "another"
    code, _ = await refusal(running.stub.MergeUsers(message))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_merge_needs_both_ids(running: Running) -> None:
    """Without or with an overlong id the merge is refused by the name of the field."""
    for visitor, user, field in (("", "u", "visitor_id"), ("v", "", "user_id"), ("v", "x" * 129, "user_id")):
        message = gateway_pb2.MergeUsersRequest(visitor_id=visitor, user_id=user)
        assert await violated_fields(running.stub.MergeUsers(message)) == [field]


@pytest.mark.parametrize("method", ["GetProfile", "DeleteUser", "ExportUser", "SetUserAttributes"])
async def test_exactly_one_person(running: Running, method: str) -> None:
    """Without a person, with an overlong id or with two ids the call is refused by the name of the field."""
    ask, message = getattr(running.stub, method), getattr(gateway_pb2, f"{method}Request")
    for person, field in (
        ({}, "user_id"),
        ({"user_id": "x" * 129}, "user_id"),
        ({"visitor_id": "x" * 129}, "visitor_id"),
        ({"user_id": "u", "visitor_id": "v"}, "visitor_id"),
    ):
        assert await violated_fields(ask(message(**person))) == [field]


@pytest.mark.parametrize("method", ["GetProfile", "DeleteUser", "ExportUser", "MergeUsers", "SetUserAttributes"])
async def test_no_fallback(running: Running, method: str) -> None:
    """Without the ranker these calls are UNAVAILABLE, never an empty answer."""
    await running.stages.worsen("ranker", "down")
    fields: dict[str, Any] = {"user_id": "u", **({"visitor_id": "v"} if method == "MergeUsers" else {})}
    if method == "SetUserAttributes":
        fields["attributes"] = [profile_pb2.UserAttribute(name="size", texts=["M"])]
    call = getattr(running.stub, method)(getattr(gateway_pb2, f"{method}Request")(**fields))
    code, _ = await refusal(call)
    assert code is grpc.StatusCode.UNAVAILABLE
