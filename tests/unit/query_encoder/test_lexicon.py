"""The lexicon of a tenant: what is learned from products."""

from __future__ import annotations

from services.common.product import Product
from services.query_encoder.domain.lexicon import MAX_ATTRIBUTES, MAX_VALUES, Lexicon, change_of, terms_of

SHOE = Product(
    id="1",
    title="Nike Pegasus shoe shoe",
    localized_titles={"zh": "跑步鞋"},
    brand="Nike",
    category_path=("Shoes", "Running Shoes"),
    attributes={"colour": ("Dark Blue",)},
)


def texts(product: Product, kind: str) -> set[str]:
    return {text for of, text in terms_of(product) if of == kind}


def titled(*titles: str) -> Lexicon:
    return Lexicon.of([Product(id=str(number), title=title) for number, title in enumerate(titles)])


def test_learn() -> None:
    """A word counts once for each product; names have a normal form as key; a phrase of one product is not read."""
    lexicon = Lexicon.of([SHOE])
    assert lexicon.words == dict.fromkeys(("nike", "pegasus", "shoe", "shoes", "running", "跑步", "鞋"), 1)
    two, three = {"nike pegasus", "pegasus shoe", "shoe shoe"}, {"nike pegasus shoe", "pegasus shoe shoe"}
    assert texts(SHOE, "phrases") == two | three | {"跑步鞋"}
    assert not lexicon.phrases
    assert lexicon.brands == {"nike": "Nike"}
    assert lexicon.values == {"colour": {"dark blue": "Dark Blue"}}
    assert lexicon.categories == {"shoes": "Shoes", "running shoes": "Shoes > Running Shoes"}


def test_values_of_attributes() -> None:
    """Values are learned of every attribute, without numbers and long texts; names are compared without case."""
    values = {"Level": ("Advanced", "advanced "), "size": ("42", "42 EU"), "notes": ("x" * 49,)}
    lexicon = Lexicon.of([Product(id="1", title="Course", attributes=values)])
    assert lexicon.values == {"level": {"advanced": "Advanced"}, "size": {"42 eu": "42 EU"}}


def test_the_name_of_most_products() -> None:
    """A brand has the spelling of most products, and the number of products of all its spellings."""
    brands = ("SONY", "Sony", "Sony™", "Sony")
    lexicon = Lexicon.of([Product(id=str(n), title="Radio", brand=brand) for n, brand in enumerate(brands)])
    assert (lexicon.brands, lexicon.brand_products) == ({"sony": "Sony"}, {"sony": 4})


def test_values_are_bounded() -> None:
    """A lexicon has the attributes and values of most products, whatever came first."""
    values = {f"attribute {n}": ("A",) for n in range(MAX_ATTRIBUTES)}
    many = [Product(id=f"v{n}", title="T", attributes={"level": (f"Value {n}",)}) for n in range(MAX_VALUES + 5)]
    last = [Product(id=f"l{n}", title="T", attributes={"level": ("Z",)} | values) for n in range(2)]
    known = Lexicon.of([*many, *last]).values
    assert len(known) == MAX_ATTRIBUTES
    assert len(known["level"]) == MAX_VALUES
    assert "z" in known["level"]


def test_phrases_end_with_a_part_of_a_title() -> None:
    """A break in a title ends a phrase; the words before and behind it are a pair of neighbours."""
    lexicon = titled(*["Sony - Stereo Headphones - Black, 2 m (refurbished)"] * 2)
    assert lexicon.phrases == {"stereo headphones": 2, "2 m": 2}
    assert lexicon.neighbours == {"sony stereo": 2, "headphones black": 2, "black 2": 2, "m refurbished": 2}
    assert lexicon.pairs == lexicon.phrases | lexicon.neighbours


def test_signs_and_entities() -> None:
    """A trademark sign is no part of a word, and an entity stands for its character."""
    lexicon = titled("Quorra Lifestyle™ Speaker", "Pots &amp; pans Lifestyle&trade;Pro")
    assert lexicon.words == {"quorra": 1, "lifestyle": 2, "speaker": 1, "pots": 1, "pans": 1, "pro": 1}


def test_korean_words_stay_apart() -> None:
    """A phrase of Korean words is written with spaces; only Chinese words are joined without one."""
    assert texts(Product(id="1", title="남성 운동화"), "phrases") == {"남성 운동화"}
    assert texts(Product(id="1", title="男士 跑步"), "phrases") == {"男士跑步"}


def test_learn_from_invisible_text() -> None:
    """A brand or title of control characters adds nothing and raises nothing."""
    assert not terms_of(Product(id="1", title="\u200b", brand="\u200b"))


def test_change() -> None:
    """Only terms that one side has more often are changes."""
    before, after = terms_of(Product(id="1", title="red mug")), terms_of(Product(id="1", title="blue mug"))
    change = {(kind, text): more for (kind, text), more in change_of([before], [after]).items()}
    assert change == {
        ("words", "red"): -1, ("words", "blue"): 1, ("phrases", "red mug"): -1, ("phrases", "blue mug"): 1
    }  # fmt: skip
