"""What each placement shows: sources, filters, slate, factors of the shop, and the fallback.

A configuration is data: docs/how-to/placements.md describes every field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from services.common.errors import InvalidArgument
from services.common.filters import MAX_ATTRIBUTE_VALUES, MAX_ATTRIBUTES, MAX_BRANDS, MAX_CATEGORIES
from services.common.product import MAX_ATTRIBUTE_NAME, MAX_ATTRIBUTE_VALUE, MAX_BRAND, MAX_CATEGORY_PATH
from services.common.validation import violations_of

DEFAULT_PLACEMENT = "home"
MAX_PLACEMENT = 64
MAX_PLACEMENTS = 100
MAX_SOURCES = 12
MAX_QUOTA = 500
# Groups of products whose exposure is moved.
MAX_EXPOSURE_GROUPS = 1_000
# The group of products without a value, in `offsets`.
NO_GROUP = "(none)"
_BY_ATTRIBUTE = "attributes."
# As the ranker's: no factor of the shop outweighs what is known of the person.
MAX_FACTOR_WEIGHT = 0.3
# Of ten consecutive places.
_MOST_PLACES = 10
_DIGEST = 12

Name = Annotated[str, StringConstraints(pattern=rf"^[a-z0-9][a-z0-9-]{{0,{MAX_PLACEMENT - 1}}}$")]
Category = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CATEGORY_PATH)]
Brand = Annotated[str, StringConstraints(min_length=1, max_length=MAX_BRAND)]
AttributeName = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ATTRIBUTE_NAME)]
AttributeValue = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ATTRIBUTE_VALUE)]


class Source(Enum):
    """Where products come from; the values are those of the file."""

    INTERESTS = "interests"
    SESSION = "session"
    POPULAR = "popular"
    CATEGORY = "category"
    BOUGHT_TOGETHER = "bought_together"
    VIEWED_TOGETHER = "viewed_together"
    SIMILAR = "similar"
    GOES_WITH = "goes_with"
    TRENDING = "trending"
    RECENTLY_VIEWED = "recently_viewed"
    BUY_AGAIN = "buy_again"
    SHOPPER = "shopper"
    NEIGHBOURS = "neighbours"


# These start from the products of the page, and from those in the cart.
OF_PRODUCTS = frozenset((Source.BOUGHT_TOGETHER, Source.VIEWED_TOGETHER, Source.SIMILAR, Source.GOES_WITH))
# These start from the products of the page, and without any from the person.
OF_BOTH = frozenset((Source.SHOPPER, Source.NEIGHBOURS))


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceUse(_Part):
    """One source of a placement."""

    source: Source
    # Most products of this source. None: as many as a query has candidates.
    quota: int | None = Field(default=None, ge=1, le=MAX_QUOTA)
    # Against the other sources of the placement.
    weight: float = Field(default=1.0, gt=0, le=10)
    # The source is asked only if those before it have found fewer products.
    if_fewer_than: int | None = Field(default=None, ge=1, le=MAX_QUOTA)


class Filters(_Part):
    """Conditions of the placement, in addition to the filter of the request."""

    in_stock_only: bool = False
    # Only products in a category of the products of the page.
    same_category: bool = False
    # Only products of another type than those of the page, except those that persons bought with them.
    other_types: bool = False
    categories: tuple[Category, ...] = Field(default=(), max_length=MAX_CATEGORIES)
    brands: tuple[Brand, ...] = Field(default=(), max_length=MAX_BRANDS)
    attributes: Mapping[
        AttributeName, Annotated[tuple[AttributeValue, ...], Field(max_length=MAX_ATTRIBUTE_VALUES)]
    ] = Field(default_factory=dict, max_length=MAX_ATTRIBUTES)
    # Products that the person bought recently, and that are not usually bought again.
    exclude_purchased: bool = True


class Slate(_Part):
    """How the found products are ordered."""

    # source: in the order of the sources, without the ranker.
    order: Literal["personal", "source"] = "personal"
    # The weight of similarity to products above. None: the ranker's own.
    diversity: float | None = Field(default=None, ge=0, le=1)
    # Whether the person's interests share the first places. None: the ranker's own.
    share_interests: bool | None = None
    # The most of ten consecutive places for one brand. None: the ranker's own.
    brand_cap: int | None = Field(default=None, ge=1, le=_MOST_PLACES)


class Business(_Part):
    """Factors of the shop: what they add at most to a score in [0, 1]."""

    margin_weight: float = Field(default=0.0, ge=0, le=MAX_FACTOR_WEIGHT)
    freshness_weight: float = Field(default=0.0, ge=0, le=MAX_FACTOR_WEIGHT)


class Exposure(_Part):
    """Moves groups of products, so that their exposure follows their merit; `kairos fairness fit` finds it."""

    # "brand", or "attributes." and the name of an attribute.
    group_by: Annotated[str, StringConstraints(pattern=rf"^(brand|attributes\..{{1,{MAX_ATTRIBUTE_NAME}}})$")]
    # By group: what is added to a score in [0, 1].
    offsets: Mapping[Brand, Annotated[float, Field(ge=-MAX_FACTOR_WEIGHT, le=MAX_FACTOR_WEIGHT)]] = Field(
        min_length=1, max_length=MAX_EXPOSURE_GROUPS
    )

    @property
    def attribute(self) -> str:
        """Its name; empty: the groups are brands."""
        return self.group_by.removeprefix(_BY_ATTRIBUTE).lower() if self.group_by != "brand" else ""

    @cached_property
    def by_group(self) -> Mapping[str, float]:
        """By name as it is compared."""
        return {name.strip().casefold(): offset for name, offset in self.offsets.items()}


class Placement(_Part):
    sources: tuple[SourceUse, ...] = Field(min_length=1, max_length=MAX_SOURCES)
    filters: Filters = Filters()
    slate: Slate = Slate()
    business: Business = Business()
    # With fewer products the sources of `fallback` are asked too, one after the other; their products come last.
    minimum_results: int = Field(default=1, ge=0, le=100)
    fallback: tuple[Source, ...] = Field(default=(Source.POPULAR,), max_length=MAX_SOURCES)
    # Whether it may have sponsored results, of campaigns that name it.
    sponsored: bool = False

    @model_validator(mode="after")
    def _is_sound(self) -> Placement:
        names = [use.source.value for use in self.sources]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"sources has {twice[0]} twice; give it once, with its weight")
        if self.sources[0].if_fewer_than is not None:
            raise ValueError("the first source has if_fewer_than, and there is none before it; remove it")
        if self.slate.order == "source" and self.business != Business():
            raise ValueError("business has no effect with slate.order: source; remove one of them")
        return self

    @property
    def needs_products(self) -> bool:
        """Whether every source that is always asked starts from products of the request, and one from nothing else."""
        always = {use.source for use in self.sources if use.if_fewer_than is None}
        return always <= OF_PRODUCTS | OF_BOTH and not always.isdisjoint(OF_PRODUCTS)


class ServingConfiguration(_Part):
    # The shop's own name of this configuration.
    version: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    placements: Mapping[Name, Placement] = Field(min_length=1, max_length=MAX_PLACEMENTS)
    # Whether searches, and placements that allow it, have sponsored results.
    sponsored: bool = True
    # Of searches, and of placements with the order `personal`.
    exposure: Exposure | None = None

    @cached_property
    def full_version(self) -> str:
        """The version with a digest of the content: two contents never have the same."""
        # A configuration without exposure has the digest that it had before there was any.
        unused = {"exposure"} if self.exposure is None else None
        digest = hashlib.sha256(self.model_dump_json(exclude=unused).encode()).hexdigest()
        return f"{self.version}+{digest[:_DIGEST]}"

    def without_ranking(self) -> ServingConfiguration:
        """What two configurations share that only order the same products differently."""
        plain = {
            name: placement.model_copy(update={"slate": Slate(), "business": Business()})
            for name, placement in self.placements.items()
        }
        return self.model_copy(update={"version": "", "placements": plain})

    def over(self, base: ServingConfiguration) -> ServingConfiguration:
        """With the placements of `base` that this configuration does not have. Each of the two can switch ads off.

        The exposure is its own, else that of `base`.
        """
        return ServingConfiguration(
            version=self.version, placements={**base.placements, **self.placements},
            sponsored=self.sponsored and base.sponsored, exposure=self.exposure or base.exposure,
        )  # fmt: skip

    def placement(self, name: str) -> tuple[str, Placement]:
        """(name, placement); the default one for an empty name. Raises InvalidArgument."""
        name = name or DEFAULT_PLACEMENT
        if name not in self.placements:
            known = ", ".join(sorted(self.placements))
            raise InvalidArgument.of("placement", f"{name!r} is not configured; use one of {known}")
        return name, self.placements[name]


def configuration_of(content: Mapping[str, Any], field: str = "") -> ServingConfiguration:
    """From the JSON form of control's message, whose attributes of filters have their texts below `values`.

    Who has the configuration (`only_in_experiments`) is not a part of it. Raises InvalidArgument with paths below
    `field`.
    """
    placements = {
        name: {**placement, "filters": _flat(placement.get("filters", {}))}
        for name, placement in content.get("placements", {}).items()
    }
    try:
        own = {name: value for name, value in content.items() if name != "only_in_experiments"}
        return ServingConfiguration.model_validate({**own, "placements": placements})
    except ValidationError as error:
        raise InvalidArgument(*violations_of(error, field)) from None


def _flat(filters: Mapping[str, Any]) -> Mapping[str, Any]:
    attributes = {name: entry.get("values", []) for name, entry in filters.get("attributes", {}).items()}
    return {**filters, "attributes": attributes}
