"""Reviews of prices in control."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc

from kairos.control.v1 import control_pb2, control_pb2_grpc
from services.common.control_access import ControlAccessSettings
from services.pricing.domain.publication import AskedReview
from services.pricing.publisher.ports import ReviewsFailed

_TIMEOUT_S = 5.0
_APPROVED = control_pb2.REVIEW_DECISION_APPROVED
_NOTE = 1_000


class GrpcReviews:
    """See ports.Reviews. What is decided comes with the snapshots of control: `prepare` takes them."""

    def __init__(self, settings: ControlAccessSettings, tenant: str) -> None:
        self._channel = settings.connect()
        self._stub = control_pb2_grpc.ControlServiceStub(self._channel)
        self._metadata, self._tenant = settings.metadata, tenant
        self._decided: Mapping[str, bool] = {}

    def prepare(self, snapshot: control_pb2.Snapshot) -> Callable[[], None]:
        """See published.Prepare."""
        decided = {
            resource.id: resource.review.decision == _APPROVED
            for resource in snapshot.resources
            if resource.kind == control_pb2.RESOURCE_KIND_REVIEW
        }

        def use() -> None:
            if snapshot.tenant == self._tenant:
                self._decided = decided

        return use

    def decided(self) -> Mapping[str, bool]:
        return self._decided

    def ask(self, review: AskedReview) -> None:
        resource = control_pb2.Resource(kind=control_pb2.RESOURCE_KIND_REVIEW, id=review.review_id)
        resource.review.question = _question(review)
        resource.review.subject_id = review.product_id
        resource.review.subject = control_pb2.REVIEW_SUBJECT_PRICE
        resource.review.note = f"Price policy {review.policy_id!r}: {review.explanation}"[:_NOTE]
        request = control_pb2.CreateResourceRequest(tenant=self._tenant, resource=resource)
        try:
            self._stub.CreateResource(request, timeout=_TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.ALREADY_EXISTS:
                return
            hint = ""
            if error.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
                hint = "; KAIROS_PRICE_PUBLISHER_CONTROL__API_KEY needs a key with the role editor"
            raise ReviewsFailed(f"CreateResource: {error.code().name}: {error.details()}{hint}") from error

    def close(self) -> None:
        self._channel.close()


def _question(review: AskedReview) -> str:
    change = review.proposed.amount / review.current.amount - 1 if review.current.amount else 0
    place = f" in the price list {review.price_list_id!r}" if review.price_list_id else ""
    prices = f"from {review.current} to {review.proposed} ({change:+.0%})"
    return f"Change the price of {review.product_id!r}{place} {prices}?"
