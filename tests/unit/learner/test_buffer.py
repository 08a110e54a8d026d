"""The buffer of old pages: bounded, with the newest and a uniform sample of the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.learner.buffer import Buffer, still_there
from services.ranker.adapters.sqlite_store import SqliteProfileStore
from services.ranker.domain.user_features import IntArray
from tests.unit.learner.logs import Shop
from training.ranking.examples import Examples
from training.ranking.reading import ExampleReader
from training.ranking.split import held_back_pages, is_held_back


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Examples:
    store = SqliteProfileStore(tmp_path_factory.mktemp("log"))
    shop = Shop(store)
    shop.show(150)
    return ExampleReader(store, window_s=60).read(shop.now_s + 60)


def filled(stream: Examples, chunks: list[IntArray]) -> Buffer:
    buffer = Buffer(recent=20, reservoir=30)
    for rows in chunks:
        buffer.add(stream.take(rows), rows + 1)
    return buffer


def test_bounded_and_the_same_however_it_came(stream: Examples) -> None:
    """It holds the newest 20 and 30 of all; chunks and repetitions of the log change nothing."""
    rows = np.arange(150)
    once = filled(stream, [rows])
    again = filled(stream, [rows[:70], rows[30:90], rows[60:]])
    assert set(range(131, 151)) <= set(once.positions.tolist())
    assert 30 <= len(once) <= 50
    np.testing.assert_array_equal(once.positions, again.positions)
    assert once.examples.ranking_ids.tolist() == again.examples.ranking_ids.tolist()


def test_the_sample_is_of_all_that_was(stream: Examples) -> None:
    """Of what is not among the newest, early lists stay as often as late ones."""
    buffer = Buffer(recent=0, reservoir=60)
    buffer.add(stream, np.arange(1, 151))
    early = int((buffer.positions <= 75).sum())
    assert 18 <= early <= 42


def test_deleted_pages_are_found(stream: Examples) -> None:
    """A page stays if the person's first position in the log is not beyond it; one without a person always does."""
    lists = stream.take(np.arange(3))
    first, *_ = lists.persons.tolist()
    oldest = dict.fromkeys(lists.persons.tolist(), 1) | {first: 2}
    assert still_there(lists, np.array([1, 2, 3]), oldest).tolist()[0] is False
    assert still_there(lists, np.array([2, 3, 4]), oldest).tolist() == [True] * 3
    assert not still_there(lists, np.array([1, 2, 3]), {}).any()


def test_a_fifth_is_held_back() -> None:
    """About a fifth of the persons or rankings; of a smaller share, a part of them."""
    held, fewer = ({key for key in map(str, range(5_000)) if is_held_back(key, share)} for share in (0.2, 0.05))
    assert len(held) == pytest.approx(1_000, abs=100)
    assert len(fewer) == pytest.approx(250, abs=50)
    assert fewer < held


def test_all_pages_of_a_held_back_person_are(stream: Examples) -> None:
    """Of the others, and of unknown persons, those of held-back rankings are."""
    held = held_back_pages(stream)
    persons, rankings = stream.persons.tolist(), stream.ranking_ids.tolist()
    expected = [is_held_back(person) or is_held_back(id) for person, id in zip(persons, rankings, strict=True)]
    assert held.tolist() == expected
    assert 0 < held.mean() < 0.5
    unknown = replace(stream, persons=np.full(stream.page_count, ""))
    assert held_back_pages(unknown).tolist() == [is_held_back(id) for id in rankings]
