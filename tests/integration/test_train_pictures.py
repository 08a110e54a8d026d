"""`kairos train --only pictures` on a whole suite in one process: killed, trained, served and taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from typer.testing import CliRunner, Result

from cli.main import app
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.models.registry import ModelRegistry
from tests.unit.training.suite.test_pictures import draw
from training.suite.publishing import copy_files
from training.suite.settings import Least

# As few as a training takes.
PRODUCTS = Least().pictures


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """To a suite with a catalogue whose pictures it has not seen."""
    products = draw(tmp_path / "images", PRODUCTS)
    rows = [MessageToDict(product, preserving_proto_field_name=True) for product in products]
    (tmp_path / "products.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with in_process_suite(tmp_path, encoder={"registry_poll_s": 0.05}) as suite:
        found = Connection(suite.gateway_target, timeout_s=20)
        kairos(found, "catalog", "import", str(tmp_path / "products.jsonl"))
        yield found


def kairos(connection: Connection, *arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(
        app, ["--target", connection.target, *arguments], env={"COLUMNS": "400"}, catch_exceptions=False
    )
    assert result.exit_code == code, result.output
    return result


def nearest(connection: Connection, folder: Path) -> tuple[str, str]:
    """(id of the first result for the picture of product 7, empty; name of the error, empty)."""
    request = gateway_pb2.SearchRequest(image=(folder / "images" / "7.png").read_bytes())
    with connection.stub() as stub:
        try:
            answer = stub.Search(request, timeout=20)
        except grpc.RpcError as error:
            return "", error.code().name
    return answer.results[0].product.id if answer.results else "", ""


def eventually(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_trained_served_and_taken_back(connection: Connection, tmp_path: Path) -> None:
    """A killed training leaves the registry as it was, and is resumed. A version encodes pictures after its promotion,
    and no more after the rollback. A version with other vectors than the catalogue's is not promoted.
    """
    command = ["train", "--only", "pictures", "--images", str(tmp_path / "images"), "--small"]
    here = ["--data-dir", str(tmp_path)]
    registry = ModelRegistry(tmp_path / "ranker" / "models" / "default" / "pictures")

    def train(*options: str) -> Any:
        return json.loads(kairos(connection, *command, *here, "--json", *options).stdout)["models"][0]

    assert train("--dry-run")["missing"] == ""
    killed = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import app; app()", "--target", connection.target, *command, *here],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    eventually((tmp_path / "train" / "default" / "pictures" / "checkpoint.pt").exists, limit_s=180.0)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert registry.versions() == []
    first = train()
    assert (first["result"], first["name"]) == ("proposed", "pictures/0001"), first
    assert nearest(connection, tmp_path) == ("", "FAILED_PRECONDITION")
    kairos(connection, "models", "promote", "pictures/0001", *here)
    eventually(lambda: nearest(connection, tmp_path)[1] == "")
    kairos(connection, "catalog", "import", str(tmp_path / "products.jsonl"), "--images", str(tmp_path / "images"))
    assert nearest(connection, tmp_path) == ("7", "")
    other = registry.manifest("0001") | {"model_version": f"pictures@{'b' * 12}"}
    assert registry.publish(lambda folder: copy_files(registry.path("0001"), folder), other) == "0002"
    refused = kairos(connection, "models", "promote", "pictures/0002", *here, code=2)
    assert first["model_version"] in refused.output
    assert registry.rollout().current == "0001"
    kairos(connection, "models", "rollback", "--kind", "pictures", *here)
    eventually(lambda: nearest(connection, tmp_path) == ("", "FAILED_PRECONDITION"))
    kairos(connection, "models", "promote", "pictures/0001", *here)
    eventually(lambda: nearest(connection, tmp_path) == ("7", ""))
