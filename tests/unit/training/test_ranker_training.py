"""The ranker network: what it promises whatever it has learned, and that it learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from onnxruntime import InferenceSession

from services.ranker.adapters.onnx_ranker import (
    CANDIDATE_GRAPH,
    ITEM_INPUTS,
    USER_GRAPH,
    USER_INPUTS,
    USER_OUTPUTS,
    OnnxRanker,
)
from services.ranker.domain.baselines import by_shuffle
from services.ranker.domain.candidate_features import CandidateFeatures
from services.ranker.domain.objective import Objective
from services.ranker.domain.user_features import SEQUENCE, UserFeatures
from tests.unit.training.ranking_shop import DIMENSIONS, ITEMS, NOW_S, VERSION, WINDOW_S, shop_log
from training.ranking.__main__ import main
from training.ranking.batches import Batches
from training.ranking.calibration import Calibration, calibrated
from training.ranking.examples import TASKS, Examples
from training.ranking.learnable import LearnableRanker
from training.ranking.metrics import auc, calibration_error, log_loss, mean_rank_correlation, ndcg
from training.ranking.network import NetworkSettings
from training.ranking.positions import examination
from training.ranking.reading import ExampleReader
from training.ranking.training import Training

SMALL = NetworkSettings(DIMENSIONS, width=16, heads=2, experts=2, expert_sizes=(16, 8))
TRAINING = Training(pages_per_step=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    store = shop_log(tmp_path_factory.mktemp("log"))
    read = ExampleReader(store, window_s=WINDOW_S).read(NOW_S)
    store.close()
    return read


def learned(examples: Examples, seed: int = 3) -> LearnableRanker:
    ranker = LearnableRanker(SMALL, TRAINING, VERSION, seed)
    ranker.update(examples, epochs=5, seed=seed)
    return ranker


@pytest.fixture(scope="module")
def ranker(examples: Examples) -> LearnableRanker:
    return learned(examples.take(np.arange(100)))


@pytest.fixture(scope="module")
def served(ranker: LearnableRanker, tmp_path_factory: pytest.TempPathFactory) -> OnnxRanker:
    folder = tmp_path_factory.mktemp("version")
    ranker.save(folder)
    return OnnxRanker(folder, lambda: Objective(1, 3, 6, 0.5), by_shuffle, by_shuffle)


def halves(examples: Examples, page: int) -> tuple[UserFeatures, CandidateFeatures]:
    """What serving would have made of the page."""
    known = examples.event_items[page][examples.event_items[page] >= 0]
    m, rows = len(known), examples.page == page
    user = UserFeatures(
        examples.item_ids[known].tolist(), examples.vectors[known], examples.event_types[page, :m],
        examples.event_numbers[page, :m], examples.long_term[page], examples.query[page],
        examples.context[page],
    )  # fmt: skip
    items = examples.item[rows]
    return user, CandidateFeatures(examples.item_ids[items].tolist(), examples.vectors[items], examples.numbers[rows])


def test_it_learns_what_users_love(ranker: LearnableRanker, examples: Examples) -> None:
    """On pages later than the training pages, what users love ranks far above the rest."""
    later = examples.take(np.arange(100, 120))
    loved = np.array(
        [
            item.startswith(("boot", "lamp")[int(user.removeprefix("user:u")) % 2])
            for item, user in zip(later.item_ids[later.item], later.persons[later.page], strict=True)
        ]
    )
    assert auc(loved.astype(np.float32), ranker.predict(later)["click"]) > 0.9


def test_no_stage_is_likelier_than_the_one_before_it(ranker: LearnableRanker, examples: Examples) -> None:
    """p(purchase) <= p(cart) <= p(click), for every candidate."""
    found = ranker.predict(examples)
    assert (found["purchase"] <= found["cart"]).all()
    assert (found["cart"] <= found["click"]).all()
    assert ((found["click"] > 0) & (found["click"] < 1)).all()


def test_what_is_served_is_what_was_trained(ranker: LearnableRanker, served: OnnxRanker, examples: Examples) -> None:
    """ONNX Runtime, page by page, gives what torch gives in padded batches; without history and query too."""
    found = ranker.predict(examples)
    counts = (examples.event_types > 0).sum(axis=1)
    assert counts[0] == 0
    assert not examples.query[1].any()
    for page in (0, 1, 2, 60, 119):
        user, candidates = halves(examples, page)
        probabilities = served.probabilities(served.user_side(user), candidates)
        expected = np.stack([found[task][examples.page == page] for task in TASKS], axis=1)
        np.testing.assert_allclose(probabilities, expected, atol=2e-6)


def test_what_is_judged_is_the_served_order(ranker: LearnableRanker, served: OnnxRanker, examples: Examples) -> None:
    """The score that the guardrail compares is that of serving, with the default values of click, cart and purchase."""
    order = ranker.order(examples)
    for page in (0, 60, 119):
        user, candidates = halves(examples, page)
        stocks = np.full(len(candidates.item_ids), 5, np.float32)
        found = served.score(served.user_side(user), replace(candidates, numbers=candidates.numbers[None]), stocks)
        np.testing.assert_allclose(found[0], order[examples.page == page], rtol=1e-4)


def test_it_orders_as_deep_as_pages_were_shown(examples: Examples, tmp_path: Path) -> None:
    """As many of the best candidates as nearly all pages showed; the number is stored with the version."""
    few = examples.take(np.arange(20))
    deepest = int(few.positions.max())
    assert few.depth == deepest
    scrolled = replace(few, positions=np.where(np.arange(len(few)) == 0, 900, few.positions))
    ranker = LearnableRanker(SMALL, TRAINING, VERSION)
    ranker.update(scrolled)
    assert ranker.reranked == deepest
    ranker.save(tmp_path)
    assert LearnableRanker.load(tmp_path).reranked == deepest


def test_padding_changes_nothing(ranker: LearnableRanker, examples: Examples) -> None:
    """A page has the same scores by itself and padded, in history and candidates, to the longest of its batch."""
    short = examples.take(np.array([0]))
    batch = Batches(examples, np.zeros(len(examples.item_ids), np.int64)).batch(np.array([119, 0]))
    alone = Batches(short, np.zeros(len(short.item_ids), np.int64)).batch(np.array([0]))
    assert batch.user[0].shape[1] > alone.user[0].shape[1]
    with torch.inference_mode():
        torch.testing.assert_close(batch.logits(ranker.network)[1:2], alone.logits(ranker.network), atol=1e-5, rtol=0)


def test_the_history_is_read_once_a_request(served: OnnxRanker, examples: Examples, tmp_path: Path) -> None:
    """The graph of the candidates takes no event, and one user's side serves any number of candidates."""
    LearnableRanker(SMALL, vector_version=VERSION).save(tmp_path)
    inputs = [
        {i.name for i in InferenceSession(tmp_path / graph).get_inputs()} for graph in (USER_GRAPH, CANDIDATE_GRAPH)
    ]
    assert inputs == [{*USER_INPUTS}, {*USER_OUTPUTS, *ITEM_INPUTS}]
    user, candidates = halves(examples, 119)
    side = served.user_side(user)
    few = CandidateFeatures(candidates.item_ids[:2], candidates.vectors[:2], candidates.numbers[:2])
    np.testing.assert_allclose(served.probabilities(side, few), served.probabilities(side, candidates)[:2], atol=1e-6)


def test_the_same_seed_gives_the_same_ranker(ranker: LearnableRanker, examples: Examples) -> None:
    """To the last bit; another seed gives another one."""
    again = learned(examples.take(np.arange(100)))
    for name, value in again.network.state_dict().items():
        assert torch.equal(value, ranker.network.state_dict()[name]), name
    assert again.calibration == ranker.calibration
    assert learned(examples.take(np.arange(100)), seed=4).calibration != ranker.calibration


def test_a_saved_ranker_goes_on(ranker: LearnableRanker, examples: Examples, tmp_path: Path) -> None:
    """What was saved predicts the same, learns on, and knows new items apart; an older feature set is refused."""
    ranker.save(tmp_path)
    loaded = LearnableRanker.load(tmp_path)
    for task in TASKS:
        np.testing.assert_array_equal(loaded.predict(examples)[task], ranker.predict(examples)[task])
    new = examples.take(np.arange(100, 120))
    renamed = Examples(**(vars(new) | {"item_ids": np.array([f"new {id}" for id in new.item_ids])}))
    loaded.update(renamed, seed=1)
    assert len(loaded.rows) == len(ranker.rows) + len(renamed.item_ids)
    assert loaded.pages_seen > ranker.pages_seen
    manifest = tmp_path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"features_version": ', '"features_version": 9'))
    for read in (
        LearnableRanker.load,
        lambda folder: OnnxRanker(folder, lambda: Objective(1, 1, 1, 1), by_shuffle, by_shuffle),
    ):
        with pytest.raises(ValueError, match="train it again"):
            read(tmp_path)


def test_predictions_are_at_the_first_place(ranker: LearnableRanker, examples: Examples) -> None:
    """Where an item stood changes what is expected of the log, not what is served; lower places are clicked less."""
    moved = Examples(**(vars(examples) | {"positions": np.full_like(examples.positions, 6)}))
    np.testing.assert_array_equal(ranker.predict(moved)["click"], ranker.predict(examples)["click"])
    assert ranker.predict_as_shown(moved)["click"].mean() < ranker.predict(examples)["click"].mean()


def test_examination_is_estimated_from_the_log() -> None:
    """Items at several positions give the examination probabilities, whatever the items are worth."""
    random, n = np.random.default_rng(0), 60_000
    wanted = random.uniform(0.1, 0.6, 30)
    item = random.integers(0, 30, n)
    # Better items stand higher, as in a shop that ranks.
    positions = 1 + np.clip((4 * (1 - wanted[item]) + random.normal(0, 1, n)).round().astype(int), 0, 3)
    chance = np.array([0, 1.0, 0.6, 0.4, 0.3])
    click = (random.random(n) < chance[positions] * wanted[item]).astype(np.float32)
    shown = Examples.none()
    made = Examples(
        **(vars(shown) | {"item_ids": np.arange(30).astype(str), "item": item, "positions": positions, "click": click})
    )
    np.testing.assert_allclose(examination(made)[1:5], chance[1:], atol=0.06)


def test_calibration_keeps_the_order_and_comes_true() -> None:
    """Overconfident logits become shares that come true, in the same order; with few examples little changes."""
    random = np.random.default_rng(0)
    truth = random.normal(-1, 1, (20_000, 1)).astype(np.float32)
    labels = (random.random(truth.shape) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    raw, before = 3 * truth + 2, Calibration.identity(1)
    fitted = calibrated(before, raw, labels, chained=True)
    assert fitted.stretch[0] == pytest.approx(1 / 3, abs=0.03)
    assert (np.diff(fitted.apply(np.sort(raw, axis=0)), axis=0) >= 0).all()
    predicted = (1 / (1 + np.exp(-fitted.apply(raw))))[:, 0]
    assert calibration_error(labels[:, 0], predicted) < 0.015
    hostile = calibrated(before, raw, 1 - labels, chained=True)
    assert hostile.stretch[0] > 0
    few = calibrated(before, raw[:2], labels[:2], chained=True)
    assert few.stretch[0] == pytest.approx(1, abs=0.3)


def test_the_command_writes_a_version(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It compares the network with the weighted sum, and writes what serving and training read."""
    shop_log(tmp_path / "data", lists=40).close()
    out = tmp_path / "version"
    main(out, tmp_path / "data", window_hours=WINDOW_S / 3_600, epochs=1, least=20)
    told = capsys.readouterr()
    assert "weighted sum" in told.err
    assert told.out.strip() == str(out)
    assert LearnableRanker.load(out).vector_version == VERSION
    assert OnnxRanker(out, lambda: Objective(1, 1, 1, 1), by_shuffle, by_shuffle).tasks == TASKS
    with pytest.raises(typer.BadParameter, match="exists; name"):
        main(out, tmp_path / "data")
    with pytest.raises(typer.BadParameter, match="needs at least 500 pages"):
        main(tmp_path / "other", tmp_path / "data", window_hours=WINDOW_S / 3_600)


def test_metrics_by_hand() -> None:
    """Ties count half; a list without a gain is left out; equal scores correlate with nothing."""
    labels, scores = np.array([1, 0, 0, 1.0]), np.array([0.9, 0.9, 0.1, 0.5])
    assert auc(labels, scores) == pytest.approx((0.5 + 1 + 0 + 1) / 4)
    assert log_loss(np.array([1.0, 0.0]), np.array([0.5, 0.5])) == pytest.approx(np.log(2))
    page = np.array([0, 0, 1, 1])
    assert ndcg(page, np.array([2.0, 1, 1, 2]), np.array([0, 1.0, 0, 0])) == pytest.approx(1 / np.log2(3))
    assert mean_rank_correlation(page, np.array([1.0, 2, 1, 1]), np.array([1.0, 2, 1, 2])) == pytest.approx(0.5)
    assert SEQUENCE == 50
    assert {item.model_version for item in ITEMS} == {VERSION}
