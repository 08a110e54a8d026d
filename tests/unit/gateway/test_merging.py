"""The products of several sources as one list."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.common.serving_configuration import Source
from services.gateway.domain.merging import Merged, SourceList, filled, merged

lists = st.lists(
    st.builds(
        SourceList,
        st.sampled_from(Source),
        st.floats(0.01, 10),
        st.lists(st.sampled_from("abcdefgh"), max_size=8, unique=True),
    ),
    max_size=4,
    unique_by=lambda each: each.source,
)


@given(lists)
def test_every_product_once(found: list[SourceList]) -> None:
    """Each product of any list is there once, with exactly the sources that have it, best first."""
    order = merged(found)
    assert sorted(entry.item_id for entry in order) == sorted({id for each in found for id in each.item_ids})
    for entry in order:
        assert entry.sources == tuple(each.source for each in found if entry.item_id in each.item_ids)
    assert [entry.score for entry in order] == sorted((entry.score for entry in order), reverse=True)


@given(st.lists(st.sampled_from("abcdefgh"), unique=True))
def test_one_source_keeps_its_order(ids: list[str]) -> None:
    """The order of a single list does not change."""
    assert [entry.item_id for entry in merged([SourceList(Source.SIMILAR, 0.3, ids)])] == ids


def test_weights_and_agreement_count() -> None:
    """A product of two sources is above one of a single source; of two firsts the one with more weight leads."""
    order = merged(
        [SourceList(Source.BOUGHT_TOGETHER, 1.0, ["a", "both"]), SourceList(Source.SIMILAR, 2.0, ["b", "both"])]
    )
    assert [entry.item_id for entry in order] == ["both", "b", "a"]


@given(lists, st.lists(st.sampled_from("abcdefghijkl"), unique=True))
def test_a_fallback_comes_last(found: list[SourceList], more: list[str]) -> None:
    """What was found stays as it is, and the fallback's other products follow with lower scores."""
    before = merged(found)
    after = filled(before, SourceList(Source.POPULAR, 1.0, more))
    assert after[: len(before)] == before
    known = {entry.item_id for entry in before}
    assert [entry.item_id for entry in after[len(before) :]] == [id for id in more if id not in known]
    assert all(entry.sources == (Source.POPULAR,) for entry in after[len(before) :])
    assert [entry.score for entry in after] == sorted((entry.score for entry in after), reverse=True)


def test_a_fallback_alone() -> None:
    """With nothing found the fallback is the list."""
    assert filled([], SourceList(Source.POPULAR, 1.0, ["a"])) == [Merged("a", 0.5, (Source.POPULAR,))]
