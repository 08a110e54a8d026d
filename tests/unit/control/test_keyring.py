"""The API keys of control: those of the settings, and those of published tenants."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from services.common.errors import Unauthenticated
from services.control.domain.permissions import Caller
from services.control.keyring import Keyring
from services.control.settings import ApiKey, SecuritySettings


def digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def tenant(*keys: str, **fields: Any) -> dict[str, Any]:
    return {"keys": [{"name": key, "sha256": digest(key), "role": "editor", **fields} for key in keys]}


def caller(keyring: Keyring, key: str) -> Caller | None:
    try:
        return keyring.caller([("authorization", f"Bearer {key}")])
    except Unauthenticated:
        return None


@pytest.fixture
def keyring() -> Keyring:
    return Keyring(SecuritySettings(api_keys=(ApiKey(sha256=digest("root"), name="root", tenant="*", role="admin"),)))


def test_a_key_of_two_tenants(keyring: Keyring) -> None:
    """It is one of neither, also where only one of them gives it a role here; when one lets it go the other has it."""
    both = {"a": tenant("anna", "ben"), "b": tenant("ben")}
    keyring.update(both)
    assert caller(keyring, "anna") == Caller("anna", "a", "editor")
    assert caller(keyring, "ben") is None
    keyring.update({**both, "a": tenant("ben", role=None, gateway_role="read")})
    assert caller(keyring, "ben") is None
    keyring.update({"b": tenant("ben")})
    assert caller(keyring, "ben") == Caller("ben", "b", "editor")


def test_the_settings_win(keyring: Keyring) -> None:
    """A tenant that publishes the operator's key does not change what the key may."""
    keyring.update({"a": tenant("root")})
    assert caller(keyring, "root") == Caller("root", "*", "admin")


def test_a_tenant_that_cannot_be_read(keyring: Keyring) -> None:
    """The keys of the other tenants are in force."""
    keyring.update({"a": {"keys": [{"colour": "red"}]}, "b": tenant("ben")})
    assert caller(keyring, "ben") is not None
