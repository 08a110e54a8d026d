"""A version of the shopper model, read from its folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from services.ranker.adapters.shopper_version import ShopperVersion
from services.ranker.domain.event import EventType, HistoryEntry
from services.ranker.domain.user_history import UserHistory
from services.ranker.domain.weights import Weights
from tests.unit.ranker.histories import NOW_S, entry, features
from tests.unit.ranker.shopper_folders import write_version

ITEMS = {"boot": (1.0, 0.0), "lamp": (0.0, 1.0)}
WEIGHTS = {"query": 0.1, "history": 0.2, "price": 0.0, "popularity": 0.1, "availability": 0.5, "shopper": 1.0}
DAY_S = 86_400.0


def search(query: str) -> HistoryEntry:
    return HistoryEntry("", "", EventType.SEARCH, NOW_S, 0, None, "s", query)


def test_the_vector_is_that_of_the_graph(tmp_path: Path) -> None:
    """Item vectors of known items, and ages in log(1 + days), go into the graph."""
    write_version(tmp_path, ITEMS)
    model = ShopperVersion(tmp_path)
    found = model.vector(UserHistory([entry(features("boot")), entry(features("lamp"), age_s=DAY_S)]), NOW_S)
    assert found is not None
    np.testing.assert_allclose(found, [1.0, 0.5], rtol=1e-6)
    assert model.name == "shopper@aaaaaaaaaaaa"


def test_a_new_item_has_the_vector_of_the_map(tmp_path: Path) -> None:
    """An item that the version does not know is mapped from its unit text vector, in a history and as a candidate."""
    write_version(tmp_path, ITEMS, text_map=((0, 2), (2, 0)), bias=(0.5, 0))
    model = ShopperVersion(tmp_path)
    found = model.vector(UserHistory([entry(features("new", 3.0, 0.0))]), NOW_S)
    assert found is not None
    np.testing.assert_allclose(found, [0.5, 2.0], rtol=1e-6)
    vectors = np.array([[0, 0], [1, 0], [0, 0]], np.float32)
    scores = model.scores(np.array([1, 10], np.float32), ["boot", "new", "bare"], vectors, "m@1")
    np.testing.assert_allclose(scores, [1.0, 20.5, 0.5], rtol=1e-6)


def test_vectors_of_another_model_are_not_mapped(tmp_path: Path) -> None:
    """With text vectors of another version an unknown item scores 0, and its events are left out."""
    write_version(tmp_path, ITEMS, vector_version="m@2")
    model = ShopperVersion(tmp_path)
    assert model.vector(UserHistory([entry(features("new", 1.0, 0.0))]), NOW_S) is None
    vectors = np.ones((2, 2), np.float32)
    np.testing.assert_array_equal(model.scores(np.ones(2, np.float32), ["boot", "new"], vectors, "m@1"), [1, 0])


def test_a_history_that_nothing_is_read_of_has_no_vector(tmp_path: Path) -> None:
    """Impressions are not read; a search alone is."""
    write_version(tmp_path, ITEMS)
    model = ShopperVersion(tmp_path)
    assert model.vector(UserHistory([]), NOW_S) is None
    assert model.vector(UserHistory([entry(features("boot"), EventType.IMPRESSION)]), NOW_S) is None
    assert model.vector(UserHistory([search("warm boots")]), NOW_S) is not None


def test_only_the_newest_fifty_events_are_read(tmp_path: Path) -> None:
    """The 51st event changes nothing."""
    write_version(tmp_path, ITEMS)
    model = ShopperVersion(tmp_path)
    boots = [entry(features("boot"), event_id=f"e{n}") for n in range(50)]
    with_one_more = model.vector(UserHistory([*boots, entry(features("lamp"), age_s=1)]), NOW_S)
    assert with_one_more is not None
    np.testing.assert_array_equal(with_one_more, [50, 0])


def test_fitted_weights_travel_with_the_version(tmp_path: Path) -> None:
    """weights.json holds all weights, and whatever else the training wrote beside."""
    write_version(tmp_path, ITEMS, weights=WEIGHTS | {"neighbours": 0.3, "lists": 812})
    assert ShopperVersion(tmp_path).weights == Weights(0.1, 0.2, 0.0, 0.1, 0.5, 1.0, 0.3)


@pytest.mark.parametrize("wrong", [{}, {"neighbours": math.inf}, {"neighbours": None}])
def test_damaged_weights_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    """A missing weight, or one that is not finite, is an error that names the file."""
    write_version(tmp_path, ITEMS, weights=WEIGHTS | wrong)
    with pytest.raises(ValueError, match=r"weights\.json"):
        ShopperVersion(tmp_path)


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Another number of items than vectors, and another format, are errors that say so."""
    write_version(tmp_path, ITEMS)
    (tmp_path / "items.json").write_text(json.dumps(["boot"]))
    with pytest.raises(ValueError, match=r"vectors has shape \(2, 2\), not \(1, 2\)"):
        ShopperVersion(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps({"format": 2, "kind": "shopper"}))
    with pytest.raises(ValueError, match="format 2"):
        ShopperVersion(tmp_path)
