"""Explanations by RankerService over real gRPC, by protos/kairos/ranker/v1/ranker.proto."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kairos.common.v1 import event_pb2
from kairos.ranker.v1 import ranker_pb2
from tests.contract.refusals import refusal
from tests.contract.test_ranker import INVALID, MODEL, VECTORS, Stub, candidates, event, ranking, recording, serving
from training.ranking.learnable import LearnableRanker
from training.ranking.network import NetworkSettings

HISTORY = ranker_pb2.REASON_TYPE_RECENT_HISTORY


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[Stub]:
    async with serving(tmp_path) as running:
        await running.RecordEvents(recording(event("e1", "boot2"), event("e2", "lamp2", "REMOVE", 60)))
        yield running


async def test_contributions_add_up(stub: Stub) -> None:
    """The six group contributions of each explained item sum to its score less the baseline."""
    ranked = await stub.RankItems(ranking(explain=True, stocks=[-1, 0, 5, 0, -1]))
    assert len(ranked.reasons) == 5
    for score, explained in zip(ranked.scores, ranked.reasons, strict=True):
        contributions = [reason.contribution for reason in explained.reasons]
        assert sum(contributions) == pytest.approx(score - explained.baseline, abs=1e-5)
        assert contributions == sorted(contributions, reverse=True)
        assert ranker_pb2.REASON_TYPE_SPONSORED not in {reason.type for reason in explained.reasons}


async def test_positions_and_ids(stub: Stub) -> None:
    """The first positions and the named ids are explained, other rows are empty; unknown ids are ignored."""
    asked = ranking(explain=True)
    asked.explained_places = 2
    asked.explained_ids.extend(["desk", "nobody's"])
    ranked = await stub.RankItems(asked)
    explained = {id for id, reasons in zip(ranked.item_ids, ranked.reasons, strict=True) if reasons.ByteSize()}
    assert explained == {*ranked.item_ids[:2], "desk"}


async def test_events_behind_an_item(stub: Stub) -> None:
    """Influential events have time, similarity and share; a removal has a negative share."""
    ranked = await stub.RankItems(ranking(explain=True))
    by_item = dict(zip(ranked.item_ids, ranked.reasons, strict=True))
    (clicked,) = by_item["boot1"].events
    assert (clicked.event.event_id, clicked.event.type) == ("e1", event_pb2.EVENT_TYPE_CLICK)
    assert clicked.similarity == pytest.approx(0.995, abs=0.002)
    assert clicked.share == pytest.approx(1)
    (removed,) = by_item["lamp1"].events
    assert removed.event.event_id == "e2"
    assert removed.share == pytest.approx(-1)
    assert [list(r.history_item_ids) for r in by_item["lamp1"].reasons if r.type == HISTORY] == [[]]


async def test_slate_steps(stub: Stub) -> None:
    """A slate has steps; a plain ranking has none."""
    asked = ranking(explain=True)
    assert not any(explained.HasField("slate") for explained in (await stub.RankItems(asked)).reasons)
    asked.as_slate, asked.options.share_interests = True, True
    ranked = await stub.RankItems(asked)
    steps = {id: explained.slate for id, explained in zip(ranked.item_ids, ranked.reasons, strict=True)}
    assert sorted(step.score_position for step in steps.values()) == [1, 2, 3, 4, 5]
    assert steps["boot1"].interest_share == pytest.approx(1)


async def test_explaining_changes_no_order(stub: Stub) -> None:
    """Order and scores are the same with and without an explanation."""
    plain, explained = [await stub.RankItems(ranking(explain=explain)) for explain in (False, True)]
    assert list(plain.item_ids) == list(explained.item_ids)
    assert list(plain.scores) == pytest.approx(list(explained.scores), abs=1e-4)
    assert not plain.reasons


@pytest.mark.parametrize(
    ("fields", "path"),
    [({"explained_places": -1}, "explained_places"), ({"explained_ids": ["a"] * 11}, "explained_ids")],
)
async def test_invalid_requests(stub: Stub, fields: dict[str, object], path: str) -> None:
    """A negative number of positions and too many ids are rejected with the field's name."""
    bad = ranker_pb2.RankItemsRequest(candidates=candidates(tuple(VECTORS)), explain=True, **fields)  # type: ignore[arg-type]
    code, fields_named = await refusal(stub.RankItems(bad))
    assert (code, fields_named) == (INVALID, [path])


async def test_a_network_is_explained(tmp_path: Path) -> None:
    """The contributions of a network sum in the same way, and its history reason names the event."""
    folder = tmp_path / "network" / "1"
    LearnableRanker(NetworkSettings(dimensions=2), vector_version=MODEL, seed=3).save(folder)
    async with serving(tmp_path / "data", ranker="network", model_dir=folder) as running:
        await running.RecordEvents(recording(event("e1", "boot2")))
        ranked = await running.RankItems(ranking(explain=True, stocks=[-1, 0, 5, 0, -1]))
    assert ranked.model_version.endswith("@1")
    for score, explained in zip(ranked.scores, ranked.reasons, strict=True):
        assert sum(reason.contribution for reason in explained.reasons) == pytest.approx(
            score - explained.baseline, abs=1e-5
        )
        assert [influence.event.item_id for influence in explained.events] == ["boot2"]
