"""The shopper model in the ranker, over real gRPC, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2
from services.common.convert import vectors_from_proto
from services.common.models.registry import ModelRegistry
from services.common.models.rollout import StepKind
from services.ranker.metrics import OF_SHOPPER_VERSIONS
from services.ranker.settings import RankerSettings
from services.ranker.wiring import build_handler
from tests.contract.test_measures import NoContext
from tests.contract.test_ranker import Stub, candidates, event, ranking, recording, serving
from tests.unit.ranker.shopper_folders import write_version

POLL_S = 0.02
# By the model a person who acted on a boot turns to the desk, which retrieval puts last, and away from boots.
ITEMS = {"boot1": (1.0, 0.0), "boot2": (1.0, 0.0), "lamp1": (0.0, 1.0), "lamp2": (0.0, 1.0), "desk": (9.0, 0.0)}
FITTED = {
    "query": 0.0, "history": 0.0, "price": 0.0, "popularity": 0.0, "availability": 0.0, "shopper": 1.0,
    "neighbours": 0.0,
}  # fmt: skip


def publish(models: Path, digest: str = "a" * 12, weights: Mapping[str, float] | None = None) -> str:
    """Promotes a new version for the tenant `default`; its name."""
    registry = ModelRegistry(models / "default" / "shopper")

    def save(folder: Path) -> None:
        write_version(folder, ITEMS, digest, weights=weights)

    version = registry.publish(save, {})
    registry.take_step(StepKind.PROMOTED, version, lambda now: now.promoted(version).alone())
    return f"shopper@{digest}"


def shopping(models: Path, folder: Path, **settings: Any) -> Any:
    return serving(folder, registry_dir=models, registry_poll_s=POLL_S, **settings)


def as_slate(ids: tuple[str, ...] = tuple(ITEMS)) -> ranker_pb2.RankItemsRequest:
    message = ranking(ids=ids)
    message.as_slate = True
    # The slate itself mixes interests and similar items; here the scores are looked at.
    message.explain = True
    return message


def scores_of(answer: ranker_pb2.RankItemsResponse) -> dict[str, float]:
    return dict(zip(answer.item_ids, answer.scores, strict=True))


async def test_interests_hold_the_vector_of_the_person(tmp_path: Path) -> None:
    """An acknowledged event counts at once; the vector names the version that made it."""
    version = publish(tmp_path / "models")
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        ask = ranker_pb2.GetInterestsRequest(user_id="u")
        nothing = await stub.GetInterests(ask)
        assert not nothing.HasField("shopper")
        assert nothing.shopper_version == version
        for number, item_id in enumerate(("lamp1", "desk")):
            await stub.RecordEvents(recording(event(f"e{number}", item_id)))
            found = await stub.GetInterests(ask)
            assert found.shopper.model_version == found.shopper_version == version
        np.testing.assert_allclose(vectors_from_proto(found.shopper, "shopper"), [[9.0, 1.0]], rtol=1e-2)


async def test_a_session_of_an_unknown_person(tmp_path: Path) -> None:
    """A request with a session alone is served by the session's last events, of items and of queries."""
    version = publish(tmp_path / "models")
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        first = event("e1", "desk", session_id="s")
        await stub.RecordEvents(recording(first, event("e2", "lamp1", session_id="s")))
        found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(session_id="s"))
        assert found.shopper.model_version == version
        np.testing.assert_allclose(vectors_from_proto(found.shopper, "shopper"), [[9.0, 1.0]], rtol=1e-2)
        message = ranking(user="")
        message.session_id = "s"
        assert (await stub.RankItems(message)).model_version.endswith(version)


async def test_a_request_of_nobody_has_the_version(tmp_path: Path) -> None:
    """Without ids only the version is answered; without a model nothing."""
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        assert await stub.GetInterests(ranker_pb2.GetInterestsRequest()) == ranker_pb2.GetInterestsResponse()
    version = publish(tmp_path / "models")
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        answer = await stub.GetInterests(ranker_pb2.GetInterestsRequest())
        assert answer == ranker_pb2.GetInterestsResponse(shopper_version=version)


async def test_fitted_weights_rank_recommendations(tmp_path: Path) -> None:
    """Recommendations get the fitted weights of the version that serves the person; searches keep the settings'."""
    version = publish(tmp_path / "models", weights=FITTED)
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        answer = await stub.RankItems(as_slate())
        found = scores_of(answer)
        assert found["desk"] == pytest.approx(9.0, rel=1e-2)
        assert found["lamp1"] == 0.0
        assert answer.model_version == f"weighted-sum@3+{version}"
        search = await stub.RankItems(ranking())
        assert scores_of(search)["boot1"] > scores_of(search)["desk"]


async def test_in_a_search_the_model_counts_less(tmp_path: Path) -> None:
    """The same candidates, weights and person: of what the model adds, a search has the share of the settings."""
    publish(tmp_path / "models")
    weights = {"history": 0.0, "shopper": 0.1, "neighbours": 0.0}
    settings = {"search_share": 0.5, "weights": weights}
    async with shopping(tmp_path / "models", tmp_path / "data", **settings) as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        slate, search = scores_of(await stub.RankItems(as_slate())), scores_of(await stub.RankItems(ranking()))
        assert slate["desk"] - search["desk"] == pytest.approx(0.9 - 0.45, rel=1e-2)


async def test_weights_of_the_shop_are_kept(tmp_path: Path) -> None:
    """A shop that sets weights of its own gets no fitted ones."""
    publish(tmp_path / "models", weights=FITTED)
    async with shopping(tmp_path / "models", tmp_path / "data", weights={"shopper": 0.0}) as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        found = scores_of(await stub.RankItems(as_slate()))
        assert found["boot1"] > found["desk"]


async def test_the_contributions_add_up(tmp_path: Path) -> None:
    """The shopper model is part of the person's history in explanations, and the contributions add up to the score."""
    publish(tmp_path / "models", weights=FITTED)
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        answer = await stub.RankItems(as_slate())
        reasons = dict(zip(answer.item_ids, answer.reasons, strict=True))["desk"]
        assert [reason.type for reason in reasons.reasons] == [ranker_pb2.REASON_TYPE_RECENT_HISTORY]
        total = reasons.baseline + sum(reason.contribution for reason in reasons.reasons)
        assert total == pytest.approx(scores_of(answer)["desk"], rel=1e-5)


async def test_influential_events_of_the_model(tmp_path: Path) -> None:
    """The event without which the score falls most explains it, and says that the shopper model connects them."""
    publish(tmp_path / "models", weights=FITTED)
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        await stub.RecordEvents(recording(event("e1", "boot1", age_s=10), event("e2", "lamp1")))
        answer = await stub.RankItems(as_slate())
        (influential,) = dict(zip(answer.item_ids, answer.reasons, strict=True))["desk"].events
        assert (influential.event.item_id, influential.share) == ("boot1", 1)
        assert influential.basis == ranker_pb2.INFLUENCE_BASIS_SHOPPER


async def test_neighbours_explain(tmp_path: Path) -> None:
    """A neighbour of what the person acted on last is explained by the item that the counts connect it with."""
    async with serving(tmp_path, weights={"history": 0.0, "neighbours": 1.0}) as stub:
        others = list[event_pb2.Event]()
        for user in ("a", "b", "c"):
            others += [event(f"{user}1", "boot1", age_s=60), event(f"{user}2", "desk", age_s=50)]
            others[-1].user_id = others[-2].user_id = user
        await stub.RecordEvents(recording(*others, event("e1", "boot1", age_s=9), event("e2", "lamp1")))
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            answer = await stub.RankItems(as_slate())
            events = dict(zip(answer.item_ids, answer.reasons, strict=True))["desk"].events
            if events:
                break
            await asyncio.sleep(0.05)
        assert [(each.event.item_id, each.basis) for each in events] == [("boot1", ranker_pb2.INFLUENCE_BASIS_TOGETHER)]


async def test_the_scores_are_logged(tmp_path: Path) -> None:
    """Shopper scores are among the logged features of a ranking, under the version that made them."""
    publish(tmp_path / "models")
    async with shopping(tmp_path / "models", tmp_path / "data") as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        answer = await stub.RankItems(ranking(ranking_id="r1"))
        shown = ranker_pb2.ShownPositions(ranking_id="r1", positions=[1, 2, 3, 4, 5])
        await stub.RecordImpressions(ranker_pb2.RecordImpressionsRequest(shown=[shown]))
        page = (await stub.ReadLog(ranker_pb2.ReadLogRequest(log=ranker_pb2.LOG_KIND_IMPRESSIONS))).impressions[0]
        column = list(page.feature_names).index("shopper_match")
        numbers = np.frombuffer(page.features.data, "<f4").reshape(page.features.shape)
        found = dict(zip(page.item_ids, numbers[:, column].tolist(), strict=True))
        assert found == pytest.approx({"boot1": 1, "boot2": 1, "lamp1": 0, "lamp2": 0, "desk": 9}, rel=1e-2)
        assert page.model_version == answer.model_version


async def test_no_request_is_lost_while_versions_are_switched(tmp_path: Path) -> None:
    """None of the requests fails, and vector and version of each answer are of one version."""
    models = tmp_path / "models"
    publish(models)
    async with shopping(models, tmp_path / "data") as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        seen, stop = set[tuple[str, str]](), asyncio.Event()

        async def load() -> None:
            while not stop.is_set():
                found = await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))
                seen.add((found.shopper.model_version, found.shopper_version))
                answer = await stub.RankItems(ranking())
                assert answer.model_version.startswith("weighted-sum@3+shopper@")

        clients = [asyncio.create_task(load()) for _ in range(3)]
        for number in range(6):
            name = publish(models, f"{number:012x}")
            await _served(stub, name)
        stop.set()
        await asyncio.gather(*clients)
        assert all(made == served for made, served in seen)
        assert len(seen) > 3


async def test_a_damaged_version_changes_nothing(tmp_path: Path) -> None:
    """The version before it goes on."""
    models = tmp_path / "models"
    good = publish(models)
    async with shopping(models, tmp_path / "data") as stub:
        await stub.RecordEvents(recording(event("e1", "boot1")))
        registry = ModelRegistry(models / "default" / "shopper")
        # Its folder holds no model.
        damaged = registry.publish(lambda folder: None, {})
        registry.take_step(StepKind.PROMOTED, damaged, lambda now: now.promoted(damaged))
        await asyncio.sleep(5 * POLL_S)
        await _served(stub, good)
        assert len((await stub.RankItems(ranking())).item_ids) == len(candidates().ids)


async def test_use_is_measured(tmp_path: Path) -> None:
    """Requests and their time by version."""
    version = publish(tmp_path / "models")
    handler = build_handler(RankerSettings(data_dir=tmp_path / "data", registry_dir=tmp_path / "models"))
    assert handler.shopper_measures() == {}
    context = NoContext()
    await handler.RecordEvents(recording(event("e1", "boot1")), context)
    await handler.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"), context)
    await handler.RankItems(ranking(), context)
    found = handler.shopper_measures()
    handler.close()
    assert found[version].keys() == OF_SHOPPER_VERSIONS.keys()
    assert (found[version]["kairos_ranker_shopper_requests"], found[version]["kairos_ranker_shopper_errors"]) == (2, 0)
    assert found[version]["kairos_ranker_shopper_seconds"] > 0


async def _served(stub: Stub, version: str) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if (await stub.GetInterests(ranker_pb2.GetInterestsRequest(user_id="u"))).shopper.model_version == version:
            return
    raise AssertionError(f"{version} does not serve")
