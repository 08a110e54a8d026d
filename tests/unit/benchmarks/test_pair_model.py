"""What the pair model learns from, its training, and how its scores reorder results."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.pair_model import features, fitted_orders, reordered, training_groups
from benchmarks.pair_training import PairTraining, TokenStates, pair_scores, train_pair_model
from services.query_encoder.wiring import embedded_model_dir

SERVED = {"oak door": [("mat", 0.2, 3.0), ("door", 0.6, 2.0), ("hinge", 0.4, 1.0), ("lamp", 0.1, 0.5)]}
JUDGEMENTS = {"oak door": {"door": 3.0, "gate": 2.0}}
TITLES = {"mat": "Door Mat", "door": "Oak Door", "hinge": "Hinge for Doors", "lamp": "Lamp", "gate": "Oak Gate"}


def test_only_the_first_results_are_reordered() -> None:
    scores = {"oak door": [0.0, 2.0, 1.0]}
    assert reordered(SERVED, scores, 2, 0.0)["oak door"] == ["door", "mat", "hinge", "lamp"]
    assert reordered(SERVED, scores, 3, 0.0)["oak door"] == ["door", "hinge", "mat", "lamp"]


def test_a_large_weight_keeps_the_served_order() -> None:
    assert reordered(SERVED, {"oak door": [0.0, 2.0, 1.0]}, 3, 100.0)["oak door"] == ["mat", "door", "hinge", "lamp"]


def test_a_group_has_judged_products_and_unjudged_results() -> None:
    (group,) = training_groups(JUDGEMENTS, TITLES, SERVED, seed=0)
    by_title = dict(zip(group.titles, zip(group.gains.tolist(), group.places.tolist(), strict=True), strict=True))
    # A judged product that was not found stands behind all results.
    assert by_title == {
        "Oak Door": (3.0, 1.0),
        "Oak Gate": (1.0, 4.0),
        "Door Mat": (0.0, 0.0),
        "Hinge for Doors": (0.0, 2.0),
        "Lamp": (0.0, 3.0),
    }


def test_a_query_without_a_gain_teaches_nothing() -> None:
    assert training_groups({"oak door": {"mat": 1.0}}, TITLES, SERVED, seed=0) == []


def test_features_know_the_place_and_the_words_of_the_title() -> None:
    found = features("oak door", SERVED["oak door"], TITLES)
    assert found.shape[0] == 4
    assert np.isfinite(found).all()
    # The last one is the logarithm of the place.
    assert found[:, -1].argsort().tolist() == [0, 1, 2, 3]


def test_a_finished_training_is_kept(tmp_path: Path) -> None:
    """The second call reads the file, and its model gives the same scores."""
    base, settings = embedded_model_dir(), PairTraining(minutes=1e-6)
    states, groups = TokenStates(base), training_groups(JUDGEMENTS, TITLES, SERVED, seed=0)
    shown = {"oak door": list(TITLES.values()), "lamp": ["Lamp"]}
    first, second = (
        pair_scores(train_pair_model(groups, states, base, tmp_path / "pair", settings), states, shown, "Pairs")
        for _ in range(2)
    )
    assert {query: len(scores) for query, scores in first.items()} == {"oak door": 5, "lamp": 1}
    assert np.isfinite(first["oak door"]).all()
    assert first == second


def test_networks_order_the_same_results() -> None:
    """What is fitted to good scores puts the judged product first."""
    scores = {"oak door": [0.0, 5.0, 0.0, 0.0]}
    orders = fitted_orders(JUDGEMENTS, TITLES, SERVED, SERVED, scores, seed=0)
    assert len(orders) == 4
    for order in (own["oak door"] for own in orders.values()):
        assert sorted(order) == ["door", "hinge", "lamp", "mat"]
        assert order[0] == "door"
