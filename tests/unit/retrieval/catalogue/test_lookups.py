"""The sorted lookups of the columns are those of a dict."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.retrieval.domain.catalogue.growing import IntArray
from services.retrieval.domain.catalogue.matching import WordMasks, among, with_all, with_any
from services.retrieval.domain.catalogue.number_map import NOWHERE, NumberMap
from services.retrieval.domain.catalogue.words import WordPostings

numbers = st.sampled_from([0, 1, 2, 3, 2**63, 2**64 - 2, 2**64 - 1])


@given(st.lists(st.lists(st.tuples(numbers, st.integers(NOWHERE, 5)), max_size=6), max_size=5))
def test_a_number_map_is_a_dict(batches: list[list[tuple[int, int]]]) -> None:
    """Sorted between any two changes, every key has its last value, and a removed key none."""
    expected: dict[int, int] = {}
    found = NumberMap()
    for batch in batches:
        for key, value in batch:
            expected[key] = value
            found[key] = value
        for key in (0, 1, 2, 3, 2**63, 2**64 - 2, 2**64 - 1):
            assert found[key] == expected.get(key, NOWHERE)
        keys = np.array([2**64 - 1, 0, 7, 2**63], np.uint64)
        assert found.find(keys).tolist() == [expected.get(key, NOWHERE) for key in keys.tolist()]
        found = found.tidied()
        assert found.find(keys).tolist() == [expected.get(key, NOWHERE) for key in keys.tolist()]


words = st.lists(st.tuples(st.sampled_from([0, 1, 2**32 - 1]), st.integers(0, 3)), max_size=6)


@given(st.lists(words, max_size=6), st.sets(st.integers(0, 5)))
def test_postings_are_lists_of_rows(batches: list[list[tuple[int, int]]], dead: set[int]) -> None:
    """In the tail, in merged segments and after a compaction a word has its rows, ascending."""
    postings = WordPostings()
    expected: dict[int, list[int]] = defaultdict(list)
    row = 0
    for batch in batches:
        row += 1
        rows = np.sort(np.array([row + step for _, step in batch], np.int32))
        row = int(rows.max(initial=row))
        postings.add(np.array([word for word, _ in batch], np.uint32), rows)
        for (word, _), its_row in zip(batch, rows.tolist(), strict=True):
            expected[word].append(its_row)
        if len(batch) % 2:
            postings = postings.tidied()
    for word in (0, 1, 2, 2**32 - 1):
        assert postings.rows(word).tolist() == expected[word]
    moved = np.array([-1 if number in dead else number for number in range(row + 1)], np.int32)
    compacted = postings.compacted(moved)
    for word in (0, 1, 2, 2**32 - 1):
        assert compacted.rows(word).tolist() == [number for number in expected[word] if number not in dead]


texts = st.lists(st.frozensets(st.sampled_from([0, 1, 2, 2**32 - 1])), max_size=12)
groups = st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 2**32 - 1]), max_size=3).map(tuple), max_size=3)


@given(texts, st.lists(groups, min_size=1, max_size=4), st.integers(0, 12), st.integers(0, 12))
def test_words_of_a_search(
    of_rows: list[frozenset[int]], asked: list[list[tuple[int, ...]]], sorted_rows: int, size: int
) -> None:
    """A row has a group if it contains all words of one of its alternatives, whatever was asked for before."""
    postings = WordPostings()
    for row, its_words in enumerate(of_rows):
        postings.add_all([sorted(its_words)], np.array([row], np.int32))
        if row == sorted_rows:
            postings = postings.tidied()
    size = min(size, len(of_rows))
    masks = WordMasks(postings, size)
    expected = [
        [any(its and its_words.issuperset(its) for its in group) for its_words in of_rows[:size]] for group in asked
    ]
    found = [masks.of(group) for group in asked]
    assert [mask.tolist() for mask in found] == expected
    assert with_all(found).tolist() == [all(of_row) for of_row in zip(*expected, strict=True)]
    assert with_any(found).tolist() == [any(of_row) for of_row in zip(*expected, strict=True)]
    assert [mask.tolist() for mask in found] == expected


sorted_numbers = st.lists(st.integers(0, 9)).map(lambda them: np.array(sorted(them), np.int32))


@given(sorted_numbers, sorted_numbers)
def test_which_rows_are_among_others(rows: IntArray, others: IntArray) -> None:
    """As numpy says, which sorts them."""
    assert among(rows, others).tolist() == np.isin(rows, others).tolist()
