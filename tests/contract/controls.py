"""A control that runs in the test's event loop, and clients of its roles."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from kairos.control.v1 import audit_pb2, audit_pb2_grpc, budgets_pb2, budgets_pb2_grpc, control_pb2, control_pb2_grpc
from services.control.server import ControlServer, start_control
from services.control.settings import ApiKey, ControlSettings, MetricsSettings, SecuritySettings, ServerSettings

CONTENTS: dict[str, dict[str, Any]] = {
    "serving_configuration": {
        "version": "autumn-1",
        "placements": {
            "home": {
                "sources": [{"source": "interests", "quota": 40}, {"source": "popular", "weight": 0.5}],
                "filters": {"attributes": {"color": {"values": ["red"]}}},
            }
        },
    },
    "merchandising_rule": {
        "trigger": {"queries": [{"equals": "winter coat"}]},
        "actions": [{"pin": {"product_id": "p1", "position": 1}}],
    },
    "synonym_set": {"words": ["coat", "jacket"]},
    "price_policy": {"maximum_discount": 0.2},
    "campaign": {
        "advertiser": "Acme",
        "payer": "Acme Inc.",
        "product_ids": ["p1"],
        "bid": {"currency_code": "EUR", "nanos": 400_000_000},
        "daily_budget": {"currency_code": "EUR", "units": 20},
        "starts_at": "2026-01-01T00:00:00Z",
    },
    "experiment": {"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]},
    "review": {"question": "Is the price right?", "decision": "REVIEW_DECISION_APPROVED"},
    "tenant": {"display_name": "The shop"},
}


def key_of(name: str) -> str:
    return f"secret of {name}"


def digest_of(name: str) -> str:
    return hashlib.sha256(key_of(name).encode()).hexdigest()


def resource_of(kind: str, id: str, content: dict[str, Any] | None = None, etag: str = "") -> control_pb2.Resource:
    """A resource as a caller sends it; with the usual content unless another is given."""
    document = {
        "kind": f"RESOURCE_KIND_{kind.upper()}",
        "id": id,
        "etag": etag,
        kind: CONTENTS[kind] if content is None else content,
    }
    return ParseDict(document, control_pb2.Resource())


def reference_to(resource: control_pb2.Resource) -> control_pb2.ResourceReference:
    return control_pb2.ResourceReference(kind=resource.kind, id=resource.id, etag=resource.etag)


def entry_of(id: str, at_s: float | None = None, **more: Any) -> audit_pb2.AuditEntry:
    """A quote as pricing records it; at this time unless another is given."""
    now_s = time.time() if at_s is None else at_s
    price = {"currency_code": "USD", "units": "10"}
    offer = {"currency_code": "USD", "units": "9", "nanos": 500_000_000}
    moment = datetime.fromtimestamp(now_s, UTC)
    document = {
        "id": id,
        "recorded_at": moment.isoformat(),
        "subject_id": "p1",
        "request_id": "r1",
        "quoted_price": {
            "item": {"item_id": "p1", "list_price": price, "stock": "3", "created_at_seconds": "1700000000"},
            "quote": {
                "quote_id": id, "item_id": "p1", "list_price": price, "price_floor": offer, "price_ceiling": price,
                "offer": offer, "reason": "PRICE_REASON_OVERSTOCK", "explanation": "150 pieces are in stock.",
                "model_version": "rules@1", "quoted_at": moment.isoformat(),
                "valid_until": (moment + timedelta(minutes=15)).isoformat(),
            },
        },
        **more,
    }  # fmt: skip
    return ParseDict(document, audit_pb2.AuditEntry())


def day_before(days: int) -> str:
    """The day so many days ago, at the time of the call: a run of the tests may cross midnight."""
    return (datetime.now(UTC).date() - timedelta(days)).isoformat()


def bill_of(campaign_id: str, day: str = "", **more: Any) -> budgets_pb2.Bill:
    """Ten clicks of 30 cents as the biller records them; today unless another day is given."""
    document = {
        "campaign_id": campaign_id,
        "day": day or day_before(0),
        "impressions": "100",
        "clicks": "10",
        "value": {"currency_code": "EUR", "units": "3"},
        "amount": {"currency_code": "EUR", "units": "2", "nanos": 500_000_000},
        "refused": [{"reason": "repeated", "clicks": "2"}],
        **more,
    }
    return ParseDict(document, budgets_pb2.Bill())


class Client:
    """Calls with the key of this name; without a name no key is sent."""

    def __init__(self, port: int, name: str = "") -> None:
        self.channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.stub = control_pb2_grpc.ControlServiceStub(self.channel)
        self.audit = audit_pb2_grpc.AuditServiceStub(self.channel)
        self.budgets = budgets_pb2_grpc.BudgetServiceStub(self.channel)
        self.metadata = (("authorization", f"Bearer {key_of(name)}"),) if name else ()

    async def call(self, method: str, request: Any) -> Any:
        stub = next(stub for stub in (self.audit, self.budgets, self.stub) if hasattr(stub, method))
        return await getattr(stub, method)(request, metadata=self.metadata, timeout=10)

    async def create(self, kind: str, id: str, content: dict[str, Any] | None = None, tenant: str = "") -> Any:
        request = control_pb2.CreateResourceRequest(tenant=tenant, resource=resource_of(kind, id, content))
        return (await self.call("CreateResource", request)).resource

    async def publish(self, *resources: control_pb2.Resource, tenant: str = "") -> int:
        """The version of the snapshot."""
        request = control_pb2.PublishResourcesRequest(tenant=tenant, resources=map(reference_to, resources))
        version: int = (await self.call("PublishResources", request)).snapshot_version
        return version

    def watch(self, *kinds: control_pb2.ResourceKind.ValueType, tenant: str = "") -> Any:
        request = control_pb2.WatchSnapshotsRequest(tenant=tenant, kinds=kinds)
        return self.stub.WatchSnapshots(request, metadata=self.metadata, timeout=30)


@asynccontextmanager
async def running(folder: Path, *keys: ApiKey, port: int = 0, **more: Any) -> AsyncIterator[ControlServer]:
    settings = ControlSettings(
        data_dir=folder,
        security=SecuritySettings(api_keys=keys),
        server=ServerSettings(port=port, drain_s=1),
        metrics=MetricsSettings(port=0),
        **more,
    )
    server = await start_control(settings)
    try:
        yield server
    finally:
        await server.stop()


def detail(error: grpc.aio.AioRpcError, kind: type[Any]) -> Any:
    """The error's detail of this type."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    found = kind()
    assert any(entry.Unpack(found) for entry in status.details)
    return found


def wrong_fields(error: grpc.aio.AioRpcError) -> dict[str, str]:
    return {each.field: each.description for each in detail(error, error_details_pb2.BadRequest).field_violations}
