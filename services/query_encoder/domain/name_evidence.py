"""Whether a word of a query is meant as the brand or value that it is in the catalogue.

"Wireless", "Back" and "Red" are brands and ordinary words. The shop's titles decide: of those that have the word beside
the same neighbour, or else anywhere, how many are of products of this brand, or with this value? A brand that is an
ordinary word also needs another word of the query that the titles of its products have.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from services.query_encoder.domain.lexicon import SHORT_NAME, Lexicon, companion_key, is_ambiguous, is_content

# Least share of the titles with the word whose products are of the brand: for an ambiguous name, for another one, and
# for a name of one or two letters that is the whole query.
_AMBIGUOUS, _OTHERWISE, _SHORT_ALONE = 0.4, 0.1, 0.8
# An ambiguous name needs no other word if its share is as large, and so many titles of its products have it.
_SURE, _SURE_TITLES = 0.95, 20
# Least share of a brand's products whose titles have the other word.
_COMPANION = 0.01
# One title says little about a brand of so many products.
_MANY = 20
# A brand that so few titles of its products have, in a shop whose titles have brands, is not looked for by its name.
_TITLED, _NEVER = 0.3, 0.1
# Of a brand that begins the query: least share of the titles with it, and of its products that are what is asked for.
_FIRST, _ASKED = 0.2, 0.05
# Least share of the titles with a neighbour beside it; so many titles with the share anywhere are added to them.
_BESIDE, _PRIOR_TITLES = 0.3, 0.5
# Least share of the titles with a value beside its neighbour whose products have the value.
_OF_VALUE = 0.3
_CONFIRMING = frozenset({"by", "brand", "品牌", "牌"})
# Before the brand of the product that another one is for.
_FITTING = frozenset({"for", "fits", "fit", "with", "适用于", "适用", "兼容"})


def is_brand(
    label: str, neighbours: tuple[str, str], others: Collection[str], asked: Collection[str], lexicon: Lexicon
) -> bool:
    """`label`: a brand of the shop in its normal form. `neighbours`: the words before and after it in the query, empty
    at the ends. `others`: all other words of the query. `asked`: what the query asks for, with synonyms.
    """
    before = neighbours[0]
    if before in _FITTING:
        return False
    if not (label.isascii() and label.isalnum()):
        return True
    share, is_short = _share_of_brand(label, lexicon), len(label) <= SHORT_NAME
    if share is None:
        return not is_short or not others
    if not is_ambiguous(label):
        return share >= _OTHERWISE
    if "of" in neighbours:
        # "Song of Roland".
        return False
    if lexicon.titled_share >= _TITLED and not _is_titled(label, lexicon) and others:
        return not _CONFIRMING.isdisjoint(neighbours)
    if beside := list(_beside(label, neighbours, lexicon.pairs, lexicon.branded)):
        implied = _implied(label, neighbours, lexicon)
        titles, branded = implied + sum(pair[0] for pair in beside), implied + sum(pair[1] for pair in beside)
        if branded > 0 and (branded + _PRIOR_TITLES * share) / (titles + _PRIOR_TITLES) >= _BESIDE:
            return True
        return branded > 0 and not before and share >= _FIRST and _makes(label, asked, _ASKED, lexicon)
    if not _CONFIRMING.isdisjoint(neighbours):
        return True
    known = [word for word in others if is_content(word) and word in lexicon.words]
    if _makes(label, (*known, *asked), _COMPANION, lexicon):
        return share >= _AMBIGUOUS
    if is_short:
        return not others and share >= _SHORT_ALONE
    is_sure = share >= _SURE and lexicon.branded.get(label, 0) >= _SURE_TITLES
    # Beside it there are only numbers, if anything.
    return is_sure or (share >= _AMBIGUOUS and not any(map(str.isalpha, others)))


def is_sold(brand: str, lexicon: Lexicon) -> bool:
    """Whether enough of the titles with the name are of products of the brand, wherever it stands in a query."""
    share = _share_of_brand(brand, lexicon)
    return share is None or share >= _FIRST


def is_value(label: str, neighbours: tuple[str, str], lexicon: Lexicon) -> bool | None:
    """Whether `label` is meant as a value of an attribute: "red" beside "dress", but not beside "bull". None: no title
    has it beside a neighbour.
    """
    beside = list(_beside(label, neighbours, lexicon.pairs, lexicon.described))
    return any(described >= _OF_VALUE * titles for titles, described in beside) if beside else None


def _is_titled(label: str, lexicon: Lexicon) -> bool:
    branded, untitled = lexicon.branded.get(label, 0), lexicon.untitled.get(label, 0)
    return branded >= _NEVER * (branded + untitled)


def _makes(label: str, words: Collection[str], least: float, lexicon: Lexicon) -> bool:
    """Whether more than this share of the brand's products have one of the words in their titles."""
    products = lexicon.brand_products.get(label, 0)
    least = max(least * products, 1 if products >= _MANY else 0)
    return any(lexicon.companions.get(companion_key(label, word), 0) > least for word in words)


def _share_of_brand(label: str, lexicon: Lexicon) -> float | None:
    """Of the titles with the word: the share of the brand's products. None without statistics."""
    branded, untitled = lexicon.branded.get(label, 0), lexicon.untitled.get(label, 0)
    if not branded and not untitled:
        return None
    words = max(lexicon.words.get(label, 0) - _fitting(label, lexicon), branded + untitled)
    titled = words - untitled
    if not titled:
        return 1.0
    # A shop that seldom names brands in titles says less about a word by them.
    return lexicon.titled_share * branded / titled + (1 - lexicon.titled_share) * (branded + untitled) / words


def _fitting(phrase: str, lexicon: Lexicon) -> int:
    """Titles of products that are for what the phrase names."""
    return lexicon.phrases.get(f"for {phrase}", 0)


def _implied(label: str, neighbours: tuple[str, str], lexicon: Lexicon) -> float:
    """About so many products of the brand have titles with a neighbour, but without the brand."""
    branded, untitled = lexicon.branded.get(label, 0), lexicon.untitled.get(label, 0)
    companions = sum(lexicon.companions.get(companion_key(label, word), 0) for word in neighbours if word)
    return (1 - lexicon.titled_share) * companions * untitled / (branded + untitled)


def _beside(
    label: str, neighbours: tuple[str, str], phrases: Mapping[str, int], carrying: Mapping[str, int]
) -> Iterator[tuple[int, int]]:
    """(titles, of these the ones of products that carry the name) of each neighbour that titles have beside it."""
    before, after = neighbours
    for phrase in ((f"{before} {label}",) if before else ()) + ((f"{label} {after}",) if after else ()):
        carried = carrying.get(phrase, 0)
        # A phrase of one title alone is not among the phrases.
        if titles := max(phrases.get(phrase, 0), carried):
            yield titles, carried
