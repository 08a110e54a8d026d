"""The page token of ListProducts keeps a place for each process that gave a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgument
from services.common.limits import MAX_PAGE_TOKEN
from services.retrieval.domain.change_places import MAX_PROCESSES, ChangePlaces

NUMBERS = st.integers(0, 2**64 - 1)


def test_the_first_page() -> None:
    """Without a token every process begins with its first change, which is no restart."""
    assert ChangePlaces("").after(7) == (0, False)


def test_a_process_that_gave_no_page() -> None:
    """A process that does not know the place begins again, and says so."""
    assert ChangePlaces(ChangePlaces("").token(7, 200)).after(8) == (0, True)


@given(st.lists(st.tuples(st.integers(1, 3), NUMBERS), min_size=1))
def test_each_process_continues_at_its_own_place(pages: list[tuple[int, int]]) -> None:
    """Whichever processes give the pages, each continues behind its own last one."""
    token = ""
    for process, change in pages:
        token = ChangePlaces(token).token(process, change)
    for process, change in dict(pages).items():
        assert ChangePlaces(token).after(process) == (change, False)


def test_a_token_is_bounded() -> None:
    """The processes that gave a page long ago are forgotten, so that a token stays within its bound."""
    token = ""
    for process in range(1_000):
        token = ChangePlaces(token).token(process, 2**64 - 1)
    assert len(token) <= MAX_PAGE_TOKEN
    assert ChangePlaces(token).after(1_000 - MAX_PROCESSES) == (2**64 - 1, False)
    assert ChangePlaces(token).after(999 - MAX_PROCESSES) == (0, True)


@pytest.mark.parametrize("token", ["x", "é", "AAAA", "A" * 25])
def test_a_damaged_token(token: str) -> None:
    """A text that is no token is refused with the name of the field."""
    with pytest.raises(InvalidArgument, match="page_token: is damaged"):
        ChangePlaces(token)
