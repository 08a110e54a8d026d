"""Fitted weights: features as served, and what fitting on them gains."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from services.ranker.domain.features import CANDIDATE_NUMBERS
from services.ranker.domain.weights import Weights
from tests.unit.training.shopper.shop import ITEMS, catalogue, cyclic_log, trained
from training.shopper.data import ShopperLog
from training.shopper.evaluation import ranks
from training.shopper.lists import FEATURE_OF, FEATURES, Lists, OneList, validation_lists
from training.shopper.weights import fit_weights
from training.shopper.windows import Windows

DEFAULT = Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5)


def made_lists(count: int, weights: dict[str, float], seed: int = 0) -> Lists:
    """Lists of ten candidates, of which one is chosen by a softmax with these weights."""
    random = np.random.default_rng(seed)
    true = np.array([weights.get(name, 0.0) for name in FEATURES])
    columns = [CANDIDATE_NUMBERS.index(FEATURE_OF[name]) for name in FEATURES]
    parts = []
    for person in range(count):
        features = random.random((10, len(FEATURES))).astype(np.float32)
        features[:, FEATURES.index("price")] = 0
        numbers, reached = np.zeros((10, len(CANDIDATE_NUMBERS)), np.float32), np.zeros(10, np.int64)
        numbers[:, columns] = features
        reached[np.argmax(features @ true + random.gumbel(size=10))] = 1
        parts.append(OneList(numbers, reached, np.ones(10, np.float32), f"person {person}"))
    return Lists.of(parts)


def test_the_weights_that_made_the_choices_are_found() -> None:
    """Fitting finds the weights, and measures their gain on lists that were not fitted on."""
    found = fit_weights(made_lists(3_000, {"shopper": 5.0, "neighbours": 3.0}), DEFAULT)
    assert found is not None
    assert found.weights.shopper == pytest.approx(5, rel=0.15)
    assert found.weights.neighbours == pytest.approx(3, rel=0.15)
    assert found.weights.query == pytest.approx(0, abs=0.3)
    assert 0 < found.gain_interval[0] < found.ndcg_after - found.ndcg_before < found.gain_interval[1]


def test_what_the_lists_do_not_show_stays() -> None:
    """The weight of a feature that is the same for all candidates stays as it was; no weight is negative."""
    found = fit_weights(made_lists(1_000, {"shopper": 5.0, "history": -4.0}), DEFAULT)
    assert found is not None
    assert found.weights.price == pytest.approx(DEFAULT.price)
    assert min(asdict(found.weights).values()) >= 0


def test_too_few_lists() -> None:
    """With few lists there are no fitted weights."""
    assert fit_weights(made_lists(49, {"shopper": 5.0}), DEFAULT) is None


def test_few_lists_move_the_weights_less() -> None:
    """The same choices in fewer lists leave the weights nearer to the defaults."""
    few, many = (fit_weights(made_lists(count, {"shopper": 5.0}), DEFAULT) for count in (120, 2_000))
    assert few is not None
    assert many is not None
    assert 0.3 < few.weights.shopper < 0.8 * many.weights.shopper


def test_a_loss_is_refused() -> None:
    """Weights that lose on the lists that they were not fitted on are not used."""
    one, other = made_lists(400, {"shopper": 9.0}), made_lists(400, {"shopper": -9.0}, seed=1)
    mixed = [
        OneList(lists.numbers[rows], lists.reached[rows], lists.weights[rows], str(lists.persons[number]))
        for number in range(400)
        for lists in (one, other)
        for rows in [lists.lists == number]
    ]
    assert fit_weights(Lists.of(mixed), DEFAULT) is None


def test_lists_before_the_newest_events(tmp_path: Path) -> None:
    """The sources find the next product for most persons, and the fitted weights place it better than the defaults."""
    log = cyclic_log(400)
    found = trained(tmp_path, log)
    lists = validation_lists(found.validated, log, catalogue(), found.validation)
    assert lists.all_lists == len(found.validation)
    assert lists.count > 0.9 * lists.all_lists
    fitted = fit_weights(lists, DEFAULT)
    assert fitted is not None
    assert fitted.weights.shopper > 0
    assert fitted.ndcg_after > fitted.ndcg_before
    document = fitted.document("newest events")
    assert {name: document[name] for name in asdict(DEFAULT)} == asdict(fitted.weights)


def test_ranks_leave_out_what_the_person_knows(tmp_path: Path) -> None:
    """Products of earlier events take no place before the next one, and equal scores do."""
    log = ShopperLog.of_sequences([np.array([1, 2, 3])])
    scores = np.zeros((1, ITEMS), np.float32)
    scores[0, [1, 2, 5]] = 9.0
    assert ranks(lambda events: scores.copy(), log, np.array([2])).tolist() == [ITEMS - 3]
    assert len(Windows(log, ITEMS)) == 1
    assert replace(log, items=np.array([1, 1, 3])).newest_targets().tolist() == [2]
