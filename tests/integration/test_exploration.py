"""Exploration in the real services: Search and Recommend show, log and explain what was drawn."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from typer.testing import CliRunner

from cli.main import app
from demo.catalogue import build_catalogue
from demo.loading import load_products
from kairos.common.v1 import event_pb2
from kairos.gateway.v1 import gateway_pb2, gateway_pb2_grpc
from kairos.ranker.v1 import ranker_pb2
from ops.client import Connection
from ops.in_process import InProcessSuite, in_process_suite
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.gateway.adapters.serving_file import load_configuration
from training.ranking.constraints import Constraints

BUDGET_S, SHARE, SIZE = 60.0, 0.9, 10

Stub: TypeAlias = gateway_pb2_grpc.GatewayServiceStub
Answer: TypeAlias = gateway_pb2.SearchResponse | gateway_pb2.RecommendResponse
Ask: TypeAlias = Callable[[Stub, str], Answer]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def suite(folder: Path) -> Iterator[InProcessSuite]:
    ranker = {"informed_exploration": SHARE, "rankings": {"whole_share": 1.0}}
    with in_process_suite(folder, ranker=ranker) as running:
        load_products(Connection(running.gateway_target), folder, build_catalogue(size=120))
        yield running


@pytest.fixture(scope="module")
def stub(suite: InProcessSuite) -> Iterator[Stub]:
    with Connection(suite.gateway_target).stub() as made:
        yield made


def searched(stub: Stub, token: str = "") -> Answer:
    return stub.Search(
        gateway_pb2.SearchRequest(query="shoes", user_id="u", explain=True, page_size=SIZE, page_token=token),
        timeout=BUDGET_S,
    )


def recommended(stub: Stub, token: str = "") -> Answer:
    return stub.Recommend(
        gateway_pb2.RecommendRequest(user_id="u", explain=True, page_size=SIZE, page_token=token), timeout=BUDGET_S
    )


def ids(answer: Answer) -> list[str]:
    return [result.product.id for result in answer.results]


def impression(stub: Stub, item_ids: list[str]) -> event_pb2.Impressions:
    """The logged page that shows these items; it is logged after the answer."""
    deadline, token = time.monotonic() + BUDGET_S, ""
    while time.monotonic() < deadline:
        request = gateway_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS, page_token=token)
        page = stub.ReadLog(request, timeout=BUDGET_S)
        token = page.next_page_token
        for each in page.impressions:
            if list(each.item_ids) == item_ids:
                return each
        time.sleep(0.05)
    raise TimeoutError("the page was not logged")


@pytest.mark.parametrize(("ask", "kept"), [(searched, 3), (recommended, 0)])
def test_what_is_drawn_is_logged_and_explained(stub: Stub, ask: Ask, kept: int) -> None:
    """Answers differ from place 4 of a search, and from place 1 of a recommendation, on. The second page continues the
    order of the first one. Drawn products say so, and the log has propensities below 1 for the explored places.
    """
    event = event_pb2.Event(event_id="e", user_id="u", item_id=ids(searched(stub))[0], type=event_pb2.EVENT_TYPE_CLICK)
    stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[event]), timeout=BUDGET_S)
    answers = [ask(stub, "") for _ in range(6)]
    assert len({tuple(ids(answer)) for answer in answers}) > 1
    assert len({tuple(ids(answer)[:kept]) for answer in answers}) == 1
    for answer in answers:
        rules = [{rule.type for rule in result.explanation.rules} for result in answer.results]
        assert any(gateway_pb2.RULE_TYPE_EXPLORATION in fired for fired in rules)
        assert not any(gateway_pb2.RULE_TYPE_EXPLORATION in fired for fired in rules[:kept])
    second = ask(stub, answers[-1].next_page_token)
    assert not second.degradations
    assert not set(ids(second)) & set(ids(answers[-1]))

    shown = impression(stub, ids(answers[-1]))
    assert list(shown.propensities[:kept]) == [1] * kept
    assert all(0 < each < 1 for each in shown.propensities[kept:])


def kairos(suite: InProcessSuite, folder: Path, *arguments: str, group: str = "evaluate") -> dict[str, Any]:
    command = ["--target", suite.gateway_target, group, *arguments, "--data-dir", str(folder), "--json"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_another_order_is_evaluated_from_the_log(stub: Stub, suite: InProcessSuite, folder: Path) -> None:
    """The order that serves is replayed from the log exactly, so that it is worth what was logged; another order gets
    an estimate from the gateway's log, and the same one from the exported file.
    """
    for person in range(12):
        request = gateway_pb2.SearchRequest(query="shoes", user_id=f"p{person}", page_size=SIZE)
        answer = stub.Search(request, timeout=BUDGET_S)
        event = event_pb2.Event(
            event_id=f"p{person}", user_id=f"p{person}", item_id=answer.results[person % 5].product.id,
            type=event_pb2.EVENT_TYPE_CLICK, attribution_token=answer.attribution_token,
        )  # fmt: skip
        stub.RecordEvents(gateway_pb2.RecordEventsRequest(events=[event]), timeout=BUDGET_S)
    impression(stub, ids(answer))
    hours = ["--window-hours", "0.0001"]
    own = kairos(suite, folder, "built-in", *hours)
    assert own["rankings"] >= 12
    assert own["estimates"]["ips"]["difference"]["value"] == pytest.approx(0, abs=1e-9)
    assert own["agreement"] == 1
    assert own["logged"]["value"] > 0.5
    (step,) = ModelRegistry(folder / "ranker" / "models" / "default").steps()
    assert (step.kind, step.version, step.figures["refused"]) == (StepKind.EVALUATED, "", False)

    exported = folder / "log.jsonl.gz"
    assert kairos(suite, folder, "export", str(exported))["records"] > 24
    found = kairos(suite, folder, "popularity", *hours)
    again = kairos(suite, folder, "popularity", "--log", str(exported), *hours)
    assert found["estimates"] == again["estimates"]
    assert found["agreement"] < 1
    assert found["verdict"]["judgement"] == "not distinguishable"


def test_fairness_is_reported_from_the_log(suite: InProcessSuite, folder: Path) -> None:
    """After the test above: exposure and what is due add up to all of it, the page names the groups, offsets become
    part of a serving configuration, and constraints say what is due to each brand.
    """
    hours = ["--window-hours", "0.0001", "--by", "brand"]
    html = folder / "fairness.html"
    report = kairos(suite, folder, "report", *hours, "--html", str(html), group="fairness")
    assert report["rankings"] >= 12
    for share in ("exposure", "due"):
        assert sum(group[share] for group in report["groups"]) == pytest.approx(1)
    assert 0 < report["gap"] < 1
    assert report["groups"][0]["name"] in html.read_text()

    serving = folder / "serving.yaml"
    serving.write_text("version: mine\nplacements: {home: {sources: [{source: popular}]}}\n")
    fitted = kairos(suite, folder, "fit", *hours, "--into", str(serving), group="fairness")
    assert fitted["gap_after"] < fitted["gap_before"]
    exposure = load_configuration(serving).exposure
    assert exposure is not None
    assert dict(exposure.offsets) == fitted["exposure"]["offsets"]

    file = folder / "constraints.json"
    most = report["groups"][0]["name"]
    command = ["constraints", str(file), *hours, "--most", f"{most}=0.05", "--data-dir", str(folder)]
    result = CliRunner().invoke(app, ["--target", suite.gateway_target, "fairness", *command], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    constraints = Constraints.load(file)
    assert constraints.most == {most: 0.05}
    assert 0 < sum(constraints.due.values()) <= 1


def test_groups_that_are_none(suite: InProcessSuite, folder: Path) -> None:
    """The option that is wrong is named, exit code 2."""
    command = ["--target", suite.gateway_target, "fairness", "report", "--by", "seller", "--data-dir", str(folder)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert "group_by" in result.stderr
