"""API keys of the settings and of published tenants: who is accepted as whom after any sequence of publishes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from kairos.control.v1 import control_pb2
from services.common.control_access import ControlAccessSettings
from services.common.errors import InvalidArgument, PermissionDenied, Unauthenticated
from services.gateway.domain.quotas import KeyQuota, QuotaExceeded
from services.gateway.security import Authenticator, Caller
from services.gateway.settings import ApiKey, GatewaySettings, SecuritySettings

TENANTS, KEYS = ("default", "shop", "other"), ("a", "b", "c", "operator")
NOW_S = 1_000.0


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def snapshot(
    tenant: str, keys: dict[str, dict[str, Any]], quotas: dict[str, Any] | None = None
) -> control_pb2.Snapshot:
    """`keys`: by the key, the fields of a TenantKey."""
    content = {"keys": [{"name": key, "sha256": digest(key), **more} for key, more in keys.items()]}
    if quotas:
        content["quotas"] = quotas  # type: ignore[assignment]
    resource = {"kind": "RESOURCE_KIND_TENANT", "id": tenant, "tenant": content}
    return ParseDict({"tenant": tenant, "version": "1", "resources": [resource]}, control_pb2.Snapshot())


OPERATOR = ApiKey(sha256=digest("operator"), role="write")


@dataclass
class Gate:
    """An authenticator at a time that a test sets. Its settings have the key `operator` of the tenant `default`."""

    security: SecuritySettings = field(default_factory=lambda: SecuritySettings(api_keys=(OPERATOR,)))
    now_s: float = NOW_S

    def __post_init__(self) -> None:
        settings = GatewaySettings(security=self.security, control=ControlAccessSettings(target="127.0.0.1:1"))
        self.authenticator = Authenticator(settings, lambda: self.now_s)

    def publish(self, tenant: str, keys: dict[str, dict[str, Any]], quotas: dict[str, Any] | None = None) -> None:
        self.authenticator.prepare(snapshot(tenant, keys, quotas))()

    def caller(self, key: str, method: str = "Search") -> Caller:
        return self.authenticator.caller(method, [("authorization", f"Bearer {key}")])

    def accepts(self, key: str) -> Caller | None:
        try:
            return self.caller(key)
        except Unauthenticated:
            return None

    def quota(self, key: str) -> KeyQuota:
        quota = self.caller(key).quota
        assert quota is not None
        return quota


READ, WRITE = {"gateway_role": "read"}, {"gateway_role": "write"}


@dataclass(frozen=True)
class Published:
    """What a tenant publishes: by key, its role and whether it has expired; and its calls a second."""

    keys: dict[str, tuple[str, bool]]
    calls_per_s: int | None

    def document(self) -> dict[str, dict[str, Any]]:
        return {
            key: {"gateway_role": role, **({"expires_at": "1970-01-01T00:00:01Z"} if is_over else {})}
            for key, (role, is_over) in self.keys.items()
        }


publishes = st.lists(
    st.tuples(
        st.sampled_from(TENANTS),
        st.builds(
            Published,
            # "": the key has no role in the gateway.
            st.dictionaries(st.sampled_from(KEYS), st.tuples(st.sampled_from(("read", "write", "")), st.booleans())),
            st.sampled_from((None, 5, 7)),
        ),
    ),
    max_size=12,
)


@given(publishes)
def test_any_sequence_of_publishes(sequence: list[tuple[str, Published]]) -> None:
    """A key is accepted for the one tenant whose newest publish has it, with its role there, until it expires; the key
    of the settings stays what it is. The quota of a key that stays is the same object unless it was changed.
    """
    gate, newest, quotas = Gate(), dict[str, Published](), dict[tuple[str, str], KeyQuota]()
    for tenant, published in sequence:
        gate.publish(
            tenant, published.document(), {"calls_per_s": published.calls_per_s} if published.calls_per_s else {}
        )
        newest[tenant] = published
        seen = dict[tuple[str, str], KeyQuota]()
        for key in KEYS:
            owners = [name for name, one in newest.items() if one.keys.get(key, ("", False))[0]]
            caller, role, is_over = gate.accepts(key), "write", False
            if key == "operator":
                owners = ["default"]
            elif len(owners) == 1:
                role, is_over = newest[owners[0]].keys[key]
            if len(owners) != 1 or is_over:
                assert caller is None
                continue
            assert caller is not None
            assert (caller.tenant, caller.role, caller.key) == (owners[0], role, digest(key))
            quota, owner = gate.quota(key), newest.get(owners[0])
            assert quota.limits.calls_per_s == ((owner and owner.calls_per_s) or 200)
            before = quotas.get((owners[0], key))
            if before is not None and before.limits == quota.limits:
                assert quota is before
            seen[owners[0], key] = quota
        quotas = seen


@given(publishes, st.booleans())
def test_no_publish_opens_or_closes_a_gateway(sequence: list[tuple[str, Published]], required: bool) -> None:
    """Without keys in its settings a gateway accepts every caller as `default`, or, where keys are required, nobody
    without a key, whatever is published.
    """
    gate = Gate(SecuritySettings(api_keys_required=required))
    for tenant, published in sequence:
        gate.publish(tenant, published.document())
        if required:
            assert gate.accepts("nobody") is None
            with pytest.raises(Unauthenticated):
                gate.authenticator.caller("Search", [])
        else:
            assert [gate.accepts(key) for key in ("nobody", *KEYS)] == [Caller()] * 5
            assert gate.authenticator.caller("DeleteProducts", []) == Caller()


def test_a_removed_tenant() -> None:
    """A snapshot without its tenant ends the keys and the quotas of the tenant."""
    gate = Gate()
    gate.publish("default", {"a": READ}, {"calls_per_s": 3})
    assert gate.quota("operator").limits.calls_per_s == 3
    gate.authenticator.prepare(control_pb2.Snapshot(tenant="default", version=2))()
    assert gate.accepts("a") is None
    assert gate.quota("operator").limits.calls_per_s == 200


def test_a_tenant_has_its_own_keys_only() -> None:
    """A resource that is not the snapshot's own tenant gives no key, and a key of two tenants is one of neither."""
    gate, foreign = Gate(), snapshot("other", {"a": WRITE})
    foreign.tenant = "shop"
    gate.authenticator.prepare(foreign)()
    assert gate.accepts("a") is None
    gate.publish("shop", {"b": READ, "operator": READ})
    gate.publish("other", {"b": WRITE})
    assert gate.accepts("b") is None
    assert gate.caller("operator").tenant == "default"
    gate.publish("shop", {})
    assert gate.caller("b").tenant == "other"


def test_expiry_follows_the_clock() -> None:
    """A key is refused from its time on, with the time; nothing need be published for it."""
    gate = Gate()
    gate.publish("shop", {"a": {**READ, "expires_at": "1970-01-01T00:16:41Z"}})
    assert gate.caller("a").tenant == "shop"
    gate.now_s = NOW_S + 1
    with pytest.raises(Unauthenticated, match="expired at 1970-01-01T00:16:41"):
        gate.caller("a")


def test_roles_of_published_keys() -> None:
    """A key with the role read may not write; one without a role in the gateway, or an unknown one, is unknown."""
    gate = Gate()
    gate.publish("shop", {"a": READ, "b": {"role": "admin"}, "c": {"gateway_role": "owner"}})
    with pytest.raises(PermissionDenied):
        gate.caller("a", "DeleteProducts")
    assert (gate.accepts("b"), gate.accepts("c")) == (None, None)


def test_what_was_used_of_a_quota() -> None:
    """It stays used when another key is added or the role changes, and is new when the quota changes."""
    gate, quotas = Gate(), {"calls_per_s": 2, "calls_in_flight": 1, "import_streams": 9}
    gate.publish("shop", {"a": READ}, quotas)
    quota = gate.quota("a")
    assert (quota.limits.calls_in_flight, quota.limits.import_streams) == (1, 9)
    quota.take_call(0.0)
    gate.publish("shop", {"b": READ, "a": WRITE}, quotas)
    with pytest.raises(QuotaExceeded):
        gate.quota("a").take_call(0.0)
    gate.publish("shop", {"a": WRITE}, {**quotas, "calls_per_s": 3})
    gate.quota("a").take_call(0.0)


def test_the_own_quota_of_a_key_of_the_settings() -> None:
    """It is before the published one of its tenant, which is before the default."""
    own = ApiKey(sha256=digest("own"), calls_per_s=50)
    gate = Gate(SecuritySettings(api_keys=(own, OPERATOR)))
    gate.publish("default", {}, {"calls_per_s": 7, "calls_in_flight": 3})
    assert (gate.quota("own").limits.calls_per_s, gate.quota("own").limits.calls_in_flight) == (50, 3)
    assert gate.quota("operator").limits.calls_per_s == 7


@pytest.mark.parametrize("quotas", [{"calls_per_s": 0}, {"calls_in_flight": -1}, {"calls_per_s": "NaN"}])
def test_quotas_that_allow_nothing(quotas: dict[str, Any]) -> None:
    """A snapshot with one is refused: the keys before it stay in force."""
    gate = Gate()
    gate.publish("shop", {"a": READ})
    with pytest.raises(InvalidArgument, match="quotas"):
        gate.publish("shop", {}, quotas)
    assert gate.caller("a").tenant == "shop"


def test_required_keys_without_any() -> None:
    """Settings that nobody could call are refused at the start."""
    with pytest.raises(ValueError, match="nobody could call"):
        GatewaySettings.model_validate({"security": {"api_keys_required": True}})
