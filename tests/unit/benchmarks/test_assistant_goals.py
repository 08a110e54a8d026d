"""Simulated shoppers of the assistant: what they want exists, and they answer truthfully."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from benchmarks.assistant_goals import Asked, Chip, Goal, Names, Shown, draw_goals, meant, pursue, range_of, values_of
from services.common.money import Money
from services.common.product import Product

COLOURS, SIZES = ("blue", "light blue", "black"), ("S", "M", "L")
NAMES = Names({"Shirts": "衬衫"}, {"blue": "蓝色", "light blue": "浅蓝色", "black": "黑色"})


def shelf() -> list[Product]:
    """Nine shirts of three brands; every third one is out of stock."""
    return [
        Product(
            id=f"{colour}-{size}", title=f"Shirt {number}", brand=f"Brand {number % 4}",
            category_path=("Clothing", "Shirts"),
            attributes={"colour": (colour,), "size": (size,)}, price=Money("USD", Decimal(20 + number)),
            stock=number % 3,
        )
        for number, (colour, size) in enumerate([(c, s) for c in COLOURS for s in SIZES] + [("black", "XL")])
    ]  # fmt: skip


class Script:
    """Records what is said and chosen, and answers with what is prepared, then with nothing."""

    def __init__(self, *answers: Shown) -> None:
        self.heard = list[str]()
        self._answers = list(answers)

    def _next(self, text: str) -> Shown:
        self.heard.append(text)
        return self._answers.pop(0) if self._answers else Shown(())

    def say(self, text: str) -> Shown:
        return self._next(text)

    def choose(self, chip: Chip, question: Asked) -> Shown:
        return self._next(f"[{chip.id}]")

    def more(self, text: str) -> Shown:
        return self._next("more")


def goal(volunteers: bool = False) -> Goal:
    known = {
        "attributes.colour": frozenset(COLOURS),
        "attributes.size": frozenset(SIZES),
        "brand": frozenset({"Brand 1"}),
    }
    return Goal(
        "en", "Shirts", "shirts", {"attributes.colour": "blue", "attributes.size": "M"}, Decimal(50), volunteers,
        frozenset({"right"}), 9, known, 1,
    )  # fmt: skip


def test_a_goal_has_fitting_products_in_stock_within_the_budget() -> None:
    """Conditions, budget and stock hold for each fitting product, both languages and both kinds of shoppers occur."""
    products = {product.id: product for product in shelf()}
    goals = draw_goals(list(products.values()), NAMES, 40, 1)
    for one in goals:
        assert one.fits
        assert one.budget is not None
        for product in map(products.__getitem__, one.fits):
            assert product.stock
            assert product.price
            assert product.price.amount <= one.budget
            assert all(value in values_of(product, name) for name, value in one.conditions.items())
    assert {(one.language, one.volunteers) for one in goals} == {(x, y) for x in ("en", "zh") for y in (True, False)}


def test_a_catalogue_without_categories_has_no_goals() -> None:
    """The error says what is missing."""
    with pytest.raises(ValueError, match="no category"):
        draw_goals([Product(id="a", title="A")], NAMES, 1, 1)


def test_the_first_words_name_only_the_category() -> None:
    """Neither the conditions nor the budget are in them."""
    agent = Script()
    pursue(goal(), agent, NAMES)
    assert "shirts" in agent.heard[0]
    assert not any(word in agent.heard[0] for word in ("blue", "M", "50"))
    assert agent.heard[1:] == ["more"] * 3


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        (Asked("attributes.colour", [Chip("a", "Light blue"), Chip("b", "Blue (4)")]), "[b]"),
        (Asked("attributes.colour", [Chip("a", "浅蓝色"), Chip("b", "蓝色")]), "[b]"),
        (Asked("attributes.colour", [Chip("a", "Light blue")]), "blue"),
        (Asked("price", [Chip("a", "under $45"), Chip("b", "$45 to $90")]), "[a]"),
        (Asked("price", [Chip("a", "under $20"), Chip("b", "$20 to $90")]), "under $50"),
        (Asked("brand", [Chip("a", "Brand 1"), Chip("b", "Any brand")]), "[b]"),
        (Asked("brand", [Chip("a", "Brand 1")]), "I don't mind"),
        (Asked("category", [Chip("a", "Trousers"), Chip("b", "Shirts")]), "[b]"),
    ],
)
def test_a_question_is_answered_truthfully(asked: Asked, heard: str) -> None:
    """With the chip that means the goal's value, otherwise in words."""
    agent = Script(Shown((), asked))
    pursue(goal(), agent, NAMES)
    assert agent.heard[1] == heard


def test_a_shopper_who_volunteers_states_each_condition_once() -> None:
    """What was asked for is not stated again."""
    agent = Script(Shown((), Asked("attributes.size", [Chip("m", "M")])))
    pursue(goal(volunteers=True), agent, NAMES)
    assert agent.heard[1] == "[m]"
    assert sorted(agent.heard[2:]) == ["blue", "under $50"]


@pytest.mark.parametrize(("position", "turn"), [(2, 2), (3, None)])
def test_the_goal_is_reached_among_the_first_three(position: int, turn: int | None) -> None:
    """A fitting product at the fourth place does not count."""
    ids = ["x"] * position + ["right"]
    assert pursue(goal(), Script(Shown(()), Shown(ids)), NAMES).turn == turn


def test_a_chip_is_read_like_a_person_reads_it() -> None:
    """The longest value counts; prices in both languages."""
    assert meant("Light Blue, black", COLOURS, NAMES) == {"light blue", "black"}
    assert meant("浅蓝色", COLOURS, NAMES) == {"light blue"}
    cases: Sequence[tuple[str, tuple[int | None, int | None]]] = [
        ("under $50", (None, 50)), ("$1,200 and more", (1200, None)), ("20–40", (20, 40)), ("50美元以下", (None, 50)),
        ("100 元以上", (100, None)), ("cheap", (None, None)),
    ]  # fmt: skip
    assert [range_of(text) for text, _ in cases] == [bounds for _, bounds in cases]
