"""A retrieval query and its bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from services.common.errors import FieldViolation, InvalidArgument
from services.common.facets import MAX_FACETS, facet_violations
from services.common.filters import ProductFilter, SortOrder, filter_violations
from services.common.limits import MAX_MODEL_VERSION, MAX_QUERY, id_problem, text_problem
from services.common.product import MAX_BRAND
from services.common.visibility import GENERAL, Viewing
from services.retrieval.domain.absence import absence_words
from services.retrieval.domain.cursor import Cursor
from services.retrieval.domain.item_vectors import MAX_LIKE_IDS
from services.retrieval.domain.offers.context import OfferContext

FloatArray = npt.NDArray[np.float32]

DEFAULT_LIMIT = 200
MAX_LIMIT = 1_000
MAX_IDS = 1_000
MAX_QUERY_VECTORS = 16
MAX_OTHER_MODELS = 4
MAX_MATCH_GROUPS = 32
MAX_ALTERNATIVES = 32
# Characters of one alternative, of what is excluded, and of a phrase.
MAX_ALTERNATIVE = 128
MAX_EXCLUDED, MAX_PHRASES = 8, 4
MAX_EXCLUDED_FILTERS = 32
MAX_TYPE_WORDS = 16
MAX_SPELLING_ALTERNATIVES = 8
MAX_ACCESSORIES_FOR = 5


@dataclass(frozen=True)
class MatchGroup:
    """A content word, and what may stand in its place. `is_condition`: the soft filter has the word's condition."""

    alternatives: tuple[str, ...]
    is_condition: bool = False

    @property
    def typed(self) -> str:
        return self.alternatives[0]


@dataclass(frozen=True)
class ProductName:
    """A product, as the titles of its accessories may name it."""

    title: str
    brand: str = ""


@dataclass(frozen=True)
class AskedType:
    """The type of product that the query asks for: words that may name it, and other names of it for `matched_text`."""

    words: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    matched_text: str = ""

    @property
    def is_empty(self) -> bool:
        return not (self.words or self.names)


@dataclass(frozen=True)
class SpellingAlternative:
    """A word of the query, and a word of the shop that the shopper may have meant."""

    typed: str
    meant: str


@dataclass(frozen=True)
class RetrievalQuery:
    """`vectors` has shape [rows, dimensions], with one weight a row or none; None without a dense leg.

    `image` has shape [1, dimensions]; None without an image leg.
    """

    text: str = ""
    vectors: FloatArray | None = None
    model_version: str = ""
    weights: tuple[float, ...] = ()
    filter: ProductFilter = field(default_factory=ProductFilter)
    soft_filter: ProductFilter = field(default_factory=ProductFilter)
    excluded_ids: tuple[str, ...] = ()
    excluded_filters: tuple[ProductFilter, ...] = ()
    limit: int = DEFAULT_LIMIT
    sort: SortOrder = SortOrder.RELEVANCE
    facets: tuple[str, ...] = ()
    with_vectors: bool = False
    image: FloatArray | None = None
    image_model_version: str = ""
    # The candidates are to be similar to this product. Empty: to none.
    similar_to_id: str = ""
    # The same query vectors by further models: (rows, model version). Those of the collection's model are compared.
    other_vectors: tuple[tuple[FloatArray, str], ...] = ()
    # Where the page begins; only for browsing. None: the first page.
    cursor: Cursor | None = None
    # The offers that filters, sorts, facets and prices use.
    offers: OfferContext = field(default_factory=OfferContext)
    # Products that moderation does not show there are as if unknown.
    viewing: Viewing = GENERAL
    # Whether counts and totals count item groups.
    is_collapsed: bool = False
    # The content words. Empty: the words of `text`.
    match_groups: tuple[MatchGroup, ...] = ()
    # Facets to choose by their coverage, in addition to `facets`.
    best_facet_count: int = 0
    # The query as typed, which may be an identifier.
    identifier_text: str = ""
    # The person's vector [1, dimensions] by the version `shopper_version` of a shopper model; or products whose mean
    # item vector takes its place.
    shopper: FloatArray | None = None
    shopper_version: str = ""
    shopper_like_ids: tuple[str, ...] = ()
    # The product attributes to return: those that users of the tenant may declare as features.
    attribute_names: tuple[str, ...] = ()
    # What products shall not have, and phrases that they shall have.
    excluded_words: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    asked_type: AskedType = field(default_factory=AskedType)
    # For words that may be misspelt; see `with_alternatives`.
    spelling_alternatives: tuple[SpellingAlternative, ...] = ()
    # Products whose accessories are found.
    accessories_for: tuple[ProductName, ...] = ()

    @property
    def content_groups(self) -> tuple[MatchGroup, ...]:
        """What a product must contain to match."""
        return self.match_groups or tuple(MatchGroup((word,)) for word in self.text.split()[:MAX_MATCH_GROUPS])

    @property
    def lexical_text(self) -> str:
        """The text of the lexical leg: a product that states the absence of what is excluded is found by it."""
        text = self.text.strip()
        absent = [word for excluded in self.excluded_words for word in absence_words(excluded.lower())] if text else []
        return " ".join([text, *absent])

    @property
    def is_browse(self) -> bool:
        """Whether there is no query: the products of the catalogue are listed in the order of `sort`."""
        return self._is_without_legs and not self.accessories_for

    @property
    def is_of_accessories(self) -> bool:
        """Whether the candidates are what is for other products."""
        return self._is_without_legs and bool(self.accessories_for)

    @property
    def _is_without_legs(self) -> bool:
        return not (self.text.strip() or self.similar_to_id or self.is_of_shopper) and self.has_no_vectors

    @property
    def has_no_vectors(self) -> bool:
        return self.vectors is None and self.image is None

    @property
    def is_of_shopper(self) -> bool:
        """Whether candidates are found by item vectors."""
        return self.shopper is not None or bool(self.shopper_like_ids)

    @property
    def has_only_an_image(self) -> bool:
        return not self.text.strip() and self.vectors is None

    def check(self) -> None:
        """Raise InvalidArgument that names every wrong field."""
        found = tuple(_violations(self))
        if found:
            raise InvalidArgument(*found)


def check_ids(ids: Sequence[str], name: str = "ids", limit: int = MAX_IDS) -> None:
    """1 to `limit` ids."""
    if not 1 <= len(ids) <= limit:
        raise InvalidArgument.of(name, f"has {len(ids)} entries; 1 to {limit}")
    if wrong := [FieldViolation(f"{name}[{i}]", problem) for i, id in enumerate(ids) if (problem := id_problem(id))]:
        raise InvalidArgument(*wrong)


def _violations(query: RetrievalQuery) -> Iterator[FieldViolation]:
    for name, text in (("text", query.text), ("identifier_text", query.identifier_text)):
        if len(text) > MAX_QUERY:
            yield FieldViolation(name, f"has {len(text)} characters; at most {MAX_QUERY}")
    if not 1 <= query.limit <= MAX_LIMIT:
        yield FieldViolation("limit", f"{query.limit} is outside 0 to {MAX_LIMIT}; 0 means {DEFAULT_LIMIT}")
    yield from _too_many("excluded_ids", query.excluded_ids, MAX_IDS)
    yield from _too_many("excluded_filters", query.excluded_filters, MAX_EXCLUDED_FILTERS)
    for index, excluded in enumerate(query.excluded_filters[:MAX_EXCLUDED_FILTERS]):
        if excluded.is_empty:
            yield FieldViolation(f"excluded_filters[{index}]", "is empty, which is every product; give it a condition")
        yield from filter_violations(excluded, f"excluded_filters[{index}]")
    yield from facet_violations(query.facets)
    if not 0 <= query.best_facet_count <= MAX_FACETS:
        yield FieldViolation("best_facet_count", f"is {query.best_facet_count}; send 0 to {MAX_FACETS}")
    yield from _match_violations(query.match_groups)
    yield from _text_violations("excluded_words", query.excluded_words, MAX_EXCLUDED)
    yield from _text_violations("phrases", query.phrases, MAX_PHRASES)
    yield from _type_violations(query.asked_type)
    yield from _spelling_violations(query.spelling_alternatives)
    yield from _too_many("accessories_for", query.accessories_for, MAX_ACCESSORIES_FOR)
    for place, named in enumerate(query.accessories_for[:MAX_ACCESSORIES_FOR]):
        for name, text, limit in (("title", named.title, MAX_QUERY), ("brand", named.brand, MAX_BRAND)):
            if problem := text_problem(text, limit):
                yield FieldViolation(f"accessories_for[{place}].{name}", problem)
    yield from _vector_violations(query)
    yield from _image_violations(query)
    yield from _shopper_violations(query)
    if query.cursor is not None and query.cursor.sort is not query.sort:
        yield FieldViolation("page_token", "is of another sort; send the sort of the request that returned it")
    yield from filter_violations(query.filter, "filter")
    yield from filter_violations(query.soft_filter, "soft_filter")


def _match_violations(groups: Sequence[MatchGroup]) -> Iterator[FieldViolation]:
    yield from _too_many("match_groups", groups, MAX_MATCH_GROUPS)
    for index, group in enumerate(groups[:MAX_MATCH_GROUPS]):
        path, texts = f"match_groups[{index}].alternatives", group.alternatives
        if not 1 <= len(texts) <= MAX_ALTERNATIVES:
            yield FieldViolation(path, f"has {len(texts)} entries; 1 to {MAX_ALTERNATIVES}")
        yield from _wrong_texts(path, texts[:MAX_ALTERNATIVES])


def _text_violations(name: str, texts: Sequence[str], limit: int) -> Iterator[FieldViolation]:
    yield from _too_many(name, texts, limit)
    yield from _wrong_texts(name, texts[:limit])


def _wrong_texts(path: str, texts: Sequence[str]) -> Iterator[FieldViolation]:
    for place, text in enumerate(texts):
        if problem := text_problem(text, MAX_ALTERNATIVE):
            yield FieldViolation(f"{path}[{place}]", problem)


def _type_violations(asked: AskedType) -> Iterator[FieldViolation]:
    for name, texts in (("words", asked.words), ("names", asked.names)):
        path = f"asked_type.{name}"
        yield from _too_many(path, texts, MAX_TYPE_WORDS)
        for place, text in enumerate(texts[:MAX_TYPE_WORDS]):
            if problem := text_problem(text, MAX_ALTERNATIVE):
                yield FieldViolation(f"{path}[{place}]", problem)
    if len(asked.matched_text) > MAX_QUERY:
        yield FieldViolation(
            "asked_type.matched_text", f"has {len(asked.matched_text)} characters; at most {MAX_QUERY}"
        )


def _spelling_violations(alternatives: Sequence[SpellingAlternative]) -> Iterator[FieldViolation]:
    yield from _too_many("spelling_alternatives", alternatives, MAX_SPELLING_ALTERNATIVES)
    for place, one in enumerate(alternatives[:MAX_SPELLING_ALTERNATIVES]):
        for name, text in (("typed", one.typed), ("meant", one.meant)):
            if problem := text_problem(text, MAX_ALTERNATIVE):
                yield FieldViolation(f"spelling_alternatives[{place}].{name}", problem)


def _vector_violations(query: RetrievalQuery) -> Iterator[FieldViolation]:
    rows = 0 if query.vectors is None else len(query.vectors)
    if rows > MAX_QUERY_VECTORS:
        yield FieldViolation("query_vectors.values.shape", f"has {rows} rows; at most {MAX_QUERY_VECTORS}")
    yield from _too_many("other_query_vectors", query.other_vectors, MAX_OTHER_MODELS)
    for index, (others, _) in enumerate(query.other_vectors):
        if len(others) != rows:
            yield FieldViolation(
                f"other_query_vectors[{index}].values.shape", f"has {len(others)} rows; query_vectors has {rows}"
            )
    if query.weights and len(query.weights) != rows:
        yield FieldViolation("query_vector_weights", f"has {len(query.weights)} entries; query_vectors has {rows} rows")
    if any(not np.isfinite(weight) or weight <= 0 for weight in query.weights):
        yield FieldViolation("query_vector_weights", "every weight must be a positive, finite number")


def _image_violations(query: RetrievalQuery) -> Iterator[FieldViolation]:
    if query.image is not None and len(query.image) != 1:
        yield FieldViolation("image_vector.values.shape", f"has {len(query.image)} rows; send one")
    if query.similar_to_id and query.image is not None:
        yield FieldViolation("similar_to_id", "is set together with image_vector; send one of them")
    if problem := id_problem(query.similar_to_id, required=False):
        yield FieldViolation("similar_to_id", problem)


def _shopper_violations(query: RetrievalQuery) -> Iterator[FieldViolation]:
    yield from _too_many("shopper_like_ids", query.shopper_like_ids, MAX_LIKE_IDS)
    for index, id in enumerate(query.shopper_like_ids[:MAX_LIKE_IDS]):
        if problem := id_problem(id):
            yield FieldViolation(f"shopper_like_ids[{index}]", problem)
    if not query.is_of_shopper:
        return
    name = "shopper_vector" if query.shopper is not None else "shopper_like_ids"
    version = "shopper_vector.model_version" if query.shopper is not None else "shopper_version"
    if not 1 <= len(query.shopper_version) <= MAX_MODEL_VERSION:
        yield FieldViolation(
            version, f"has {len(query.shopper_version)} characters; send 1 to {MAX_MODEL_VERSION}, the model's version"
        )
    if query.shopper is not None and len(query.shopper) != 1:
        yield FieldViolation("shopper_vector.values.shape", f"has {len(query.shopper)} rows; send one")
    if query.shopper is not None and query.shopper_like_ids:
        yield FieldViolation("shopper_like_ids", "is set together with shopper_vector; send one of them")
    if query.text.strip() or query.similar_to_id or not query.has_no_vectors:
        yield FieldViolation(name, "is set together with text, query vectors or a picture; send one of them")


def _too_many(name: str, entries: Sequence[Any], limit: int) -> Iterator[FieldViolation]:
    if len(entries) > limit:
        yield FieldViolation(name, f"has {len(entries)} entries; at most {limit}")
