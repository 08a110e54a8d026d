"""Lists of what was shown."""

from __future__ import annotations

import numpy as np
import pytest

from services.ranker.domain.weights import Weights
from tests.unit.training.ranking_shop import NOW_S, WINDOW_S, shop_log
from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader
from training.shopper.impressions import corrected, impression_lists
from training.shopper.lists import FEATURES

WEIGHTS = Weights(query=1.0, history=0.8, price=0.1, popularity=0.1, availability=0.5, shopper=0.7, neighbours=3.0)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    """Each page of a small log several times."""
    store = shop_log(tmp_path_factory.mktemp("log"), lists=200)
    once = ExampleReader(store, window_s=WINDOW_S).read(NOW_S)
    return once.take(np.tile(np.arange(once.page_count), 10))


def test_lists_are_recommendations_with_a_click(examples: Examples) -> None:
    """Pages of a query are left out, and so are those without a click; clicks at low places weigh more."""
    lists = impression_lists(examples)
    assert lists.all_lists == sum(not row.any() for row in examples.query)
    assert 300 < lists.count < lists.all_lists
    assert lists.columns().shape == (len(lists.lists), len(FEATURES))
    clicked = lists.weights[lists.gains > 0]
    assert clicked.min() == pytest.approx(1, abs=0.05)
    assert clicked.max() > 1.5


def test_clicks_correct_the_weights(examples: Examples) -> None:
    """In a shop whose users love one kind, the history gains weight; what was not shown stays."""
    found = corrected(WEIGHTS, examples)
    assert found is not None
    assert found.weights.history > WEIGHTS.history
    assert found.weights.shopper == pytest.approx(WEIGHTS.shopper)


def test_few_pages(examples: Examples) -> None:
    """With fewer lists nothing is corrected."""
    assert corrected(WEIGHTS, examples.take(np.arange(40))) is None
