"""Sequences: splits, full ranking, and what is learned from histories."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from training.sequence import neighbours, similarity
from training.sequence.data import Histories, ItemText, estimated_times, global_temporal, leave_one_out, read_histories
from training.sequence.evaluation import hit_rate, ndcg, ranks, ranks_among
from training.sequence.network import NetworkSettings, SequenceNetwork, item_tokens
from training.sequence.recommender import RecommenderSettings, fit, mixed
from training.sequence.softmax import full_softmax_loss
from training.sequence.train import TrainSettings, scorer, train

ITEMS = 40


def rows(*histories: list[int]) -> list[np.ndarray]:
    return [np.array(history, np.int64) for history in histories]


def cyclic(users: int = 160, seed: int = 0) -> Histories:
    """After item i comes i + 1, of the same brand mostly."""
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, ITEMS, users), random.integers(5, 9, users)
    sequences = [(start + np.arange(length)) % ITEMS for start, length in zip(starts, lengths, strict=True)]
    texts = [ItemText(f"thing {item}", f"brand{item // 4}") for item in range(ITEMS)]
    return Histories(sequences, [str(item) for item in range(ITEMS)], texts)


def test_the_last_item_is_the_test_and_nothing_later_is_learned() -> None:
    """Leave-one-out learns from all but the last two, and asks the test with the validation's item known."""
    histories = Histories(rows([1, 2, 3, 4], [5, 6]), list("abcdefg"), [ItemText()] * 7)
    split = leave_one_out(histories)
    assert [list(sequence) for sequence in split.learned] == [[1, 2], [5, 6]]
    assert [list(split.valid_histories[0]), split.valid_targets[0]] == [[1, 2], 3]
    assert [list(split.test_histories[0]), split.test_targets[0]] == [[1, 2, 3], 4]


def test_a_temporal_split_learns_nothing_of_the_future() -> None:
    """Every act that was learned from is earlier than every act that the test asks for."""
    times = [np.array([1.0, 2.0, 9.0]), np.array([3.0, 8.0, 9.5]), np.array([4.0, 5.0, 6.0, 7.0])]
    histories = Histories(rows([0, 1, 2], [1, 2, 3], [4, 5, 6, 0]), list("abcdefg"), [ItemText()] * 7, times)
    split = global_temporal(histories, share=0.2)
    learned = {float(t) for own, when in zip(split.learned, times, strict=True) for t in when[: len(own)]}
    assert max(learned) < 8
    assert [(list(h), t) for h, t in zip(split.test_histories, split.test_targets, strict=True)] == [
        ([0, 1], 2), ([1, 2], 3)
    ]  # fmt: skip


def test_estimated_times_follow_every_sequence() -> None:
    """Without times, who came before whom tells them, and no sequence runs backwards."""
    histories = Histories(rows([0, 1, 2], [2, 3, 4], [4, 5]), list("abcdef"), [ItemText()] * 6)
    times = estimated_times(histories)
    assert all((np.diff(own) >= 0).all() for own in times)
    assert times[0][0] < times[1][0] < times[2][1]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """The error says which column a file lacks and which it has."""
    path = tmp_path / "s.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("user,items\nu,a b\n")
    with pytest.raises(ValueError, match=r"asin_sequence_chronological.*user, items"):
        read_histories(path, path)


@given(st.integers(0, 2**32 - 1))
def test_ranks_count_ties_against_the_right_item_and_leave_out_what_was_seen(seed: int) -> None:
    """The rank is what sorting says when equal scores go first and seen items are gone."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (3, 12)).astype(np.float32)
    histories = [random.choice(12, size, replace=False) for size in (1, 4, 0)]
    targets = np.array([random.choice(np.setdiff1d(np.arange(12), history)) for history in histories])
    expected = [
        sum(scores[row, item] >= scores[row, target] for item in range(12) if item != target and item not in history)
        for row, (history, target) in enumerate(zip(histories, targets, strict=True))
    ]
    assert list(ranks_among(scores, histories, targets)) == expected


def test_a_constant_scorer_is_last() -> None:
    """Who scores everything alike has earned nothing."""
    found = ranks(lambda histories: np.zeros((len(histories), 50), np.float32), rows([1], [2]), np.array([3, 4]))
    assert hit_rate(found) == 0
    assert ndcg(found) == 0


def test_the_softmax_has_the_gradient_of_cross_entropy() -> None:
    """Half precision changes loss and gradients by less than a hundredth."""
    torch.manual_seed(0)
    hidden, items = (torch.randn(n, 16).requires_grad_() for n in (20, 50))
    targets = torch.randint(0, 50, (20,))
    found = full_softmax_loss(hidden, items, targets)
    expected = torch.nn.functional.cross_entropy(hidden @ items.T, targets)
    for own, right in zip(
        torch.autograd.grad(found, (hidden, items)), torch.autograd.grad(expected, (hidden, items)), strict=True
    ):
        assert torch.linalg.norm(own - right) < 0.02 * torch.linalg.norm(right)
    assert found.item() == pytest.approx(expected.item(), rel=0.01)


def test_a_state_knows_nothing_of_what_comes_after() -> None:
    """Changing a later item, or padding, leaves earlier states as they were."""
    model = SequenceNetwork(10, item_tokens([ItemText()] * 10), NetworkSettings(width=8)).eval()
    items = model.items()
    one, other = (model.states(items, torch.tensor([row])) for row in ([1, 2, 3], [1, 2, 10]))
    torch.testing.assert_close(one[:, :2], other[:, :2])


def test_an_empty_history_prefers_nothing() -> None:
    """Of a shopper without a past the network says the same of all items."""
    model = SequenceNetwork(10, item_tokens([ItemText()] * 10), NetworkSettings(width=8))
    scores = scorer(model)(rows([], [1]))
    assert np.ptp(scores[0]) == 0
    assert np.ptp(scores[1]) > 0


def test_tokens_are_shared_words_and_their_weights_add_up() -> None:
    """A word of one item alone says nothing; an item without words weighs nothing."""
    tokens = item_tokens([ItemText("red lamp"), ItemText("red rug", "Unknown"), *[ItemText()] * 8])
    assert tokens.vocabulary_size == 1
    assert tokens.weights.tolist() == [1.0, 1.0]


def test_neighbours_prefer_what_came_after() -> None:
    """Of two items beside the last one, the one that followed it counts more."""
    settings = neighbours.NeighbourSettings()
    scores = neighbours.scorer(neighbours.neighbours(rows([1, 2, 3]), 5, settings), settings)(rows([2]))[0]
    assert scores[3] > scores[1] > scores[4] == 0


def test_the_network_learns_what_follows() -> None:
    """On histories where i + 1 follows i it puts the next item first far more often than chance, the same each time."""
    histories = cyclic()
    split = leave_one_out(histories)
    network = NetworkSettings(width=16, dropout=0.1)
    settings = TrainSettings(epochs=12, learning_rate=2e-2, batch=32, average=0.9, warm_up_steps=5)
    models = [train(split, item_tokens(histories.texts), ITEMS, network, settings)[0] for _ in range(2)]
    found = ranks(scorer(models[0]), split.test_histories, split.test_targets)
    assert (found == 0).mean() > 0.5
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


def test_the_mixture_is_no_worse_on_the_validation_than_either_part() -> None:
    """The shares are the best of those tried, and probabilities add up to 1."""
    histories = cyclic(80)
    settings = RecommenderSettings(NetworkSettings(width=8), TrainSettings(epochs=2, batch=32))
    kairos = fit(histories, leave_one_out(histories), settings)
    split = leave_one_out(histories)
    mixture = replace(kairos, order=None)
    alone = ranks(replace(mixture, shares=(0.0, 0.0)), split.valid_histories, split.valid_targets)
    assert kairos.validation >= ndcg(alone)
    np.testing.assert_allclose(mixture(rows([1, 2], [])).sum(axis=1), 1, rtol=1e-4)
    assert np.isfinite(kairos(rows([1, 2], []))).all()


def test_what_is_not_remembered_is_left_to_the_networks() -> None:
    """A history that memory and words have nothing for keeps the networks' probabilities."""
    generalised = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)
    remembered, alike = np.array([[0, 0], [1, 0]], np.float32), np.zeros((2, 2), np.float32)
    np.testing.assert_allclose(mixed((generalised, remembered, alike), (0.5, 0.2)), [[0.2, 0.8], [0.75, 0.25]])


def test_likeness_is_of_words_and_of_nothing_without_them() -> None:
    """Of two unknown items the one that shares a rare word with the history is likelier; no text, no opinion."""
    texts = [ItemText("red lamp"), ItemText("red rug"), ItemText("red lamp shade"), ItemText()]
    scores = similarity.scorer(texts)(rows([0]))[0]
    assert scores[2] > scores[1] > scores[3] == 0
    assert not similarity.scorer([ItemText()] * 4)(rows([0])).any()
