"""The lexicon of a tenant: what is learned from products, and how it is stored."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from services.common.product import Product
from services.query_encoder.adapters.sqlite_lexicon import SqliteLexiconStore
from services.query_encoder.domain.lexicon import learn

SHOE = Product(
    id="1",
    title="Nike Pegasus shoe shoe",
    localized_titles={"zh": "跑步鞋"},
    brand="Nike",
    category_path=("Shoes", "Running Shoes"),
    attributes={"colour": ("Dark Blue",)},
)


def test_learn() -> None:
    """A word counts once for each product; names are keyed by their normal form."""
    update = learn([SHOE])
    assert update.words == Counter(nike=1, pegasus=1, shoe=1, shoes=1, running=1, 跑步=1, 鞋=1)
    two, three = {"nike pegasus", "pegasus shoe", "shoe shoe"}, {"nike pegasus shoe", "pegasus shoe shoe"}
    assert update.phrases == Counter(two | three | {"跑步鞋"})
    assert update.brands == {"nike": "Nike"}
    assert update.values == {"colour": {"dark blue": "Dark Blue"}}
    assert update.categories == {"shoes": "Shoes", "running shoes": "Shoes > Running Shoes"}


def test_values_of_attributes() -> None:
    """Values are learned of every attribute, without numbers and long texts; names are compared without case."""
    values = {"Level": ("Advanced", "advanced "), "size": ("42", "42 EU"), "notes": ("x" * 49,)}
    update = learn([Product(id="1", title="Course", attributes=values)])
    assert update.values == {"level": {"advanced": "advanced "}, "size": {"42 eu": "42 EU"}}


def test_korean_words_stay_apart() -> None:
    """A phrase of Korean words is written with spaces; only Chinese words are joined without one."""
    assert learn([Product(id="1", title="남성 운동화")]).phrases == Counter({"남성 운동화"})
    assert learn([Product(id="1", title="男士 跑步")]).phrases == Counter({"男士跑步"})


def test_learn_from_invisible_text() -> None:
    """A brand or title of control characters adds nothing and raises nothing."""
    update = learn([Product(id="1", title="\u200b", brand="\u200b")])
    assert not update.words
    assert not update.brands


def test_kept(tmp_path: Path) -> None:
    """Another store on the same folder reads what was added, separately for each tenant."""
    first, second = SqliteLexiconStore(tmp_path), SqliteLexiconStore(tmp_path)
    first.add("shop", learn([SHOE]))
    first.add("shop", learn([SHOE]))
    lexicon = second.read("shop", None)
    assert lexicon.words["pegasus"] == lexicon.phrases["nike pegasus"] == 2
    assert lexicon.brands == {"nike": "Nike"}
    assert second.read("shop", lexicon) is lexicon
    assert not second.read("other", None).words
    first.add("shop", learn([SHOE]))
    assert second.read("shop", lexicon).words["pegasus"] == 3
    first.close()
    second.close()


def test_reopened(tmp_path: Path) -> None:
    """A store that is opened again reads the words of the closed one."""
    store = SqliteLexiconStore(tmp_path)
    store.add("shop", learn([SHOE]))
    store.close()
    reopened = SqliteLexiconStore(tmp_path)
    assert reopened.read("shop", None).categories["running shoes"] == "Shoes > Running Shoes"
    reopened.close()
