"""A query as a whole: price, spelling and the text to look up."""

from __future__ import annotations

from services.query_encoder.adapters.domain_files import embedded_domain
from services.query_encoder.domain.correction import SpellCorrector
from services.query_encoder.domain.expansion import Expander
from services.query_encoder.domain.lexicon import Lexicon
from services.query_encoder.domain.query_reader import QueryReader
from services.query_encoder.domain.query_reading import QueryReading

SHOP = Lexicon(words={"seek": 40, "headphones": 90, "undo": 30}, brands={"sony": "Sony"})
DOMAIN = embedded_domain()


def read(text: str) -> QueryReading:
    expander = Expander(DOMAIN.graph, frozenset(SHOP.words))
    return QueryReader(DOMAIN, "USD").read(text, SHOP, SpellCorrector(SHOP.words), expander)


def test_the_words_of_a_price_are_not_corrected() -> None:
    """The currency "sek" stays though the shop has "seek", and the words around the price are corrected."""
    reading = read("hedphones under 500 sek sony")
    assert reading.corrected == "headphones under 500 sek sony"
    assert [constraint.matched_text for constraint in reading.constraints] == ["under 500 sek", "sony"]
    assert reading.retrieval_text == "headphones sony"


def test_a_measure_stays_in_the_text() -> None:
    """A number that is no price is looked up with its unit."""
    assert read("headphones under 100 ohm").retrieval_text == "headphones under 100 ohm"
