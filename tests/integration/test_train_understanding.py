"""`kairos train --only understanding` on a whole suite in one process: killed, trained, served and taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from demo.catalogue import build_catalogue
from demo.loading import load_shop
from kairos.encoder.v1 import encoder_pb2
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.models.registry import ModelRegistry

# No rule reads it.
QUERY = "it was supposed to be delivered on monday"
COMMAND = ["train", "--only", "understanding", "--small"]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    with in_process_suite(tmp_path, encoder={"registry_poll_s": 0.05}) as suite:
        (tmp_path / "files").mkdir()
        found = Connection(suite.gateway_target, timeout_s=20)
        load_shop(found, tmp_path / "files", build_catalogue(size=240), 20, 5)
        yield found


def kairos(connection: Connection, folder: Path, *arguments: str) -> Any:
    options = ["--target", connection.target, *arguments, "--data-dir", str(folder), "--json"]
    result = CliRunner().invoke(app, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def intent(connection: Connection) -> tuple[str, str]:
    """(intent, model version) that the answer to QUERY has; empty without an understanding."""
    with connection.stub() as stub:
        answer = stub.Search(gateway_pb2.SearchRequest(query=QUERY), timeout=20)
    said = answer.interpretation.understanding
    return encoder_pb2.Intent.Name(said.intent.value) if said.HasField("intent") else "", said.model_version


@contextmanager
def asking(connection: Connection) -> Iterator[list[tuple[str, str]]]:
    """Asks for the intent of QUERY while the block runs; the list then has all answers. A failed search fails."""
    stop, seen = threading.Event(), list[tuple[str, str]]()

    def go_on() -> None:
        while not stop.is_set():
            seen.append(intent(connection))

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(go_on)
        try:
            yield seen
        finally:
            stop.set()
    asked.result()


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_trained_served_and_taken_back(connection: Connection, tmp_path: Path) -> None:
    """A killed training leaves the registry as it was. A version answers after its promotion, and no more after the
    rollback; searches go on meanwhile, each with one version.
    """
    registry = ModelRegistry(tmp_path / "ranker" / "models" / "default" / "understanding")
    (row,) = kairos(connection, tmp_path, *COMMAND, "--dry-run")["models"]
    assert (row["missing"], row["data"].split()[0]) == ("", "240")
    killed = subprocess.Popen(
        [
            sys.executable, "-c", "from cli.main import app; app()",
            "--target", connection.target, *COMMAND, "--data-dir", str(tmp_path),
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    eventually((tmp_path / "train" / "default" / "understanding").exists)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert registry.versions() == []
    (trained,) = kairos(connection, tmp_path, *COMMAND)["models"]
    assert (trained["result"], trained["name"]) == ("proposed", "understanding/0001"), trained
    assert intent(connection) == ("", "")
    by_version = ("INTENT_ORDER", trained["model_version"])
    with asking(connection) as seen:
        kairos(connection, tmp_path, "models", "promote", "understanding/0001")
        eventually(lambda: intent(connection) == by_version)
        kairos(connection, tmp_path, "models", "rollback", "--kind", "understanding")
        eventually(lambda: intent(connection) == ("", ""))
    assert set(seen) == {("", ""), by_version}
    shown = kairos(connection, tmp_path, "models", "show", "understanding/0001")
    assert shown["metrics"]["category, low"] > 0
