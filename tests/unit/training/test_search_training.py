"""Training of encoder and fusion on judged queries, with a small model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from services.query_encoder.adapters.torch_encoder import TorchEncoder
from services.retrieval.adapters.fusion_model import load_fusion, save_fusion
from services.retrieval.domain.learned_fusion import FEATURES, fusion_features
from tests.unit.training.search_shop import COLOURS, THINGS, tiny_bert
from training.search.data import Pair
from training.search.encoder import Batch, Examples, contrastive_loss, train_encoder
from training.search.fusion import RankedQuery, train_fusion
from training.search.on_ray import Workers, train_encoder_on_ray
from training.search.settings import EncoderTraining, FusionTraining, SearchTraining
from training.search.start import read_start
from training.search.train import train


@pytest.fixture(scope="module")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def examples() -> Examples:
    """The right answers of "shoelike" are shoes of every colour: query and product share no word."""
    texts = {f"{colour}-{thing}": f"{colour} {thing}" for colour in COLOURS for thing in THINGS}
    judged = {
        f"{thing}like": {f"{colour}-{thing}": 3.0 for colour in COLOURS} | {f"red-{THINGS[0]}": 1.0}
        if thing != THINGS[0]
        else {f"{colour}-{thing}": 3.0 for colour in COLOURS}
        for thing in THINGS
    }
    return Examples(judged, texts, {})


def settings(**changes: object) -> EncoderTraining:
    return EncoderTraining(**({"epochs": 30, "batch": 8, "learning_rate": 5e-3, "checkpoint_every": 5} | changes))  # type: ignore[arg-type]


def hits(model_dir: Path) -> float:
    """The share of queries whose nearest product is a right one."""
    encoder, given = TorchEncoder(model_dir, "test@1"), examples()
    ids = list(given.texts)
    products = encoder.encode([given.texts[product_id] for product_id in ids], 16, "product")
    nearest = (encoder.encode(list(given.judgements), 16, "query") @ products.T).argmax(1)
    right = [given.judgements[query].get(ids[row], 0) > 2 for query, row in zip(given.judgements, nearest, strict=True)]
    return float(np.mean(right))


def test_the_encoder_learns_from_pairs(base_dir: Path, tmp_path: Path) -> None:
    """After training, but not before, the nearest product of each query is a right one."""
    trained = train_encoder(examples(), base_dir, tmp_path / "encoder", settings())
    assert hits(base_dir) < 0.7
    assert hits(trained) == 1.0
    assert not (tmp_path / "encoder.checkpoint").exists()


def test_adapters_are_merged(base_dir: Path, tmp_path: Path) -> None:
    """With LoRA the saved model is a plain one with changed weights."""
    trained = train_encoder(examples(), base_dir, tmp_path / "encoder", settings(lora_rank=4))
    assert hits(trained) > hits(base_dir)


def test_two_workers_train_one_model(base_dir: Path, tmp_path: Path) -> None:
    """Ray Train's workers share the batches and write the same files as one process, with a trained model."""
    workers = Workers(2)
    target = train_encoder_on_ray(examples(), base_dir, tmp_path / "encoder", settings(epochs=15), workers)
    assert hits(target) > hits(base_dir)
    # 36 pairs make 4 batches of 8: 2 for each worker.
    assert json.loads((target / "training.json").read_text())["steps"] == 15 * 2
    alone = train_encoder(examples(), base_dir, tmp_path / "alone", settings(epochs=1))
    assert {path.name for path in target.iterdir()} == {path.name for path in alone.iterdir()}


def test_an_interrupted_training_resumes(base_dir: Path, tmp_path: Path) -> None:
    """A resumed training ends with the same model as an uninterrupted one."""

    class Interrupted(Exception):
        pass

    class BreaksOff(Examples):
        def _batch(self, pairs: Sequence[Pair], hard_negatives: int, random: np.random.Generator) -> Batch:
            done.append(1)
            if len(done) == 13:
                raise Interrupted
            return super()._batch(pairs, hard_negatives, random)

    given = examples()
    done: list[int] = []
    target = tmp_path / "broken"
    with pytest.raises(Interrupted):
        train_encoder(BreaksOff(given.judgements, given.texts, given.negatives), base_dir, target, settings(epochs=6))
    assert target.with_suffix(".checkpoint").is_file()
    again = train_encoder(given, base_dir, target, settings(epochs=6))
    through = train_encoder(given, base_dir, tmp_path / "through", settings(epochs=6))
    one, other = (
        TorchEncoder(folder, "test@1").encode(["shoelike", "red lamp"], 16, "query") for folder in (again, through)
    )
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_masked_products_are_no_negatives() -> None:
    """Only an allowed negative adds to the loss."""
    queries = torch.nn.functional.normalize(torch.tensor([[1.0, 0.2], [0.1, 1.0]]), dim=1)
    products = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.2, 1.0]]), dim=1)

    def loss(allowed: torch.Tensor) -> float:
        return float(contrastive_loss(queries, products, 0.05, allowed))

    everything = torch.ones(2, 4, dtype=torch.bool)
    without = everything.clone()
    without[0, 2] = False
    assert loss(without) < loss(everything)


def test_too_few_pairs_are_refused(base_dir: Path, tmp_path: Path) -> None:
    """Fewer pairs than a batch are refused, and no model is written."""
    with pytest.raises(ValueError, match="fewer relevant pairs"):
        train_encoder(examples(), base_dir, tmp_path / "encoder", settings(batch=500))
    assert not (tmp_path / "encoder").exists()


def ranked_by_words(count: int) -> list[RankedQuery]:
    """Queries whose relevant candidates differ from the others in the lexical score alone."""
    random = np.random.default_rng(0)
    queries = []
    for _ in range(count):
        lexical, cosines = random.random(30).astype(np.float32) * 9, random.random(30).astype(np.float32)
        features = fusion_features(cosines, lexical, np.zeros(30, np.float32), np.zeros((30, 2), np.float32), 3)
        queries.append(RankedQuery(features, (lexical > 8).astype(np.float32)))
    return queries


def test_the_fusion_learns_which_leg_is_right(tmp_path: Path) -> None:
    """If only the lexical score separates candidates, the network ranks by it; a loaded network is the same."""
    queries = ranked_by_words(200)
    network = train_fusion(queries[:150], FusionTraining(epochs=20))
    ranked = [query.gains[np.argsort(-network(query.features))[0]] for query in queries[150:] if query.gains.any()]
    assert np.mean(ranked) > 0.9
    save_fusion(network, tmp_path / "fusion", {})
    np.testing.assert_array_equal(load_fusion(tmp_path / "fusion")(queries[0].features), network(queries[0].features))


def test_queries_without_a_gain_are_refused() -> None:
    """A fusion needs a candidate with a gain."""
    empty = RankedQuery(np.zeros((3, len(FEATURES)), np.float32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="nothing to train"):
        train_fusion([empty], FusionTraining())


def test_the_fusion_continues_from_its_start() -> None:
    """Without a step it scores as its start does, with its hidden units and feature scaling."""
    queries = ranked_by_words(60)
    start = train_fusion(queries[:50], FusionTraining(hidden=5))
    still = train_fusion(queries[50:], FusionTraining(epochs=0), start)
    moved = train_fusion(queries[50:], FusionTraining(epochs=2), start)
    expected = start(queries[0].features)
    np.testing.assert_allclose(still(queries[0].features), expected, atol=1e-5)
    assert np.abs(moved(queries[0].features) - expected).max() > 1e-3


def test_a_start_without_a_model_is_refused(tmp_path: Path) -> None:
    """A folder without a model is refused by name."""
    with pytest.raises(ValueError, match="holds neither"):
        read_start(tmp_path)


def test_a_shop_without_judgements(base_dir: Path, tmp_path: Path) -> None:
    """Another catalogue's result is adapted: the encoder changes, the fusion stays, the version is another one."""
    products = tmp_path / "p.csv"
    rows = [f"{thing}-{colour},{colour} {thing}" for colour in COLOURS for thing in THINGS]
    products.write_text("\n".join(["id,title", *rows]))
    given = SearchTraining(settings(epochs=2))
    alone = read_start(base_dir)
    fresh = train(products, "", None, tmp_path / "out", given, alone)
    assert (alone.fusion, fresh.fusion.method) == (None, "linear")

    earlier = tmp_path / "earlier"
    network = train_fusion(ranked_by_words(20), FusionTraining())
    save_fusion(network, earlier / "fusion", {})
    assert fresh.model.model_dir is not None
    fresh.model.model_dir.rename(earlier / "encoder")
    start = read_start(earlier)
    adapted = train(products, "", None, tmp_path / "out", given, start)
    assert adapted.model.version != fresh.model.version
    assert adapted.fusion.model_dir is not None
    assert adapted.model.model_dir is not None
    np.testing.assert_array_equal(load_fusion(adapted.fusion.model_dir).hidden, network.hidden)
    one, other = (
        TorchEncoder(folder, "t@1").encode(["red shoe"], 16, "query")
        for folder in (start.encoder, adapted.model.model_dir)
    )
    assert np.abs(one - other).max() > 1e-3
    weights = adapted.model.model_dir / "model.safetensors"
    made = weights.stat().st_mtime_ns
    assert train(products, "", None, tmp_path / "out", given, start) == adapted
    assert weights.stat().st_mtime_ns == made
