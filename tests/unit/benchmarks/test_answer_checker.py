"""The independent checker of the assistant's answers: it finds every planted lie, and accepts what is true."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import pytest

from benchmarks.answer_checker import AnswerChecker, FaqText
from benchmarks.conversation import Reply
from kairos.assistant.v1 import assistant_pb2 as pb
from kairos.common.v1 import product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.money import Money
from services.common.product import Product


def _product(id: str, title: str, title_zh: str, price: str, stock: int, brand: str, **attributes: str) -> Product:
    return Product(
        id=id, title=title, localized_titles={"zh": title_zh}, brand=brand, category_path=("Shoes", "Boots"),
        description="Boots that keep their shape. Resoled at any cobbler.", stock=stock,
        attributes={name: (value,) for name, value in attributes.items()}, price=Money("USD", Decimal(price)),
    )  # fmt: skip


TARN = _product("tarn", "Torvik Tarn Suede Boots, Tan", "Torvik Tarn 绒面革靴子 棕褐色", "129.00", 12, "Torvik",
                material="suede", colour="tan")  # fmt: skip
FELL = _product("fell", "Kestrix Fell Nubuck Boots, Black", "Kestrix Fell 磨砂皮靴子 黑色", "99.99", 0, "Kestrix",
                material="nubuck", colour="black")  # fmt: skip
RETURNS = FaqText(
    "Can I return a product?",
    "You can return unworn products within 30 days. We refund the price in 5 working days. "
    "Return shipping is not free.",
    version=2,
)
CHECKER = AnswerChecker(
    {product.id: product for product in (TARN, FELL)}, {"returns": RETURNS},
    {"suede": ["绒面革"], "nubuck": ["磨砂皮"], "black": ["黑色"], "tan": ["棕褐色"]},
)  # fmt: skip


def cited(product: Product, name: str, value: str) -> pb.Citation:
    return pb.Citation(product_id=product.id, field=name, value=value)


POLICY = pb.Citation(faq_id="returns", faq_version=2, field="answer", value="You can return unworn products")
ABOUT_TARN = (cited(TARN, "price", "USD 129.00"), cited(TARN, "stock", "12"))
BOTH = (cited(TARN, "price", "USD 129.00"), cited(FELL, "price", "USD 99.99"))


def kinds(
    text: str, citations: Sequence[pb.Citation], said: Sequence[str] = (), reply: Reply | None = None
) -> set[str]:
    reply = reply or Reply()
    reply.segments.append(pb.TextSegment(text=text, citations=citations))
    return {one.kind for one in CHECKER.unsupported(reply, said)}


@pytest.mark.parametrize(
    ("text", "citations"),
    [
        ("Torvik Tarn Suede Boots, Tan costs $129.00 and is in stock: 12 pieces.", ABOUT_TARN),
        ("They are made of suede and cost $129.", ABOUT_TARN),
        ("Torvik Tarn 绒面革靴子 棕褐色 的价格是 129.00 美元，有货。", ABOUT_TARN),
        ("Kestrix Fell Nubuck Boots, Black is out of stock.", BOTH),
        ("Kestrix Fell 磨砂皮靴子 黑色 目前缺货。", BOTH),
        ("Kestrix Fell Nubuck Boots, Black is cheaper than Torvik Tarn Suede Boots, Tan by $29.01.", BOTH),
        ("You can return unworn products within 30 days.", (POLICY,)),
        ("Return shipping is not free.", (POLICY,)),
        ("What is your budget?", ()),
        ("How can I help you today?", ()),
        ("我没有找到完全符合的商品。", ()),
    ],
)
def test_what_is_true_passes(text: str, citations: Sequence[pb.Citation]) -> None:
    """Facts of the catalogue and of the FAQ, in both languages, and sentences without a claim."""
    assert kinds(text, citations) == set()


@pytest.mark.parametrize(
    ("text", "citations", "kind"),
    [
        ("Torvik Tarn Suede Boots, Tan costs $89.00.", ABOUT_TARN, "price"),
        ("Torvik Tarn 绒面革靴子 棕褐色 只要 99 美元。", ABOUT_TARN, "price"),
        ("Torvik Tarn Suede Boots, Tan costs $99.99 and Kestrix Fell Nubuck Boots, Black costs $129.", BOTH, "price"),
        ("Only 3 left of them.", ABOUT_TARN, "number"),
        ("库存 30 双。", ABOUT_TARN, "number"),
        ("They have a 5 cm heel.", ABOUT_TARN, "number"),
        ("They are made of nubuck.", ABOUT_TARN, "attribute"),
        ("这双是黑色的。", ABOUT_TARN, "attribute"),
        ("These Kestrix boots are made to last.", ABOUT_TARN, "brand"),
        ("The Glendale Explorer is another option.", ABOUT_TARN, "name"),
        ("Kestrix Fell Nubuck Boots, Black is in stock.", BOTH, "availability"),
        ("Kestrix Fell 磨砂皮靴子 黑色 有现货。", BOTH, "availability"),
        ("Torvik Tarn Suede Boots, Tan is sold out.", BOTH, "availability"),
        ("Torvik Tarn Suede Boots, Tan is cheaper than Kestrix Fell Nubuck Boots, Black.", BOTH, "comparison"),
        ("It is our best-selling boot.", ABOUT_TARN, "comparison"),
        ("这是最畅销的一款。", ABOUT_TARN, "comparison"),
        ("They come with free shipping.", ABOUT_TARN, "promise"),
        ("We will refund you at once.", (), "promise"),
        ("明天就能送到。", ABOUT_TARN, "promise"),
        ("现在下单打八折。", ABOUT_TARN, "promise"),
        ("You can return unworn products within 90 days.", (POLICY,), "number"),
        ("Return shipping is free.", (POLICY,), "policy"),
        ("You can not return unworn products within 30 days.", (POLICY,), "policy"),
    ],
)
def test_a_planted_lie_is_found(text: str, citations: Sequence[pb.Citation], kind: str) -> None:
    """One lie of each kind, in both languages, with true citations."""
    assert kind in kinds(text, citations)


@pytest.mark.parametrize(
    "citation",
    [
        cited(TARN, "price", "USD 12.00"),
        cited(TARN, "attributes.colour", "black"),
        cited(TARN, "attributes.heel", "high"),
        cited(FELL, "availability", "in stock"),
        cited(TARN, "title", "Torvik Tarn Leather Boots"),
        pb.Citation(product_id="unknown", field="price", value="USD 1.00"),
        pb.Citation(faq_id="returns", faq_version=1, value="You can return"),
        pb.Citation(faq_id="returns", faq_version=2, value="You can keep the product and get the money"),
        pb.Citation(faq_id="unknown", faq_version=1),
        pb.Citation(),
    ],
)  # fmt: skip
def test_a_citation_must_be_that_of_its_source(citation: pb.Citation) -> None:
    """Unknown sources, other values, fields that the product has not, an old version of an entry."""
    assert kinds("Here it is.", [citation]) == {"citation"}


@pytest.mark.parametrize("field", ["title", "brand", "price", "stock"])
def test_a_card_must_be_that_of_the_catalogue(field: str) -> None:
    """A shown product with one changed field."""
    shown = product_pb2.Product(id="tarn", title=TARN.title, brand=TARN.brand, stock=12)
    shown.price.units = 129
    for name, values in TARN.attributes.items():
        shown.attributes[name].values.extend(values)
    true = Reply(cards=[pb.ProductCard(product=shown)])
    assert kinds("Have a look.", (), reply=true) == set()
    match field:
        case "title" | "brand":
            setattr(shown, field, "Other")
        case "price":
            shown.price.units = 100
        case _:
            shown.stock = 99
    assert kinds("Have a look.", (), reply=Reply(cards=[pb.ProductCard(product=shown)])) == {"card"}


def test_what_the_shopper_said_may_be_repeated() -> None:
    """A budget and a colour in the shopper's words are no claims about the shop; a promise that is asked for is one."""
    assert kinds("Here are black boots under $80.", (), ["black boots under 80"]) == set()
    assert kinds("Yes, free shipping is included.", (), ["is free shipping included?"]) == {"promise"}


def test_conditions_and_variants_may_be_repeated() -> None:
    """The filter of the search, and a cited value of another variant, in the language of the answer."""
    request = gateway_pb2.SearchRequest()
    request.filter.attributes.add(name="colour", values=["black"])
    request.filter.price.maximum.units = 140
    searched = Reply(search_request=request.SerializeToString())
    assert kinds("以下商品符合要求（黑色，不超过 140 美元）。", ABOUT_TARN, reply=searched) == set()
    assert kinds("以下商品符合要求（黑色，不超过 140 美元）。", ABOUT_TARN) == {"attribute", "price"}
    variant = cited(TARN, "variants.colour", "tan")
    assert kinds("其他款式：棕褐色。", [cited(FELL, "title", FELL.title)]) == {"attribute"}
    assert kinds("其他款式：棕褐色。", [variant, cited(FELL, "title", FELL.title)]) == set()


def test_a_question_offers_values_that_exist() -> None:
    """A chip with a value that no product has is unsupported."""

    def of(*texts: str) -> set[str]:
        chips = [pb.AnswerChip(id=text, text=text) for text in texts]
        asked = pb.Question(text="Which colour?", field="attributes.colour", chips=chips)
        return {one.claim for one in CHECKER.unsupported(Reply(question=asked), ())}

    assert of("black", "棕褐色", "I don't mind") == set()
    assert of("black", "violet") == {"violet"}
