"""The encoder tells shoppers apart without their ids."""

from __future__ import annotations

from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from tests.contract.gateways import Running, running, stages

__all__ = ["running", "stages"]  # fixtures

WHO: list[dict[str, str]] = [
    {"user_id": "ana"}, {"visitor_id": "ana"}, {"user_id": "bob", "visitor_id": "ana"}, {},
    {"user_id": "ana", "session_id": "s"}, {"session_id": "s"},
]  # fmt: skip


async def test_shoppers_are_told_apart(running: Running) -> None:
    """Each user and visitor has a digest of its own, always the same; a request of nobody known has none."""
    found = [await shopper(running, **who) for who in WHO]
    assert len(set(found)) == 4
    assert found[0] == found[4]
    assert found[3] == found[5] == ""
    assert not any("ana" in each or "bob" in each for each in found)


async def shopper(running: Running, user_id: str = "", visitor_id: str = "", session_id: str = "") -> str:
    """What the encoder got of the caller."""
    request = gateway_pb2.SearchRequest(query="mug", user_id=user_id, visitor_id=visitor_id, session_id=session_id)
    await running.stub.Search(request, timeout=5)
    asked = [r for r in running.stages.encoder.requests if isinstance(r, encoder_pb2.EncodeQueryRequest) and r.text]
    return asked[-1].shopper
