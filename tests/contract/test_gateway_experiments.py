"""Experiments over real gRPC: what an arm changes in answers, and what of it is logged."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from kairos.common.v1 import common_pb2
from kairos.control.v1 import control_pb2
from kairos.gateway.v1 import gateway_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.errors import InvalidArgument
from services.gateway.background.rules import Rules
from tests.contract.controls import resource_of
from tests.contract.gateways import Running, ids, running, search, stages
from tests.fakes.waiting import until

__all__ = ["running", "stages"]  # fixtures

# These tests are about contents: a busy machine may take its time.
PATIENCE_S = 10.0
PIN = {"trigger": {"queries": [{"contains": "shoes"}]}, "actions": [{"pin": {"product_id": "p20", "position": 1}}]}
POPULAR = {"placements": {"home": {"sources": [{"source": "popular"}]}}}


def publish(running: Running, version: int = 1, **kinds: dict[str, dict[str, Any]]) -> None:
    """Takes a snapshot into use as if control had sent it; `kinds`: contents by id."""
    resources = [resource_of(kind, id, content) for kind, all in kinds.items() for id, content in all.items()]
    snapshot = control_pb2.Snapshot(tenant="default", version=version, resources=resources)
    parts = running.parts
    assert isinstance(parts.rules, Rules)
    for take in (parts.serving.prepare(snapshot), parts.rules.prepare(snapshot), parts.experiments.prepare(snapshot)):
        take()


def experiment(**of_b: Any) -> dict[str, dict[str, Any]]:
    return {"e": {"arms": [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5, **of_b}]}}


def person_in(running: Running, arm: str) -> str:
    """A user of this arm of the experiment `e`."""
    users = (f"u{number}" for number in range(100))
    return next(id for id in users if ("e", arm) in running.parts.experiments.assign("default", id, "").arms)


def sent(running: Running, kind: type[Any]) -> Any:
    """The last message of this type that the ranker got."""
    return [message for message in running.stages.ranker.requests if isinstance(message, kind)][-1]


def arms(message: Any) -> list[tuple[str, str]]:
    return [(arm.experiment, arm.arm) for arm in message.context.experiment_arms]


async def asked(running: Running, user_id: str, **fields: Any) -> gateway_pb2.SearchResponse:
    return await running.stub.Search(search(user_id=user_id, **fields), timeout=PATIENCE_S)


async def test_every_stage_knows_the_arms(running: Running) -> None:
    """The context of each call of the request has them; one without a user or visitor has none."""
    publish(running, experiment=experiment())
    await asked(running, person_in(running, "b"))
    for stage in (running.stages.encoder, running.stages.retrieval, running.stages.ranker):
        assert arms(stage.requests[-1]) == [("e", "b")]
    await asked(running, "")
    assert arms(sent(running, ranker_pb2.RankItemsRequest)) == []


async def test_rules_of_an_arm(running: Running) -> None:
    """A rule that waits for experiments is effective in the arm that names it, and nowhere else."""
    publish(
        running,
        merchandising_rule={"pin": {**PIN, "only_in_experiments": True}},
        experiment=experiment(rule_ids=["pin"]),
    )
    firsts = {arm: ids(await asked(running, person_in(running, arm)))[0] for arm in ("a", "b")}
    assert (firsts["a"] != "p20", firsts["b"]) == (True, "p20")
    assert ids(await asked(running, ""))[0] != "p20"


async def test_rules_that_an_arm_goes_without(running: Running) -> None:
    """A rule that is effective for everybody is not in the arm that excludes it."""
    publish(running, merchandising_rule={"pin": PIN}, experiment=experiment(without_rule_ids=["pin"]))
    assert ids(await asked(running, person_in(running, "a")))[0] == "p20"
    assert ids(await asked(running, person_in(running, "b")))[0] != "p20"
    assert ids(await asked(running, ""))[0] == "p20"


async def test_the_configuration_of_an_arm(running: Running) -> None:
    """It answers in its arm, also under another one of control that everybody has; its version is in the answer."""
    published: dict[str, dict[str, Any]] = {
        "usual": {"version": "usual", **POPULAR},
        "new": {"version": "new", "placements": {"home": {"sources": [{"source": "interests"}]}},
                "only_in_experiments": True},
    }  # fmt: skip
    publish(running, serving_configuration=published, experiment=experiment(serving_configuration_id="new"))
    versions = {}
    for user in ("", person_in(running, "a"), person_in(running, "b")):
        answer = await running.stub.Recommend(gateway_pb2.RecommendRequest(user_id=user), timeout=PATIENCE_S)
        versions[user] = answer.serving_configuration_version.partition("+")[0]
    assert list(versions.values()) == ["usual", "usual", "new"]


async def test_the_ranking_version_of_an_arm(running: Running) -> None:
    """The ranker is asked for it."""
    publish(running, experiment=experiment(ranking_version="0002"))
    for arm, version in (("a", ""), ("b", "0002")):
        await asked(running, person_in(running, arm))
        assert sent(running, ranker_pb2.RankItemsRequest).ranking_version == version


async def test_exposure_is_logged(running: Running) -> None:
    """A ranking that the gateway made carries its arms, and each page how long its answer took and what it lacked."""
    publish(running, experiment=experiment())
    await running.stages.worsen("pricing", "down")
    await asked(running, person_in(running, "b"), sort=4)
    await until(lambda: len(running.stages.ranker.shown) == 1)
    assert arms(sent(running, ranker_pb2.StoreRankingRequest)) == [("e", "b")]
    (shown,) = sent(running, ranker_pb2.RecordImpressionsRequest).shown
    assert 0 < shown.latency_ms < PATIENCE_S * 1e3
    assert [one.stage for one in shown.degradations] == [common_pb2.STAGE_PRICING]


async def test_an_exposure_without_results_is_logged(running: Running) -> None:
    """Only of a request in an experiment, and once."""
    publish(running, experiment=experiment())
    running.stages.retrieval.hidden = set(running.stages.retrieval.stored)
    await asked(running, "")
    answer = await asked(running, person_in(running, "a"))
    assert not answer.results
    await until(lambda: len(running.stages.ranker.shown) == 1)
    stored = sent(running, ranker_pb2.StoreRankingRequest)
    assert (arms(stored), list(stored.item_ids)) == ([("e", "a")], [])
    assert running.stages.ranker.shown == [("default", stored.ranking_id, [])]


async def test_metrics_by_arm(running: Running) -> None:
    """Answers, their time, and those with a degradation."""
    publish(running, experiment=experiment())
    user = person_in(running, "b")
    await asked(running, user)
    await running.stages.worsen("pricing", "down")
    await asked(running, user)
    of_b = {"experiment": "e", "arm": "b"}
    assert running.metric("experiment_answer_seconds_count", **of_b) == 2
    assert running.metric("experiment_degraded_answers_total", **of_b) == 1


async def test_an_explanation_is_that_of_the_arm(running: Running) -> None:
    """ExplainItem computes the answer of the person's arm again, and logs no exposure."""
    publish(running, merchandising_rule={"pin": PIN}, experiment=experiment(without_rule_ids=["pin"]))
    for arm, first in (("a", True), ("b", False)):
        message = gateway_pb2.ExplainItemRequest(item_id="p20", search=search(user_id=person_in(running, arm)))
        answer = await running.stub.ExplainItem(message, timeout=PATIENCE_S)
        assert (answer.result.position == 1) is first
    assert running.stages.ranker.shown == []


async def test_an_experiment_that_cannot_be_used_changes_nothing(running: Running) -> None:
    """The snapshot is refused as a whole: the experiments before it go on."""
    publish(running, experiment=experiment())
    user = person_in(running, "b")
    wrong = ParseDict({"arms": [{"name": "a", "share": 2.0}]}, control_pb2.Experiment())
    resource = control_pb2.Resource(id="e", experiment=wrong)
    with pytest.raises(InvalidArgument, match="arms"):
        running.parts.experiments.prepare(control_pb2.Snapshot(tenant="default", version=2, resources=[resource]))
    await asked(running, user)
    assert arms(sent(running, ranker_pb2.RankItemsRequest)) == [("e", "b")]
