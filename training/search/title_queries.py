"""Queries generated from a catalogue without judgements: some words of a product's title are a query for the product.

The inverse cloze task (Lee et al., ACL 2019) for texts as short as titles: a query has 2 to 4 words of the title, in
random or in original order, and in half of the cases a word of brand or category. Such queries show the model how
specific the shop's words are, but not the words that shoppers use in place of them.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from services.common.product import Product
from services.query_encoder.domain.product_text import product_text
from training.search.data import NOT_WRONG, Judgements

# A bound for the time of training: each query is also searched for hard negatives.
MOST_QUERIES = 20_000
# Minimum and maximum of title words.
_WORDS = (2, 4)
_EXTRA, _SHUFFLED = 0.5, 0.5
# A query whose words are all in more products is too vague to be useful.
_MOST_ANSWERS = 20
_WORD = re.compile(r"\w+")


def title_judgements(products: Sequence[Product], seed: int, most: int = MOST_QUERIES) -> Judgements:
    """At most one query for each of `most` random products: relevance 3 for it, NOT_WRONG for others with all words.

    A query whose words are all in more than 20 products is dropped.
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
    """Lower-case words, each once, in order."""
    return list(dict.fromkeys(_WORD.findall(text.lower())))
