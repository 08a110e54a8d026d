"""Fitting: what is learned, that a killed run continues, and that little data suffices."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from services.ranker.domain.event import Event, EventType
from services.ranker.domain.shopper.events import WORDS
from tests.unit.training.shopper.shop import ITEMS, QUICK, catalogue, cyclic_log, trained
from training.shopper.data import Catalogue, ShopperLog
from training.shopper.evaluation import ranks
from training.shopper.softmax import full_softmax_loss, sampled_softmax_loss
from training.shopper.train import fit
from training.shopper.windows import Windows


class Killed(Exception):
    pass


def test_it_learns_what_comes_next(tmp_path: Path) -> None:
    """The product that follows the last one ranks first for most persons, on events that were not trained on."""
    found = trained(tmp_path)
    placed = ranks(found.validated.scorer(Windows(found.log, ITEMS)), found.log, found.validation)
    assert (placed == 0).mean() > 0.5


def test_a_killed_run_continues(tmp_path: Path) -> None:
    """A run that is killed in the middle of either fit ends with the model of one that was not."""
    whole = trained(tmp_path / "whole")
    steps = 0

    def kill_at(step: int):  # type: ignore[no-untyped-def]  # a Progress
        def progress(stage: str, done: int, total: int, note: str) -> None:
            nonlocal steps
            steps += 1
            if steps == step:
                raise Killed

        return progress

    for step in (3, whole.epochs + 4):
        steps = 0
        with pytest.raises(Killed):
            fit(cyclic_log(), catalogue(), QUICK, tmp_path / "killed", kill_at(step))
    found = trained(tmp_path / "killed")
    np.testing.assert_array_equal(found.model.items, whole.model.items)
    assert found.curve == whole.curve


def test_other_data_begin_anew(tmp_path: Path) -> None:
    """A folder with the state of another log is not continued."""
    trained(tmp_path, cyclic_log(seed=1))
    np.testing.assert_array_equal(trained(tmp_path).model.items, trained(tmp_path / "fresh").model.items)


@pytest.mark.parametrize(
    "of",
    [catalogue(text=0), catalogue(image=5), replace(catalogue(), text=np.zeros((ITEMS, 3), np.float32))],
    ids=["no vectors", "pictures", "only zeros"],
)
def test_any_catalogue(tmp_path: Path, of: Catalogue) -> None:
    """Ten persons and any vectors are enough for a finite model."""
    found = fit(cyclic_log(10), of, replace(QUICK, epochs=2), tmp_path)
    assert np.isfinite(found.model.items).all()
    assert found.model.network.map.matrix().shape == (of.inputs().shape[1] + 1, QUICK.network.width)


def test_products_without_events_have_the_vector_of_the_map(tmp_path: Path) -> None:
    """A product that nobody acted on is where the map puts a new product."""
    of = catalogue()
    found = fit(cyclic_log(items=30), of, replace(QUICK, epochs=2), tmp_path)
    matrix = found.model.network.map.matrix().detach().numpy()
    by_map = np.concatenate([of.inputs(), np.ones((ITEMS, 1), np.float32)], axis=1) @ matrix
    np.testing.assert_allclose(found.model.items[30:], by_map[30:], atol=2e-3)


def test_sampled_negatives(tmp_path: Path) -> None:
    """A large catalogue is learned with sampled negatives."""
    found = fit(cyclic_log(), catalogue(), replace(QUICK, full_softmax=10, negatives=20), tmp_path)
    placed = ranks(found.validated.scorer(Windows(found.log, ITEMS)), found.log, found.validation)
    assert (placed == 0).mean() > 0.5


def test_events_of_every_type(tmp_path: Path) -> None:
    """Queries, removals and unknown products in a log do no harm."""
    kinds = [EventType.SEARCH, EventType.CLICK, EventType.REMOVE, EventType.CART, EventType.PURCHASE]
    events = [
        Event(f"e{person}-{at}", f"u{person}", "", "" if kind is EventType.SEARCH else f"p{person + at}", kind,
              1e9 + 60.0 * at, query="lamp" if kind is EventType.SEARCH else "")
        for person in range(10)
        for at, kind in enumerate(kinds)
    ]  # fmt: skip
    log = ShopperLog.of([*events, replace(events[1], event_id="x", item_id="gone")], catalogue().ids)
    assert len(log) == len(events)
    assert np.isfinite(fit(log, catalogue(), replace(QUICK, epochs=2), tmp_path).model.items).all()


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    """A log of one event a person is refused, and the error says why."""
    log = ShopperLog.of_sequences([np.array([item]) for item in range(5)])
    with pytest.raises(ValueError, match="two products"):
        fit(log, catalogue(), QUICK, tmp_path)


def test_a_sample_of_negatives_stands_for_all() -> None:
    """With log-Q correction, many draws give the loss of the softmax over all items."""
    torch.manual_seed(0)
    hidden, items, targets = torch.randn(20, 8), torch.randn(50, 8), torch.randint(0, 50, (20,))
    chances = torch.softmax(torch.randn(50), 0)
    drawn = torch.multinomial(chances, 100_000, replacement=True)
    found = sampled_softmax_loss(hidden, items[targets], targets, items[drawn], drawn, chances.log()[drawn])
    expected = torch.nn.functional.cross_entropy(hidden @ items.T, targets)
    assert found.item() == pytest.approx(expected.item(), rel=0.01)
    assert full_softmax_loss(hidden, items, targets).item() == pytest.approx(expected.item(), rel=0.01)


def test_what_training_has_not_seen_adds_nothing(tmp_path: Path) -> None:
    """Words and types of events that no log had do not change a person's vector."""
    user = trained(tmp_path).model.network.user
    items, ages = torch.randn(2, QUICK.network.width), torch.zeros(2)
    words = torch.zeros(2, WORDS, dtype=torch.long)
    with torch.inference_mode():
        known, unknown = (user.person(items, torch.tensor([4, 4]), ages, own) for own in (words, words + 5))
        other = user.person(items, torch.tensor([4, 5]), ages, words)
        plain = user.person(items, torch.tensor([4, 0]), ages, words)
    torch.testing.assert_close(known, unknown)
    torch.testing.assert_close(other, plain)
