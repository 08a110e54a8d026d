"""`kairos search`, `suggest` and `recommend`: the requests of a shop's pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from catalog.money import parse_currency, parse_money
from catalog.numbers import ENGLISH
from catalog.rows import RowRefused
from cli.calls import call, out, print_json
from cli.options import (
    AllVariants,
    Brands,
    Categories,
    CompatibleWith,
    Explained,
    Json,
    Literal,
    Locale,
    PageSize,
    Place,
    PriceList,
    ProductTypes,
    Session,
    User,
    Visitor,
    collapse_mode,
)
from cli.render import (
    facet_parts,
    print_interpretation,
    print_match,
    print_merchandising,
    print_results,
    print_suggestions,
    print_waterfall,
)
from kairos.common.v1 import common_pb2, product_pb2
from kairos.gateway.v1 import gateway_pb2
from services.common.convert import money_to_proto

SORTS = {
    "relevance": product_pb2.SORT_ORDER_RELEVANCE,
    "price": product_pb2.SORT_ORDER_PRICE_ASCENDING,
    "-price": product_pb2.SORT_ORDER_PRICE_DESCENDING,
    "newest": product_pb2.SORT_ORDER_NEWEST,
}
# Values of a facet that are printed.
_FACET_VALUES = 8


def search(
    context: typer.Context,
    query: Annotated[str, typer.Argument(help="What to search for. Empty: browse the catalogue.")] = "",
    user: User = "",
    visitor: Visitor = "",
    session: Session = "",
    explain: Explained = False,
    brand: Brands = [],  # noqa: B006 - Typer wants a list
    category: Categories = [],  # noqa: B006
    product_type: ProductTypes = [],  # noqa: B006
    compatible_with: CompatibleWith = [],  # noqa: B006
    attribute: Annotated[
        list[str], typer.Option(help="Only products with this attribute, NAME=VALUE. May be repeated.")
    ] = [],  # noqa: B006
    min_price: Annotated[str, typer.Option(help="Lowest price, for example 20.")] = "",
    max_price: Annotated[str, typer.Option(help="Highest price.")] = "",
    currency: Annotated[
        str, typer.Option(help="Currency of these prices, USD unless given; if given, only its prices are shown.")
    ] = "",
    price_list: PriceList = "",
    place: Place = "",
    in_stock: Annotated[bool, typer.Option(help="Only products in stock.")] = False,
    sort: Annotated[str, typer.Option(help=f"Order of the results: {', '.join(SORTS)}.")] = "relevance",
    facet: Annotated[
        list[str],
        typer.Option(help="Count values of category, brand, price, product_type or attributes.NAME. May be repeated."),
    ] = [],  # noqa: B006
    best_facets: Annotated[int, typer.Option(min=0, max=8, help="Number of facets to choose by coverage.")] = 0,
    all_variants: AllVariants = False,
    page_size: PageSize = 10,
    page_token: Annotated[str, typer.Option(help="Token of the page, from the response before it.")] = "",
    locale: Locale = "",
    literal: Literal = False,
    any_type: Annotated[bool, typer.Option(help="Do not put products of the type that the query names first.")] = False,
    no_rules: Annotated[bool, typer.Option(help="Without merchandising rules.")] = False,
    image: Annotated[Path | None, typer.Option(help="Image to search for: JPEG, PNG or WebP.")] = None,
    similar_to: Annotated[str, typer.Option(help="Id of a product: find products that are visually similar.")] = "",
    as_json: Json = False,
) -> None:
    """Search the catalogue by text, by an image or by both, for a user or visitor if one is given."""
    if image is not None and not image.is_file():
        raise typer.BadParameter(f"{image} is not a file", param_hint="--image")
    if sort not in SORTS:
        raise typer.BadParameter(f"{sort!r}; use one of {', '.join(SORTS)}", param_hint="--sort")
    conditions = product_pb2.ProductFilter(
        categories=category,
        brands=brand,
        in_stock_only=in_stock,
        product_types=product_type,
        compatible_with=compatible_with,
    )
    for entry in attribute:
        name, equals, value = entry.partition("=")
        if not equals:
            raise typer.BadParameter(f"{entry!r}: write NAME=VALUE", param_hint="--attribute")
        conditions.attributes.add(name=name, values=[value])
    for end, text in (("minimum", min_price), ("maximum", max_price)):
        if text:
            getattr(conditions.price, end).CopyFrom(_amount(text, currency or "USD"))
    message = gateway_pb2.SearchRequest(
        query=query, user_id=user, visitor_id=visitor, session_id=session, locale=locale, filter=conditions,
        sort=SORTS[sort], facets=facet, page_size=page_size, page_token=page_token, explain=explain,
        literal_query=literal, image=image.read_bytes() if image else b"", similar_to_id=similar_to,
        price_list_id=price_list, place_id=place, currency_code=currency, best_facet_count=best_facets,
        collapse=collapse_mode(all_variants), ignore_product_type=any_type,
        rules=gateway_pb2.RULES_MODE_OFF if no_rules else gateway_pb2.RULES_MODE_UNSPECIFIED,
    )  # fmt: skip
    answer = call(context, "Search", message)
    if as_json:
        print_json(answer)
    else:
        _print_search(answer, explain)


def suggest(
    context: typer.Context,
    prefix: Annotated[str, typer.Argument(help="What was typed so far.")],
    locale: Locale = "",
    limit: Annotated[int, typer.Option(min=1, max=20, help="Number of suggestions.")] = 8,
    as_json: Json = False,
) -> None:
    """Complete what a shopper has typed so far."""
    answer = call(context, "Suggest", gateway_pb2.SuggestRequest(prefix=prefix, locale=locale, limit=limit))
    return print_json(answer) if as_json else print_suggestions(out, answer)


def recommend(
    context: typer.Context,
    user: User = "",
    visitor: Visitor = "",
    session: Session = "",
    placement: Annotated[
        str, typer.Option(help="Where they are shown, for example similar-items. Empty: home.", show_default="home")
    ] = "",
    item: Annotated[list[str], typer.Option(help="Id of a product of the page. May be repeated.")] = [],  # noqa: B006
    cart: Annotated[list[str], typer.Option(help="Id of a product in the cart. May be repeated.")] = [],  # noqa: B006
    category: Categories = [],  # noqa: B006
    explain: Explained = False,
    page_size: PageSize = 10,
    as_json: Json = False,
) -> None:
    """Recommend products for a placement of the shop, without a query."""
    message = gateway_pb2.RecommendRequest(
        user_id=user, visitor_id=visitor, session_id=session, page_size=page_size, explain=explain,
        placement=placement, item_ids=item, cart_item_ids=cart,
        filter=product_pb2.ProductFilter(categories=category) if category else None,
    )  # fmt: skip
    answer = call(context, "Recommend", message)
    if as_json:
        print_json(answer)
        return
    print_results(out, answer.results, answer.degradations, explain)
    if explain:
        print_waterfall(out, answer.timings)


def _print_search(answer: gateway_pb2.SearchResponse, explain: bool) -> None:
    print_interpretation(out, answer.interpretation)
    print_match(out, answer)
    print_merchandising(out, answer.merchandising)
    print_results(out, answer.results, answer.degradations, explain)
    at_least = "at least " * (answer.total_accuracy == product_pb2.COUNT_ACCURACY_LOWER_BOUND)
    out.print(f"[dim]{at_least}{answer.total_size} matches")
    for facet in answer.facets:
        counts = " · ".join(facet_parts(facet)[:_FACET_VALUES])
        out.print(f"[dim]{escape(f'{facet.field}: {counts}')}")
    if explain:
        print_waterfall(out, answer.timings)
    if answer.next_page_token:
        out.print(f"[dim]next page: --page-token {answer.next_page_token}", soft_wrap=True)


def _amount(text: str, currency: str) -> common_pb2.Money:
    try:
        return money_to_proto(parse_money("price", text, parse_currency("--currency", currency), ENGLISH))
    except RowRefused as error:
        raise typer.BadParameter(str(error)) from None
