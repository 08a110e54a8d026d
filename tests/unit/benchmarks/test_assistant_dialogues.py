"""The written dialogues with the assistant are sound, and its answers are judged by what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.assistant_dialogues import HALVES, LANGUAGES, Dialogue, fits, hold, read_dialogues
from benchmarks.conversation import Reply
from catalog.products import read_catalogue
from demo.catalogue import write_catalogue
from kairos.assistant.v1 import assistant_pb2 as pb
from kairos.common.v1 import product_pb2
from services.common.product import Product

FAQ = {"returns": "How do I return a product?"}


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Product]:
    path = tmp_path_factory.mktemp("demo") / "catalogue.jsonl"
    write_catalogue(path)
    return {product.id: product for product in read_catalogue(path)}


class Script:
    """Answers with prepared replies."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)

    def say(self, text: str, item_ids: Sequence[str] = ()) -> Reply:
        return self._replies.pop(0)


def answer(
    text: str = "Here you are.", intent: pb.Intent.ValueType = pb.INTENT_FIND, shown: Sequence[str] = (),
    citations: Sequence[pb.Citation] = (),
) -> Reply:  # fmt: skip
    return Reply(
        segments=[pb.TextSegment(text=text, citations=citations)],
        cards=[pb.ProductCard(product=product_pb2.Product(id=id)) for id in shown],
        ended=pb.TurnEnded(intent=intent),
    )


def faults(products: dict[str, Product], reply: Reply, *, before: Sequence[str] = (), **turn: Any) -> str:
    """What is wrong with the last of two answers, of which the first shows `before`."""
    dialogue = Dialogue("en", ({"say": "first"}, {"say": "x", **turn}))
    return " ".join(hold(dialogue, Script(answer(shown=before), reply), products, FAQ)[-1].faults)  # type: ignore[arg-type]


def test_there_are_two_hundred_dialogues_in_two_languages_of_which_half_are_long() -> None:
    """A hundred in each language, a hundred with three turns or more, each in one of two halves."""
    found = read_dialogues()
    assert [sum(one.language == language for one in found) for language in LANGUAGES] == [100, 100]
    assert sum(len(one.turns) >= 3 for one in found) >= 100
    assert all(sum(one.half == half for one in found) >= 60 for half in HALVES)
    assert len({(one.language, *(turn["say"] for turn in one.turns)) for one in found}) == len(found)


def test_what_a_dialogue_expects_exists(products: dict[str, Product]) -> None:
    """Products of the demo shop fit each expected filter."""
    wanted = [turn["fits"] for one in read_dialogues() for turn in one.turns if "fits" in turn]
    assert [one for one in wanted if not any(fits(product, one) for product in products.values())] == []


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    """A typo in the file must not switch a check off."""
    (tmp_path / "dialogues_en.yaml").write_text("- [{say: hello, fit: {category: Jeans}}]\n")
    with pytest.raises(ValueError, match="unknown key 'fit'"):
        read_dialogues(tmp_path)


def test_an_answer_is_judged_by_what_it_holds(products: dict[str, Product]) -> None:
    """Each check fails alone, and a right answer has no fault."""
    jeans = [id for id, one in products.items() if fits(one, {"category": "Jeans", "colour": "black", "max": 90})]
    other = next(id for id, one in products.items() if "Jeans" not in one.category_path)
    right = answer(shown=jeans[:3])
    wanted = {"category": "Jeans", "colour": "black", "max": 90}
    assert faults(products, right, intent=["find", "refine"], fits=wanted) == ""
    assert "do not fit" in faults(products, answer(shown=[jeans[0], other]), fits=wanted)
    assert "no products" in faults(products, answer(), fits=wanted)
    assert "intent find, right why" in faults(products, right, intent="why")
    assert "not cheaper" in faults(products, right, before=[jeans[0]], cheaper=True)
    assert "cites" in faults(products, right, before=jeans, about=1)
    price = [pb.Citation(product_id=jeans[1], field="price")]
    assert faults(products, answer(citations=price), before=jeans, about=2, cites="price") == ""
    assert "does not cite stock" in faults(products, answer(citations=price), before=jeans, about=2, cites="stock")
    assert "two products" in faults(products, answer(citations=price), cites="price")
    assert "cites FAQ nothing" in faults(products, right, faq="return")
    assert faults(products, answer(citations=[pb.Citation(faq_id="returns")]), faq="RETURN") == ""
    assert "no hand-over" in faults(products, right, hand=True)
    assert "3 products, right 0" in faults(products, right, cards=0)
    assert "does not say" in faults(products, right, says="sorry")
    assert "says" in faults(products, right, not_says="(?i)here")
    assert "language" in faults(products, answer(text="好的"))
    assert "no text" in faults(products, answer(text=""))
