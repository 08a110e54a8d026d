"""The gateway's container as deploy/k8s describes it, started here: its command, its variables, its secrets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import grpc
import pytest

from deploy.checks.build import Overlay, built, example_secrets
from deploy.secrets import filled
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.control import health_of
from tests.e2e.suite import eventually
from tests.needed import needs

KEY = "a-key"


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """A caller of the gateway of `production`, started without its stages. Paths and addresses are this machine's."""
    needs("kubectl")
    overlay, folder = Overlay(built("production")), tmp_path_factory.mktemp("gateway")
    (pod,) = (pod for pod in overlay.pods if pod.owner == "Deployment/kairos-gateway")
    (container,) = pod.containers
    secrets = {item["metadata"]["name"]: item for item in filled(example_secrets(), KEY, datetime.now(UTC))}
    for volume in pod.spec["volumes"]:
        (mount,) = (mount for mount in container["volumeMounts"] if mount["name"] == volume["name"])
        place = folder / mount["mountPath"].lstrip("/")
        place.mkdir(parents=True)
        if "secret" in volume:
            for name, content in secrets[volume["secret"]["secretName"]]["stringData"].items():
                (place / name).write_text(content)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = {name: value for name, value in overlay.environment(container).items() if value is not None}
    for variable in container["env"]:
        if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
            variables[variable["name"]] = secrets[reference["name"]]["stringData"][reference["key"]]
    variables = {
        name: value.replace("/etc/", f"{folder}/etc/").replace("/data/", f"{folder}/data/")
        for name, value in variables.items()
    }
    variables |= {"KAIROS_GATEWAY_SERVER__PORT": str(port), "KAIROS_GATEWAY_METRICS__PORT": "0"}
    variables["KAIROS_GATEWAY_SERVER__DRAIN_S"] = "0"  # nothing is in flight when it ends
    process = subprocess.Popen(
        [sys.executable, "-m", "services.gateway"], env={**os.environ, **variables}, stderr=subprocess.DEVNULL
    )
    try:
        connection = Connection(f"localhost:{port}", KEY, tls_ca=folder / "etc/kairos/tls/ca.crt")
        eventually("the gateway listens", 30, lambda: health_of(connection.channel())["gateway"] == "SERVING")
        yield connection
    finally:
        process.terminate()
        process.wait(30)


def test_it_serves_over_tls_with_the_key(connection: Connection) -> None:
    """With the authority and the key of the secrets a caller gets an answer: of a gateway that misses its stages."""
    with connection.stub() as stub:
        call = stub.Search.with_call(gateway_pb2.SearchRequest(query="shoes"), timeout=5, metadata=connection.metadata)
    answer, _ = call
    assert answer.degradations


def test_it_refuses_callers_without_a_key(connection: Connection) -> None:
    """Without the key a call is refused, over TLS as well."""
    with connection.stub() as stub, pytest.raises(grpc.RpcError) as refused:
        stub.Search(gateway_pb2.SearchRequest(query="shoes"), timeout=5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
