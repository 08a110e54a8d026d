"""Conversations over real gRPC: stored, read, exported, merged and erased with their person; durable."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from kairos.ranker.v1 import conversation_pb2, ranker_pb2
from tests.contract.refusals import refusal
from tests.contract.test_ranker import Stub, serving


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path) as running:
        yield running


def turn(number: int, id: str, turn_count: int | None = None, **person: str) -> conversation_pb2.AppendTurnRequest:
    now = Timestamp()
    now.GetCurrentTime()
    said = conversation_pb2.ConversationTurn(
        id=f"t{number}", time=now, utterance="jeans", answer="x" * 5_000, shown_item_ids=["p1"]
    )
    count = number if turn_count is None else turn_count
    return conversation_pb2.AppendTurnRequest(
        conversation_id=id, turn=said, state=b"s", turn_count=count, **cast(Any, person)
    )


def asked(id: str, **person: str) -> conversation_pb2.GetConversationRequest:
    return conversation_pb2.GetConversationRequest(conversation_id=id, **cast(Any, person))


async def exported(stub: Stub, **person: str) -> list[str]:
    """The ids, read in pages of one record."""
    ids, message = list[str](), ranker_pb2.ExportUserRequest(page_size=1, **cast(Any, person))
    while True:
        page = await stub.ExportUser(message)
        ids += [each.id for each in page.conversations]
        if not page.next_page_token:
            return ids
        message.page_token = page.next_page_token


async def test_a_conversation(stub: Stub) -> None:
    """Turns follow each other; an answer that is too long is cut; a late turn is ABORTED."""
    id = secrets.token_urlsafe(16)
    for number in range(2):
        assert (await stub.AppendTurn(turn(number, id, visitor_id="v"))).turn_count == number + 1
    found = (await stub.GetConversation(asked(id, visitor_id="v"))).conversation
    assert ([each.id for each in found.turns], found.state, found.turn_count) == (["t0", "t1"], b"s", 2)
    assert found.turns[1].answer == "x" * 4_000
    assert (await refusal(stub.AppendTurn(turn(5, id, 1, visitor_id="v"))))[0] is grpc.StatusCode.ABORTED


async def test_with_its_person(stub: Stub) -> None:
    """It is read, exported and erased by the user whom the visitor was merged into, and by nobody else."""
    ids = [secrets.token_urlsafe(16) for _ in range(3)]
    for id in ids:
        await stub.AppendTurn(turn(0, id, visitor_id="v"))
    assert (await refusal(stub.GetConversation(asked(ids[0], user_id="u"))))[0] is grpc.StatusCode.NOT_FOUND
    await stub.MergeUsers(ranker_pb2.MergeUsersRequest(visitor_id="v", user_id="u"))
    assert (await stub.GetConversation(asked(ids[0], user_id="u"))).conversation.id == ids[0]
    await stub.AppendTurn(turn(1, ids[0], user_id="u"))
    assert (await stub.GetConversation(asked(ids[0], visitor_id="v"))).conversation.turn_count == 2
    assert await exported(stub, user_id="u") == ids
    assert (await stub.DeleteUser(ranker_pb2.DeleteUserRequest(user_id="u"))).deleted_conversation_count == 3
    assert await exported(stub, user_id="u") == []
    for person in ({"user_id": "u"}, {"visitor_id": "v"}):
        assert (await refusal(stub.GetConversation(asked(ids[0], **person))))[0] is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"state": b"x" * 4_097}, "state"),
        ({"turn_count": -1}, "turn_count"),
        ({"turn": conversation_pb2.ConversationTurn(id="t")}, "turn.time"),
        ({"turn": conversation_pb2.ConversationTurn(utterance="x" * 1_001, id="t")}, "turn.utterance"),
    ],
)
async def test_a_wrong_turn(stub: Stub, change: dict[str, Any], field: str) -> None:
    """It is refused by its field."""
    message = turn(0, "c" * 22, user_id="u")
    for name in change:
        message.ClearField(cast(Any, name))
    message.MergeFrom(conversation_pb2.AppendTurnRequest(**change))
    assert await refusal(stub.AppendTurn(message)) == (grpc.StatusCode.INVALID_ARGUMENT, [field])
