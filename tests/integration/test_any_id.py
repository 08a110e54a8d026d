"""Any text as an id and as a query, through the ranker and both stores: SQLite, and a real Redis on a free port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kairos.common.v1 import common_pb2, event_pb2
from kairos.ranker.v1 import ranker_pb2
from kairos.retrieval.v1 import retrieval_pb2
from services.common.convert import vectors_to_proto
from services.common.limits import MAX_QUERY, id_problem
from services.ranker.handler import RankerHandler
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.integration.redis_server import RedisServer

# Any character of UTF-8, and often those by which stores separate their records.
letters = st.characters(codec="utf-8") | st.sampled_from("\0\n\r\t\x1f\x7f\u0085\u2028\u2029:*{}[]\"'\\%/.-0 ")
TENANTS = count()


@dataclass
class Context:
    """What Serve or grpc.aio hands to a method."""

    code: grpc.StatusCode = grpc.StatusCode.OK

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None: ...
    def set_trailing_metadata(self, trailing_metadata: object) -> None: ...
    def invocation_metadata(self) -> tuple[()]:
        return ()


@dataclass
class Caller:
    """Calls a ranker as one tenant."""

    ranker: RankerHandler
    runner: asyncio.Runner
    tenant: str = ""

    def __call__(self, method: str, **fields: Any) -> tuple[grpc.StatusCode, Any]:
        request = getattr(ranker_pb2, f"{method}Request")(
            context=common_pb2.RequestContext(tenant=self.tenant, request_id="r"), **fields
        )
        context = Context()
        answer = self.runner.run(getattr(self.ranker, method)(request, context))
        return context.code, answer

    def answer(self, method: str, **fields: Any) -> Any:
        code, answer = self(method, **fields)
        assert code is grpc.StatusCode.OK, method
        return answer


@pytest.fixture(params=["sqlite", "redis"])
def caller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Caller]:
    stored: dict[str, Any] = {}
    if request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        stored = {"store": "redis", "redis_url": f"redis://127.0.0.1:{server.port}/0"}
    ranker = build_handler(RankerSettings(data_dir=tmp_path, **stored))
    with asyncio.Runner() as runner:
        yield Caller(ranker, runner)
    ranker.close()


def items(id: str) -> retrieval_pb2.Candidates:
    return retrieval_pb2.Candidates(
        ids=[id], scores=[1.0], prices=[9.5], stocks=[1], categories=["Shoes"], brands=["B"],
        vectors=vectors_to_proto(np.ones((1, 2), np.float16), "m@1"),
    )  # fmt: skip


def event(id: str, query: str = "", **person: Any) -> event_pb2.Event:
    return event_pb2.Event(
        event_id=id, session_id=id, item_id=id, query=query, type=event_pb2.EVENT_TYPE_PURCHASE, **person
    )  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.text(letters, max_size=130), st.text(letters, max_size=MAX_QUERY), st.sampled_from(["user_id", "visitor_id"]))
@example("a\nb", "", "user_id")
@example("a\0b", "a\0b", "user_id")
@example("\u2028", "", "visitor_id")
def test_refused_or_kept(caller: Caller, id: str, query: str, kind: str) -> None:
    """Any text as an id is refused, or comes back from profile, export and ranking and leaves with the deletion."""
    caller.tenant = f"t{next(TENANTS)}"
    code, _ = caller("RecordEvents", events=[event(id, query, **{kind: id})], items=items(id))
    if id_problem(id) is not None:
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert caller("RankItems", candidates=items(id))[0] is grpc.StatusCode.INVALID_ARGUMENT
        # An empty id is none: the request has no session, no person and no ranking.
        for field in ("ranking_id", "session_id", kind) if id else ():
            assert caller("RankItems", candidates=items("i"), **{field: id})[0] is grpc.StatusCode.INVALID_ARGUMENT
        assert not caller.answer("ListPopularItems").item_ids
        return
    person = {kind: id}
    caller.answer(
        "RankItems", ranking_id=id, session_id=id, query=query, candidates=items(id),
        query_vector=vectors_to_proto(np.ones((1, 2), np.float32), "m@1"), **person,
    )  # fmt: skip
    assert list(caller.answer("GetRanking", ranking_id=id).item_ids) == [id]
    shown = ranker_pb2.ShownPositions(ranking_id=id, positions=[1])
    assert caller.answer("RecordImpressions", shown=[shown]).recorded_count == 1
    assert caller.answer("GetInterests", session_id=id, **person).HasField("interests")
    profile = caller.answer("GetProfile", **person).profile
    assert [(entry.event_id, entry.session_id, entry.item_id, entry.query) for entry in profile.recent] == [
        (id, id, id, query)
    ]
    assert list(profile.shown_item_ids) == [id]
    export = caller.answer("ExportUser", **person)
    assert [(e.event_id, getattr(e, kind), e.item_id, e.query) for e in export.events] == [(id, id, id, query)]
    assert [(page.ranking_id, page.query, list(page.item_ids)) for page in export.impressions] == [(id, query, [id])]
    gone = caller.answer("DeleteUser", **person)
    assert (gone.deleted_event_count, gone.deleted_impressions_count, gone.deleted_ranking_count) == (1, 1, 1)
    after = caller.answer("ExportUser", **person)
    assert [list(after.events), list(after.impressions), list(after.profile.recent)] == [[], [], []]
    assert caller("GetRanking", ranking_id=id)[0] is grpc.StatusCode.NOT_FOUND


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.text(letters, min_size=1, max_size=20).filter(lambda id: id_problem(id) is None))
def test_merged_under_any_id(caller: Caller, id: str) -> None:
    """A visitor with any id can be merged into a user with the same id, and both leave together."""
    caller.tenant = f"t{next(TENANTS)}"
    caller.answer("RecordEvents", events=[event(id, visitor_id=id)], items=items(id))
    assert caller.answer("MergeUsers", visitor_id=id, user_id=id).moved_event_count == 1
    assert [entry.item_id for entry in caller.answer("GetProfile", user_id=id).profile.recent] == [id]
    assert caller.answer("DeleteUser", user_id=id).deleted_event_count == 1
    assert not caller.answer("GetProfile", visitor_id=id).profile.recent
