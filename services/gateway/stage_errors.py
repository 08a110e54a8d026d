"""A stage's gRPC error as one of the gateway's errors, or as the reason of a degradation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from kairos.common.v1 import common_pb2
from services.common.errors import (
    Aborted,
    BudgetExpired,
    Conflict,
    FieldViolation,
    InvalidArgument,
    KairosError,
    NotFound,
    Overloaded,
    Unavailable,
)
from services.common.rpc import DETAILS_KEY, ERROR_DOMAIN
from services.gateway.domain.budget import Stage

_REASONS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: common_pb2.DEGRADATION_REASON_LATE,
    grpc.StatusCode.CANCELLED: common_pb2.DEGRADATION_REASON_LATE,
    grpc.StatusCode.UNAVAILABLE: common_pb2.DEGRADATION_REASON_UNAVAILABLE,
}
# Fields of this message are fields of the public request itself.
_BELOW = "offer_context."
# Time was short: the stage itself may work.
_LATE = (common_pb2.DEGRADATION_REASON_LATE, common_pb2.DEGRADATION_REASON_SKIPPED_NO_BUDGET)


class StageFailed(KairosError):
    """The stage did not answer. The code that the caller gets if the call has no fallback is that of the subclass."""

    remedy = "try again"

    def __init__(self, stage: Stage, degradation: common_pb2.DegradationReason.ValueType, detail: str) -> None:
        Exception.__init__(self, f"{stage.value}: {detail}; {self.remedy}")
        self.stage, self.degradation, self.detail = stage, degradation, detail


class StageDown(StageFailed, Unavailable):
    """The stage cannot be reached, or it fails."""

    reason = Unavailable.reason


class StageLate(StageFailed, BudgetExpired):
    """The stage may work: the caller's deadline, or the call's budget, left it too little time."""

    reason, remedy = BudgetExpired.reason, "set a longer deadline"


class StageOverloaded(StageFailed, Overloaded):
    """The stage works, and has no room for the call."""

    reason, retry_after_s = Overloaded.reason, 1.0


def refusal_of(error: grpc.aio.AioRpcError) -> Exception | None:
    """The error for the caller if the stage refused the request as wrong; None if the stage itself failed."""
    code = error.code()
    if code in _REFUSALS and (code is grpc.StatusCode.INVALID_ARGUMENT or _is_of_a_stage(error)):
        return _REFUSALS[code](error)
    return None


def broken(stage: Stage) -> StageFailed:
    """For an answer that does not keep the contract."""
    return StageDown(stage, common_pb2.DEGRADATION_REASON_ERROR, "the answer does not keep the contract")


def failure_of(stage: Stage, error: grpc.aio.AioRpcError) -> StageFailed:
    reason = _REASONS.get(error.code(), common_pb2.DEGRADATION_REASON_ERROR)
    kind: type[StageFailed] = StageLate if reason in _LATE else StageDown
    if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and not _is_too_large(error):
        reason, kind = common_pb2.DEGRADATION_REASON_OVERLOADED, StageOverloaded
    return kind(stage, reason, f"{error.code().name}: {error.details()}")


def skipped(stage: Stage, reason: common_pb2.DegradationReason.ValueType, detail: str) -> StageFailed:
    """For a stage that was not called."""
    if reason == common_pb2.DEGRADATION_REASON_OVERLOADED:
        return StageOverloaded(stage, reason, detail)
    return (StageLate if reason in _LATE else StageDown)(stage, reason, detail)


def _as_invalid_argument(error: grpc.aio.AioRpcError) -> InvalidArgument:
    """With the stage's own field violations, as the public request names the fields."""
    bad = error_details_pb2.BadRequest()
    for detail in _details(error):
        if detail.Unpack(bad):
            return InvalidArgument(
                *(FieldViolation(v.field.removeprefix(_BELOW), v.description) for v in bad.field_violations)
            )
    return InvalidArgument.of("request", error.details() or "is invalid")


def _as_aborted(error: grpc.aio.AioRpcError) -> Aborted:
    """With the metadata that the stage gave."""
    info = error_details_pb2.ErrorInfo()
    metadata = next((dict(info.metadata) for detail in _details(error) if detail.Unpack(info)), {})
    return Aborted(error.details() or "somebody else has changed it meanwhile; read it again, then repeat", metadata)


def _is_of_a_stage(error: grpc.aio.AioRpcError) -> bool:
    """Whether a stage itself answered: the ingress answers NOT_FOUND for an application that is not running."""
    info = error_details_pb2.ErrorInfo()
    return any(detail.Unpack(info) and info.domain == ERROR_DOMAIN for detail in _details(error))


def _is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """gRPC answers with the same code for a message above the limit. A stage, and Serve in front of it, are full."""
    return "larger than max" in (error.details() or "")


def _details(error: grpc.aio.AioRpcError) -> Sequence[Any]:
    status = status_pb2.Status()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            status.ParseFromString(value)
    return list(status.details)


_REFUSALS: dict[grpc.StatusCode, Callable[[grpc.aio.AioRpcError], Exception]] = {
    grpc.StatusCode.INVALID_ARGUMENT: _as_invalid_argument,
    grpc.StatusCode.ABORTED: _as_aborted,
    grpc.StatusCode.NOT_FOUND: lambda error: NotFound(error.details() or "the requested entity does not exist"),
    grpc.StatusCode.FAILED_PRECONDITION: lambda error: Conflict(error.details() or "the state does not allow it"),
}
