"""Queries made from a catalogue that nobody judged: some of a product's words look for the product.

The inverse cloze task (Lee et al., ACL 2019) for texts as short as titles: words drop out and lose their order, and
brand or category may join them. It teaches what the shop's words are worth, not how shoppers call what the shop sells.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from training.search.data import NOT_WRONG, Judgements

# More would teach the same again, and each is searched for hard negatives.
MOST_QUERIES = 20_000
# Of the title.
_WORDS = (2, 4)
_EXTRA, _SHUFFLED = 0.5, 0.5
# Where more products hold all words, one of them is no better an answer than the others.
_MOST_ANSWERS = 20
_WORD = re.compile(r"\w+")


def made_judgements(products: Sequence[Product], seed: int, most: int = MOST_QUERIES) -> Judgements:
    """At most one query for each of at most `most` products: 3 for the product, NOT_WRONG for those with all its words.

    A product whose words are too many others' has none.
    """
    random = np.random.default_rng(seed)
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for product in products:
        for word in _words(product_text(product)):
            holders[word].add(product.id)
    judged: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for row in random.permutation(len(products))[:most]:
        product = products[row]
        words = _drawn(product, random)
        answers = set.intersection(*sorted((holders[word] for word in words), key=len)) if words else set()
        if 0 < len(answers) <= _MOST_ANSWERS:
            query = judged[" ".join(words)]
            for other in answers:
                query.setdefault(other, NOT_WRONG)
            query[product.id] = 3.0
    return dict(judged)


def _drawn(product: Product, random: np.random.Generator) -> list[str]:
    title = _words(product.title)
    count = min(len(title), int(random.integers(_WORDS[0], _WORDS[1] + 1)))
    chosen = random.permutation(len(title))[:count]
    words = [title[index] for index in (chosen if random.random() < _SHUFFLED else sorted(chosen))]
    known = set(_words(product_text(product)))
    extra = [w for w in _words(" ".join((product.brand, *product.category_path))) if w not in words and w in known]
    if extra and random.random() < _EXTRA:
        words.insert(int(random.integers(len(words) + 1)), extra[int(random.integers(len(extra)))])
    return words


def _words(text: str) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))
