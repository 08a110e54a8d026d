"""The benchmark of recommendations: what is held out, how ranks are counted and kept, and that baselines learn."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.baselines import counting, ease
from benchmarks.baselines.data import Histories, ItemText, leave_one_out, read_histories
from benchmarks.baselines.evaluation import Scorer, gains, hits, ndcg, ranks, ranks_among
from benchmarks.baselines.sasrec import SasRec, SasRecSettings, fit_sasrec
from benchmarks.baselines.tuning import tuned
from benchmarks.recommend_offline import original
from benchmarks.recommend_quality import sampled, shops
from benchmarks.recommend_report import KAIROS, MISS, packed, plot, summary, unpacked
from benchmarks.recommend_suite import PLAIN, Shop, catalogue, placements, purchases, users_and_items
from services.common.serving_configuration import ServingConfiguration

ITEMS = 40


def rows(*histories: list[int]) -> list[np.ndarray]:
    return [np.array(history, np.int64) for history in histories]


def histories(*sequences: list[int], items: int = 7) -> Histories:
    names = [f"item-{item}" for item in range(items)]
    users = [f"user-{row}" for row in range(len(sequences))]
    return Histories(rows(*sequences), users, names, [ItemText(f"thing {item}") for item in range(items)])


def cyclic(users: int = 160) -> Histories:
    """Item i is followed by i + 1."""
    random = np.random.default_rng(0)
    starts, lengths = random.integers(0, ITEMS, users), random.integers(5, 9, users)
    found = [list((start + np.arange(length)) % ITEMS) for start, length in zip(starts, lengths, strict=True)]
    return histories(*found, items=ITEMS)


def test_leave_one_out() -> None:
    """Training lacks the last two items, what is known at the test only the last one; short histories are training."""
    split = leave_one_out(histories([5, 6], [1, 2, 3, 4]))
    assert [list(sequence) for sequence in split.train] == [[1, 2], [5, 6]]
    assert [list(split.valid_histories[0]), split.valid_targets[0]] == [[1, 2], 3]
    assert [list(sequence) for sequence in split.known] == [[1, 2, 3], [5, 6]]
    assert [split.test_users[0], list(split.test_histories[0]), split.test_targets[0]] == [1, [1, 2, 3], 4]


def test_files_are_read(tmp_path: Path) -> None:
    """Users keep their ids, an item without a row has no text, and an item without events is an item too."""
    sequences, items = tmp_path / "s.csv.gz", tmp_path / "i.csv"
    with gzip.open(sequences, "wt") as file:
        file.write("user,asin_sequence_chronological\nanna,a b\n")
    items.write_text("asin,keywords\na,red lamp\nc,rug\n")
    found = read_histories(sequences, items)
    assert (list(found.user_ids), list(found.item_ids)) == (["anna"], ["a", "b", "c"])
    assert [text.keywords for text in found.texts] == ["red lamp", "", "rug"]
    items.write_text("id\na\n")
    with pytest.raises(ValueError, match=r"no column 'asin'; it has id"):
        read_histories(sequences, items)


def test_the_log_lacks_the_test_items(tmp_path: Path) -> None:
    """Each user's last item is not in the events, which are in the order of time and as far apart as asked for."""
    data = histories([1, 2, 3, 4], [5, 6], [0, 1, 2])
    split, shop = leave_one_out(data), Shop(tmp_path)
    shop.write(catalogue(data, with_texts=True), purchases(data, split, spacing_days=14))
    with shop.events.open() as file:
        found = list(csv.DictReader(file))
    by_user = {user: [row["item_id"] for row in found if row["user_id"] == user] for user in data.user_ids}
    assert by_user == {
        "user-0": ["item-1", "item-2", "item-3"], "user-1": ["item-5", "item-6"], "user-2": ["item-0", "item-1"]
    }  # fmt: skip
    times = [np.datetime64(row["time"].removesuffix("+00:00")) for row in found]
    assert times == sorted(times)
    assert {str(step) for step in np.diff(sorted(set(times))).astype("timedelta64[D]")} == {"14 days"}
    assert len({row["event_id"] for row in found}) == len(found)
    assert users_and_items(data, split, np.array([1])) == (["user-2"], ["item-2"])


def test_the_placement_without_diversification() -> None:
    """It is a valid configuration with the sources of the default placement."""
    found = ServingConfiguration.model_validate(placements())
    assert found.placements[PLAIN].slate.diversity == 0


def test_a_suite_for_each_spacing_and_one_of_ids(tmp_path: Path) -> None:
    """Each row is measured once; titles that are all ids need no second suite."""
    data = histories([1, 2, 3])
    found = shops(data, [1, 14], tmp_path)
    names = [name for shop in found for name, *_ in shop.rows]
    assert len(set(names)) == len(names) == 6
    assert names[-1] == f"{KAIROS}, ids only"
    without = Histories(data.sequences, data.user_ids, data.item_ids, [ItemText()] * 7)
    assert [shop.spacing_days for shop in shops(without, [1], tmp_path)] == [1]


def test_a_sample_of_users() -> None:
    """It has so many users, each once, and all without a number."""
    split = leave_one_out(cyclic())
    assert len(set(sampled(split, 20, 0))) == 20
    assert list(sampled(split, None, 0)) == list(range(160))


@given(st.integers(0, 2**32 - 1))
def test_ranks(seed: int) -> None:
    """The rank is the position after sorting, with ties before the target and without items of the history."""
    random = np.random.default_rng(seed)
    scores = random.integers(0, 4, (3, 12)).astype(np.float32)
    known = [random.choice(12, size, replace=False) for size in (1, 4, 0)]
    targets = np.array([random.choice(np.setdiff1d(np.arange(12), history)) for history in known])
    expected = [
        sum(scores[row, item] >= scores[row, target] for item in range(12) if item != target and item not in history)
        for row, (history, target) in enumerate(zip(known, targets, strict=True))
    ]
    assert list(ranks_among(scores, known, targets)) == expected


def test_a_constant_scorer_is_last() -> None:
    """A scorer with equal scores for all items has no hits."""
    found = ranks(lambda known: np.zeros((len(known), 50), np.float32), rows([1], [2]), np.array([3, 4]))
    assert hits(found).sum() == gains(found).sum() == 0


@given(st.lists(st.integers(0, 100_000), min_size=1))
def test_packed_ranks(given_ranks: list[int]) -> None:
    """Ranks below `MISS` are kept; the others are misses at every depth."""
    found = unpacked(packed(np.array(given_ranks)))
    assert list(found) == [min(rank, MISS) for rank in given_ranks]


def test_a_summary_compares_pairs(tmp_path: Path) -> None:
    """The difference of two rows that hit the same users has an interval without width, and a plot is written."""
    ours, other = np.array([0, 5, MISS] * 30), np.array([1, 5, MISS] * 30)
    rows_of = {name: {"ranks": packed(own), "report": {}} for name, own in ((KAIROS, ours), ("popularity", other))}
    found = summary(rows_of, KAIROS, 0)
    assert found["figures"][KAIROS]["hr@10"]["value"] == pytest.approx(2 / 3, abs=1e-5)
    assert found["Kairos minus"]["popularity"]["hr@10"] == {"value": 0, "interval_95": (0, 0)}
    assert found["Kairos minus"]["popularity"]["ndcg@10"]["interval_95"][0] > 0
    plot("ranks", found, tmp_path / "r.png")
    assert (tmp_path / "r.png").stat().st_size > 1_000


def test_ease_is_the_closed_form() -> None:
    """Scores are those of the textbook's inverse."""
    random = np.random.default_rng(0)
    known = [random.permutation(30)[: random.integers(2, 6)] for _ in range(200)]
    matrix = np.array([np.isin(np.arange(30), history) for history in known], float)
    inverse = np.linalg.inv(matrix.T @ matrix + 5 * np.eye(30))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_allclose(ease.ease(known, 30, ridge=5.0)(known), matrix @ weights, atol=1e-4)


def test_baselines_learn_a_cycle() -> None:
    """Item-to-item and SASRec find the next item of a cycle; popularity does not."""
    torch.set_num_threads(1)
    split = leave_one_out(cyclic())

    def neighbours(known: list[np.ndarray], **settings: float) -> Scorer:
        return counting.item_to_item(known, ITEMS, **settings)

    near, report = tuned(split, 0, counting.ITEM_TO_ITEM_GRID[:2], neighbours, "item-to-item")
    network, chosen = fit_sasrec(split, ITEMS, SasRecSettings(width=32, dropout=0.1, batch=16, average=0.9, epochs=12))
    found = {
        name: ndcg(ranks(scorer, split.test_histories, split.test_targets))
        for name, scorer in (
            ("near", near), ("network", network), ("popularity", counting.popularity(split.known, ITEMS))
        )
    }  # fmt: skip
    assert found["near"] > 0.5 > found["popularity"]
    assert found["network"] > 0.5
    assert report["validation_ndcg@10"] > 0.5
    assert 6 < chosen["epoch"] <= 12


def test_states_are_causal() -> None:
    """A later item, or padding, does not change earlier states."""
    model = SasRec(10, SasRecSettings(width=8)).eval()
    one, other = (model.states(torch.tensor([row])) for row in ([1, 2, 3], [1, 2, 10]))
    torch.testing.assert_close(one[:, :2], other[:, :2])


def test_the_original_encodes_one_text() -> None:
    """A history is one text, its newest title first."""
    asked: list[list[str]] = []

    def encode(texts: Sequence[str]) -> np.ndarray:
        asked.append(list(texts))
        return np.ones((len(texts), 2), np.float32)

    scores = original(histories([0, 1], items=3), encode)(rows([0, 1], [2]))
    assert asked == [["thing 0", "thing 1", "thing 2"], ["thing 1. thing 0", "thing 2"]]
    assert scores.shape == (2, 3)
