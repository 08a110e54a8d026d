"""Next-item prediction: splits, full ranking, and the parts of the recommender."""

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
    """Item i is followed by i + 1, which mostly has the same brand."""
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, ITEMS, users), random.integers(5, 9, users)
    sequences = [(start + np.arange(length)) % ITEMS for start, length in zip(starts, lengths, strict=True)]
    texts = [ItemText(f"thing {item}", f"brand{item // 4}") for item in range(ITEMS)]
    return Histories(sequences, [str(item) for item in range(ITEMS)], texts)


def test_leave_one_out() -> None:
    """Training has all but the last two items; the test history contains the validation target."""
    histories = Histories(rows([1, 2, 3, 4], [5, 6]), list("abcdefg"), [ItemText()] * 7)
    split = leave_one_out(histories)
    assert [list(sequence) for sequence in split.train] == [[1, 2], [5, 6]]
    assert [list(split.valid_histories[0]), split.valid_targets[0]] == [[1, 2], 3]
    assert [list(split.test_histories[0]), split.test_targets[0]] == [[1, 2, 3], 4]


def test_a_temporal_split_does_not_train_on_the_future() -> None:
    """Every training interaction is earlier than every test target."""
    times = [np.array([1.0, 2.0, 9.0]), np.array([3.0, 8.0, 9.5]), np.array([4.0, 5.0, 6.0, 7.0])]
    histories = Histories(rows([0, 1, 2], [1, 2, 3], [4, 5, 6, 0]), list("abcdefg"), [ItemText()] * 7, times)
    split = global_temporal(histories, share=0.2)
    trained_on = {float(t) for own, when in zip(split.train, times, strict=True) for t in when[: len(own)]}
    assert max(trained_on) < 8
    assert [(list(h), t) for h, t in zip(split.test_histories, split.test_targets, strict=True)] == [
        ([0, 1], 2), ([1, 2], 3)
    ]  # fmt: skip


def test_estimated_times_follow_every_sequence() -> None:
    """Estimated times agree with the order of the items, and never decrease within a sequence."""
    histories = Histories(rows([0, 1, 2], [2, 3, 4], [4, 5]), list("abcdef"), [ItemText()] * 6)
    times = estimated_times(histories)
    assert all((np.diff(own) >= 0).all() for own in times)
    assert times[0][0] < times[1][0] < times[2][1]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    """The error names the missing column and the columns of the file."""
    path = tmp_path / "s.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("user,items\nu,a b\n")
    with pytest.raises(ValueError, match=r"asin_sequence_chronological.*user, items"):
        read_histories(path, path)


@given(st.integers(0, 2**32 - 1))
def test_ranks(seed: int) -> None:
    """The rank is the position after sorting, with ties before the target and without items of the history."""
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
    """A scorer with equal scores for all items has no hits."""
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


def test_states_are_causal() -> None:
    """A later item, or padding, does not change earlier states."""
    model = SequenceNetwork(10, item_tokens([ItemText()] * 10), NetworkSettings(width=8)).eval()
    items = model.items()
    one, other = (model.states(items, torch.tensor([row])) for row in ([1, 2, 3], [1, 2, 10]))
    torch.testing.assert_close(one[:, :2], other[:, :2])


def test_an_empty_history() -> None:
    """For an empty history the network scores all items equally."""
    model = SequenceNetwork(10, item_tokens([ItemText()] * 10), NetworkSettings(width=8))
    scores = scorer(model)(rows([], [1]))
    assert np.ptp(scores[0]) == 0
    assert np.ptp(scores[1]) > 0


def test_tokens_are_shared_words_and_their_weights_add_up() -> None:
    """A word of a single item is no token, and the weights of an item add up to 1."""
    tokens = item_tokens([ItemText("red lamp"), ItemText("red rug", "Unknown"), *[ItemText()] * 8])
    assert tokens.vocabulary_size == 1
    assert tokens.weights.tolist() == [1.0, 1.0]


def test_neighbours_prefer_the_following_item() -> None:
    """Of two neighbours of the last item, the one that followed it has the higher score."""
    settings = neighbours.NeighbourSettings()
    scores = neighbours.scorer(neighbours.neighbours(rows([1, 2, 3]), 5, settings), settings)(rows([2]))[0]
    assert scores[3] > scores[1] > scores[4] == 0


def test_the_network_learns_the_next_item() -> None:
    """On cyclic histories it ranks the next item first for most users; equal seeds give equal networks."""
    histories = cyclic()
    split = leave_one_out(histories)
    network = NetworkSettings(width=16, dropout=0.1)
    settings = TrainSettings(epochs=12, learning_rate=2e-2, batch=32, average=0.9, warm_up_steps=5)
    models = [train(split, item_tokens(histories.texts), ITEMS, network, settings)[0] for _ in range(2)]
    found = ranks(scorer(models[0]), split.test_histories, split.test_targets)
    assert (found == 0).mean() > 0.5
    torch.testing.assert_close(models[0].state_dict(), models[1].state_dict())


def test_the_mixture_is_selected_on_the_validation() -> None:
    """On the validation the mixture is at least as good as the network alone, and probabilities add up to 1."""
    histories = cyclic(80)
    settings = RecommenderSettings(NetworkSettings(width=8), TrainSettings(epochs=2, batch=32))
    kairos = fit(histories, leave_one_out(histories), settings)
    split = leave_one_out(histories)
    mixture = replace(kairos, reranker=None)
    alone = ranks(replace(mixture, shares=(0.0, 0.0)), split.valid_histories, split.valid_targets)
    assert kairos.validation >= ndcg(alone)
    np.testing.assert_allclose(mixture(rows([1, 2], [])).sum(axis=1), 1, rtol=1e-4)
    assert np.isfinite(kairos(rows([1, 2], []))).all()


def test_the_network_takes_the_share_of_empty_parts() -> None:
    """A history without scores of neighbours and text keeps the network's probabilities."""
    network = np.array([[0.2, 0.8], [0.5, 0.5]], np.float32)
    near, text = np.array([[0, 0], [1, 0]], np.float32), np.zeros((2, 2), np.float32)
    np.testing.assert_allclose(mixed((network, near, text), (0.5, 0.2)), [[0.2, 0.8], [0.75, 0.25]])


def test_text_similarity() -> None:
    """The item that shares a rare word with the history has the higher score; without text all scores are 0."""
    texts = [ItemText("red lamp"), ItemText("red rug"), ItemText("red lamp shade"), ItemText()]
    scores = similarity.scorer(texts)(rows([0]))[0]
    assert scores[2] > scores[1] > scores[3] == 0
    assert not similarity.scorer([ItemText()] * 4)(rows([0])).any()
