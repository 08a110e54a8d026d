"""Groups of persons for `kairos price fairness`, from declared attributes."""

from __future__ import annotations

from collections import Counter

from cli.price_fairness import groups_of_attribute
from kairos.ranker.v1 import profile_pb2


def owned(user: int, **attribute: object) -> profile_pb2.OwnedAttribute:
    return profile_pb2.OwnedAttribute(
        user_id=f"u{user}",
        attribute=profile_pb2.UserAttribute(**attribute),  # type: ignore[arg-type]
    )


def test_texts_and_few_numbers_are_groups() -> None:
    """A set is one group, in the order of its texts; other attributes are left out."""
    found = groups_of_attribute(
        "region", [owned(1, name="region", texts=["b", "a"]), owned(2, name="region", number=3), owned(3, name="age")]
    )
    assert found == {("user", "u1"): "a, b", ("user", "u2"): "3"}


def test_many_numbers_make_four_groups() -> None:
    """Of about the same size, named by their bounds; the smallest and the largest number are in one."""
    found = groups_of_attribute("born", [owned(year, name="born", number=year) for year in range(1941, 2005)])
    assert Counter(found.values()) == {
        "1941 to below 1956.75": 16, "1956.75 to below 1972.5": 16, "1972.5 to below 1988.25": 16,
        "1988.25 to 2004": 16,
    }  # fmt: skip
