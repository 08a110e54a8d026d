"""A client of control, for the commands below `kairos control`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import grpc
import typer

from cli.calls import failed
from cli.control_files import kind_number
from kairos.control.v1 import audit_pb2, audit_pb2_grpc, control_pb2, control_pb2_grpc
from ops.client import Connection, explain_error
from services.common.errors import InvalidArgument

PAGE = 500
STATE_PREFIX = "RESOURCE_STATE_"
# The service of each method.
_STUBS: dict[str, Any] = {
    method.name: stub
    for file, stub in (
        (control_pb2, control_pb2_grpc.ControlServiceStub),
        (audit_pb2, audit_pb2_grpc.AuditServiceStub),
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Listed(Enum):
    """The states that can be listed."""

    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


class Client:
    """Calls control. An error is printed and ends the command."""

    def __init__(self, connection: Connection, tenant: str) -> None:
        self._connection, self.tenant = connection, tenant

    def call(self, method: str, request: Any, *, missing_is_fine: bool = False) -> Any:
        """The answer. None for what does not exist, if `missing_is_fine`."""
        return self.call_for(self.tenant, method, request, missing_is_fine=missing_is_fine)

    def call_for(self, tenant: str, method: str, request: Any, *, missing_is_fine: bool = False) -> Any:
        """See `call`; for another tenant."""
        request.tenant = tenant
        with self._connection.channel() as channel:
            stub = _STUBS[method](channel)
            try:
                return getattr(stub, method)(
                    request, timeout=max(self._connection.timeout_s, 10), metadata=self._connection.metadata
                )
            except grpc.RpcError as error:
                if missing_is_fine and error.code() is grpc.StatusCode.NOT_FOUND:
                    return None
                raise failed(explain_error(error), exit_code=2) from None

    def resources(self, kind: str = "", state: Listed | None = None, text: str = "") -> list[control_pb2.Resource]:
        request = control_pb2.ListResourcesRequest(page_size=PAGE, text=text)
        if kind:
            request.kind = kind_number(kind)
        if state:
            request.state = control_pb2.ResourceState.Value(f"{STATE_PREFIX}{state.name}")
        found: list[control_pb2.Resource] = []
        while True:
            answer = self.call("ListResources", request)
            found += answer.resources
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    def resource(self, kind: int, id: str, is_published: bool = False) -> control_pb2.Resource | None:
        view = control_pb2.CONTENT_VIEW_PUBLISHED if is_published else control_pb2.CONTENT_VIEW_LATEST
        request = control_pb2.GetResourceRequest(kind=kind, id=id, view=view)  # type: ignore[arg-type]
        answer = self.call("GetResource", request, missing_is_fine=True)
        return None if answer is None else answer.resource

    def publish(self, resources: list[control_pb2.Resource]) -> control_pb2.PublishResourcesResponse:
        references = [control_pb2.ResourceReference(kind=one.kind, id=one.id, etag=one.etag) for one in resources]
        answer: control_pb2.PublishResourcesResponse = self.call(
            "PublishResources", control_pb2.PublishResourcesRequest(resources=references)
        )
        return answer


@contextmanager
def wrong_input() -> Iterator[None]:
    """What is wrong with a file or an argument is printed, and ends the command with exit code 2."""
    try:
        yield
    except InvalidArgument as error:
        raise failed("\n".join(f"{one.field}: {one.description}" for one in error.violations), exit_code=2) from None


def client_of(context: typer.Context) -> Client:
    client: Client = context.obj
    return client
