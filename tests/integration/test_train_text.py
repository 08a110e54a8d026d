"""`kairos train --only text` and `--only compression` on a whole suite in one process: served, and taken back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cli.main import app
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.models.registry import ModelRegistry
from services.common.models.text_version import EXPORTED, FUSION
from tests.integration.test_new_encoder import dense, imported, searching
from tests.unit.training.search_shop import COLOURS, THINGS, tiny_bert

MADE = ("old", "new", "big", "flat", "soft", "warm", "cold", "light", "round", "long", "short", "thick")
KINDS = [*COLOURS, *MADE], [*THINGS, *(f"{thing}{number}" for thing in THINGS for number in ("a", "b"))]
QUERY = "red shoelike"


@pytest.fixture
def layers() -> int:
    """Of the model of the settings."""
    return 1


@pytest.fixture
def connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layers: int) -> Iterator[Connection]:
    """To a suite with 324 products, and one imported search with a click for each."""
    base = tiny_bert(tmp_path / "base", *KINDS, layers=layers, units=64 if layers == 1 else 2_048)
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_MODEL_DIR", str(base))
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_MODEL_VERSION", "tiny@1")
    monkeypatch.setenv("KAIROS_QUERY_ENCODER_MODEL_CACHE_DIR", str(tmp_path / "models"))
    random, ids = np.random.default_rng(0), [f"{one}-{thing}" for one in KINDS[0] for thing in KINDS[1]]
    lines = [json.dumps({"id": id, "title": id.replace("-", " ")}) for id in ids]
    (tmp_path / "products.jsonl").write_text("\n".join(lines))
    rows = ["event_id,visitor_id,session_id,item_id,type,time,query"]
    for number, id in enumerate(ids):
        when = f"2026-11-20T{number // 60:02}:{number % 60:02}:"
        shown = random.permutation([id, *random.choice(ids, 4)]).tolist()
        query = f"{id.replace('-', ' ')}like"
        rows += [
            f"{number}-{at},v{number},s{number},{one},impression,{when}00Z,{query}" for at, one in enumerate(shown)
        ]
        rows.append(f"{number}-c,v{number},s{number},{id},click,{when}05Z,")
    (tmp_path / "lists.csv").write_text("\n".join(rows))
    with in_process_suite(tmp_path) as suite:
        found = Connection(suite.gateway_target, timeout_s=20)
        imported(found, tmp_path, "products.jsonl")
        kairos(found, "events", "import", str(tmp_path / "lists.csv"), "--strict")
        yield found


def kairos(connection: Connection, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["--target", connection.target, *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def eventually(is_so: Callable[[], bool], limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_trained_served_and_taken_back(connection: Connection, tmp_path: Path) -> None:
    """The version has what encoder and retrieval read, answers after its promotion, and no more after the rollback."""
    before = dense(connection, QUERY)
    here = ["--data-dir", str(tmp_path), "--json"]
    (text,) = json.loads(kairos(connection, "train", "--only", "text", "--small", *here))["models"]
    assert text["version"] == "0001", text
    registry = ModelRegistry(tmp_path / "ranker" / "models" / "default" / "text")
    folder, exports = registry.path("0001"), list((tmp_path / "models").iterdir())
    assert list((folder / EXPORTED).glob("*/encoder.int8.onnx"))
    assert (folder / FUSION / "fusion.json").is_file()
    assert dense(connection, QUERY) == before
    kairos(connection, "models", "promote", "text/0001", *here)
    eventually(lambda: dense(connection, QUERY) != before)
    # Its own export is served.
    assert list((tmp_path / "models").iterdir()) == exports
    state = json.loads(kairos(connection, "catalog", "reembed", "--json"))
    assert state["live"]["model_version"] == text["model_version"]
    kairos(connection, "models", "rollback", "--kind", "text", *here)
    eventually(lambda: dense(connection, QUERY) == before)


@pytest.mark.parametrize("layers", [6])
def test_a_smaller_copy_is_served_and_taken_back(connection: Connection, tmp_path: Path) -> None:
    """A killed compression leaves the registry as it was, and its successor uses the copies that it finished.

    The version is faster and not worse; after its promotion its vectors answer, and no more after the rollback.
    """
    before = dense(connection, QUERY)
    command, here = ["train", "--only", "compression", "--small"], ["--data-dir", str(tmp_path)]
    registry = ModelRegistry(tmp_path / "ranker" / "models" / "default" / "text")
    (row,) = json.loads(kairos(connection, *command, "--dry-run", *here, "--json"))["models"]
    assert row["missing"] == ""
    killed = subprocess.Popen(
        [sys.executable, "-c", "from cli.main import app; app()", "--target", connection.target, *command, *here],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = tmp_path / "train" / "default" / "compression"
    # A process that starts, prunes and exports.
    eventually(lambda: any(folder.glob("*/pruned-l2")), limit_s=180.0)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert registry.versions() == []
    (made,) = folder.glob("*/pruned-l2/encoder/*.safetensors")
    weights = made.read_bytes()
    (text,) = json.loads(kairos(connection, *command, *here, "--json"))["models"]
    assert (text["result"], text["name"]) == ("in shadow", "text/0001"), text
    assert text["figures"]["ms"] < 0.9 * text["figures"]["ms of current"]
    assert [file.read_bytes() for file in registry.path("0001").glob("encoder/*.safetensors")] == [weights]
    assert dense(connection, QUERY) == before
    with searching(connection, QUERY) as during:
        kairos(connection, "models", "promote", "text/0001", *here, "--json")
        eventually(lambda: dense(connection, QUERY) != before)
        kairos(connection, "models", "rollback", "--kind", "text", *here, "--json")
        eventually(lambda: dense(connection, QUERY) == before)
    # Each answer has the vectors of one model.
    assert len({str(answer) for answer in during}) == 2
