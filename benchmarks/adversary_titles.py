"""Texts of a seller's own product, written for queries about other products."""

from __future__ import annotations

from random import Random

from benchmarks.adversary_search import CENTS_OF_CALL, CENTS_OF_WORD, Outcome, Parameters, Space
from benchmarks.adversary_shop import Shop, mean_worth

# Queries that the attacker wants to be found for.
_QUERIES = 24
SPACE: Space = {
    "field": ("title", "title", "description", "attribute"),
    "queries": (1, 4, 8, 16, 24),
    "repeats": (1, 2, 4),
    "brands": (0, 2, 6),
    # How the words are written: as they are, with joiners that nobody sees, with Cyrillic letters that look alike.
    "disguise": ("none", "joiners", "homoglyphs"),
    "before": (True, False),
}
_ALIKE = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
_JOINER = "\u200d"
_MOST_TITLE = 1_000


class TitleAttack:
    """`gain`: of the mean worth of the target's place, over the queries."""

    space = SPACE

    def __init__(self, shop: Shop, random: Random, reads_types: bool = True) -> None:
        """`reads_types`: products of the type that a query asks for come first."""
        self._shop, self._reads_types = shop, reads_types
        shelves = sorted({product.category_path for product in shop.products})
        random.shuffle(shelves)
        target = next(product for product in shop.products if product.category_path == shelves[0] and product.stock)
        self.queries = [path[-1].lower() for path in shelves[1 : 1 + _QUERIES]]
        self._own, self._brands = shop.product(target.id), sorted({product.brand for product in shop.products})
        self._before = self._worth()

    def attempt(self, parameters: Parameters) -> Outcome:
        calls = self._shop.calls
        words = [query for query in self.queries[: parameters["queries"]] for _ in range(parameters["repeats"])]
        words += self._brands[: parameters["brands"]]
        text = " ".join(disguised(word, parameters["disguise"]) for word in words)
        product = type(self._own)()
        product.CopyFrom(self._own)
        if parameters["field"] == "title":
            parts = (text, product.title) if parameters["before"] else (product.title, text)
            product.title = " ".join(parts)[:_MOST_TITLE]
        elif parameters["field"] == "description":
            product.description = f"{text} {product.description}" if parameters["before"] else text
        else:
            product.attributes["features"].values.append(text[:128])
        self._shop.put(product)
        gain = self._worth() - self._before
        self._shop.put(self._own)
        cost = CENTS_OF_CALL + CENTS_OF_WORD * len(text.split())
        return Outcome(max(gain, 0.0), cost, self._shop.calls - calls)

    def _worth(self) -> float:
        return mean_worth(
            [self._shop.search(query, ignore_product_type=not self._reads_types) for query in self.queries],
            self._own.id,
        )


def disguised(text: str, disguise: str) -> str:
    if disguise == "joiners":
        return " ".join(word[:1] + _JOINER + word[1:] for word in text.split())
    return text.translate(_ALIKE) if disguise == "homoglyphs" else text
