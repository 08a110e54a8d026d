"""API keys and quotas of published tenants, in force in gateways without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import gateway_pb2
from services.control.server import ControlServer
from services.control.settings import ApiKey
from services.gateway.message_limits import GATEWAY_SERVICE
from services.gateway.settings import SecuritySettings
from tests.contract.controls import Client, digest_of, key_of, resource_of, running
from tests.contract.gateways import Running, hashed_key, running_gateway, stages
from tests.contract.test_gateway_quotas import Endless, first_refusal, metadata, retry_s
from tests.contract.test_gateway_server import refused
from tests.contract.test_published import SOON_S, access
from tests.fakes.stages import FakeStages
from tests.fakes.waiting import until

__all__ = ["stages"]  # a fixture

STATUS = grpc.StatusCode
REQUIRED = SecuritySettings(api_keys_required=True)


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlServer]:
    """With an operator's key, without which it would take every caller for an admin."""
    async with running(
        tmp_path / "control", ApiKey(sha256=digest_of("root"), name="root", tenant="*", role="admin")
    ) as started:
        yield started


@pytest.fixture
async def root(control: ControlServer) -> AsyncIterator[Client]:
    made = Client(control.port, "root")
    yield made
    await made.channel.close()


def key(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": digest_of(name), "gateway_role": "write", **more}


async def publish(root: Client, tenant: str, keys: Sequence[dict[str, Any]], **more: Any) -> int:
    """Replaces what the tenant has. The version of the snapshot."""
    content = {"keys": list(keys), **more}
    listed = control_pb2.ListResourcesRequest(tenant=tenant, kind=control_pb2.RESOURCE_KIND_TENANT)
    found = (await root.call("ListResources", listed)).resources
    if not found:
        draft = await root.create("tenant", tenant, content, tenant=tenant)
    else:
        sent = resource_of("tenant", tenant, content, found[0].etag)
        request = control_pb2.UpdateResourceRequest(tenant=tenant, resource=sent)
        draft = (await root.call("UpdateResource", request)).resource
    return await root.publish(draft, tenant=tenant)


def watching(stages: FakeStages, control: ControlServer, folder: Path, security: SecuritySettings = REQUIRED) -> Any:
    return running_gateway(stages, security, control=access(control.port, folder, api_key=key_of("root")))


async def answer(gateway: Running, name: str) -> gateway_pb2.SearchResponse:
    request = gateway_pb2.SearchRequest(query="coat")
    return await gateway.stub.Search(request, metadata=metadata(key_of(name)), timeout=SOON_S)


async def code(gateway: Running, name: str) -> grpc.StatusCode:
    try:
        await answer(gateway, name)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return STATUS.OK


async def becomes(gateway: Running, name: str, expected: grpc.StatusCode) -> None:
    async with asyncio.timeout(SOON_S):
        while await code(gateway, name) is not expected:  # noqa: ASYNC110 - another process would tell nobody either
            await asyncio.sleep(0.02)


async def test_keys_come_and_go(control: ControlServer, root: Client, stages: FakeStages, tmp_path: Path) -> None:
    """Without a restart a new key works in every gateway, a removed one stops, and an expired one is refused; the keys
    of the last snapshot stay in force in a gateway that starts with control down.
    """
    async with watching(stages, control, tmp_path / "a") as one, watching(stages, control, tmp_path / "b") as other:
        assert await code(one, "anna") is STATUS.UNAUTHENTICATED
        await publish(root, "shop", [key("anna"), key("ben")])
        for gateway in (one, other):
            await becomes(gateway, "anna", STATUS.OK)
            assert await code(gateway, "ben") is STATUS.OK
            assert await code(gateway, "nobody") is STATUS.UNAUTHENTICATED
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        await publish(root, "shop", [key("ben"), key("carl"), key("dora", expires_at=past)])
        for gateway in (one, other):
            await becomes(gateway, "anna", STATUS.UNAUTHENTICATED)
            assert await code(gateway, "carl") is STATUS.OK
            assert "expired at" in ((await refused(answer(gateway, "dora"))).details() or "")
    async with running_gateway(stages, REQUIRED, control=access(1, tmp_path / "a")) as gateway:
        assert [await code(gateway, name) for name in ("anna", "ben", "carl")] == [
            STATUS.UNAUTHENTICATED, STATUS.OK, STATUS.OK,
        ]  # fmt: skip


async def test_a_key_is_of_its_tenant(control: ControlServer, root: Client, stages: FakeStages, tmp_path: Path) -> None:
    """A tenant's key gives access to this tenant only, with the role that it has; a published key that is also in the
    settings stays what the settings say.
    """
    operator = hashed_key(key_of("operator"), "default", "write")
    security = SecuritySettings(api_keys=(operator,))
    async with watching(stages, control, tmp_path / "published", security) as gateway:
        await publish(root, "shop", [key("old")])
        await publish(root, "shop", [key("anna"), key("operator", gateway_role="read")])
        await publish(root, "other", [key("ben", gateway_role="read")])
        await becomes(gateway, "anna", STATUS.OK)
        await becomes(gateway, "ben", STATUS.OK)
        versions = {name: (await answer(gateway, name)).snapshot_version for name in ("anna", "ben", "operator")}
        assert versions == {"anna": 2, "ben": 1, "operator": 0}
        request = gateway_pb2.DeleteProductsRequest(ids=["p1"])
        for name, expected in (("ben", STATUS.PERMISSION_DENIED), ("anna", None), ("operator", None)):
            call = gateway.stub.DeleteProducts(request, metadata=metadata(key_of(name)), timeout=SOON_S)
            if expected is None:
                await call
            else:
                assert (await refused(call)).code() is expected


async def test_an_open_stream_of_a_removed_key(
    control: ControlServer, root: Client, stages: FakeStages, tmp_path: Path
) -> None:
    """An import that goes on sending ends with the next message after its key is gone."""
    async with watching(stages, control, tmp_path / "published") as gateway:
        await publish(root, "shop", [key("anna")])
        await becomes(gateway, "anna", STATUS.OK)
        method: Any = gateway.channel.stream_unary(f"/{GATEWAY_SERVICE.full_name}/ImportProducts")
        request = Endless(b"")
        call = method(request.messages(), metadata=metadata(key_of("anna")), timeout=60)
        streams = gateway.parts.metrics.import_streams
        await until(lambda: next(iter(streams.collect())).samples[0].value == 1)
        await publish(root, "shop", [])
        await becomes(gateway, "anna", STATUS.UNAUTHENTICATED)
        request.close()
        assert (await refused(call)).code() is STATUS.UNAUTHENTICATED


async def test_published_quotas(control: ControlServer, root: Client, stages: FakeStages, tmp_path: Path) -> None:
    """They are in force for each key of the tenant and for no other; a publish of something else gives no new burst."""
    async with watching(stages, control, tmp_path / "published") as gateway:
        # One call in a hundred seconds.
        await publish(root, "shop", [key("anna"), key("ben")], quotas={"calls_per_s": 0.01})
        await publish(root, "other", [key("carl")])
        await becomes(gateway, "carl", STATUS.OK)
        await becomes(gateway, "anna", STATUS.OK)
        method: Any = gateway.channel.unary_unary(f"/{GATEWAY_SERVICE.full_name}/Search")
        assert retry_s(await first_refusal(method, key_of("anna"))) > 60
        rule = await root.create("synonym_set", "coats", tenant="shop")
        version = await root.publish(rule, tenant="shop")
        async with asyncio.timeout(SOON_S):
            await until(lambda: gateway.metric("snapshot_version", tenant="shop") == version)
        assert await code(gateway, "anna") is STATUS.RESOURCE_EXHAUSTED
        assert (await answer(gateway, "ben")).snapshot_version == version
        await publish(root, "shop", [key("anna")])
        await becomes(gateway, "anna", STATUS.OK)


async def test_an_open_gateway_stays_open(
    control: ControlServer, root: Client, stages: FakeStages, tmp_path: Path
) -> None:
    """Published keys neither close a gateway whose settings require none, nor give their callers another tenant."""
    async with watching(stages, control, tmp_path / "published", SecuritySettings()) as gateway:
        await publish(root, "shop", [key("anna")])
        await publish(root, "default", [key("ben")])
        async with asyncio.timeout(SOON_S):
            await until(lambda: gateway.metric("snapshot_version", tenant="default") == 1)
            await until(lambda: gateway.metric("snapshot_version", tenant="shop") == 1)
        # The snapshot of the default tenant.
        assert [(await answer(gateway, name)).snapshot_version for name in ("nobody", "anna", "ben")] == [1, 1, 1]


async def test_roles_in_control_and_in_the_gateway(
    control: ControlServer, root: Client, stages: FakeStages, tmp_path: Path
) -> None:
    """A key has the roles that it is given: one for control only is unknown in the gateway, and the reverse. A key
    without any role is refused, with both fields.
    """
    editor = {"name": "editor", "sha256": digest_of("editor"), "role": "editor"}
    async with watching(stages, control, tmp_path / "published") as gateway:
        await publish(root, "shop", [editor, key("caller"), key("both", role="viewer")])
        await becomes(gateway, "caller", STATUS.OK)
        assert [await code(gateway, name) for name in ("both", "editor")] == [STATUS.OK, STATUS.UNAUTHENTICATED]
        for name, expected in (("editor", None), ("both", None), ("caller", STATUS.UNAUTHENTICATED)):
            client = Client(control.port, name)
            listed = client.call("ListResources", control_pb2.ListResourcesRequest())
            if expected is None:
                assert await listed
            else:
                assert (await refused(listed)).code() is expected
            await client.channel.close()
        error = await refused(publish(root, "shop", [{"name": "none", "sha256": digest_of("none")}]))
        assert error.code() is STATUS.INVALID_ARGUMENT
        assert "set role for control, gateway_role for the gateway" in (error.details() or "")
