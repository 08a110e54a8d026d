"""What a refused call says, as a client reads it."""

from __future__ import annotations

from collections.abc import Awaitable

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from services.common.rpc import DETAILS_KEY


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Of its ErrorInfo."""
    raw, info = dict(error.trailing_metadata() or ())[DETAILS_KEY], error_details_pb2.ErrorInfo()
    assert any(
        detail.Unpack(info)
        for detail in status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode()).details
    )
    return str(info.reason)


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, list[str]]:
    """(code, paths of the wrong fields) of a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    raw = dict(caught.value.trailing_metadata() or ())[DETAILS_KEY]
    bad = error_details_pb2.BadRequest()
    for detail in status_pb2.Status.FromString(raw if isinstance(raw, bytes) else raw.encode()).details:
        detail.Unpack(bad)
    return caught.value.code(), [violation.field for violation in bad.field_violations]
