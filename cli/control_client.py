"""What the commands of control share: a client, its options, and how they print."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from typing import Annotated, Any

import grpc
import typer
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from cli.calls import connection_of, failed
from cli.control_files import content_of, kind_number
from kairos.control.v1 import audit_pb2, audit_pb2_grpc, budgets_pb2, budgets_pb2_grpc, control_pb2, control_pb2_grpc
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
        (budgets_pb2, budgets_pb2_grpc.BudgetServiceStub),
    )
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}


class Listed(Enum):
    """The states that can be listed."""

    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


def connect(
    context: typer.Context,
    target: Annotated[
        str, typer.Option(envvar="KAIROS_CONTROL_TARGET", help="Address of control, host:port.")
    ] = "127.0.0.1:50060",
    api_key: Annotated[
        str, typer.Option(envvar="KAIROS_CONTROL_API_KEY", help="API key of control. Empty: none is sent.")
    ] = "",
    tenant: Annotated[str, typer.Option(help="Tenant. Default: that of the key.")] = "",
) -> None:
    """The options for TLS are those of `kairos`."""
    context.obj = client_at(context, target, api_key, tenant)


def client_at(context: typer.Context, target: str, api_key: str, tenant: str, hint: str = "") -> Client:
    """`hint`: printed if control cannot be reached."""
    return Client(replace(connection_of(context), target=target, api_key=api_key), tenant, hint)


class Client:
    """Calls control. An error is printed and ends the command."""

    def __init__(self, connection: Connection, tenant: str, hint: str = "") -> None:
        self._connection, self.tenant, self._hint = connection, tenant, hint

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
                hint = self._hint if error.code() is grpc.StatusCode.UNAVAILABLE else ""
                raise failed(explain_error(error), hint, exit_code=2) from None

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

    def apply(self, resource: control_pb2.Resource) -> tuple[str, control_pb2.Resource]:
        """Creates or updates a draft. Returns what was done: created, updated or unchanged."""
        present = self.resource(resource.kind, resource.id)
        if present is None:
            answer = self.call("CreateResource", control_pb2.CreateResourceRequest(resource=resource))
            return "created", answer.resource
        if not resource.etag or resource.etag == present.etag:
            is_archived = present.state == control_pb2.RESOURCE_STATE_ARCHIVED
            if content_of(present) == content_of(resource) and not is_archived:
                return "unchanged", present
            resource.etag = present.etag
        answer = self.call("UpdateResource", control_pb2.UpdateResourceRequest(resource=resource))
        return "updated", answer.resource

    def publish(self, resources: list[control_pb2.Resource]) -> control_pb2.PublishResourcesResponse:
        references = [control_pb2.ResourceReference(kind=one.kind, id=one.id, etag=one.etag) for one in resources]
        answer: control_pb2.PublishResourcesResponse = self.call(
            "PublishResources", control_pb2.PublishResourcesRequest(resources=references)
        )
        return answer


@contextmanager
def checked_input() -> Iterator[None]:
    """What is wrong with a file or an argument is printed, and ends the command with exit code 2."""
    try:
        yield
    except InvalidArgument as error:
        raise failed("\n".join(f"{one.field}: {one.description}" for one in error.violations), exit_code=2) from None


def client_of(context: typer.Context) -> Client:
    client: Client = context.obj
    return client


def moment_text(moment: Any) -> str:
    return f"{moment.ToDatetime():%Y-%m-%d %H:%M:%S}"


def dictionary_of(message: Message) -> dict[str, Any]:
    return dict(MessageToDict(message, preserving_proto_field_name=True))
