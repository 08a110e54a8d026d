"""The secrets that `python -m deploy.secrets` writes."""

from __future__ import annotations

import hashlib
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from deploy.checks.build import Object
from deploy.checks.schemas import schema_problems
from deploy.secrets import filled
from services.gateway.settings import GatewaySettings

KEY = "the-key"


@pytest.fixture(scope="module")
def made() -> dict[str, Object]:
    from deploy.checks.build import example_secrets

    return {item["metadata"]["name"]: item for item in filled(example_secrets(), KEY, datetime.now(UTC))}


def test_every_value_is_there(made: dict[str, Object]) -> None:
    """They hold to their schema, and only the bucket is left to be filled in."""
    assert list(schema_problems(list(made.values()), None)) == []
    open_ones = {
        name for name, item in made.items() if any(value.startswith("<") for value in item["stringData"].values())
    }
    assert open_ones == {"kairos-snapshots"}


def test_no_password_comes_twice(made: dict[str, Object]) -> None:
    """Each password is random and long."""
    passwords = [
        made["kairos-gateway"]["stringData"]["token-key"],
        made["kairos-qdrant"]["stringData"]["api-key"],
        made["kairos-redis"]["stringData"]["password"],
        made["kairos-stages"]["stringData"]["secret"],
    ]
    assert len(set(passwords)) == 4
    assert min(map(len, passwords)) >= 32


def test_the_gateway_takes_its_settings(made: dict[str, Object]) -> None:
    """gateway.yaml is a settings file of the gateway, with the digests of your key and of those of four programs."""
    settings = GatewaySettings.model_validate(yaml.safe_load(made["kairos-gateway"]["stringData"]["gateway.yaml"]))
    programs = ("kairos-price-publisher", "kairos-biller", "kairos-learner", "kairos-experiments")
    keys = (KEY, *(made[name]["stringData"]["api-key"] for name in programs))
    assert [(key.sha256, key.role) for key in settings.security.api_keys] == [
        (hashlib.sha256(key.encode()).hexdigest(), "write") for key in keys
    ]


@pytest.mark.parametrize(
    ("secret", "service"),
    [("kairos-gateway-tls", "kairos-gateway"), ("kairos-qdrant-tls", "kairos-qdrant"),
     ("kairos-qdrant-tls", "kairos-qdrant-2.kairos-qdrant-nodes"), ("kairos-redis-tls", "kairos-redis"),
     ("kairos-stages-tls", "kairos-ranker"), ("kairos-stages-tls", "kairos-suite")],
)  # fmt: skip
def test_a_client_that_trusts_the_authority_trusts_the_service(
    secret: str, service: str, made: dict[str, Object], tmp_path: Path
) -> None:
    """A TLS handshake by the Service's name succeeds with ca.crt, and not without."""
    files = made[secret]["stringData"]
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    shake_hands(server, ssl.create_default_context(cadata=files["ca.crt"]), f"{service}.kairos.svc")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(server, ssl.create_default_context(), service)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor(1) as threads:
        answer = threads.submit(server.wrap_socket, theirs, server_side=True)
        with client.wrap_socket(ours, server_hostname=name):
            answer.result().close()
