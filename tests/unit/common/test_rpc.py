"""Errors become statuses with details for the caller that fit into gRPC's metadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from kairos.ranker.v1 import ranker_pb2
from services.common import errors
from services.common.rpc import DETAILS_KEY, describe, rpc

# What gRPC carries as metadata before it begins to refuse, in bytes.
SOFT_LIMIT = 8 * 1024
ALL = [
    (errors.InvalidArgument.of("text", "is empty"), grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    (errors.Unauthenticated("no key"), grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (errors.PermissionDenied("read only"), grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (errors.NotFound("no such product"), grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    (errors.AlreadyExists("there is one"), grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS"),
    (errors.Conflict("another model"), grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT"),
    (errors.Aborted("changed", {"current_version": "3"}), grpc.StatusCode.ABORTED, "ABORTED"),
    (errors.BudgetExpired("too late"), grpc.StatusCode.DEADLINE_EXCEEDED, "BUDGET_EXPIRED"),
    (errors.Overloaded("full", 0.25), grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    (errors.Unavailable("down"), grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
]


@dataclass
class Call:
    """A server's context, as a handler uses it."""

    code: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    trailing: dict[str, bytes] = field(default_factory=dict)

    def set_code(self, code: grpc.StatusCode) -> None:
        self.code = code

    def set_details(self, details: str) -> None:
        self.details = details

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.trailing = dict(trailing_metadata)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def detail(self, kind: Any) -> Any:
        """The detail of this type, or None."""
        found = kind()
        packed = status_pb2.Status.FromString(self.trailing[DETAILS_KEY]).details
        return found if any(entry.Unpack(found) for entry in packed) else None


class Service:
    """Raises the given error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.calls = error, 0

    @rpc(ranker_pb2.RankItemsResponse)
    async def RankItems(self, request: ranker_pb2.RankItemsRequest) -> ranker_pb2.RankItemsResponse:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return ranker_pb2.RankItemsResponse(item_ids=[request.user_id])


async def failed(error: Exception) -> Call:
    call = Call()
    answer = await Service(error).RankItems(ranker_pb2.RankItemsRequest(), grpc_context=call)
    assert answer == ranker_pb2.RankItemsResponse()
    return call


def test_every_error_has_its_code() -> None:
    """Each error of the tree has a code of its own and is not reported as a defect."""
    kinds = {type(error) for error, _, _ in ALL}
    assert kinds == {kind for kind in errors.KairosError.__subclasses__() if kind.__module__ == errors.__name__}


@pytest.mark.parametrize(("error", "code", "reason"), ALL, ids=lambda value: getattr(value, "reason", ""))
async def test_an_error_becomes_a_status(error: errors.KairosError, code: grpc.StatusCode, reason: str) -> None:
    """Code, message, and ErrorInfo with a stable reason and our domain; the answer is empty."""
    call = await failed(error)
    assert (call.code, call.details) == (code, str(error))
    info = call.detail(error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (reason, "kairos")
    status = status_pb2.Status.FromString(call.trailing[DETAILS_KEY])
    assert (status.code, status.message) == (code.value[0], str(error))


async def test_every_wrong_field() -> None:
    """InvalidArgument carries the path and the remedy of each wrong field."""
    wrong = [errors.FieldViolation("a[1].b", "is empty"), errors.FieldViolation("c", "is negative")]
    bad = (await failed(errors.InvalidArgument(*wrong))).detail(error_details_pb2.BadRequest)
    assert [(entry.field, entry.description) for entry in bad.field_violations] == [
        ("a[1].b", "is empty"), ("c", "is negative"),
    ]  # fmt: skip


async def test_when_to_come_again() -> None:
    """Overloaded carries the time to wait; no other error does."""
    retry = (await failed(errors.Overloaded("full", 0.25))).detail(error_details_pb2.RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 250
    assert (await failed(errors.Unavailable("down"))).detail(error_details_pb2.RetryInfo) is None


async def test_a_defect_keeps_its_secrets() -> None:
    """Any other exception is INTERNAL: neither its text nor its type reaches the caller."""
    call = await failed(KeyError("password=hunter2"))
    assert call.code is grpc.StatusCode.INTERNAL
    for text in (call.details.encode(), call.trailing[DETAILS_KEY]):
        assert b"hunter2" not in text
        assert b"KeyError" not in text


@given(
    st.lists(st.tuples(st.text(max_size=400), st.text(max_size=2_000)), min_size=1, max_size=30),
    st.sampled_from([1, 100]),
)
def test_a_refusal_fits(wrong: list[tuple[str, str]], times: int) -> None:
    """With any number of violations, in any script, the status fits into gRPC's metadata and names the first field."""
    violations = [errors.FieldViolation(*pair) for pair in wrong] * times
    code, message, details = describe(errors.InvalidArgument(*violations))
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        status.details.add().Pack(detail)
    # On the wire: bytes as base64, text with every byte beyond ASCII as three.
    size = len(status.SerializeToString()) * 4 / 3 + sum(1 if 32 <= byte < 127 else 3 for byte in message.encode())
    assert size < SOFT_LIMIT
    bad = details[1]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert bad.field_violations[0].field == violations[0].field[:300]
    left_out = len(violations) - len(bad.field_violations)
    assert left_out == 0 or message.startswith(f"{len(violations)} fields are wrong, {left_out} of them are not listed")


@given(st.text(max_size=100_000))
def test_a_long_message_fits(text: str) -> None:
    """A message that quotes the request is cut."""
    _, message, _ = describe(errors.NotFound(f"there is no product {text!r}"))
    assert len(message.encode()) <= 700
    assert message.startswith("there is no product")


@pytest.mark.parametrize(("seconds", "nanos"), [(0, 0), (-1, 0), (0, -1)])
async def test_spent_budget(seconds: int, nanos: int) -> None:
    """A request whose budget is spent is refused before the method is called."""
    request, call, service = ranker_pb2.RankItemsRequest(), Call(), Service()
    request.context.budget.remaining.seconds, request.context.budget.remaining.nanos = seconds, nanos
    await service.RankItems(request, grpc_context=call)
    assert (call.code, service.calls) == (grpc.StatusCode.DEADLINE_EXCEEDED, 0)


async def test_a_good_call() -> None:
    """With time left the answer is the method's own, and no status is set."""
    request, call = ranker_pb2.RankItemsRequest(user_id="u"), Call()
    request.context.budget.remaining.nanos = 1
    answer = await Service().RankItems(request, grpc_context=call)
    assert (list(answer.item_ids), call.code, call.trailing) == (["u"], grpc.StatusCode.OK, {})
