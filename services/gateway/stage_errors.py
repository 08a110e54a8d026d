"""A stage's gRPC error as one of the gateway's errors, or as the reason of a degradation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from kairos.common.v1 import common_pb2
from services.common.errors import Conflict, FieldViolation, InvalidArgument, NotFound, Unavailable
from services.common.rpc import DETAILS_KEY, ERROR_DOMAIN
from services.gateway.domain.budget import Stage

_REASONS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: common_pb2.DEGRADATION_REASON_LATE,
    grpc.StatusCode.CANCELLED: common_pb2.DEGRADATION_REASON_LATE,
    grpc.StatusCode.UNAVAILABLE: common_pb2.DEGRADATION_REASON_UNAVAILABLE,
}


class StageFailed(Unavailable):
    """The stage did not answer. If the call has no fallback, the caller gets UNAVAILABLE."""

    def __init__(self, stage: Stage, degradation: common_pb2.DegradationReason.ValueType, detail: str) -> None:
        super().__init__(f"{stage.value}: {detail}; try again")
        self.stage, self.degradation, self.detail = stage, degradation, detail


def refusal_of(error: grpc.aio.AioRpcError) -> Exception | None:
    """The error for the caller if the stage refused the request as wrong; None if the stage itself failed."""
    code = error.code()
    if code in _REFUSALS and (code is grpc.StatusCode.INVALID_ARGUMENT or _is_of_a_stage(error)):
        return _REFUSALS[code](error)
    return None


def failure_of(stage: Stage, error: grpc.aio.AioRpcError) -> StageFailed:
    reason = _REASONS.get(error.code(), common_pb2.DEGRADATION_REASON_ERROR)
    return StageFailed(stage, reason, f"{error.code().name}: {error.details()}")


def _as_invalid_argument(error: grpc.aio.AioRpcError) -> InvalidArgument:
    """With the stage's own field violations."""
    bad = error_details_pb2.BadRequest()
    for detail in _details(error):
        if detail.Unpack(bad):
            return InvalidArgument(*(FieldViolation(v.field, v.description) for v in bad.field_violations))
    return InvalidArgument.of("request", error.details() or "is invalid")


def _is_of_a_stage(error: grpc.aio.AioRpcError) -> bool:
    """Whether a stage itself answered: the ingress answers NOT_FOUND for an application that is not running."""
    info = error_details_pb2.ErrorInfo()
    return any(detail.Unpack(info) and info.domain == ERROR_DOMAIN for detail in _details(error))


def _details(error: grpc.aio.AioRpcError) -> Sequence[Any]:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    return list(status.details)


_REFUSALS: dict[grpc.StatusCode, Callable[[grpc.aio.AioRpcError], Exception]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _as_invalid_argument,
    grpc.StatusCode.NOT_FOUND: lambda error: NotFound(error.details() or "the requested entity does not exist"),
    grpc.StatusCode.FAILED_PRECONDITION: lambda error: Conflict(error.details() or "the state does not allow it"),
}
