"""Page tokens: what goes in comes out, and nothing else is accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.filters import SortOrder
from services.retrieval.domain.cursor import MAX_KEY, Cursor, Position
from services.retrieval.domain.query import RetrievalQuery

positions = st.builds(Position, st.none() | st.floats(allow_nan=False, allow_infinity=False), st.integers(0, MAX_KEY))
cursors = st.builds(Cursor, st.sampled_from(SortOrder), positions, st.booleans())


@given(cursors)
def test_there_and_back(cursor: Cursor) -> None:
    """A token gives back the cursor it was made of, value and key to the last bit."""
    assert Cursor.from_token(cursor.to_token()) == cursor


@given(cursors, st.data())
def test_a_damaged_token(cursor: Cursor, data: st.DataObject) -> None:
    """A token with one character changed, added or cut off is refused by the name of the field."""
    token = cursor.to_token()
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(max_codepoint=0x24F).filter(lambda letter: letter != token[at]))
    for damaged in (token[:at] + other + token[at + 1 :], token[:at], token + other):
        if damaged:
            with pytest.raises(InvalidArgument, match=r"^page_token: "):
                Cursor.from_token(damaged)


@given(st.text(min_size=1))
def test_any_other_text(text: str) -> None:
    """Text that is no token is refused by the name of the field."""
    with pytest.raises(InvalidArgument, match=r"^page_token: "):
        Cursor.from_token(text)


def test_another_sort() -> None:
    """A token continues only the sort that returned it."""
    cursor = Cursor(SortOrder.NEWEST, Position(None, 1))
    RetrievalQuery(sort=SortOrder.NEWEST, cursor=cursor).check()
    with pytest.raises(InvalidArgument, match=r"^page_token: is of another sort"):
        RetrievalQuery(sort=SortOrder.RELEVANCE, cursor=cursor).check()
