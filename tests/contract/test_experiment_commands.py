"""`kairos experiments` and the watch, against a real control: start, what the log says, stop, the automatic stop."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from experiments.log import LogReader
from experiments.resources import State, experiments
from experiments.watch import Watch
from kairos.common.v1 import common_pb2, event_pb2, product_pb2
from kairos.control.v1 import control_pb2_grpc
from kairos.gateway.v1 import gateway_pb2_grpc
from services.common.experiment import Experiment
from services.pricing.learning.facts import Act, Interaction, Join, Paid, ShownOffer
from services.pricing.learning.ports import Log
from services.pricing.learning.settings import LEARNING_FOLDER
from services.pricing.learning.sqlite_store import SqliteDemandStore
from tests.contract.controls import key_of
from tests.contract.test_control_commands import Shell, shell, target
from tests.fakes.training_gateway import FakeTrainingGateway

__all__ = ["shell", "target"]  # fixtures

NOW_S = int(time.time())
POPULAR = {"placements": {"home": {"sources": [{"source": "popular"}]}}, "only_in_experiments": True}
CONTENT: dict[str, Any] = {
    "arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, "serving_configuration_id": "popular"}],
    "planned_units": 500,
}


@pytest.fixture
def gateway() -> Iterator[tuple[FakeTrainingGateway, str]]:
    fake = FakeTrainingGateway([], np.zeros((0, 2), np.float32))  # type: ignore[abstract]
    with fake.serving() as address:
        yield fake, address


def logged(fake: FakeTrainingGateway, units: int = 300, **slower: float) -> None:
    """Pages of units of both arms, and purchases of most units of b. `slower`: milliseconds, by arm."""
    for number in range(units):
        arm, user = "ab"[number % 2], f"u{number}"
        page = event_pb2.Impressions(
            ranking_id=f"r{number}", user_id=user, item_ids=["p1"], positions=[1], model_version="m",
            latency_ms=10 + number % 7 + slower.get(arm, 0.0),
        )  # fmt: skip
        page.shown_at.seconds = NOW_S - 900 + number
        page.experiment_arms.add(experiment="test", arm=arm)
        page.prices.offers.add(currency_code="EUR", units=20)
        fake.pages.append(page)
        if number % (2 if arm == "b" else 6) < 2:
            event = event_pb2.Event(event_id=f"e{number}", user_id=user, item_id="p1")
            event.type, event.occurred_at.seconds = event_pb2.EVENT_TYPE_PURCHASE, NOW_S - 890 + number
            fake.events.append(event)


def interleaved(fake: FakeTrainingGateway, units: int = 300) -> None:
    """Pages of two products, one of each arm; four of five units click on that of b, whose place varies."""
    for number in range(units):
        page = event_pb2.Impressions(ranking_id=f"r{number}", user_id=f"u{number}", item_ids=["p1", "p2"])
        page.positions.extend([1, 2])
        page.shown_at.seconds = NOW_S - 900 + number
        page.experiment_arms.add(experiment="test", arm="interleaved")
        teams = [1, 2] if number % 2 else [2, 1]
        page.interleaving.CopyFrom(event_pb2.Interleaving(experiment="test", arms=["a", "b"], teams=teams))
        fake.pages.append(page)
        of_arm = 2 if number % 5 else 1
        event = event_pb2.Event(event_id=f"e{number}", user_id=f"u{number}", type=event_pb2.EVENT_TYPE_CLICK)
        event.item_id, event.occurred_at.seconds = f"p{teams.index(of_arm) + 1}", NOW_S - 890 + number
        fake.events.append(event)


def write(shell: Shell, **fields: Any) -> None:
    documents = [
        {"kind": "serving_configuration", "id": "popular", "serving_configuration": {"version": "p", **POPULAR}},
        {"kind": "experiment", "id": "test", "experiment": {**CONTENT, **fields}},
    ]
    shell.write("test.yaml", yaml.safe_dump_all(documents))


def run(shell: Shell, *arguments: str, expected: int = 0) -> str:
    return shell.kairos(*arguments, group="experiments", expected=expected)


def state(shell: Shell) -> str:
    (one,) = json.loads(run(shell, "list", "--json"))
    return str(one["state"])


def shown(shell: Shell, address: str, *arguments: str, expected: int = 0) -> str:
    access = ["--target", shell.target, "--api-key", key_of("anna"), "--tenant", shell.tenant]
    command = ["--target", address, "experiments", *access, "show", "test", *arguments]
    done = CliRunner().invoke(app, command, env={"COLUMNS": "200"})
    assert done.exit_code == expected, done.output
    return done.output


@pytest.fixture
def call(shell: Shell) -> Iterator[Callable[[str, Any], Any]]:
    """Calls of control with the key of an approver."""
    with grpc.insecure_channel(shell.target) as channel:
        stub = control_pb2_grpc.ControlServiceStub(channel)
        metadata = (("authorization", f"Bearer {key_of('ben')}"),)
        yield lambda method, request: getattr(stub, method)(request, metadata=metadata, timeout=10)


def watch(shell: Shell, call: Callable[[str, Any], Any], address: str, folder: Path) -> None:
    """One turn."""
    with grpc.insecure_channel(address) as channel:
        stub = gateway_pb2_grpc.GatewayServiceStub(channel)
        Watch(call, shell.tenant, lambda: LogReader(stub, (), 10.0), folder).turn(threading.Event())


def test_from_start_to_stop(shell: Shell, gateway: tuple[FakeTrainingGateway, str], tmp_path: Path) -> None:
    """A file is started as a whole; the log gives figures, verdict and report; the end and its reason are on record."""
    fake, address = gateway
    write(shell)
    assert "running test, snapshot 1" in run(shell, "start", "test.yaml")
    logged(fake)
    found = json.loads(shown(shell, address, "--json", "--report", str(tmp_path / "r.html")))
    assert (found["state"], found["verdicts"], found["problems"], found["broken"]) == (
        "running",
        {"b": "better"},
        [],
        [],
    )
    assert [arm["units"] for arm in found["arms"]] == [150, 150]
    assert [round(arm["values"]["revenue"], 1) for arm in found["arms"]] == [6.7, 20.0]
    assert found["arms"][0]["values"]["click_position"] is None
    page = (tmp_path / "r.html").read_text()
    assert page.count("<svg") == 2
    assert "better" in page
    assert "b against a, units with a purchase: better." in shown(shell, address)
    assert "ended test, snapshot 2" in run(shell, "stop", "test", "--note", "b wins")
    assert "test: b wins" in run(shell, "list")
    assert "is ended; nothing is to be stopped" in run(shell, "stop", "test", expected=2)


def test_an_interleaving_from_start_to_stop(
    shell: Shell, gateway: tuple[FakeTrainingGateway, str], call: Callable[[str, Any], Any], tmp_path: Path
) -> None:
    """The log says which arm won more answers; the watch ends it if the other arm loses."""
    fake, address = gateway
    arms = [{"name": name, "ranking_version": version} for name, version in (("a", ""), ("b", "0002"))]
    fields = {"mode": "EXPERIMENT_MODE_INTERLEAVING", "primary_metric": "click_through"}
    write(shell, arms=arms, **fields)
    run(shell, "start", "test.yaml")
    assert "a, b interleaved" in run(shell, "list")
    interleaved(fake)
    report = tmp_path / "r.html"
    text = shown(shell, address, "--report", str(report))
    assert "b against a, answers won by clicks: better." in text
    assert "80.00%" in text
    assert report.read_text().count("<svg") == 2
    watch(shell, call, address, tmp_path)
    assert state(shell) == "running"
    for page in fake.pages:
        page.interleaving.arms[:] = ["b", "a"]
    watch(shell, call, address, tmp_path)
    (known,) = experiments(call, shell.tenant)
    assert known.state is State.ENDED
    assert known.definition.note.startswith("Stopped automatically: click_through of b is worse than of a")


def test_a_switchback_of_prices(shell: Shell, gateway: tuple[FakeTrainingGateway, str], tmp_path: Path) -> None:
    """What the publisher has counted says which policy brings more; costs are those of the catalogue."""
    fake, address = gateway
    today, folder = int(time.time() // 86_400), tmp_path / "var"
    policy = {"period_hours": 24, "policy": "list-price"}
    content = {
        "mode": "EXPERIMENT_MODE_SWITCHBACK", "primary_metric": "profit", "block_days": 1, "planned_units": 300,
        "arms": [{"name": name, "share": 0.5, "price_policy_id": name} for name in ("usual", "lower")],
        "starts_at": datetime.fromtimestamp((today - 10) * 86_400, UTC).isoformat(),
    }  # fmt: skip
    documents = [
        {"kind": "price_policy", "id": "usual", "price_policy": policy},
        {"kind": "price_policy", "id": "lower",
         "price_policy": {**policy, "policy": "rules", "only_in_experiments": True}},
        {"kind": "experiment", "id": "test", "experiment": content},
    ]  # fmt: skip
    shell.write("test.yaml", yaml.safe_dump_all(documents))
    run(shell, "start", "test.yaml")
    assert "usual 0.5, lower 0.5" in run(shell, "list")
    cost = common_pb2.Money(currency_code="USD", units=5)
    fake.products = [product_pb2.Product(id=f"p{number}", cost=cost) for number in range(30)]
    one, sold = Experiment.model_validate(content), list[Interaction]()
    for number, product in enumerate(fake.products):
        for day in range(today - 10, today):
            arm = one.price_arm("test", product.id, "", day)
            quantity = 3 if arm is not None and arm.name == "lower" else 2
            key, paid = number * 100 + day % 100, Paid("USD", 1_000 + 10 * number)
            made = Join(ShownOffer("", "USD", 1_000 + 10 * number, 2_000), True)
            sold.append(
                Interaction(
                    key, Act.PURCHASE, product.id, 1, None, day * 86_400.0 + 9, quantity=quantity, paid=paid, kept=made
                )
            )
    with closing(SqliteDemandStore(folder / "price_publisher" / LEARNING_FOLDER, "UTC", 86_400)) as store:
        store.add(Log.EVENTS, "t", time.time(), [], sold)
    arguments = ["--data-dir", str(folder)]
    found = json.loads(shown(shell, address, *arguments, "--json"))
    assert (found["verdicts"], found["problems"]) == ({"lower": "better"}, [])
    assert sum(arm["units"] for arm in found["arms"]) == 300
    profit = {arm["name"]: arm["values"]["profit"] for arm in found["arms"]}
    assert profit["lower"] / profit["usual"] == pytest.approx(1.5, abs=0.1)
    assert "lower against usual, profit of a product and day: better." in shown(shell, address, *arguments)
    report = tmp_path / "r.html"
    shown(shell, address, *arguments, "--report", str(report))
    assert report.read_text().count("<svg") == 2


def test_an_id_is_used_once(shell: Shell) -> None:
    """A second run under the same id is refused, also after the end of the first; its range of the layer is free."""
    write(shell)
    run(shell, "start", "test.yaml")
    assert "Start it under another id" in run(shell, "start", "test.yaml", expected=2)
    run(shell, "stop", "test")
    assert "Start it under another id" in run(shell, "start", "test", expected=2)
    other = {"kind": "experiment", "id": "other", "experiment": {"arms": [{"name": n, "share": 0.5} for n in "ab"]}}
    shell.write("other.yaml", yaml.safe_dump(other))
    assert "running other" in run(shell, "start", "other.yaml")


def test_an_experiment_that_control_refuses(shell: Shell) -> None:
    """The field and the remedy are printed, and nothing runs."""
    write(shell, arms=[*CONTENT["arms"], {"name": "c", "share": 0.2}])
    assert "they may add up to at most 1" in run(shell, "start", "test.yaml", expected=2)
    write(shell, arms=[{"name": "a", "share": 0.5, "rule_ids": ["none"]}, CONTENT["arms"][0] | {"name": "b"}])
    assert "the rule 'none' is not published; publish it" in run(shell, "start", "test.yaml", expected=2)
    assert state(shell) == "draft"


def test_an_experiment_that_waits(shell: Shell) -> None:
    """One of tomorrow waits, and can be stopped before it begins."""
    write(shell, starts_at="2099-01-01T00:00:00Z")
    assert "waiting test" in run(shell, "start", "test.yaml")
    run(shell, "stop", "test")
    assert state(shell) == "ended"


def test_a_broken_guardrail_ends_it(
    shell: Shell, gateway: tuple[FakeTrainingGateway, str], call: Callable[[str, Any], Any], tmp_path: Path
) -> None:
    """The watch ends the experiment at its next look, with the reason, and writes the report."""
    fake, address = gateway
    write(shell)
    run(shell, "start", "test.yaml")
    logged(fake, units=200)
    watch(shell, call, address, tmp_path)
    assert (state(shell), (tmp_path / "test.html").exists()) == ("running", True)
    fake.pages.clear()
    fake.events.clear()
    logged(fake, b=30.0)
    watch(shell, call, address, tmp_path)
    (known,) = experiments(call, shell.tenant)
    assert known.state is State.ENDED
    assert known.definition.note.startswith("Stopped automatically: latency of b is worse than of a by ")
    assert json.loads((tmp_path / "test.json").read_text())["broken"]
    assert "Guardrail broken: latency" in shown(shell, address, expected=1)


def test_the_watch_goes_on_without_the_gateway(
    shell: Shell, call: Callable[[str, Any], Any], tmp_path: Path, gateway: tuple[FakeTrainingGateway, str]
) -> None:
    """A turn without a gateway changes nothing; drafts of a running experiment do not matter."""
    write(shell)
    run(shell, "start", "test.yaml")
    write(shell, note="a draft")
    shell.kairos("apply", "test.yaml")
    watch(shell, call, "127.0.0.1:1", tmp_path)
    assert (state(shell), list(tmp_path.glob("test.html"))) == ("running", [])


def test_records_of_the_log(gateway: tuple[FakeTrainingGateway, str]) -> None:
    """Reading on gives what is new; records without latency, price and arms are read as what is not known."""
    fake, address = gateway
    logged(fake, units=4)
    fake.pages.append(event_pb2.Impressions(user_id="x", item_ids=["p1"], positions=[1]))
    old = event_pb2.Impressions(user_id="y", item_ids=["p1", "p2"], positions=[1, 2])
    old.experiment_arms.add(experiment="test", arm="a")
    old.degradations.add(stage=common_pb2.STAGE_RANKER)
    fake.pages.append(old)
    with grpc.insecure_channel(address) as channel:
        reader = LogReader(gateway_pb2_grpc.GatewayServiceStub(channel), (), 10.0)
        assert (reader.read_on() > 0, reader.read_on()) == (True, 0)
    pages = reader.table.pages()
    assert (len(pages["at_s"]), list(pages["degraded"])) == (5, [0, 0, 0, 0, 1])
    assert math.isnan(pages["latency_ms"][-1])
    assert [str(price) for price in reader.table.shown()["price"]] == ["20.0"] * 4 + ["nan"] * 2
