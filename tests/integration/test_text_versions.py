"""Versions of the text model through all real services, without Ray: promoted, shared, rolled back under searches."""

from __future__ import annotations

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from kairos.gateway.v1 import gateway_pb2
from ops.client import Connection
from ops.in_process import in_process_suite
from services.common.gateway_access import GatewayAccessSettings
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.common.models.text_version import ENCODER, TextVersion, write_text_version
from services.learner.text_trials import GatewayCollections
from tests.integration.test_new_encoder import OLD, SIZE, bert, dense, imported, kairos, search, searching, shop
from tests.unit.ranker.shopper_folders import write_version

__all__ = ["shop"]  # a fixture

ONE, TWO = "text@aaaaaaaaaaaa", "text@bbbbbbbbbbbb"
QUERY = "wireless headphones"
POLL_S = 0.05


@pytest.fixture(scope="module")
def encoders(shop: Path) -> Path:
    """Two more models that know the shop's words."""
    words = list(json.loads((shop / OLD / "tokenizer.json").read_text())["model"]["vocab"])[4:]
    bert(shop / "trained" / ONE, words, 3, 24)
    bert(shop / "trained" / TWO, words, 4, 32)
    return shop / "trained"


@pytest.fixture
def registry(tmp_path: Path, encoders: Path) -> ModelRegistry:
    """Versions 0001 and 0002, none of them in use."""
    found = ModelRegistry(tmp_path / "ranker" / "models" / "default" / "text")
    for name in (ONE, TWO):

        def save(folder: Path, name: str = name) -> None:
            write_text_version(TextVersion(name, 1.0, 0.15, fusion=False), folder)
            shutil.copytree(encoders / name, folder / ENCODER)

        found.publish(save, {"created_s": 1.0, "kind": "text"})
    return found


@pytest.fixture
def connection(tmp_path: Path, shop: Path, registry: ModelRegistry) -> Iterator[Connection]:
    """To a suite with the shop's catalogue, whose query encoder follows the registry."""
    encoder = {
        "model_dir": shop / OLD,
        "model_version": OLD,
        "model_cache_dir": shop / "models",
        "backend": "onnx-fp32",
    }
    with in_process_suite(tmp_path, encoder=encoder | {"registry_poll_s": POLL_S}) as suite:
        found = Connection(suite.gateway_target, timeout_s=20)
        imported(found, shop)
        yield found


def models(connection: Connection, registry: ModelRegistry, *arguments: str, code: int = 0) -> Result:
    root = registry.folder.parents[1]
    result = CliRunner().invoke(
        app, ["--target", connection.target, "models", *arguments, "--registry", str(root)],
        env={"COLUMNS": "200", "NO_COLOR": "1"},
    )  # fmt: skip
    assert result.exit_code == code, result.output
    return result


def collections(connection: Connection) -> tuple[str, str, int]:
    """(model version of the live collection, that of the staged one, products of the staged one)."""
    result = CliRunner().invoke(app, ["--target", connection.target, "catalog", "reembed", "--json"])
    state = json.loads(result.stdout)
    staged = state.get("staged", {})
    return state["live"]["model_version"], staged.get("model_version", ""), int(staged.get("product_count", 0))


def test_promoted_and_back_under_searches(connection: Connection, registry: ModelRegistry) -> None:
    """Each search has its dense leg by one model, while versions are promoted one after the other and rolled back.

    What is imported after a promotion is found after the rollback too.
    """
    of_settings = dense(connection, QUERY)
    with searching(connection, QUERY) as during:
        assert "current: text/0001" in models(connection, registry, "promote", "text/0001").output
        assert collections(connection) == (ONE, OLD, SIZE)
        models(connection, registry, "promote", "text/0002")
        assert collections(connection) == (TWO, ONE, SIZE)
        models(connection, registry, "rollback", "--kind", "text")
        assert collections(connection) == (ONE, TWO, SIZE)
    seen = {str(answer) for answer in during}
    assert len(seen) == 3
    assert str(of_settings) in seen
    assert registry.rollout().current == "0001"
    assert "text/0002" in models(connection, registry, "list", "--kind", "text").output


def test_an_import_after_a_promotion(connection: Connection, registry: ModelRegistry, shop: Path) -> None:
    """A product that came with a version is found by it, and by the version before after a rollback."""
    # As training leaves a version that it proposes.
    registry.take_step(StepKind.SHADOW, "0001", lambda now: now.with_shadow("0001"))
    models(connection, registry, "promote", "text/0001")
    (shop / "more.jsonl").write_text(f'{{"id": "late", "title": "{QUERY}"}}\n')
    imported(connection, shop, "more.jsonl")
    assert collections(connection) == (ONE, OLD, SIZE + 1)
    assert dense(connection, QUERY)["late"] == pytest.approx(1, abs=0.01)
    models(connection, registry, "rollback")
    assert collections(connection) == (OLD, ONE, SIZE + 1)
    eventually(lambda: registry.rollout().current == "" and dense(connection, QUERY)["late"] > 0.99)


def answer(connection: Connection, user: str) -> str:
    """The dense scores of a user's search, as text. There are no degradations."""
    message = gateway_pb2.SearchRequest(query=QUERY, explain=True, page_size=20, user_id=user)
    with connection.stub() as stub:
        found = stub.Search(message, timeout=connection.timeout_s)
    assert not found.degradations
    return str({result.product.id: round(result.stage_scores.dense, 3) for result in found.results})


def version_of(connection: Connection, user: str) -> str:
    """The text version in the model version of the order of a user's search."""
    asked = gateway_pb2.SearchRequest(query=QUERY, user_id=user)
    with connection.stub() as stub:
        item_id = stub.Search(asked, timeout=connection.timeout_s).results[0].product.id
        said = stub.ExplainItem(gateway_pb2.ExplainItemRequest(item_id=item_id, search=asked), timeout=20)
    return str(said.model_version).partition("+")[2]


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(POLL_S)


def test_a_share_of_the_shoppers(connection: Connection, registry: ModelRegistry, shop: Path) -> None:
    """With a share of a half each person keeps the arm, and about half have each; a request of nobody has the current
    version. Products of an import are found by both.
    """
    users = [f"user-{number}" for number in range(16)]
    before = answer(connection, "")
    models(connection, registry, "promote", "text/0001", "--share", "0.5")
    assert collections(connection) == (OLD, ONE, SIZE)
    eventually(lambda: any(answer(connection, user) != before for user in users))
    assert {version_of(connection, user) for user in users} == {"", ONE}
    arms = {user: answer(connection, user) for user in users}
    assert arms == {user: answer(connection, user) for user in users}
    assert len(set(arms.values())) == 2
    assert 3 <= sum(arm == before for arm in arms.values()) <= 13
    assert answer(connection, "") == before
    (shop / "more.jsonl").write_text(f'{{"id": "late", "title": "{QUERY}"}}\n')
    with searching(connection, QUERY):
        imported(connection, shop, "more.jsonl")
        after = {user: answer(connection, user) for user in users}
    assert {user for user in users if after[user] == after[users[0]]} == {
        user for user in users if arms[user] == arms[users[0]]
    }
    assert all("'late': 1.0" in each for each in after.values())
    models(connection, registry, "rollback", "--kind", "text")
    eventually(lambda: {answer(connection, user) for user in users} == {answer(connection, "")})


def test_the_learner_switches_the_collections(connection: Connection, registry: ModelRegistry) -> None:
    """To a version with a share, before its promotion; repeated, nothing changes. An incomplete one is refused."""
    before = answer(connection, "")
    switch = GatewayCollections(GatewayAccessSettings(target=connection.target)).switch
    with pytest.raises(ValueError, match="no collection has vectors of"):
        switch(ONE)
    models(connection, registry, "promote", "text/0001", "--share", "0.001")
    for _ in range(2):
        switch(ONE)
        assert collections(connection) == (ONE, OLD, SIZE)
    # The pointer has not changed yet, and the share is too small for this shopper. Retrieval follows the switch.
    eventually(lambda: answer(connection, "") == before)
    models(connection, registry, "promote", "text/0001")
    eventually(lambda: answer(connection, "") != before)


def test_the_learner_reads_the_counts_of_searches_in_shadow(connection: Connection, registry: ModelRegistry) -> None:
    """Of the trial that the pointer names: a tenth of the searches, each time that they are asked for anew."""
    models(connection, registry, "promote", "text/0001", "--share", "0")
    trial = registry.rollout().trial
    numbers = itertools.count()

    def counts() -> float:
        # Retrieval answers an equal query from memory.
        search(connection, f"{QUERY} {next(numbers)}")
        found = GatewayCollections(GatewayAccessSettings(target=connection.target)).shadow_counts(trial)
        return found.get("shadow.requests", 0.0)

    eventually(lambda: counts() >= 2)
    other = GatewayCollections(GatewayAccessSettings(target=connection.target)).shadow_counts("trial:0002@1")
    assert not other


def test_a_command_that_was_killed(connection: Connection, registry: ModelRegistry) -> None:
    """Killed at any step, a promotion leaves searches as they were; repeated, it is carried through."""
    before = dense(connection, QUERY)
    command = [
        sys.executable, "-c", "from cli.main import app; app()", "--target", connection.target,
        "models", "promote", "text/0001", "--registry", str(registry.folder.parents[1]),
    ]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: registry.rollout().challenger == "0001" or process.poll() is not None)
        process.kill()
    assert registry.rollout().current == ""
    assert dense(connection, QUERY) == before
    # As if it had died between the switch and the pointer.
    models(connection, registry, "promote", "text/0001", "--share", "0")
    kairos(connection, "--model-version", ONE)
    assert collections(connection) == (ONE, OLD, SIZE)
    # As soon as the services have read the pointer.
    eventually(lambda: dense(connection, QUERY) == before)
    # Another version may take its place, and then the first one.
    models(connection, registry, "promote", "text/0002", "--share", "0")
    assert collections(connection) == (OLD, TWO, SIZE)
    assert dense(connection, QUERY) == before
    models(connection, registry, "promote", "text/0001")
    models(connection, registry, "promote", "text/0001")
    assert collections(connection) == (ONE, OLD, SIZE)
    eventually(lambda: dense(connection, QUERY) != before)
    assert registry.rollout().before == ("",)
    # The current version to all users: the trial of another one ends.
    models(connection, registry, "promote", "text/0002", "--share", "0.5")
    models(connection, registry, "promote", "text/0001")
    assert (registry.rollout().current, registry.rollout().other) == ("0001", None)


def test_a_proposed_version_goes_back(connection: Connection, registry: ModelRegistry) -> None:
    """A version that training proposed is removed also if its promotion died between the switch and the pointer."""
    before = dense(connection, QUERY)
    registry.take_step(StepKind.SHADOW, "0001", lambda now: now.with_shadow("0001"))
    models(connection, registry, "promote", "text/0001", "--share", "0")
    kairos(connection, "--model-version", ONE)
    assert collections(connection) == (ONE, OLD, SIZE)
    models(connection, registry, "rollback", "--kind", "text")
    assert collections(connection) == (OLD, ONE, SIZE)
    assert (registry.rollout().current, registry.rollout().other) == ("", None)
    assert dense(connection, QUERY) == before


def test_an_empty_catalogue(tmp_path: Path, shop: Path, registry: ModelRegistry) -> None:
    """A version that was promoted before the first import is left by the settings' model, once that embedded."""
    registry.take_step(StepKind.PROMOTED, "0001", lambda now: now.promoted("0001", keep=True))
    encoder = {
        "model_dir": shop / OLD,
        "model_version": OLD,
        "model_cache_dir": shop / "models",
        "backend": "onnx-fp32",
    }
    with in_process_suite(tmp_path, encoder=encoder) as suite:
        connection = Connection(suite.gateway_target, timeout_s=20)
        imported(connection, shop)
        assert collections(connection)[0] == ONE
        assert "repeat the command" in models(connection, registry, "rollback", "--kind", "text", code=2).output
        kairos(connection, "--model-version", OLD)
        models(connection, registry, "rollback", "--kind", "text")
        eventually(lambda: registry.rollout().current == "" and not search(connection, QUERY).degradations)
        assert collections(connection) == (OLD, ONE, SIZE)


def test_the_shopper_model_stays(connection: Connection, registry: ModelRegistry) -> None:
    """A switch stores the item vectors of the shopper model that serves again, and says which products have none."""
    shoppers = ModelRegistry(registry.folder.parent / "shopper")
    with connection.stub() as stub:
        ids = [each.product.id for each in stub.ListProducts(gateway_pb2.ListProductsRequest(page_size=10)).products]

        def described() -> list[tuple[str, bool, int]]:
            held = stub.DescribeItemVectors(gateway_pb2.DescribeItemVectorsRequest()).versions
            return [(each.model_version, each.is_complete, each.product_count) for each in held]

        items, text_map = {id: (1.0, number) for number, id in enumerate(ids)}, [(1.0, 0.0)] * 16

        def save(folder: Path) -> None:
            write_version(folder, items, "a" * 12, OLD, text_map)

        name = f"shopper/{shoppers.publish(save, {})}"
        assert "not found" not in models(connection, registry, "promote", name).output
        assert described() == [("shopper@aaaaaaaaaaaa", True, SIZE)]
        assert "kairos train --only shopper" in models(connection, registry, "promote", "text/0001").output
        assert described() == [("shopper@aaaaaaaaaaaa", True, len(ids))]
        models(connection, registry, "rollback", "--kind", "text")
        assert described() == [("shopper@aaaaaaaaaaaa", True, SIZE)]
