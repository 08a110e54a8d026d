"""ControlService over real gRPC: the life of a resource, bad input, roles and tenants, watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kairos.control.v1 import audit_pb2, budgets_pb2, control_pb2
from services.control.convert import page_token
from services.control.domain.contents import Role
from services.control.domain.permissions import LADDER, LEAST_ROLE, OF_RECORDERS
from services.control.server import ControlServer
from services.control.settings import ApiKey
from tests.contract.controls import (
    CONTENTS,
    Client,
    bill_of,
    detail,
    digest_of,
    entry_of,
    reference_to,
    resource_of,
    running,
    wrong_fields,
)

ROLES: tuple[Role, ...] = get_args(Role)
SYNONYMS = control_pb2.RESOURCE_KIND_SYNONYM_SET
STATUS = grpc.StatusCode
# A publish is everywhere within a second; a busy machine may take longer.
SOON_S = 5.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ControlServer]:
    """With a key of each role for the tenant "shop", an operator of all tenants, and an approver of another tenant."""
    keys = [ApiKey(sha256=digest_of(role), name=role, tenant="shop", role=role) for role in ROLES]
    keys.append(ApiKey(sha256=digest_of("operator"), name="operator", tenant="*", role="admin"))
    keys.append(ApiKey(sha256=digest_of("stranger"), name="stranger", tenant="other", role="approver"))
    async with running(tmp_path, *keys) as started:
        yield started


@pytest.fixture
async def clients(server: ControlServer) -> AsyncIterator[dict[str, Client]]:
    made = {name: Client(server.port, name) for name in (*ROLES, "operator", "stranger", "nobody", "rotated", "")}
    yield made
    for client in made.values():
        await client.channel.close()


def get(kind: str, id: str, **more: Any) -> control_pb2.GetResourceRequest:
    number = control_pb2.ResourceKind.Value(f"RESOURCE_KIND_{kind.upper()}")
    return control_pb2.GetResourceRequest(kind=number, id=id, **more)


async def refused(client: Client, method: str, request: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await client.call(method, request)
    return raised.value


@pytest.mark.parametrize("kind", CONTENTS)
async def test_every_kind_lives(clients: dict[str, Client], kind: str) -> None:
    """A resource of each kind is created, read, listed, published and archived, and its content stays as sent."""
    admin, id = clients["admin"], "shop" if kind == "tenant" else "first"
    draft = await admin.create(kind, id)
    sent = resource_of(kind, id)
    assert getattr(draft, kind) == getattr(sent, kind)
    assert (draft.state, draft.version, draft.changed_by) == (control_pb2.RESOURCE_STATE_DRAFT, 1, "admin")
    assert (await admin.call("GetResource", get(kind, id))).resource == draft
    listed = await admin.call("ListResources", control_pb2.ListResourcesRequest(kind=draft.kind))
    assert list(listed.resources) == [draft]
    assert await admin.publish(draft) == 1
    published = (await admin.call("GetResource", get(kind, id))).resource
    assert published.state == control_pb2.RESOURCE_STATE_PUBLISHED
    archived = await admin.call("ArchiveResource", control_pb2.ArchiveResourceRequest(resource=reference_to(published)))
    assert archived.snapshot_version == 2
    history = await admin.call("ListRevisions", control_pb2.ListRevisionsRequest(kind=draft.kind, id=id))
    assert [revision.version for revision in history.revisions] == [3, 2, 1]
    assert getattr(history.revisions[0].before, kind) == getattr(sent, kind)
    assert not history.revisions[0].HasField("after")


async def test_the_second_editor_gets_aborted_with_both_versions(clients: dict[str, Client]) -> None:
    """An outdated etag is ABORTED, and the details name both states and the author of the other change."""
    draft = await clients["editor"].create("synonym_set", "coats")
    change = control_pb2.UpdateResourceRequest(
        resource=resource_of("synonym_set", "coats", {"words": ["coat", "parka"]}, draft.etag)
    )
    await clients["approver"].call("UpdateResource", change)
    error = await refused(clients["editor"], "UpdateResource", change)
    facts = detail(error, error_details_pb2.ErrorInfo).metadata
    assert error.code() is STATUS.ABORTED
    assert (facts["sent_version"], facts["current_version"], facts["changed_by"]) == ("1", "2", "approver")
    assert facts["sent_etag"] == draft.etag


async def test_a_mask_changes_only_its_fields(clients: dict[str, Client]) -> None:
    """Fields of the mask are replaced or removed, all others stay; a path may name an entry of a map."""
    editor = clients["editor"]
    draft = await editor.create("campaign", "spring")

    async def update(kind: str, etag: str, content: dict[str, Any], *paths: str) -> control_pb2.Resource:
        request = control_pb2.UpdateResourceRequest(
            resource=resource_of(kind, "spring", content, etag), update_mask=FieldMask(paths=paths)
        )
        resource: control_pb2.Resource = (await editor.call("UpdateResource", request)).resource
        return resource

    campaign = await update("campaign", draft.etag, {"advertiser": "Bolt"}, "campaign.advertiser", "campaign.starts_at")
    expected = {**CONTENTS["campaign"], "advertiser": "Bolt"}
    del expected["starts_at"]
    assert campaign == resource_like(campaign, expected)
    config = await editor.create("serving_configuration", "spring")
    entry = {"placements": {"cart": {"sources": [{"source": "popular"}]}}}
    config = await update("serving_configuration", config.etag, entry, "serving_configuration.placements.cart")
    assert sorted(config.serving_configuration.placements) == ["cart", "home"]
    request = control_pb2.UpdateResourceRequest(
        resource=resource_of("campaign", "spring", {}, campaign.etag), update_mask=FieldMask(paths=["campaign.name"])
    )
    assert "update_mask" in wrong_fields(await refused(editor, "UpdateResource", request))


def resource_like(resource: control_pb2.Resource, content: dict[str, Any]) -> control_pb2.Resource:
    """`resource` with another content."""
    made = control_pb2.Resource()
    made.CopyFrom(resource)
    kind = resource.WhichOneof("content")
    assert kind is not None
    getattr(made, kind).CopyFrom(getattr(resource_of(kind, resource.id, content), kind))
    return made


async def test_pages_cover_everything_once(clients: dict[str, Client]) -> None:
    """Pages follow each other; the token of another request is refused."""
    editor = clients["editor"]
    for number in range(5):
        await editor.create("synonym_set", f"s{number}", {"words": ["coat", str(number)]})
    ids, token = [], ""
    while True:
        request = control_pb2.ListResourcesRequest(page_size=2, page_token=token)
        page = await editor.call("ListResources", request)
        ids += [resource.id for resource in page.resources]
        if not (token := page.next_page_token):
            break
        last = token
    assert ids == [f"s{number}" for number in range(5)]
    other = control_pb2.ListResourcesRequest(page_size=2, page_token=last, text="coat")
    assert "page_token" in wrong_fields(await refused(editor, "ListResources", other))
    for broken in ("é", "bm9uZQ==", page_token("shop", 0, 0, "", 1), page_token("shop", 0, 0, "", "a", "b", "c")):
        request = control_pb2.ListResourcesRequest(page_token=broken)
        assert "page_token" in wrong_fields(await refused(editor, "ListResources", request)), broken
    found = await editor.call("ListResources", control_pb2.ListResourcesRequest(text="S3"))
    assert [resource.id for resource in found.resources] == ["s3"]


def campaign_with(**fields: Any) -> dict[str, Any]:
    return {**CONTENTS["campaign"], **fields}


B = {"name": "b", "share": 0.5}


def experiment_with(serving_configuration_id: str = "", **fields: Any) -> dict[str, Any]:
    """Of two arms; fields of an arm are those of the first."""
    arm = {"name": "a", "share": 0.5, "serving_configuration_id": serving_configuration_id}
    arm |= {name: fields.pop(name) for name in ("rule_ids", "without_rule_ids") if name in fields}
    return {"arms": [arm, B], **fields}


def interleaving(serving_configuration_id: str = "", **fields: Any) -> dict[str, Any]:
    """Of two arms; fields of an arm are those of the first. With a configuration the second has another one."""
    made = experiment_with(serving_configuration_id, mode="EXPERIMENT_MODE_INTERLEAVING", **fields)
    second = {
        "name": "b",
        "ranking_version": "2",
        "serving_configuration_id": "two" if serving_configuration_id else "",
    }
    first = {name: value for name, value in made["arms"][0].items() if name != "share"}
    return {**made, "arms": [first, second]}


def switchback(first: str, second: str, **fields: Any) -> dict[str, Any]:
    """Of two price policies."""
    arms = [{"name": f"arm-{id}", "share": 0.5, "price_policy_id": id} for id in (first, second)]
    return {"mode": "EXPERIMENT_MODE_SWITCHBACK", "arms": arms, "primary_metric": "revenue", "block_days": 4, **fields}


def holdout() -> dict[str, Any]:
    return {"layer": "holdout", "arms": [{"name": "none", "share": 0.05, "is_holdout": True}, B]}


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("serving_configuration", {"version": "1", "placements": {"x": {"sources": [{"source": "popular", "quota": 0}]}}},
     "placements.x.sources[0].quota", "greater than or equal to 1"),
    ("serving_configuration", {"version": "1", "placements": {"home": {"sources": [{"source": "magic"}]}}},
     "placements.home.sources[0].source", "popular"),
    ("merchandising_rule", {"actions": [{"boost": {"products": {"ids": ["p"]}, "multiplier": 9}}]},
     "actions[0].boost.multiplier", "0.2 to 5"),
    ("merchandising_rule", {"actions": [{"redirect": {"url": "/x"}}], "validity": {
        "valid_from": "2026-02-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z"}}, "validity.valid_until", "swap"),
    ("synonym_set", {"words": ["coat"]}, "", "add another"),
    ("price_policy", {"maximum_discount": 1.5}, "maximum_discount", "less than or equal to 1"),
    ("price_policy", {"maximum_daily_change": 0.1}, "", "set it, for example to 24"),
    ("price_policy", {"frozen_from": "2026-02-01T00:00:00Z", "frozen_until": "2026-01-01T00:00:00Z"}, "", "swap"),
    ("price_policy", {"price_endings": [100]}, "price_endings[0]", "less than or equal to 99"),
    ("price_policy", {"list_price_only": True, "policy": "rules"}, "", "leave out policy"),
    ("campaign", campaign_with(starts_at="2026-02-01T00:00:00Z", ends_at="2026-01-01T00:00:00Z"), "", "swap"),
    ("campaign", campaign_with(product_ids=["p", "p"]), "", "twice"),
    ("campaign", campaign_with(payer=""), "payer", "send the name"),
    ("campaign", campaign_with(daily_budget={"currency_code": "EUR", "units": -5}), "daily_budget.units",
     "greater than or equal to 0"),
    ("campaign", campaign_with(bid={"currency_code": "EUR"}), "", "bid is 0; send more"),
    ("campaign", campaign_with(bid={"currency_code": "EUR", "nanos": 1_000_000}), "", "round it"),
    ("campaign", campaign_with(bid={"currency_code": "USD", "units": 1}), "", "use one currency"),
    ("campaign", campaign_with(bid={"currency_code": "EUR", "units": 21}), "", "daily_budget is less than bid"),
    ("campaign", campaign_with(targets={"queries": [{"equals": "!"}]}), "targets.queries[0].equals", "words of a"),
    ("campaign", campaign_with(negative_keywords=["used", "?"]), "negative_keywords[1]", "words of a query"),
    ("campaign", campaign_with(daily_windows=[{"starts_at": "09:00", "ends_at": "17:00"}]), "time_zone", "berlin"),
    ("experiment", {"arms": [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}]}, "", "at most 1"),
    ("experiment", experiment_with(traffic_from=0.8, traffic_share=0.4), "", "beyond 1; lower it"),
    ("experiment", experiment_with(control_arm="c"), "", "name one of a, b"),
    ("experiment", experiment_with(primary_metric="fun"), "primary_metric", "'conversion'"),
    ("experiment", experiment_with(guardrails=[{"metric": "fun"}]), "guardrails[0].metric", "'latency'"),
    ("experiment", experiment_with(guardrails=[{"metric": "latency"}, {"metric": "latency"}]), "", "give it once"),
    ("experiment", {"arms": [{"name": "a", "share": 0.5}]}, "arms", "at least 2"),
    ("experiment", {"arms": [{"name": "a", "share": 0.1, "rule_ids": ["r"], "without_rule_ids": ["r"]}, B]}, "arms[0]",
     "remove it from one of them"),
    ("review", {"question": ""}, "question", "required"),
    ("tenant", {"keys": [{"name": "k", "sha256": "12", "role": "viewer"}]}, "keys[0].sha256", "pattern"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "content", "field", "remedy"), BAD)
async def test_bad_contents_name_field_and_remedy(
    clients: dict[str, Client], kind: str, content: dict[str, Any], field: str, remedy: str
) -> None:
    """Each is INVALID_ARGUMENT with the path of the field, and nothing is stored."""
    id = "shop" if kind == "tenant" else "bad"
    request = control_pb2.CreateResourceRequest(resource=resource_of(kind, id, content))
    error = await refused(clients["admin"], "CreateResource", request)
    found = wrong_fields(error)
    path = f"resource.{kind}.{field}".rstrip(".")
    assert list(found) == [path]
    assert remedy in found[path].replace("Field ", "").lower() or remedy in found[path]
    assert (await refused(clients["admin"], "GetResource", get(kind, id))).code() is STATUS.NOT_FOUND


async def test_a_time_without_a_date_is_refused(clients: dict[str, Client]) -> None:
    """A timestamp that is no date, and a number that is none, are INVALID_ARGUMENT."""
    campaign = resource_of("campaign", "bad")
    campaign.campaign.ends_at.seconds = 2**60
    tenant = resource_of("tenant", "shop")
    tenant.tenant.quotas.calls_per_s = float("inf")
    for resource, field in ((campaign, "resource.campaign"), (tenant, "resource.tenant.quotas.calls_per_s")):
        request = control_pb2.CreateResourceRequest(resource=resource)
        assert list(wrong_fields(await refused(clients["admin"], "CreateResource", request))) == [field]


async def test_campaigns_bid_in_one_currency(clients: dict[str, Client]) -> None:
    """A campaign in another currency than the published ones is refused; the remedy is named."""
    admin = clients["admin"]
    euros = await admin.create("campaign", "euros")
    await admin.publish(euros)
    amounts = {name: {"currency_code": "USD", "units": 1} for name in ("bid", "daily_budget")}
    dollars = await admin.create("campaign", "dollars", campaign_with(**amounts))
    request = control_pb2.PublishResourcesRequest(resources=[reference_to(dollars)])
    error = await refused(admin, "PublishResources", request)
    assert "use one currency" in next(iter(wrong_fields(error).values()))


async def test_what_does_not_fit_together_is_not_published(clients: dict[str, Client]) -> None:
    """What overlaps, unknown ids and open reviews are refused; the last snapshot stays."""
    admin = clients["admin"]
    kinds = ("merchandising_rule", "serving_configuration", "synonym_set", "price_policy")
    assert await admin.publish(*[await admin.create(kind, "good") for kind in kinds]) == 1
    arm = {"name": "b", "share": 0.1, "serving_configuration_id": "none"}
    wrong = {
        "merchandising_rule": None,
        "serving_configuration": None,
        "synonym_set": {"words": ["Jacket", "coat"]},
        "price_policy": {"minimum_margin": 0.2},
        "experiment": {"arms": [{"name": "a", "share": 0.5}, arm]},
        "review": {"question": "Well?"},
    }
    for kind, content in wrong.items():
        draft = await admin.create(kind, "wrong", content)
        request = control_pb2.PublishResourcesRequest(resources=[reference_to(draft)])
        found = wrong_fields(await refused(admin, "PublishResources", request))
        assert list(found) == ["resources[0]"], kind
    snapshot = (await anext(admin.watch().__aiter__())).snapshot
    assert (snapshot.version, len(snapshot.resources)) == (1, 4)


WAITING = {**CONTENTS["merchandising_rule"], "only_in_experiments": True}
# What a publish of experiments refuses: those that are published, the new one, and what names problem and remedy.
TOGETHER = [
    ([experiment_with(traffic_share=0.6)], experiment_with(traffic_from=0.5), "set traffic_from to 0.6"),
    ([experiment_with()], experiment_with(traffic_share=0.1), "the layer is full: use another layer"),
    ([holdout()], {**holdout(), "layer": "second"}, "archive one of them"),
    ([], experiment_with(rule_ids=["none"]), "arms[0].rule_ids: the rule 'none' is not published; publish it"),
    ([], experiment_with(rule_ids=["live"]), "arms[0].rule_ids: the rule 'live' is effective for everybody"),
    ([], experiment_with(without_rule_ids=["waiting"]), "name it in rule_ids of the other arms"),
    ([], experiment_with(serving_configuration_id="none"), "arms[0].serving_configuration_id"),
    ([interleaving()], interleaving(layer="x"), "layer: an answer is interleaved once"),
    ([], interleaving(without_rule_ids=["live"]), "has the action 'pin', and arms of an interleaving differ in boosts"),
    ([], interleaving(serving_configuration_id="one"), "'one' and 'two' differ in more than slate and business"),
    ([], switchback("daily", "none"), "arms[1].price_policy_id: the price policy 'none' is not published"),
    ([], switchback("waiting", "daily"), "the price policy 'daily' applies to everything; set its only_in"),
    ([], switchback("daily", "looser"), "differ in maximum_discount, and both must bound prices alike"),
    ([], switchback("daily", "waiting", block_days=1), "periods of 48 hours do not divide blocks of 1 days"),
    ([switchback("daily", "waiting")], switchback("daily", "waiting"), "which 'first-0' has too; stop that one first"),
]  # fmt: skip


@pytest.mark.parametrize(("published", "content", "remedy"), TOGETHER)
async def test_experiments_that_cannot_run_together_are_refused(
    clients: dict[str, Client], published: list[dict[str, Any]], content: dict[str, Any], remedy: str
) -> None:
    """A unit is in one experiment of a layer; arms name what exists. The snapshot before stays effective."""
    admin = clients["admin"]
    rules = {"live": CONTENTS["merchandising_rule"], "waiting": WAITING}
    first = [await admin.create("merchandising_rule", id, rule) for id, rule in rules.items()]
    daily = {"period_hours": 48, "maximum_discount": 0.2, "policy": "list-price"}
    policies = {"daily": daily, "waiting": {**daily, "policy": "rules", "only_in_experiments": True}}
    policies["looser"] = {**policies["waiting"], "maximum_discount": 0.3}
    first += [await admin.create("price_policy", id, one) for id, one in policies.items()]
    for id, source in (("one", "popular"), ("two", "interests")):
        placements = {"home": {"sources": [{"source": source}]}}
        waiting = {"version": id, "placements": placements, "only_in_experiments": True}
        first.append(await admin.create("serving_configuration", id, waiting))
    first += [await admin.create("experiment", f"first-{n}", one) for n, one in enumerate(published)]
    assert await admin.publish(*first) == 1
    draft = await admin.create("experiment", "second", content)
    request = control_pb2.PublishResourcesRequest(resources=[reference_to(draft)])
    found = wrong_fields(await refused(admin, "PublishResources", request))
    assert remedy in found["resources[0]"]
    assert (await anext(admin.watch().__aiter__())).snapshot.version == 1


@pytest.mark.parametrize(
    "other",
    [
        {"traffic_from": 0.5},
        {"layer": "second"},
        {"starts_at": "2026-03-01T00:00:00Z"},
    ],
    ids=["another range", "another layer", "later"],
)
async def test_experiments_that_share_no_unit_run_together(clients: dict[str, Client], other: dict[str, Any]) -> None:
    """Two ranges of a layer, two layers, and one after the other."""
    admin = clients["admin"]
    ended = experiment_with(traffic_share=0.5, ends_at="2026-02-01T00:00:00Z")
    await admin.publish(await admin.create("experiment", "first", ended))
    assert await admin.publish(await admin.create("experiment", "second", experiment_with(**other))) == 2


async def test_a_configuration_of_an_experiment_may_have_a_placement_of_another(clients: dict[str, Client]) -> None:
    """Two configurations of one placement are published together if one waits for experiments."""
    admin = clients["admin"]
    usual = CONTENTS["serving_configuration"]
    both = [
        await admin.create("serving_configuration", "now", usual),
        await admin.create("serving_configuration", "new", {**usual, "only_in_experiments": True}),
    ]
    assert await admin.publish(*both, await admin.create("experiment", "e", experiment_with("new"))) == 1


async def test_a_used_configuration_is_not_archived(clients: dict[str, Client]) -> None:
    """What a published experiment names stays published."""
    admin = clients["admin"]
    config = await admin.create("serving_configuration", "new")
    arms = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "serving_configuration_id": "new"}]
    await admin.publish(config, await admin.create("experiment", "test", {"arms": arms}))
    config = (await admin.call("GetResource", get("serving_configuration", "new"))).resource
    request = control_pb2.ArchiveResourceRequest(resource=reference_to(config))
    assert (await refused(admin, "ArchiveResource", request)).code() is STATUS.FAILED_PRECONDITION


def requests(kind: str) -> dict[str, Any]:
    """One request of each method, about a resource that does not exist: only the role decides how far it gets."""
    resource = resource_of(kind, "shop", etag="1-d")
    return {
        "GetResource": get(kind, "shop"),
        "ListResources": control_pb2.ListResourcesRequest(kind=resource.kind),
        "ListRevisions": control_pb2.ListRevisionsRequest(kind=resource.kind, id="shop"),
        "CreateResource": control_pb2.CreateResourceRequest(resource=resource_of(kind, "shop", {"words": ["one"]})
            if kind == "synonym_set" else resource_of(kind, "wrong")),
        "UpdateResource": control_pb2.UpdateResourceRequest(resource=resource),
        "PublishResources": control_pb2.PublishResourcesRequest(resources=[reference_to(resource)]),
        "ArchiveResource": control_pb2.ArchiveResourceRequest(resource=reference_to(resource)),
        "RecordEntries": audit_pb2.RecordEntriesRequest(entries=[entry_of("q1")]),
        "RecordBills": budgets_pb2.RecordBillsRequest(bills=[bill_of("c")]),
        "LeaseBudgets": budgets_pb2.LeaseBudgetsRequest(replica_id="r", call_number=1),
        "ListBills": budgets_pb2.ListBillsRequest(),
        "ListEntries": audit_pb2.ListEntriesRequest(),
        "GetEntry": audit_pb2.GetEntryRequest(kind=audit_pb2.ENTRY_KIND_PRICE_QUOTE, id="unknown"),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["synonym_set", "tenant"])
@pytest.mark.parametrize("role", ROLES)
async def test_every_permission(clients: dict[str, Client], role: str, kind: str) -> None:
    """Each method of each role, for usual resources and for tenants: allowed or PERMISSION_DENIED, by the table.

    A recorder may only record, list bills, lease budgets and watch.
    """
    assert requests(kind).keys() | {"WatchSnapshots"} == LEAST_ROLE.keys()
    for method, request in requests(kind).items():
        least = LEAST_ROLE[method]
        if kind == "tenant" and least != "viewer":
            least = "admin"
        code = STATUS.OK
        try:
            await clients[role].call(method, request)
        except grpc.aio.AioRpcError as error:
            code = error.code()
        is_denied = LADDER.index(role) < LADDER.index(least) if role in LADDER else method not in OF_RECORDERS
        assert (code is STATUS.PERMISSION_DENIED) == is_denied, method
        assert code in (STATUS.OK, STATUS.NOT_FOUND, STATUS.INVALID_ARGUMENT, STATUS.PERMISSION_DENIED), method
    await clients["operator"].publish(
        await clients["operator"].create("review", "watched", tenant="shop"), tenant="shop"
    )
    assert (await anext(clients[role].watch().__aiter__())).snapshot.version == 1


async def test_tenants_do_not_see_each_other(clients: dict[str, Client]) -> None:
    """A key of another tenant finds nothing, may not name the tenant, and watches nothing of it; an operator may."""
    draft = await clients["approver"].create("synonym_set", "coats")
    assert await clients["approver"].publish(draft) == 1
    for method, request in requests("synonym_set").items():
        request.tenant = "shop"
        assert (await refused(clients["stranger"], method, request)).code() is STATUS.PERMISSION_DENIED, method
    assert (await refused(clients["stranger"], "GetResource", get("synonym_set", "coats"))).code() is STATUS.NOT_FOUND
    listed = await clients["stranger"].call("ListResources", control_pb2.ListResourcesRequest())
    assert not listed.resources
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(clients["stranger"].watch(tenant="shop").__aiter__())
    assert raised.value.code() is STATUS.PERMISSION_DENIED
    other = await clients["stranger"].create("synonym_set", "coats")
    await clients["stranger"].publish(other)
    stream = clients["stranger"].watch()
    assert (await anext(stream.__aiter__())).snapshot.tenant == "other"
    assert (await clients["operator"].call("GetResource", get("synonym_set", "coats", tenant="shop"))).resource.id
    both = clients["operator"].watch().__aiter__()
    assert {(await anext(both)).snapshot.tenant for _ in range(2)} == {"shop", "other"}


@pytest.mark.parametrize("name", ["", "nobody"])
async def test_without_a_known_key_nothing_is_answered(clients: dict[str, Client], name: str) -> None:
    """Every method is UNAUTHENTICATED, the watch stream too."""
    for method, request in requests("synonym_set").items():
        assert (await refused(clients[name], method, request)).code() is STATUS.UNAUTHENTICATED, method
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(clients[name].watch().__aiter__())
    assert raised.value.code() is STATUS.UNAUTHENTICATED


async def test_keys_rotate_without_a_restart(clients: dict[str, Client]) -> None:
    """A published key works within a second, one that has expired does not, and a removed one ends its streams."""
    operator, rotated = clients["operator"], clients["rotated"]
    key = {"name": "rotated", "sha256": digest_of("rotated"), "role": "editor"}
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()

    async def publish(*keys: dict[str, Any]) -> None:
        found = await operator.call("ListResources", control_pb2.ListResourcesRequest(tenant="shop"))
        content = {"keys": list(keys)}
        if found.resources:
            sent = resource_of("tenant", "shop", content, found.resources[0].etag)
            request = control_pb2.UpdateResourceRequest(tenant="shop", resource=sent)
            draft = (await operator.call("UpdateResource", request)).resource
        else:
            draft = await operator.create("tenant", "shop", content, tenant="shop")
        await operator.publish(draft, tenant="shop")

    async def answers() -> bool:
        try:
            await rotated.call("ListResources", control_pb2.ListResourcesRequest())
        except grpc.aio.AioRpcError as error:
            return error.code() is not STATUS.UNAUTHENTICATED
        return True

    async def until(expected: bool) -> None:
        async with asyncio.timeout(SOON_S):
            while await answers() != expected:  # noqa: ASYNC110 - another process would tell nobody either
                await asyncio.sleep(0.02)

    assert not await answers()
    await publish(key)
    await until(True)
    stream = rotated.watch().__aiter__()
    await anext(stream)
    await publish({**key, "expires_at": past})
    await until(False)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(stream)
    assert raised.value.code() is STATUS.UNAUTHENTICATED
    assert (await clients["stranger"].call("ListResources", control_pb2.ListResourcesRequest())) is not None


async def test_a_watcher_gets_each_publish(clients: dict[str, Client]) -> None:
    """The current snapshot comes at once, and the next one within a second after its publish; kinds are filtered."""
    approver = clients["approver"]
    first = await approver.create("synonym_set", "coats")
    await approver.publish(first)
    stream, of_rules = approver.watch().__aiter__(), approver.watch(control_pb2.RESOURCE_KIND_MERCHANDISING_RULE)
    assert [one.id for one in (await anext(stream)).snapshot.resources] == ["coats"]
    rules = of_rules.__aiter__()
    assert not (await anext(rules)).snapshot.resources
    await approver.publish(await approver.create("merchandising_rule", "pin"))
    async with asyncio.timeout(SOON_S):
        snapshot, filtered = (await anext(stream)).snapshot, (await anext(rules)).snapshot
    assert [(one.kind, one.id) for one in snapshot.resources] == [
        (control_pb2.RESOURCE_KIND_MERCHANDISING_RULE, "pin"), (SYNONYMS, "coats"),
    ]  # fmt: skip
    assert [one.id for one in filtered.resources] == ["pin"]
    assert snapshot.version == filtered.version == 2
    assert snapshot.resources[0].merchandising_rule.actions[0].pin.product_id == "p1"


async def test_a_stop_ends_watchers_at_once(tmp_path: Path) -> None:
    """A stop reports NOT_SERVING and does not wait for watch streams: they connect to another control."""
    async with running(tmp_path) as server:
        client = Client(server.port)
        stub = health_pb2_grpc.HealthStub(client.channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest())  # type: ignore[attr-defined]
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        await client.publish(await client.create("synonym_set", "coats"))
        stream = client.watch().__aiter__()
        await anext(stream)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await anext(stream)
    assert raised.value.code() is STATUS.UNAVAILABLE
    await client.channel.close()
