"""The part of the demo where a merchandiser decides: a rule is published, the next search names it, then it is
archived.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc
from rich.console import Console
from rich.markup import escape

from cli.render import print_results
from cli.tour import TourFailed
from kairos.control.v1 import control_pb2, control_pb2_grpc
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection

# One id for all tours: control keeps one archived rule, and what a tour that was cut off has left is replaced.
RULE = "kairos-tour"
_KIND = control_pb2.RESOURCE_KIND_MERCHANDISING_RULE
# Seconds of a call, and until a publish is in use. It takes less than one; the machine may be busy.
_BUDGET_S, _IN_USE_S = 10.0, 20.0
_SHOWN = 4
Metadata = tuple[tuple[str, str], ...]


def show_rule(connection: Connection, control: Connection, console: Console, query: str = "coffee maker") -> None:
    """Pins the fourth result of the query to the first position, and archives the rule again, also after a failure.

    Raises TourFailed or grpc.RpcError.
    """
    with connection.stub() as shop, control.channel() as channel:
        stub = control_pb2_grpc.ControlServiceStub(channel)
        _Step(shop, stub, connection.metadata, control.metadata, console, query).run()


class _Step:
    def __init__(
        self, shop: Any, control: Any, of_shop: Metadata, of_control: Metadata, console: Console, query: str
    ) -> None:
        self._shop, self._control = shop, control
        self._of_shop, self._of_control = of_shop, of_control
        self._console, self._query = console, query

    def run(self) -> None:
        self._console.print(f"\n[bold cyan]A merchandiser's rule: another product first for “{self._query}”")
        before = self._searched(lambda answer: len(answer.results) >= _SHOWN, "there are too few results for the rule")
        product = before.results[_SHOWN - 1].product
        try:
            version = self._publish(product.id)
            self._console.print(f"  [dim]published[/] {RULE}: pin {escape(product.title)} to 1 (snapshot {version})")
            answer = self._searched(
                lambda answer: answer.snapshot_version >= version and answer.results[0].product.id == product.id,
                f"the product that {RULE} pins is not the first one",
            )
            print_results(self._console, answer.results[:_SHOWN], answer.degradations)
            applied = [rule.id for rule in answer.merchandising.applied_rules]
            if RULE not in applied:
                raise TourFailed(f"the answer does not name the rule {RULE}")
            self._console.print(f"  [dim]the answer names[/] {', '.join(applied)}, snapshot {answer.snapshot_version}")
        finally:
            archived = self._archive()
        self._searched(
            lambda answer: (
                answer.snapshot_version >= archived
                and RULE not in [rule.id for rule in answer.merchandising.applied_rules]
            ),
            f"the rule {RULE} applies after it was archived",
        )
        self._console.print(f"  [dim]archived[/] {RULE} (snapshot {archived}): the order is the one of before")

    def _publish(self, product_id: str) -> int:
        """The version of the snapshot with the rule."""
        rule = control_pb2.Resource(kind=_KIND, id=RULE)
        rule.merchandising_rule.trigger.queries.add(equals=self._query)
        pin = rule.merchandising_rule.actions.add().pin
        pin.product_id, pin.position = product_id, 1
        present = self._present()
        if present is None:
            made = self._call("CreateResource", control_pb2.CreateResourceRequest(resource=rule)).resource
        else:
            rule.etag = present.etag
            made = self._call("UpdateResource", control_pb2.UpdateResourceRequest(resource=rule)).resource
        answer = self._call("PublishResources", control_pb2.PublishResourcesRequest(resources=[_named(made)]))
        return int(answer.snapshot_version)

    def _archive(self) -> int:
        """The version of the snapshot without the rule."""
        if (present := self._present()) is None:
            return 0
        answer = self._call("ArchiveResource", control_pb2.ArchiveResourceRequest(resource=_named(present)))
        return int(answer.snapshot_version)

    def _present(self) -> control_pb2.Resource | None:
        try:
            found: control_pb2.Resource = self._call(
                "GetResource", control_pb2.GetResourceRequest(kind=_KIND, id=RULE)
            ).resource
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise
        return found

    def _call(self, method: str, request: Any) -> Any:
        return getattr(self._control, method)(request, timeout=_BUDGET_S, metadata=self._of_control)

    def _searched(
        self, is_expected: Callable[[gateway_pb2.SearchResponse], bool], problem: str
    ) -> gateway_pb2.SearchResponse:
        """The first answer that is as expected."""
        until_s = time.monotonic() + _IN_USE_S
        while True:
            message = gateway_pb2.SearchRequest(query=self._query, page_size=_SHOWN)
            answer: gateway_pb2.SearchResponse = self._shop.Search(message, timeout=_BUDGET_S, metadata=self._of_shop)
            if is_expected(answer):
                return answer
            if time.monotonic() > until_s:
                raise TourFailed(problem)
            time.sleep(0.05)  # until the gateway has the snapshot


def _named(resource: control_pb2.Resource) -> control_pb2.ResourceReference:
    return control_pb2.ResourceReference(kind=resource.kind, id=resource.id, etag=resource.etag)
